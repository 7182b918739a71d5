"""The PROXY protocol: who the broker takes its clients for when a load balancer stands in front, and who gets in without one.

The tests speak both versions of the header on raw sockets; test_deployment.py has HAProxy and nginx speak it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S, Client, unique
from emqc.websocket import receive_exactly, upgrade

pytestmark = pytest.mark.emqc

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, UDP4, TCP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x31
ALPN, AUTHORITY, CRC32C, NOOP, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x20, 0x30
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23
CIPHERS = "ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES128-GCM-SHA256"


def v1(source="10.1.2.3", port=40000, family="TCP4", destination="192.168.0.1") -> bytes:
    return f"PROXY {family} {source} {destination} {port} 1883\r\n".encode()


def v2(command=PROXY, family=TCP4, body=b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def addresses(source="10.1.2.3", port=40000, destination="192.168.0.1") -> bytes:
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    return socket.inet_pton(kind, source) + socket.inet_pton(kind, destination) + struct.pack("!HH", port, 1883)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def certificate(name: bytes, flags=0x07, verify=0) -> bytes:
    parts = tlv(SSL_VERSION, b"TLSv1.3") + tlv(SSL_CN, name) + tlv(SSL_CIPHER, b"TLS_AES_256_GCM_SHA384")
    return tlv(SSL, struct.pack("!BI", flags, verify) + parts)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(body: bytes) -> bytes:
    header = v2(body=body + tlv(CRC32C, bytes(4)))
    return header[:-4] + struct.pack("!I", crc32c(header))


def ctl(broker, *words) -> str:
    program = os.environ.get("EMQX_CTL") or emqc_broker.BINARY.with_name("emqx_ctl")
    environment = {**os.environ, "EMQX_ROOT": str(broker.directory)}
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def row(broker, client_id: str) -> dict:
    """What `clients show` says of one client."""
    text = ctl(broker, "clients", "show", client_id)
    return dict(pair.split("=", 1) for pair in re.fullmatch(r"Connection\([^,]*, (.*)\)\n", text).group(1).split(", "))


def closed_for(broker, port: int, reason: str) -> int:
    """How many connections of a listener were closed for this reason."""
    block = ctl(broker, "listeners").split(f":{port}\n", 1)[1].split("listener on", 1)[0]
    found = re.search(r"\{" + reason + r",(\d+)\}", block)
    return int(found.group(1)) if found else 0


def eventually(condition, what: str):
    """For what gives no event: looks again until it is so."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Front:
    """A broker of one worker; `balanced` and the others are ports of listeners that expect a header."""

    NAMES = ("balanced", "hurried", "named", "open_to_balancer", "closed_to_balancer")

    def __init__(self, more=None):
        self.ports = {name: emqc_broker.free_port() for name in self.NAMES}
        settings = {"node.workers": "1", "log.level": "info"}
        for name, port in self.ports.items():
            settings[f"listener.tcp.{name}"] = f"127.0.0.1:{port}"
            settings[f"listener.tcp.{name}.proxy_protocol"] = "on"
            settings[f"listener.tcp.{name}.proxy_protocol_timeout"] = "300ms" if name == "hurried" else "60s"
        settings["listener.tcp.named.peer_cert_as_username"] = "cn"
        settings["listener.tcp.open_to_balancer.access.1"] = "allow 127.0.0.1"
        settings["listener.tcp.open_to_balancer.access.2"] = "deny all"
        settings["listener.tcp.closed_to_balancer.access.1"] = "allow 10.0.0.0/8"
        settings["listener.tcp.closed_to_balancer.access.2"] = "deny all"
        self.broker = emqc_broker.Broker({**settings, **(more or {})}).start()

    def open(self, name="balanced", version=4) -> Client:
        return Client(("127.0.0.1", self.ports[name]), version)

    def connect(self, header: bytes, name="balanced", version=4, **fields) -> Client:
        """Header and CONNECT in one write."""
        client = self.open(name, version)
        client.client_id = fields.setdefault("client_id", unique())
        client.send(header, p.Connect(**fields))
        client.expect(p.Connack)
        return client

    def peername(self, client: Client) -> str:
        return row(self.broker, client.client_id)["peername"]

    def logged(self, *words) -> bool:
        return any(all(word in line for word in words) for line in self.broker.log().splitlines())

    def await_log(self, *words):
        eventually(lambda: self.logged(*words), f"no line with {words} in the log")


