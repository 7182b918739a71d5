"""emqx_bench against mosquitto, and against a relay that loses, doubles, swaps and refuses on purpose.

EMQX_BENCH names the program (default: the one in build/release).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = Path(os.environ.get("EMQX_BENCH", REPOSITORY / "build" / "release" / "bench" / "emqx_bench" / "emqx_bench"))
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
TIMEOUT_S = 60


def bench(*arguments):
    """Runs the tool to its end."""
    command = [str(BENCH), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


class Target:
    """A broker to measure: where it listens and its process."""

    def __init__(self, port, pid=None, process=None):
        self.port = port
        self.pid = pid
        self.process = process

    def load(self, tmp_path, *arguments, seconds=1):
        """Runs `load` and returns (exit code, summary or None, all it printed)."""
        summary = tmp_path / "summary.json"
        done = bench("load", "-p", self.port, "-h", "127.0.0.1", "--quiet", "--warm-up", 100, "--seconds", seconds,
                     "--json", summary, *(["--broker-pid", self.pid] if self.pid else []), *arguments)
        parsed = json.loads(summary.read_text()) if summary.exists() else None
        return done.returncode, parsed, done.stdout + done.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_listener(port, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("mosquitto does not listen")


@contextlib.contextmanager
def running_mosquitto(directory, extra="", **settings):
    port = free_port()
    config = directory / "mosquitto.conf"
    lines = {"listener": f"{port} 127.0.0.1", "allow_anonymous": "true", "persistence": "false",
             "max_inflight_messages": "100", "max_queued_messages": "0", "set_tcp_nodelay": "true", "log_type": "none"}
    if os.getuid() == 0:
        lines["user"] = "root"
    lines.update(settings)
    config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()) + extra)
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_listener(port, process)
        yield Target(port, process.pid, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as target:
        yield target


class FaultyRelay:
    """Understands just enough of MQTT 3.1.1, QoS 0, to relay every PUBLISH to every subscriber, with one fault.

    fault: None, "lose", "double", "swap" (each on every tenth message), "foreign" (a payload of its own first),
    "refuse-connect", "refuse-subscribe" or "hang-up" (at the first PUBLISH).
    """

    def __init__(self, fault):
        self.fault = fault
        self.subscribers = []
        self.count = 0
        self.held = None
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return Target(self.port)

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _run(self):
        async def listen():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()

        self.loop.run_until_complete(listen())
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = (await reader.readexactly(1))[0]
                length = (await reader.readexactly(1))[0]
                assert length < 128
                body = await reader.readexactly(length)
                self._packet(first >> 4, bytes([first, length]) + body, writer)

    def _packet(self, kind, packet, writer):
        if kind == 1:
            writer.write(bytes([0x20, 2, 0, 5 if self.fault == "refuse-connect" else 0]))
        elif kind == 8:
            self.subscribers.append(writer)
            writer.write(bytes([0x90, 3, packet[2], packet[3], 0x80 if self.fault == "refuse-subscribe" else 0]))
        elif kind == 3:
            if self.fault == "hang-up":
                writer.close()
                return
            for relayed in self._after_fault(packet):
                for subscriber in self.subscribers:
                    subscriber.write(relayed)

    def _release(self):
        if self.held is not None:
            held, self.held = self.held, None
            for subscriber in self.subscribers:
                subscriber.write(held)

    def _after_fault(self, packet):
        self.count += 1
        if self.held is not None:
            held, self.held = self.held, None
            return [packet, held]
        if self.fault == "foreign" and self.count == 1:
            return [packet[:-24] + b"?" * 24, packet]
        if self.count % 10 == 0:
            if self.fault == "lose":
                return []
            if self.fault == "double":
                return [packet, packet]
            if self.fault == "swap":
                self.held = packet
                self.loop.call_later(0.1, self._release)  # it may be the last one
                return []
        return [packet]


def relay_load(target, tmp_path):
    return target.load(tmp_path, "-V", 4, "--pattern", "pair", "--publishers", 1, "--subscribers", 1, "--size", 24,
                       "--window", 8, "--stall", 1, "--topic-prefix", "t")


def faults(summary):
    names = ("lost", "duplicates", "out_of_order", "foreign", "refused")
    return {name: summary["check"][name] for name in names if summary["check"][name] > 0}


# ---- load


@pytest.mark.parametrize("qos, protocol", [(0, 5), (1, 4), (2, 3), (2, 5)])
@pytest.mark.parametrize("pattern, publishers, subscribers, copies", [
    ("fan-out", 1, 10, 10),
    ("fan-in", 10, 1, 1),
    ("pair", 10, 10, 1),
])
def test_every_message_arrives_once_and_in_order(mosquitto, tmp_path, pattern, publishers, subscribers, copies, qos,
                                                 protocol):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", pattern, "--publishers", publishers, "--subscribers",
                                         subscribers, "-q", qos, "-V", protocol, "-F", 20)
    assert code == 0, text
    check = summary["check"]
    assert check["ok"] and check["sent"] > 100
    assert check["delivered"] == check["sent"] * copies
    assert summary["delivered_per_s"] > 100
    latency = summary["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"]
    assert latency["count"] == pytest.approx(summary["delivered_per_s"] * summary["seconds"], rel=0.01)
    assert summary["broker_cpu_us"] > 0 and summary["own_user_us"] + summary["own_system_us"] > 0


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_members_of_a_shared_group_divide_the_messages(mosquitto, tmp_path, qos):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "shared", "--publishers", 5, "--subscribers", 3,
                                         "-q", qos)
    assert code == 0, text
    assert summary["check"]["delivered"] == summary["check"]["sent"] > 100


def test_each_topic_has_two_matching_wildcard_filters(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "wildcard", "--filters", 1000, "--subscribers", 10)
    assert code == 0, text
    assert summary["subscribe"]["count"] == 1000
    assert summary["check"]["delivered"] == 2 * summary["check"]["sent"] > 100


def test_a_rate_is_kept(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "pair", "--rate", 1000, "-q", 1, seconds=2)
    assert code == 0, text
    assert summary["sent_per_s"] == pytest.approx(1000, rel=0.05)


def test_a_large_payload_passes(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "pair", "--publishers", 1, "--subscribers", 1, "--size",
                                         3_000_000, "--window", 2, "-q", 1)
    assert code == 0, text
    assert summary["check"]["delivered"] >= 2


def test_idle_connections_are_made_and_their_memory_is_told(tmp_path):
    with running_mosquitto(tmp_path) as fresh:  # one that gives no memory back that others took
        code, summary, text = fresh.load(tmp_path, "--pattern", "idle", "--subscribers", 500, "--filters", 1500)
    assert code == 0, text
    assert summary["connect"]["count"] == 500 and summary["connect"]["per_s"] > 0
    assert summary["subscribe"]["count"] == 500
    assert summary["extra_filters"]["count"] == 1500
    assert summary["memory"]["extra_filters"]["anonymous_bytes"] >= summary["memory"]["before"]["anonymous_bytes"] > 0


def test_messages_that_a_broker_drops_are_found(tmp_path):
    with running_mosquitto(tmp_path, max_inflight_messages="1", max_queued_messages="1") as small:
        code, summary, text = small.load(tmp_path, "--pattern", "fan-in", "--publishers", 5, "-q", 1, "-V", 4, "--window",
                                         20, "--stall", 1)
    assert code == 3, text
    check = summary["check"]
    assert not check["ok"] and check["lost"] > 0
    assert check["delivered"] + check["lost"] == check["sent"]


@pytest.mark.quick
def test_a_relay_without_a_fault_passes(tmp_path):
    with FaultyRelay(None) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 0, text
    assert summary["check"]["delivered"] == summary["check"]["sent"] > 10


@pytest.mark.parametrize("fault, counted", [
    ("lose", "lost"),
    ("double", "duplicates"),
    ("swap", "out_of_order"),
    ("foreign", "foreign"),
])
def test_a_fault_is_told_for_what_it_is(tmp_path, fault, counted):
    with FaultyRelay(fault) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 3, text
    assert list(faults(summary)) == [counted], text
    assert "FAILED" in text


@pytest.mark.parametrize("fault, why", [
    ("refuse-connect", "refused the connection"),
    ("refuse-subscribe", "refused a subscription"),
    ("hang-up", "closed the connection"),
])
def test_a_broker_that_refuses_ends_the_run_with_the_reason(tmp_path, fault, why):
    with FaultyRelay(fault) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 1 and summary is None
    assert why in text


def test_nobody_listening_is_said():
    done = bench("load", "-p", free_port(), "--quiet", "-h", "127.0.0.1")
    assert done.returncode == 1
    assert "subscriber 0" in done.stderr


# ---- conn, pub, sub


@pytest.mark.quick
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_conn_opens_all_connections(mosquitto, tmp_path, protocol):
    summary = tmp_path / "conn.json"
    done = bench("conn", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 50, "-i", 1, "-V", protocol, "--duration", 1,
                 "--json", summary)
    assert done.returncode == 0, done.stderr
    assert "50 made, 0 failed, 0 lost" in done.stdout
    assert "1s connect_succ total=50 rate=" in done.stdout
    assert json.loads(summary.read_text())["connect_us"]["count"] == 50


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_pub_and_sub_work_together(mosquitto, tmp_path, qos):
    sub_summary, pub_summary = tmp_path / "sub.json", tmp_path / "pub.json"
    common = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", str(qos)]
    sub = subprocess.Popen([str(BENCH), "sub", *common, "-c", "3", "-i", "0", "-t", f"both/{qos}/+", "-L", "600",
                            "--json", str(sub_summary)], stdout=subprocess.PIPE, text=True)
    try:
        for line in sub.stdout:
            if "s sub total=3 " in line:
                break
        done = bench("pub", *common, "-c", 10, "-i", 0, "-I", 1, "-t", f"both/{qos}/%i", "-s", 64, "-L", 200, "--json",
                     pub_summary)
        assert done.returncode == 0, done.stderr
        sub.communicate(timeout=TIMEOUT_S)
    finally:
        sub.kill()
    assert sub.returncode == 0
    published, received = json.loads(pub_summary.read_text()), json.loads(sub_summary.read_text())
    assert published["pub"] == 200
    assert published["pub_succ"] == (200 if qos > 0 else 0)
    assert received["recv"] == 600
    assert received["end_to_end_us"]["count"] == 600 and received["end_to_end_us"]["p50"] > 0


def test_topic_variables_are_replaced(mosquitto):
    done = bench("pub", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 2, "-n", 7, "-i", 0, "-I", 10, "-L", 4, "-t",
                 "vars/%i/%c/%u/%s", "-u", "joe", "--prefix", "me", "-m", "hello", "-r", "true", "-q", 1)
    assert done.returncode == 0, done.stderr
    got = subprocess.run(["mosquitto_sub", "-p", str(mosquitto.port), "-t", "vars/#", "-F", "%t %p", "-C", "4", "-W", "10"],
                         capture_output=True, text=True, check=False)
    assert sorted(got.stdout.splitlines()) == [f"vars/{i}/me_{i}/joe/{s} hello" for i in (7, 8) for s in (0, 1)]


def test_retained_messages_are_kept_by_the_broker(mosquitto):
    done = bench("pub", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 1, "-t", "kept/%i", "-r", "true", "-q", 1, "-m",
                 "stays", "-L", 1, "-I", 1)
    assert done.returncode == 0, done.stderr
    got = subprocess.run(["mosquitto_sub", "-p", str(mosquitto.port), "-t", "kept/0", "-C", "1", "-W", "10"],
                         capture_output=True, text=True, check=False)
    assert got.stdout == "stays\n"


def test_a_signal_ends_with_the_summary(mosquitto):
    process = subprocess.Popen([str(BENCH), "sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-c", "2", "-t", "none"],
                               stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=TIMEOUT_S)[0]
    assert first.startswith("1s ")
    assert process.returncode == 0
    assert "2 made, 0 failed" in rest


# ---- TLS and WebSocket


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a broker's and a client's certificate of it, and another authority."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=TIMEOUT_S)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name in ("broker", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
                f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-out", f"{name}.pem")
    (directory / "psk").write_text("joe:0102030405060708\n")
    return directory


@pytest.fixture(scope="module")
def secure(tmp_path_factory, certificates):
    """mosquitto's port for each transport."""
    ports = {name: free_port() for name in ("tls", "mutual", "psk", "ws", "wss")}
    server = f"certfile {certificates}/broker.pem\nkeyfile {certificates}/broker.key\n"
    extra = (f"listener {ports['tls']} 127.0.0.1\n{server}"
             f"listener {ports['mutual']} 127.0.0.1\n{server}cafile {certificates}/ca.pem\nrequire_certificate true\n"
             f"listener {ports['psk']} 127.0.0.1\npsk_hint hint\npsk_file {certificates}/psk\n"
             f"listener {ports['ws']} 127.0.0.1\nprotocol websockets\n"
             f"listener {ports['wss']} 127.0.0.1\nprotocol websockets\n{server}")
    with running_mosquitto(tmp_path_factory.mktemp("secure"), extra) as target:
        for port in ports.values():
            wait_for_listener(port, target.process)
        yield {name: Target(port, target.pid) for name, port in ports.items()}


