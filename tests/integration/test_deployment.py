"""docs/deployment.md, as it is read by people: its configurations are cut out, the real HAProxy and nginx are started with them
in front of two brokers, and clients go through. Only addresses, paths, sizes and check intervals are replaced; each
replacement must find what it replaces.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S, Client, unique
from emqc.websocket import receive_exactly, upgrade

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = REPOSITORY / "docs" / "deployment.md"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
CONNACK = b"\x20\x02\x00\x00"

pytestmark = pytest.mark.emqc


def block(name: str) -> str:
    found = re.findall(rf"<!-- tested: {name} -->\n```\n(.*?)```\n", DOCUMENT.read_text(), re.DOTALL)
    assert len(found) == 1, f"{len(found)} blocks '{name}' in {DOCUMENT}"
    return found[0]


def replaced(text: str, replacements: dict) -> str:
    for old, new in replacements.items():
        assert old in text, f"'{old}' is no longer in\n{text}"
        text = text.replace(old, str(new))
    return text


def eventually(condition, what: str = "it did not come to be"):
    """For what gives no event: looks again until it is so."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def make_certificates(directory: Path) -> Path:
    """A CA, a server (127.0.0.1) and two clients, for this run only: NAME.pem is the certificate, NAME.key its key."""

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], cwd=directory, check=True, capture_output=True, timeout=3 * DEADLINE_S)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-days", 90, "-subj", "/CN=emqc test CA", "-keyout", "ca.key", "-out", "ca.pem")
    (directory / "san").write_text("subjectAltName = IP:127.0.0.1\n")
    for name, subject, more in (("server", "127.0.0.1", ("-extfile", "san")), ("sensor", "sensor-7", ())):
        openssl("req", *new_key, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 90,
                *more, "-out", f"{name}.pem")
    (directory / "both.pem").write_bytes((directory / "server.pem").read_bytes() + (directory / "server.key").read_bytes())
    return directory


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certs"))


def settings_of(text: str) -> dict:
    return dict(line.split(" = ", 1) for line in text.splitlines())


class Nodes:
    """Two brokers with the listener of one block; `addresses` maps the document's addresses to theirs."""

    def __init__(self, name: str, replacements=None):
        document_port = re.search(r"= 192\.168\.4\.31:(\d+)\n", block(name)).group(1)
        self.brokers = []
        self.addresses = {}
        for number in (1, 2):
            port = emqc_broker.free_port()
            self.addresses[f"192.168.4.3{number}:{document_port}"] = f"127.0.0.1:{port}"
            text = replaced(block(name), {f"192.168.4.31:{document_port}": f"127.0.0.1:{port}", "192.168.4.10": "127.0.0.1",
                                          **(replacements or {})})
            settings = {**settings_of(text), "node.name": f"emqx{number}@127.0.0.1"}
            self.brokers.append(emqc_broker.Broker(settings).start())

    def ctl(self, broker, *words) -> str:
        program = os.environ.get("EMQX_CTL") or emqc_broker.BINARY.with_name("emqx_ctl")
        environment = {**os.environ, "EMQX_ROOT": str(broker.directory)}
        done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=3 * DEADLINE_S, check=False)
        assert done.returncode in (0, 1), f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def clients(self, broker) -> list[str]:
        return self.ctl(broker, "clients", "list").splitlines() if broker.alive() else []

    def row(self, client_id: str) -> dict:
        """What the node says that has this client."""
        for broker in self.brokers:
            found = re.match(rf"Connection\({re.escape(client_id)}, (.*)\)$", self.ctl(broker, "clients", "show", client_id))
            if found:
                return dict(pair.split("=", 1) for pair in found.group(1).split(", "))
        raise AssertionError(f"no node has {client_id}")

    def warnings(self) -> list[str]:
        """What the nodes complain about, beyond what they say at the start."""
        lines = "\n".join(broker.log() for broker in self.brokers).splitlines()
        return [line for line in lines if re.search(r"\[(warning|error|critical)\]", line) and "[Config]" not in line]

    def stop(self):
        for broker in self.brokers:
            broker.stop()
            broker.remove()


