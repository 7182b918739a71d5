"""MQTT over WebSocket with the clients that people use: MQTT.js in node and in a browser; and what upgrades are refused."""

import base64
import hashlib
import http.server
import json
import queue
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from emqc import packets as p
from emqc import websocket as ws
from emqc.broker import free_port
from emqc.certs import openssl
from emqc.client import DEADLINE_S, unique
from emqc.tls import await_log, listener_port, tls_listener
from emqc.websocket import WebSocketClient

pytestmark = pytest.mark.emqc

HERE = Path(__file__).resolve().parent
COUNT = 20
NUMBERS = [str(number) for number in range(COUNT)]
TIMEOUT_S = 3 * DEADLINE_S
MIB = 1 << 20


def ws_listener(name="external", **more) -> dict:
    prefix = f"listener.ws.{name}"
    return {prefix: f"127.0.0.1:{free_port()}"} | {f"{prefix}.{key}": value for key, value in {"zone": "external", **more}.items()}


@pytest.fixture
def node(make_broker):
    return make_broker(ws_listener())


@pytest.fixture
def port(node):
    return listener_port(node, type_="ws")


@pytest.fixture
def both(make_broker, certs):
    """WebSocket, in the clear and over TLS."""
    return make_broker(ws_listener() | tls_listener(certs.server, type_="wss"))


def url(node, scheme: str) -> str:
    return f"{scheme}://localhost:{listener_port(node, type_=scheme)}/mqtt".replace("localhost", "127.0.0.1")


# --- the upgrade


@pytest.mark.quick
def test_the_example_of_the_standard_is_answered_as_there(port):
    """RFC 6455, section 1.3."""
    answer = ws.ask(port)
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.headers["upgrade"].lower() == "websocket" and answer.headers["connection"].lower() == "upgrade"
    assert answer.headers["sec-websocket-protocol"] == "mqtt"
    assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize("changes", [
    {"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"},
    {"Sec_WebSocket_Protocol": "mqttv3.1"},
    {"more": ["Cookie: a=b", "Origin: http://example.com", "User-Agent: x", "X-Long: " + 2000 * "x"]},
    {"path": "/mqtt?token=1"},
], ids=["case and lists", "mqttv3.1", "further headers", "query"])  # fmt: skip
def test_what_browsers_and_proxies_send_is_accepted(port, changes):
    assert ws.ask(port, **changes).status == 101


@pytest.mark.parametrize("changes, statuses", [
    ({"path": "/"}, {404}),
    ({"path": "/mqtt/"}, {404}),
    ({"path": "/MQTT"}, {404}),
    ({"method": "POST"}, {400, 405}),
    ({"http": "HTTP/1.0"}, {400, 426, 505}),
    ({"Host": None}, {400}),
    ({"Upgrade": None}, {400, 426}),
    ({"Upgrade": "h2c"}, {400, 426}),
    ({"Connection": "close"}, {400, 426}),
    ({"Sec_WebSocket_Key": None}, {400}),
    ({"Sec_WebSocket_Key": "short"}, {400}),
    ({"Sec_WebSocket_Version": "8"}, {426}),
    ({"Sec_WebSocket_Version": None}, {400, 426}),
    ({"Sec_WebSocket_Protocol": "chat"}, {400}),
    ({"Sec_WebSocket_Protocol": None}, {400}),
], ids=lambda value: " ".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else "")  # fmt: skip
def test_an_upgrade_that_is_none_gets_an_http_error(node, port, changes, statuses):
    with ws.connect(port) as sock:
        sock.sendall(ws.request(port, **changes))
        answer = ws.Answer(sock)
        assert answer.status in statuses
        if answer.status == 426:
            assert answer.headers["sec-websocket-version"] == "13" or answer.headers["upgrade"].lower() == "websocket"
        while sock.recv(65536):  # then the connection ends
            pass
    WebSocketClient(port).connect().ping()


@pytest.mark.parametrize("data", [b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + 40 * b"x", b"GET\r\n\r\n",
                                  b"GET /mqtt HTTP/1.1\r\nX: " + 100_000 * b"x"],
                         ids=["MQTT", "TLS", "nonsense", "endless header"])  # fmt: skip