@pytest.fixture(scope="module")
def front():
    instance = Front()
    yield instance
    instance.broker.stop()
    instance.broker.remove()


# --- whose address

CLIENTS = {
    "v1-tcp4": (v1(), "10.1.2.3:40000"),
    "v1-tcp6": (v1("2001:db8::7", 40001, "TCP6", "::1"), "[2001:db8::7]:40001"),
    "v1-mapped": (v1("::ffff:10.1.2.4", 40002, "TCP6", "::1"), "10.1.2.4:40002"),
    "v2-tcp4": (v2(body=addresses()), "10.1.2.3:40000"),
    "v2-tcp6": (v2(family=TCP6, body=addresses("2001:db8::7", 65535, "::1")), "[2001:db8::7]:65535"),
    "v2-tlvs": (v2(body=addresses() + tlv(ALPN, b"mqtt") + tlv(AUTHORITY, b"mqtt.example.com") + tlv(NOOP, bytes(7))
                   + tlv(NETNS, b"blue") + tlv(0xE0, b"?") + certificate(b"sensor")), "10.1.2.3:40000"),
    "v2-checksum": (with_checksum(addresses("203.0.113.9", 1)), "203.0.113.9:1"),
    "v2-longest": (v2(body=addresses() + tlv(NOOP, bytes(4096 - 16 - 12 - 3))), "10.1.2.3:40000"),
}


@pytest.mark.quick
@pytest.mark.parametrize("header, peername", CLIENTS.values(), ids=CLIENTS.keys())
def test_the_client_has_the_address_in_the_header(front, header, peername):
    client = front.connect(header)
    assert front.peername(client) == peername
    client.disconnect()