TRANSPORT_OPTIONS = {"tls": ["--ssl"], "ws": ["--ws"], "wss": ["--ssl", "--ws"]}


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("pattern", ["pair", "fan-out"])
@pytest.mark.parametrize("transport", ["tls", "ws", "wss"])
def test_every_message_arrives_over_each_transport(secure, tmp_path, transport, pattern, qos):
    code, summary, text = secure[transport].load(tmp_path, "--pattern", pattern, "--subscribers", 10, "--publishers",
                                                 10 if pattern == "pair" else 1, "-q", qos, "-F", 20,
                                                 *TRANSPORT_OPTIONS[transport])
    assert code == 0, text
    assert summary["transport"] == transport
    assert summary["check"]["ok"] and summary["check"]["delivered"] > 100
    assert ("tls" in summary) == (transport != "ws")


def test_a_payload_of_many_tls_records_passes(secure, tmp_path):
    code, summary, text = secure["tls"].load(tmp_path, "--ssl", "--pattern", "pair", "--publishers", 1, "--subscribers", 1,
                                             "--size", 3_000_000, "--window", 2, "-q", 1)
    assert code == 0, text
    assert summary["check"]["delivered"] >= 2


def conn(tmp_path, port, *arguments, count=20):
    """Runs `conn` and returns what it printed and its summary."""
    path = tmp_path / "conn.json"
    done = bench("conn", "-h", "127.0.0.1", "-p", port, "-c", count, "-i", 0, "--duration", 1, "--json", path, *arguments)
    return done.stdout + done.stderr, json.loads(path.read_text()) if path.exists() else None