def test_what_is_no_http_request_ends_the_connection(node, port, data):
    with ws.connect(port) as sock:
        address = "127.0.0.1:%d" % sock.getsockname()[1]
        try:
            sock.sendall(data)
            got = b""
            while part := sock.recv(65536):
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert b"101" not in got.split(b"\r\n")[0] if got else True
    await_log(node, address)
    WebSocketClient(port).connect().ping()


def test_an_upgrade_in_single_bytes_succeeds(port):
    with ws.connect(port) as sock:
        for byte in ws.request(port):
            sock.send(bytes([byte]))
        assert ws.Answer(sock).status == 101


def test_packets_right_behind_the_request_are_not_lost(port):
    with ws.connect(port) as sock:
        sock.sendall(ws.request(port) + ws.frame(ws.BINARY, p.Connect(client_id=unique()).encode(4)))
        answer = ws.Answer(sock)
        rest = answer.rest
        while len(rest) < 6:
            rest += sock.recv(64)
        assert rest == b"\x82\x04\x20\x02\x00\x00"


def test_without_verify_protocol_header_the_header_may_be_missing(make_broker):
    node = make_broker(ws_listener(verify_protocol_header="off"))
    port = listener_port(node, type_="ws")
    assert "sec-websocket-protocol" not in ws.ask(port, Sec_WebSocket_Protocol=None).headers
    WebSocketClient(port, Sec_WebSocket_Protocol=None).connect().ping()


def test_mqtt_path_names_another_path(make_broker):
    node = make_broker(ws_listener(mqtt_path="/broker/ws"))
    port = listener_port(node, type_="ws")
    assert ws.ask(port).status == 404
    assert ws.ask(port, path="/broker/ws").status == 101


# --- packets and frames


def test_packets_and_frames_need_not_match(port, version, topic):
    """MQTT 5, section 6: packets may be split over frames and share one."""
    client = WebSocketClient(port, version).connect()
    client.subscribe(topic, qos=1)
    packets = b"".join(p.Publish(topic, bytes([number]) * number, 1, packet_id=number).encode(version) for number in range(1, 60))
    client.send(packets)
    for number in range(1, 60):
        client.await_packet(p.Puback, packet_id=number)
    for number in range(1, 60):
        client.expect_publish(topic, bytes([number]) * number, qos=1)
    data = p.Publish(topic, b"split", 1, packet_id=61).encode(version)
    client.send_raw(b"".join(ws.frame(ws.BINARY, data[at : at + 1]) for at in range(len(data))))
    client.await_packet(p.Puback, packet_id=61)
    client.expect_publish(topic, b"split", qos=1)
    client.send_raw(ws.frame(ws.BINARY, data[:3], final=False) + ws.frame(ws.PING, b"between") + ws.frame(0, b"", final=False)
                    + ws.frame(0, data[3:]))  # fmt: skip
    client.await_packet(p.Puback, packet_id=61)
    client.expect_publish(topic, b"split", qos=1)
    assert client.expect_control(ws.PONG) == b"between"


def test_large_messages_pass_both_ways(make_broker, topic):
    node = make_broker({**ws_listener(), "mqtt.max_packet_size": "16MB"})
    sender, receiver = (WebSocketClient(listener_port(node, type_="ws")).connect() for _ in range(2))
    receiver.subscribe(topic, qos=2)
    payload = bytes(number % 251 for number in range(5 * MIB))
    sender.publish(topic, payload, 2)
    receiver.expect_publish(topic, payload, qos=2)


@pytest.mark.parametrize("broken, code", [
    (ws.frame(ws.TEXT, b"\x10\x00"), 1003),
    (ws.frame(ws.BINARY, b"x", masked=False), 1002),
    (ws.frame(ws.BINARY, b"x", reserved=4), 1002),
    (ws.frame(3, b"x"), 1002),
    (ws.frame(11, b"x"), 1002),
    (ws.frame(ws.PING, b"x", final=False), 1002),
    (ws.frame(ws.PING, 126 * b"x"), 1002),
    (ws.frame(0, b"x"), 1002),
    (ws.frame(ws.BINARY, b"x", final=False) + ws.frame(ws.BINARY, b"x"), 1002),
    (ws.frame(ws.CLOSE, b"x"), 1002),
], ids=["text", "unmasked", "reserved bit", "reserved data opcode", "reserved control opcode", "fragmented ping", "long ping",
        "continuation of nothing", "new message inside of one", "close of one byte"])  # fmt: skip