BALANCERS = {
    "v1-unknown": b"PROXY UNKNOWN\r\n",
    "v1-unknown-with-addresses": b"PROXY UNKNOWN 10.1.2.3 192.168.0.1 40000 1883\r\n",
    "v2-local": v2(LOCAL, UNSPECIFIED),
    "v2-local-with-addresses": v2(LOCAL, TCP4, addresses()),
    "v2-unspecified": v2(PROXY, UNSPECIFIED),
    "v2-unix": v2(PROXY, UNIX, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")),
}


@pytest.mark.parametrize("header", BALANCERS.values(), ids=BALANCERS.keys())
def test_without_addresses_in_the_header_those_of_the_socket_hold(front, header):
    client = front.connect(header)
    host, port = client.socket.getsockname()
    assert front.peername(client) == f"{host}:{port}"
    client.disconnect()


def test_log_lines_name_the_client_and_not_the_balancer(front):
    client = front.connect(v1("198.51.100.7", 777))
    client.send(b"\xf0\x00")
    client.expect_closed()
    front.await_log(f"{client.client_id}@198.51.100.7:777")


# --- how it comes


@pytest.mark.parametrize("header", [v1(), v2(body=addresses() + certificate(b"x"))], ids=["v1", "v2"])
def test_a_header_may_come_byte_by_byte(front, header):
    pulse = front.connect(v1())  # on the same worker: its round trip shows that the byte before was looked at
    client = front.open()
    for byte in header:
        client.send(bytes([byte]))
        pulse.ping()
    client.connect(client_id=unique())
    assert front.peername(client) == "10.1.2.3:40000"
    client.disconnect()
    pulse.disconnect()


@pytest.mark.parametrize("cut", [1, 12, 28, 30, 45])
def test_a_header_and_the_packets_behind_it_may_be_cut_anywhere(front, cut):
    pulse = front.connect(v1())
    client = front.open()
    client.client_id = unique()
    data = v2(body=addresses()) + p.Connect(client_id=client.client_id).encode(4) + p.Pingreq().encode(4)
    client.send(data[:cut])
    pulse.ping()
    client.send(data[cut:])
    client.expect(p.Connack)
    client.expect(p.Pingresp)
    assert front.peername(client) == "10.1.2.3:40000"
    client.disconnect()
    pulse.disconnect()


def test_what_follows_the_header_in_its_segment_is_not_lost(front, topic, version):
    subscriber = front.connect(v1(), version=version)
    subscriber.subscribe(topic)
    client = front.open(version=version)
    client.send(v1(), p.Connect(client_id=unique()), p.Publish(topic, b"one"), p.Publish(topic, b"two"))
    client.expect(p.Connack)
    subscriber.expect_publish(topic, b"one")
    subscriber.expect_publish(topic, b"two")
    client.disconnect()
    subscriber.disconnect()


def test_a_second_header_is_a_malformed_packet(front):
    client = front.open()
    client.send(v1("10.1.2.9", 999), 3 * v1("10.9.9.9"))  # 'P' begins a PUBREC of 84 bytes
    client.expect_closed()
    front.await_log("10.1.2.9:999")
    assert "10.9.9.9" not in front.broker.log()


def test_a_header_is_no_mqtt_where_none_is_expected(front):
    client = front.broker.open(4)
    client.send(3 * v1("10.8.8.8"), p.Connect(client_id=unique()))
    client.expect_closed()
    assert "10.8.8.8" not in front.broker.log()


# --- too late


@pytest.mark.parametrize("start", [b"", b"P", v1()[:-1], SIGNATURE, v2(body=addresses())[:-1]],
                         ids=["nothing", "one-byte", "v1-without-lf", "v2-signature", "v2-all-but-one"])
def test_a_header_that_does_not_come_in_time_ends_the_connection(front, start):
    port = front.ports["hurried"]
    before = closed_for(front.broker, port, "proxy_proto_timeout")
    client = front.open("hurried")
    if start:
        client.send(start)
    client.expect_closed()
    host = "127.0.0.1"
    eventually(lambda: closed_for(front.broker, port, "proxy_proto_timeout") == before + 1, ctl(front.broker, "listeners"))
    front.await_log(host, "proxy_proto_timeout")


def test_a_header_in_time_leaves_connect_the_time_it_has_without_one(front):
    client = front.open("hurried")
    client.send(v1())
    late = front.open("hurried")
    late.expect_closed()  # the time for headers is over for both
    client.connect(client_id=unique())
    client.ping()
    client.disconnect()


# --- wrong

WRONG = {
    "mqtt": (p.Connect(client_id="direct").encode(4), "MQTT came first"),
    "mqtt-first-byte": (b"\x10", "MQTT came first"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS came first"),
    "http": (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
    "noise": (b"\xff\x00\xff", "neither 'P' (version 1) nor CR (version 2)"),
    "v1-family": (b"PROXY UDP4 ", "TCP4, TCP6 or UNKNOWN"),
    "v1-leading-zero": (v1(port="0400"), "client's port"),
    "v1-port": (v1(port=65536), "client's port"),
    "v1-address": (v1("10.1.2.300"), "client's IPv4 address"),
    "v1-other-family": (v1("::1"), "client's IPv4 address"),
    "v1-two-blanks": (v1().replace(b" 192", b"  192"), "destination's"),
    "v1-lf": (v1().replace(b"\r\n", b"\n"), "CRLF"),
    "v1-endless": (b"PROXY UNKNOWN " + b"x" * 93, "107"),
    "v2-version": (v2(0x11, TCP4, addresses()), "version 2"),
    "v2-datagram": (v2(PROXY, UDP4, addresses()), "not a stream"),
    "v2-short": (v2(PROXY, TCP4, addresses()[:-1]), "room"),
    "v2-long": (SIGNATURE + b"\x21\x11\xff\xff", "4096"),
    "v2-tlv": (v2(body=addresses() + b"\x04\x00\x09"), "TLV"),
    "v2-checksum": (with_checksum(addresses())[:-1] + b"\x00", "checksum"),
}


@pytest.mark.parametrize("data, word", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_header_ends_the_connection_at_once_and_the_log_says_why(front, data, word):
    port = front.ports["balanced"]
    before = closed_for(front.broker, port, "invalid_proxy_info")
    tries = 0

    def refused_with_a_line():
        nonlocal tries
        tries += 1  # the log takes ten lines a second of one kind: a line may be left out
        client = front.open()
        host, own_port = client.socket.getsockname()
        client.send(data)
        client.expect_closed()  # long before the listener's 60 seconds
        ctl(front.broker, "status")  # a round trip: the log is written meanwhile
        return front.logged(f"{host}:{own_port}", word)

    eventually(refused_with_a_line, f"no line says '{word}'")
    eventually(lambda: closed_for(front.broker, port, "invalid_proxy_info") == before + tries, ctl(front.broker, "listeners"))


def test_peers_that_leave_within_the_header_are_forgotten(front):
    for start in (b"", b"P", v1()[:-2], SIGNATURE, v1()):
        client = front.open()
        client.send(start)
        client.drop()
    half = front.open()
    half.send(b"PROXY ")
    half.half_close()
    half.expect_closed()

    def connections():
        block = ctl(front.broker, "listeners").split(f":{front.ports['balanced']}\n", 1)[1]
        return int(re.search(r"current_conn +: (\d+)", block).group(1))

    eventually(lambda: connections() == 0, "connections are left over")


# --- names of certificates


@pytest.mark.parametrize("header, username", [
    (v2(body=addresses() + certificate(b"sensor-1")), "sensor-1"),
    (v2(body=addresses() + certificate("Gerät 7".encode())), "Gerät 7"),
    (v2(body=addresses() + certificate(b"session", flags=0x05)), "session"),
    (v2(body=addresses()), "of-connect"),
    (v1(), "of-connect"),
    (v2(body=addresses() + certificate(b"not-verified", verify=18)), "of-connect"),
    (v2(body=addresses() + certificate(b"no-certificate", flags=0x01)), "of-connect"),
], ids=["cn", "utf8", "resumed-session", "no-tls", "v1", "not-verified", "no-certificate"])
def test_the_common_name_becomes_the_user_name(front, header, username):
    client = front.connect(header, "named", username="of-connect", password=b"x")
    assert row(front.broker, client.client_id)["username"] == username
    client.disconnect()


def test_the_common_name_is_the_user_name_of_a_connect_without_one(front):
    client = front.connect(v2(body=addresses() + certificate(b"sensor-2")), "named")
    assert row(front.broker, client.client_id)["username"] == "sensor-2"
    client.disconnect()


def test_a_listener_that_does_not_ask_for_the_name_ignores_it(front):
    client = front.connect(v2(body=addresses() + certificate(b"sensor-1")), username="of-connect", password=b"x")
    assert row(front.broker, client.client_id)["username"] == "of-connect"
    client.disconnect()


# --- access rules look at the balancer


def test_access_rules_let_the_balancer_in_whatever_its_clients_addresses(front):
    client = front.connect(v1("203.0.113.9"), "open_to_balancer")
    assert front.peername(client) == "203.0.113.9:40000"
    client.disconnect()


def test_access_rules_keep_out_who_names_an_allowed_address_in_the_header(front):
    client = front.open("closed_to_balancer")
    client.expect_closed()
    eventually(lambda: closed_for(front.broker, front.ports["closed_to_balancer"], "forbidden") == 1,
               ctl(front.broker, "listeners"))


# --- under TLS and WebSocket


def make_certificate(directory: Path) -> dict:
    """A self-signed certificate for 127.0.0.1, for this run only."""
    files = {"keyfile": directory / "key.pem", "certfile": directory / "cert.pem"}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files["keyfile"],
                    "-out", files["certfile"]], check=True, capture_output=True, timeout=DEADLINE_S)
    files["keyfile"].chmod(0o600)
    return files


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """Listeners ssl, ws and wss that expect a header."""
    files = make_certificate(tmp_path_factory.mktemp("certs"))
    ports = {kind: emqc_broker.free_port() for kind in ("ssl", "ws", "wss")}
    settings = {"log.level": "info"}
    for kind, port in ports.items():
        settings[f"listener.{kind}.balanced"] = f"127.0.0.1:{port}"
        settings[f"listener.{kind}.balanced.proxy_protocol"] = "on"
        settings[f"listener.{kind}.balanced.proxy_protocol_timeout"] = "60s"
        if kind != "ws":
            settings[f"listener.{kind}.balanced.ciphers"] = CIPHERS
            settings.update({f"listener.{kind}.balanced.{key}": str(path) for key, path in files.items()})
    settings["listener.ws.balanced.proxy_address_header"] = "X-Forwarded-For"
    settings["listener.ws.balanced.proxy_port_header"] = "X-Forwarded-Port"
    broker = emqc_broker.Broker(settings).start()
    broker.ports = ports
    broker.certificate = files["certfile"]
    yield broker
    broker.stop()
    broker.remove()


def frame(data: bytes) -> bytes:
    """One masked binary frame; the mask is zero."""
    assert len(data) < 126
    return bytes([0x82, 0x80 | len(data)]) + bytes(4) + data


@pytest.mark.parametrize("kind", ["ssl", "ws", "wss"])
@pytest.mark.parametrize("header", [v1(), v2(body=addresses())], ids=["v1", "v2"])
def test_the_header_comes_before_tls_and_websocket(encrypted, kind, header):
    client_id = unique()
    connect = p.Connect(client_id=client_id).encode(4)
    connack = b"\x20\x02\x00\x00"
    with socket.create_connection(("127.0.0.1", encrypted.ports[kind]), DEADLINE_S) as stream:
        stream.sendall(header)
        if kind != "ws":
            context = ssl.create_default_context(cafile=encrypted.certificate)
            stream = context.wrap_socket(stream, server_hostname="127.0.0.1")
        if kind != "ssl":
            upgrade(stream)
            connect, connack = frame(connect), b"\x82\x04" + connack
        stream.sendall(connect)
        assert receive_exactly(stream, len(connack)) == connack
        assert row(encrypted, client_id)["peername"] == "10.1.2.3:40000"
        stream.close()


def test_an_address_in_the_upgrade_request_is_closer_to_the_client_than_that_of_the_header(encrypted):
    """A TCP balancer in front of an HTTP proxy: the header names the HTTP proxy's client as seen by the balancer."""
    client_id = unique()
    with socket.create_connection(("127.0.0.1", encrypted.ports["ws"]), DEADLINE_S) as stream:
        stream.sendall(v1())
        upgrade(stream, "X-Forwarded-For: 203.0.113.50", "X-Forwarded-Port: 5050")
        stream.sendall(frame(p.Connect(client_id=client_id).encode(4)))
        assert receive_exactly(stream, 6) == b"\x82\x04\x20\x02\x00\x00"
        assert row(encrypted, client_id)["peername"] == "203.0.113.50:5050"


@pytest.mark.parametrize("kind, word", [("ssl", "TLS came first"), ("wss", "TLS came first"), ("ws", "HTTP")])
def test_tls_and_http_without_a_header_are_refused_at_once(encrypted, kind, word):
    first = b"GET /mqtt HTTP/1.1\r\n\r\n" if kind == "ws" else b"\x16\x03\x01\x00\x01\x01"
    with socket.create_connection(("127.0.0.1", encrypted.ports[kind]), DEADLINE_S) as stream:
        host, port = stream.getsockname()
        stream.sendall(first)
        try:
            assert stream.recv(1) == b""
        except ConnectionResetError:
            pass  # what was not read makes the end a reset
    eventually(lambda: any(f"{host}:{port}" in line and word in line for line in encrypted.log().splitlines()), encrypted.log())