def test_a_payload_of_many_reads_passes_over_websocket(secure, tmp_path):
    code, summary, text = secure["ws"].load(tmp_path, "--ws", "--pattern", "pair", "--publishers", 1, "--subscribers", 1,
                                            "--size", 20_000, "--window", 2, "-q", 1)
    assert code == 0, text
    assert summary["check"]["delivered"] >= 2


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_handshakes_are_counted_and_of_the_version_asked_for(secure, tmp_path, version):
    text, summary = conn(tmp_path, secure["tls"].port, "-S", "--tls-version", version)
    assert summary["connect_succ"] == 20, text
    assert summary["tls"]["cipher"].startswith(f"TLSv{version}, ")
    assert summary["tls"]["full"]["count"] == 20 and summary["tls"]["full"]["per_s"] > 0
    assert summary["tls"]["resumed"]["count"] == 0
    assert "20 full handshakes" in text and "resumed" not in text


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_sessions_are_resumed_after_the_first_handshake(secure, tmp_path, version):
    text, summary = conn(tmp_path, secure["tls"].port, "-S", "true", "--ssl-version", version, "--reuse-sessions", "true")
    assert summary["connect_succ"] == 20, text
    assert summary["tls"]["full"]["count"] == 1
    assert summary["tls"]["resumed"]["count"] == 19 and summary["tls"]["resumed"]["per_s"] > 0
    assert "1 full handshakes" in text and "19 resumed handshakes" in text