def test_broken_frames_end_the_connection_with_their_code(node, port, broken, code):
    client = WebSocketClient(port).connect()
    address = "127.0.0.1:%d" % client.socket.getsockname()[1]
    client.send_raw(broken)
    client.drain_control()
    opcode, payload = client.control[-1]
    assert opcode == ws.CLOSE and int.from_bytes(payload[:2], "big") == code
    await_log(node, address)
    WebSocketClient(port).connect().ping()


def test_close_is_answered_and_the_will_is_published_without_disconnect(node, port, topic):
    watcher = node.connect()
    watcher.subscribe(topic)
    client = WebSocketClient(port).connect(will=p.Will(topic, b"gone"))
    client.send_raw(ws.frame(ws.CLOSE, b"\x03\xe8bye"))
    assert client.expect_control(ws.CLOSE)[:2] == b"\x03\xe8"
    client.expect_closed()
    watcher.expect_publish(topic, b"gone")


def test_disconnect_is_answered_with_close(port):
    client = WebSocketClient(port).connect()
    client.send(p.Disconnect())
    assert client.expect_control(ws.CLOSE)[:2] == b"\x03\xe8"


def wake_ups(pid: int) -> int:
    """How often the threads of a process have waited for something."""
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)[1])
               for status in Path(f"/proc/{pid}/task").glob("*/status"))  # fmt: skip


def test_a_client_whose_reading_is_held_back_beyond_the_idle_timeout_costs_nothing(make_broker, topic):
    node = make_broker(ws_listener(idle_timeout="500ms") | {"zone.external.publish_limit": "1,5s"})
    client = WebSocketClient(listener_port(node, type_="ws"), 4).connect()
    for packet_id in (1, 2):
        client.send(p.Publish(topic, b"x", 1, packet_id=packet_id))
        client.expect(p.Puback)
    before = wake_ups(node.process.pid)
    with pytest.raises(TimeoutError):
        client.receive(timeout=3)  # it is not closed: it is we who do not read
    assert wake_ups(node.process.pid) - before < 150


def test_a_session_is_taken_over_between_tcp_and_websocket(node, port, topic):
    fields = {"client_id": unique(), "clean": False, "properties": {p.Prop.SESSION_EXPIRY_INTERVAL: 60}}
    old = node.connect(**fields)
    old.subscribe(topic, qos=1)
    new = WebSocketClient(port).connect(**fields)
    assert new.connack.session_present
    old.expect_disconnect(0x8E)
    node.connect().publish(topic, b"x", 1)
    new.expect_publish(topic, b"x", qos=1)
    new.ping()  # so that it has the PUBACK
    third = node.connect(**fields)
    new.expect(p.Disconnect, reason=0x8E)
    assert new.expect_control(ws.CLOSE)
    third.ping()


# --- MQTT.js in node

needs_node = pytest.mark.skipif(
    not shutil.which("node") or not (HERE / "node_modules" / "mqtt").is_dir(), reason="run npm ci in tests/integration"
)