class Balancer:
    """HAProxy or nginx with one configuration; `ports` maps the document's ports to those in use."""

    def __init__(self, program: str, text: str, ports: tuple):
        self.directory = Path(tempfile.mkdtemp(prefix="emqc-balancer-"))
        self.ports = {port: emqc_broker.free_port() for port in ports}
        self.file = self.directory / "balancer.conf"
        self.file.write_text(text(self) if callable(text) else text)
        self.directory.chmod(0o755)
        if program == HAPROXY:
            command = [HAPROXY, "-W", "-db", "-f", self.file]
        else:
            command = [NGINX, "-p", self.directory, "-c", self.file]
        self.output = self.directory / "output"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        eventually(self._ready, f"{command[0]} does not listen")

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"{self.said()}\n{self.file.read_text()}"
        for port in self.ports.values():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(3 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


SMALL = {"maxconn 100000": "maxconn 200"}
QUICK = {"inter 5s": "inter 200ms", "maxconn 50000": "maxconn 100"}


def haproxy(name: str, document_port: int, addresses: dict, more=None) -> Balancer:
    def text(balancer):
        binds = {f"bind :{document_port}": f"bind 127.0.0.1:{balancer.ports[document_port]}"}
        return replaced(block("haproxy-defaults"), SMALL) + replaced(block(name), {**binds, **QUICK, **addresses, **(more or {})})

    return Balancer(HAPROXY, text, (document_port,))


def nginx(name: str, document_ports: tuple, addresses: dict, more=None) -> Balancer:
    def text(balancer):
        listens = {f"listen {port}": f"listen 127.0.0.1:{balancer.ports[port]}" for port in document_ports}
        body = replaced(block(name), {**listens, **addresses, **(more or {})})
        temporary = "".join(f"{kind}_temp_path {balancer.directory}/{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        head = (f"daemon off;\nworker_processes 1;\npid {balancer.directory}/pid;\nerror_log stderr;\n"
                "events { worker_connections 256; }\n")
        if "stream {" in body:
            return f"load_module {STREAM_MODULE};\n{head}{body}"
        return f"{head}http {{\naccess_log off;\n{temporary}{body}}}\n"

    return Balancer(NGINX, text, document_ports)


@pytest.fixture
def stage():
    """Things to take down at the end, last first."""
    with contextlib.ExitStack() as stack:
        def use(thing):
            stack.callback(thing.stop)
            return thing

        yield use


def connect(port: int, **fields) -> Client:
    client = Client(("127.0.0.1", port), 4)
    return client.connect(**fields)


def own_address(client: Client) -> str:
    host, port = client.socket.getsockname()
    return f"{host}:{port}"


def mosquitto_round_trip(port: int, *options):
    """A retained message goes in and comes out through the balancer."""
    topic = unique("deployment/")
    common = ["-h", "127.0.0.1", "-p", str(port), "-t", topic, "-q", "1", *map(str, options)]
    for _ in range(4):  # without a cluster each node has messages of its own: connections in turn reach both
        subprocess.run(["mosquitto_pub", *common, "-m", "through", "-r"], check=True, capture_output=True, timeout=DEADLINE_S)
    done = subprocess.run(["mosquitto_sub", *common, "-C", "1", "-W", "5"], check=True, capture_output=True, timeout=2 * DEADLINE_S)
    assert done.stdout == b"through\n"


# --- the configurations


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
def test_tcp_clients_keep_their_addresses(stage, kind):
    nodes = stage(Nodes("broker-tcp"))
    if kind == "haproxy":
        balancer = stage(haproxy("haproxy-tcp", 1883, nodes.addresses))
    else:
        unused = {f"192.168.4.3{number}:8885": f"127.0.0.1:{emqc_broker.free_port()}" for number in (1, 2)}
        balancer = stage(nginx("nginx-stream", (1883, 8883), {**nodes.addresses, **unused}))
    clients = [connect(balancer.ports[1883]) for _ in range(4)]
    for client in clients:
        assert nodes.row(client.client_id)["peername"] == own_address(client)
    mosquitto_round_trip(balancer.ports[1883])
    for client in clients:
        client.ping()
        client.disconnect()
    assert nodes.warnings() == []


def test_tls_ended_at_the_balancer_gives_the_name_in_the_certificate(stage, certificates):
    nodes = stage(Nodes("broker-named"))
    balancer = stage(haproxy("haproxy-tls", 8883, nodes.addresses, {
        "/etc/haproxy/certs/mqtt.pem": certificates / "both.pem", "/etc/haproxy/certs/clients-ca.pem": certificates / "ca.pem"}))
    client_id = unique()
    with tls_socket(balancer.ports[8883], certificates, "sensor") as stream:
        own = "{}:{}".format(*stream.getsockname())
        stream.sendall(p.Connect(client_id=client_id, username="of-connect", password=b"x").encode(4))
        assert receive_exactly(stream, 4) == CONNACK
        row = nodes.row(client_id)
    assert (row["peername"], row["username"]) == (own, "sensor-7")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        with tls_socket(balancer.ports[8883], certificates) as stream:  # `verify required`: no certificate, no entry
            stream.sendall(p.Connect(client_id=unique()).encode(4))
            receive_exactly(stream, 4)
    mosquitto_round_trip(balancer.ports[8883], "--cafile", certificates / "ca.pem", "--cert", certificates / "sensor.pem",
                         "--key", certificates / "sensor.key")
    assert nodes.warnings() == []


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
def test_tls_is_passed_through_behind_the_header(stage, certificates, kind):
    nodes = stage(Nodes("broker-ssl", {"etc/certs/key.pem": certificates / "server.key",
                                       "etc/certs/cert.pem": certificates / "server.pem"}))
    if kind == "haproxy":
        balancer = stage(haproxy("haproxy-passthrough", 8883, nodes.addresses))
    else:
        unused = {f"192.168.4.3{number}:1885": f"127.0.0.1:{emqc_broker.free_port()}" for number in (1, 2)}
        balancer = stage(nginx("nginx-stream", (1883, 8883), {**nodes.addresses, **unused}))
    client_id = unique()
    with tls_socket(balancer.ports[8883], certificates) as stream:
        own = "{}:{}".format(*stream.getsockname())
        stream.sendall(p.Connect(client_id=client_id).encode(4))
        assert receive_exactly(stream, 4) == CONNACK
        assert nodes.row(client_id)["peername"] == own
    mosquitto_round_trip(balancer.ports[8883], "--cafile", certificates / "ca.pem")
    assert nodes.warnings() == []


def test_websocket_through_nginx_keeps_the_address_and_trusts_no_header_of_the_client(stage, certificates):
    nodes = stage(Nodes("broker-ws"))
    balancer = stage(nginx("nginx-websocket", (443,), nodes.addresses, {
        "/etc/nginx/certs/mqtt.pem": certificates / "server.pem", "/etc/nginx/certs/mqtt.key": certificates / "server.key"}))
    client_id = unique()
    with tls_socket(balancer.ports[443], certificates) as stream:
        own = "{}:{}".format(*stream.getsockname())
        upgrade(stream, "X-Forwarded-For: 203.0.113.66", "X-Forwarded-Port: 66")
        connect_packet = p.Connect(client_id=client_id).encode(4)
        stream.sendall(bytes([0x82, 0x80 | len(connect_packet)]) + bytes(4) + connect_packet)
        assert receive_exactly(stream, 6) == b"\x82\x04" + CONNACK
        assert nodes.row(client_id)["peername"] == own
    assert nodes.warnings() == []


# --- several nodes


def test_connections_go_to_the_node_that_has_fewest(stage):
    nodes = stage(Nodes("broker-tcp"))
    balancer = stage(haproxy("haproxy-tcp", 1883, nodes.addresses))
    clients = [connect(balancer.ports[1883]) for _ in range(8)]
    assert [len(nodes.clients(broker)) for broker in nodes.brokers] == [4, 4]
    for client in clients:
        client.disconnect()


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
def test_a_node_that_ends_is_replaced_by_the_other_and_comes_back(stage, kind):
    nodes = stage(Nodes("broker-tcp"))
    if kind == "haproxy":
        balancer = stage(haproxy("haproxy-tcp", 1883, nodes.addresses))
    else:
        unused = {f"192.168.4.3{number}:8885": f"127.0.0.1:{emqc_broker.free_port()}" for number in (1, 2)}
        balancer = stage(nginx("nginx-stream", (1883, 8883), {**nodes.addresses, **unused},
                               {"fail_timeout=10s": "fail_timeout=1s"}))
    clients = [connect(balancer.ports[1883]) for _ in range(4)]
    dead, alive = nodes.brokers
    dead.kill()
    remaining = [client for client in clients if f"({client.client_id}," in nodes.ctl(alive, "clients", "list")]
    assert len(remaining) == 2
    for client in set(clients) - set(remaining):
        client.expect_closed()
    more = []

    def another_gets_through():
        try:
            more.append(connect(balancer.ports[1883]))
        except (AssertionError, OSError):  # HAProxy has not noticed yet
            return False
        return True

    eventually(another_gets_through, "no way to the node that is left")
    for client in remaining:
        client.ping()
    dead.start()
    eventually(lambda: another_gets_through() and nodes.clients(dead), "nobody comes to the node that is back")


def test_health_checks_are_no_news_for_the_broker(stage):
    nodes = stage(Nodes("broker-tcp"))
    balancer = stage(haproxy("haproxy-tcp", 1883, nodes.addresses))

    def checks(broker):
        return int(re.search(r"packets.connect.received *: (\d+)", nodes.ctl(broker, "broker", "metrics")).group(1))

    before = [checks(broker) for broker in nodes.brokers]
    eventually(lambda: all(checks(broker) >= old + 3 for broker, old in zip(nodes.brokers, before)), "there were no checks")
    assert nodes.warnings() == []
    for broker in nodes.brokers:
        assert nodes.clients(broker) == []
        assert "proxy" not in nodes.ctl(broker, "listeners")  # no invalid_proxy_info, no proxy_proto_timeout
    assert "DOWN" not in balancer.said()


# --- the rest of the document


def test_every_marked_block_of_the_document_is_used():
    marked = set(re.findall(r"<!-- tested: ([\w-]+) -->", DOCUMENT.read_text()))
    used = set(re.findall(r'"((?:broker|haproxy|nginx)-[\w]+|sysctl)"', Path(__file__).read_text()))
    assert marked == used


def test_the_sysctls_exist_here():
    for line in block("sysctl").splitlines():
        if not line.startswith("#"):
            key, value = line.split(" = ")
            assert (Path("/proc/sys") / key.replace(".", "/")).exists() or key.startswith("net."), key
            assert re.fullmatch(r"[\d ,]+", value), line


# --- streams


def tls_socket(port: int, certificates: Path, client: str | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    if client:
        context.load_cert_chain(certificates / f"{client}.pem", certificates / f"{client}.key")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), DEADLINE_S), server_hostname="127.0.0.1")