@pytest.mark.parametrize("cipher, options", [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", ["--tls-version", "1.2"]),
    ("TLS_CHACHA20_POLY1305_SHA256", []),
])
def test_the_cipher_asked_for_is_used(secure, tmp_path, cipher, options):
    text, summary = conn(tmp_path, secure["tls"].port, "-S", "--ciphers", cipher, *options, count=1)
    assert summary["tls"]["cipher"].endswith(f", {cipher}"), text


def test_a_client_certificate_is_shown(secure, certificates, tmp_path):
    text, summary = conn(tmp_path, secure["mutual"].port, "-S", "--certfile", certificates / "client.pem", "--keyfile",
                         certificates / "client.key", "--cacertfile", certificates / "ca.pem", count=3)
    assert summary["connect_succ"] == 3, text


def test_a_missing_client_certificate_is_told(secure, tmp_path):
    text, summary = conn(tmp_path, secure["mutual"].port, "-S", count=3)
    assert summary["connect_succ"] == 0 and summary["connect_fail"] == 3, text
    assert "TLS: tlsv13 alert certificate required" in summary["first_fault"]


def test_a_broker_of_another_authority_is_refused(secure, certificates, tmp_path):
    text, summary = conn(tmp_path, secure["tls"].port, "-S", "--cacertfile", certificates / "other.pem", count=3)
    assert summary["connect_fail"] == 3, text
    assert summary["first_fault"].startswith("TLS: the broker's certificate: unable to get")
    text, summary = conn(tmp_path, secure["tls"].port, "-S", "--cacertfile", certificates / "ca.pem", count=3)
    assert summary["connect_succ"] == 3, text