def mqttjs(node, scheme: str, certs, **options) -> dict:
    files = {"ca": str(certs.authority.cert)} if scheme == "wss" else {}
    files |= options.pop("files", {})
    words = {"url": url(node, scheme), "tls": files, "clientId": unique("js"), "count": COUNT, **options}
    done = subprocess.run(["node", "mqttjs_client.mjs", json.dumps(words)], cwd=HERE, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("mqtt_version", [3, 4, 5])
def test_mqttjs_publishes_and_subscribes(both, certs, topic, scheme, mqtt_version):
    for qos in (0, 1, 2):
        result = mqttjs(both, scheme, certs, version=mqtt_version, qos=qos, topic=f"{topic}/{qos}")
        assert result["granted"] == [qos]
        assert [message["payload"] for message in result["received"]] == NUMBERS
        assert {message["qos"] for message in result["received"]} == {qos}


@needs_node
def test_mqttjs_shows_its_certificate_over_wss(make_broker, certs, topic):
    node = make_broker(tls_listener(certs.server, type_="wss", authority=certs.authority))
    files = {"cert": str(certs.client.chain), "key": str(certs.client.key)}
    result = mqttjs(node, "wss", certs, version=5, qos=1, topic=topic, files=files)
    assert len(result["received"]) == COUNT
    with pytest.raises(AssertionError, match="certificate required|ECONNRESET|closed|alert"):
        mqttjs(node, "wss", certs, version=5, qos=1, topic=topic)
    await_log(node, r"127\.0\.0\.1:\d+", "peer did not return a certificate|no certificate")


@needs_node
def test_mqttjs_compresses_where_the_listener_allows_it(make_broker, certs, topic):
    node = make_broker(ws_listener(compress="true"))
    answer = ws.ask(listener_port(node, type_="ws"), more=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"])
    assert answer.headers["sec-websocket-extensions"].startswith("permessage-deflate")
    for qos in (0, 1, 2):
        result = mqttjs(node, "ws", certs, version=5, qos=qos, topic=f"{topic}/{qos}")
        assert [message["payload"] for message in result["received"]] == NUMBERS


# --- a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Page:
    """Serves the page, its script and its jobs, and takes its result."""

    def __init__(self, jobs: list[dict]):
        self.results: queue.Queue = queue.Queue()
        files = {
            "/": ("text/html", (HERE / "browser_page.html").read_bytes()),
            "/mqtt.min.js": ("text/javascript", (HERE / "node_modules" / "mqtt" / "dist" / "mqtt.min.js").read_bytes()),
            "/jobs": ("application/json", json.dumps(jobs).encode()),
        }
        results = self.results

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, content = files.get(self.path, ("text/plain", None))
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()
                results.put(json.loads(text))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def browse(tmp_path, jobs: list[dict], *options: str):
    """What the page reports from a fresh headless browser."""
    page = Page(jobs)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
               f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", *options, page.url]  # fmt: skip
    with open(tmp_path / "chromium.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        return page.results.get(timeout=90)
    except queue.Empty:
        raise AssertionError((tmp_path / "chromium.log").read_text(errors="replace")[-4000:]) from None
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        page.close()


def trusting(pair) -> str:
    """The browser's option to trust this certificate, and no other, without its authority."""
    key = openssl("x509", "-in", pair.cert, "-noout", "-pubkey")
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.encode(), capture_output=True, check=True).stdout
    return "--ignore-certificate-errors-spki-list=" + base64.b64encode(hashlib.sha256(der).digest()).decode()


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_browser_publishes_and_subscribes(both, certs, tmp_path, topic, scheme):
    jobs = [{"url": url(both, scheme), "version": version, "topic": f"{topic}/{version}/{size}", "count": 5, "bytes": size}
            for version in (4, 5) for size in (10, 100_000)]  # fmt: skip
    result = browse(tmp_path, jobs, trusting(certs.server))
    assert isinstance(result, list), result
    for job, outcome in zip(jobs, result, strict=True):
        assert outcome["granted"] == [2]
        expected = [{"topic": job["topic"], "length": job["bytes"], "first": number, "qos": qos} for number in range(5) for qos in (0, 1, 2)]
        assert outcome["received"] == expected


@needs_chromium
@pytest.mark.slow
def test_a_browser_s_compression_works(make_broker, tmp_path, topic):
    node = make_broker(ws_listener(compress="true"))
    jobs = [{"url": url(node, "ws"), "version": 5, "topic": topic, "count": 5, "bytes": size} for size in (10, 100_000)]
    result = browse(tmp_path, jobs)
    assert isinstance(result, list), result
    assert [len(outcome["received"]) for outcome in result] == [15, 15]


@needs_chromium
@pytest.mark.slow
def test_a_browser_that_does_not_trust_the_certificate_reports_it(both, tmp_path, topic):
    """That the tests above do not pass because the browser checks nothing."""
    result = browse(tmp_path, [{"url": url(both, "wss"), "version": 5, "topic": topic, "count": 1, "bytes": 1}])
    assert "error" in result