def test_a_pre_shared_key_opens_the_door(secure, tmp_path):
    text, summary = conn(tmp_path, secure["psk"].port, "-S", "--psk-identity", "joe", "--psk", "0102030405060708", count=3)
    assert summary["connect_succ"] == 3, text
    assert summary["tls"]["full"]["count"] == 3
    text, summary = conn(tmp_path, secure["psk"].port, "-S", "--psk-identity", "joe", "--psk", "08070605", count=3)
    assert summary["connect_succ"] == 0 and summary["first_fault"].startswith("TLS: "), text


def test_pub_and_sub_work_over_websocket(secure, tmp_path):
    summary = tmp_path / "sub.json"
    common = ["-h", "127.0.0.1", "-p", str(secure["ws"].port), "--ws", "-q", "1", "-i", "0"]
    sub = subprocess.Popen([str(BENCH), "sub", *common, "-c", "2", "-t", "over/ws", "-L", "40", "--json", str(summary)],
                           stdout=subprocess.PIPE, text=True)
    try:
        assert any("s sub total=2 " in line for line in sub.stdout)
        done = bench("pub", *common, "-c", 2, "-I", 1, "-t", "over/ws", "-s", 64, "-L", 20)
        assert done.returncode == 0, done.stderr
        sub.communicate(timeout=TIMEOUT_S)
    finally:
        sub.kill()
    assert json.loads(summary.read_text())["recv"] == 40


class WebSocketRelay(FaultyRelay):
    """The same broker behind WebSocket. It cuts what it sends into frames of odd sizes and writes, with pings among them,
    and checks what it gets: every frame masked, one frame a flush, pings answered. `answer`: the head of another response.
    """

    PING = b"are you there?"

    def __init__(self, answer=None):
        super().__init__(None)
        self.answer = answer
        self.request = b""
        self.pongs = []
        self.frames = 0
        self.masks = set()
        self.sent = 0

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.request = await reader.readuntil(b"\r\n\r\n")
            key = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", self.request)[1]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            writer.write(self.answer or b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"sec-websocket-accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
            stream = bytearray()
            while True:
                stream += await self._frame(reader)
                while len(stream) >= 2 and len(stream) >= 2 + stream[1]:
                    assert stream[1] < 128
                    packet = bytes(stream[:2 + stream[1]])
                    del stream[:len(packet)]
                    self._packet(packet[0] >> 4, packet, Framer(self, writer))

    async def _frame(self, reader):
        """The payload of the next frame, b"" for a control frame."""
        head = await reader.readexactly(2)
        assert head[1] & 0x80, "a frame without a mask"
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
        self.frames += 1
        self.masks.add(mask)
        if head[0] == 0x8A:
            self.pongs.append(payload)
        return payload if head[0] == 0x82 else b""


class Framer:
    """Writes bytes as binary messages of two fragments with a ping between them, in writes of seven bytes."""

    def __init__(self, relay, writer):
        self.relay = relay
        self.writer = writer

    def write(self, data):
        self.relay.sent += 1
        middle = self.relay.sent % len(data)
        ping = bytes([0x89, len(WebSocketRelay.PING)]) + WebSocketRelay.PING if self.relay.sent % 5 == 0 else b""
        frames = bytes([0x02, middle]) + data[:middle] + ping + bytes([0x80, len(data) - middle]) + data[middle:]
        for at in range(0, len(frames), 7):
            self.writer.write(frames[at:at + 7])


def test_fragments_and_pings_of_a_websocket_are_understood(tmp_path):
    with (server := WebSocketRelay()) as relay:
        code, summary, text = Target(relay.port).load(
            tmp_path, "-V", 4, "--ws", "--ws-path", "/other?a=b", "--pattern", "pair", "--publishers", 1, "--subscribers", 1,
            "--size", 24, "--window", 8, "--topic-prefix", "t")
    assert code == 0, text
    assert summary["check"]["delivered"] == summary["check"]["sent"] > 100
    assert server.request.startswith(b"GET /other?a=b HTTP/1.1\r\n")
    assert b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in server.request
    assert server.pongs and set(server.pongs) == {WebSocketRelay.PING}
    assert len(server.masks) == 2, "a key a connection"


@pytest.mark.parametrize("answer, why", [
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "WebSocket: refused: HTTP/1.1 404 Not Found"),
    (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: nonsense\r\n\r\n", "lacks the right Sec-WebSocket-Accept"),
])
def test_a_refused_upgrade_is_told(tmp_path, answer, why):
    with WebSocketRelay(answer) as relay:
        text, summary = conn(tmp_path, relay.port, "--ws", count=1)
    assert summary["connect_fail"] == 1 and why in text


def test_tls_to_a_plain_port_is_told(mosquitto, tmp_path):
    text, summary = conn(tmp_path, mosquitto.port, "-S", count=2)
    assert summary["connect_succ"] == 0 and summary["connect_fail"] == 2, text
    assert summary["first_fault"] != ""


# ---- queue


def queue(tmp_path, port, *arguments):
    """Runs `queue` and returns (exit code, summary or None, all it printed)."""
    summary = tmp_path / "queue.json"
    done = bench("queue", "-p", port, "-h", "127.0.0.1", "--quiet", "--json", summary, *arguments)
    return done.returncode, json.loads(summary.read_text()) if summary.exists() else None, done.stdout + done.stderr


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_absent_sessions_are_filled_and_drained(mosquitto, tmp_path, version, qos):
    code, summary, text = queue(tmp_path, mosquitto.port, "-V", version, "-q", qos, "--publishers", 5, "--sessions", 23,
                                "--messages", 40, "-F", 7, "--broker-pid", mosquitto.pid)
    assert code == 0, text
    assert summary["check"] == {"sent": 920, "acknowledged": 920, "received": 920, "lost": 0, "duplicates": 0,
                                "out_of_order": 0, "foreign": 0, "refused": 0, "ok": True}
    assert summary["acknowledge_us"]["count"] == 920 and summary["acknowledge_us"]["p50"] > 0
    assert summary["subscribe"]["count"] == 23 and summary["drain"]["count"] == 920
    assert summary["memory"]["drained"]["rss_bytes"] > 0


def test_absent_sessions_are_filled_for_a_time(mosquitto, tmp_path):
    code, summary, text = queue(tmp_path, mosquitto.port, "--publishers", 1, "-F", 1, "--seconds", 1, "--warm-up", 100)
    assert code == 0, text
    assert 0.9 < summary["publish"]["seconds"] < 3
    assert 0 < summary["publish"]["count"] < summary["check"]["sent"] == summary["check"]["received"]


def test_a_second_run_drains_what_the_first_has_left(mosquitto, tmp_path):
    ours = ["--prefix", "second", "--topic-prefix", "second", "--publishers", 3, "--sessions", 30, "--messages", 5]
    code, summary, text = queue(tmp_path, mosquitto.port, *ours, "--steps", "subscribe,publish")
    assert code == 0 and summary["check"]["received"] == 0, text
    code, summary, text = queue(tmp_path, mosquitto.port, *ours, "--steps", "drain")
    assert code == 0 and summary["check"]["received"] == 150, text
    code, summary, text = queue(tmp_path, mosquitto.port, *ours, "--steps", "drain", "--stall", 1)
    assert code == 3 and summary["check"]["lost"] == 150, text
    assert "150 lost" in text and "FAILED" in text


# ---- command line


def test_help_lists_the_options_of_emqtt_bench():
    done = bench("pub", "--help")
    assert done.returncode == 0
    for option in ("-h,", "-p,", "-V,", "-c,", "-n,", "-i,", "-I,", "-t,", "-s,", "-q,", "-r,", "-u,", "-P,", "-k,", "-C,",
                   "-x,", "-w,", "-L,", "-S,", "--certfile ", "--keyfile ", "--cacertfile ", "--ssl-version ", "--ws "):
        assert option in done.stdout


@pytest.mark.parametrize("command", ["conn", "pub", "sub", "load", "queue"])
def test_the_examples_of_the_help_are_understood(command):
    examples = bench(command, "--help").stdout.partition("\nExamples\n")[2]
    lines = [line.split() for line in examples.splitlines() if line.startswith("  ")]
    assert lines
    for program, *arguments in lines:
        assert program == "emqx_bench" and arguments[0] == command
        assert bench(*arguments, "--help").returncode == 0, arguments  # what stands before --help is looked at


@pytest.mark.parametrize("arguments, message", [
    ([], "Usage:"),
    (["fly"], "no command 'fly'"),
    (["pub"], "needs a topic"),
    (["conn", "--qos", "1"], "no option '--qos'"),
    (["conn", "-c", "none"], "--count must be a number"),
    (["conn", "-V", "6"], "from 3 to 5"),
    (["conn", "-c"], "--count needs a value"),
    (["load", "--pattern", "zigzag"], "--pattern must be"),
    (["load", "--size", "8"], "--size must be a number from 24"),
    (["conn", "--psk", "00"], "options of TLS need --ssl"),
    (["conn", "-S", "--psk", "00"], "--psk-identity and --psk belong together"),
    (["conn", "-S", "--psk-identity", "joe", "--psk", "key"], "must be hexadecimal"),
    (["conn", "-S", "--tls-version", "2"], "must be 1.0, 1.1, 1.2 or 1.3"),
    (["conn", "-S", "--ciphers", "none-such"], "no cipher match"),
    (["conn", "-S", "--cacertfile", "/none/such"], "--cacertfile '/none/such': "),
    (["conn", "-S", "--keyfile", "key.pem"], "needs --certfile"),
    (["load", "--pattern", "pair", "--publishers", "3"], "as many --publishers"),
    (["queue", "-q", "0"], "--qos must be a number from 1 to 2"),
    (["queue", "-s", "23"], "--size must be a number from 24"),
    (["queue", "--steps", "drain,sing"], "--steps must be of"),
    (["queue", "--steps", "drain"], "needs --messages"),
    (["queue", "--publishers", "3", "--sessions", "2"], "as many --sessions"),
])
def test_a_bad_command_line_says_what_is_wrong(arguments, message):
    done = bench(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
