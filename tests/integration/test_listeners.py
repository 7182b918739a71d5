"""Listeners: all types, their limits, and starting, stopping and restarting them while clients are served.
The broker's own contract."""

import contextlib
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.broker import Broker, free_port
from emqc.client import DEADLINE_S, Client, Closed, unique
from emqc.tls import TlsClient, await_log, context, listener_port, tls_listener
from emqc.websocket import WebSocketClient

pytestmark = pytest.mark.emqc


def ctl(node, *words) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(node.directory)
    return subprocess.run([emqc_broker.BINARY.with_name("emqx_ctl"), *words], env=environment, capture_output=True,
                          text=True, timeout=3 * DEADLINE_S)  # fmt: skip


def listeners(node, *words) -> str:
    done = ctl(node, "listeners", *words)
    assert done.returncode == 0, done
    return done.stdout


def refused(node, *words) -> str:
    done = ctl(node, "listeners", *words)
    assert done.returncode == 1, done
    return done.stderr


def block(node, address: str) -> dict:
    """What the list says of one listener."""
    for text in listeners(node).split("listener on ")[1:]:
        head, *lines = text.splitlines()
        if head == address:
            return {key.strip(): value for key, value in (line.split(": ", 1) for line in lines)}
    raise AssertionError(f"no listener {address}: {listeners(node)}")


def configure(node, settings: dict):
    """Rewrites the configuration of a broker that runs; None takes a key away."""
    path = node.directory / "etc" / "emqx.conf"
    lines = dict(line.split(" = ", 1) for line in path.read_text().splitlines())
    lines.update(settings)
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None))


def wait_until(condition, what: str):
    """For what gives no event: looks again until it is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def assert_nobody_listens(address):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, DEADLINE_S)


def start_fails(tmp_path, settings: dict) -> str:
    """What a broker that can't open a listener says; it ends by itself, soon, with a status that is not 0."""
    node = Broker({"listener.tcp.external": f"127.0.0.1:{free_port()}", **settings}, directory=tmp_path)
    command, environment = node._prepare_emqc()
    begin = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path,
                          timeout=3 * DEADLINE_S, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode not in (0, -6, -11), done
    assert time.monotonic() - begin < DEADLINE_S
    return done.stderr


# --- stop, start


def test_stop_closes_the_socket_and_keeps_the_clients(make_broker, topic):
    node = make_broker()
    client = node.connect(5)
    client.subscribe(topic)
    address = f"127.0.0.1:{node.port}"
    assert listeners(node, "stop", "tcp:external") == f"Stop mqtt:tcp listener on {address} successfully.\n"
    assert_nobody_listens(node.address)
    client.publish(topic, b"still here")
    client.expect_publish(topic, b"still here")
    about = block(node, f"mqtt:tcp:{address}")
    assert about["state"] == "stopped" and about["current_conn"] == "1"


def test_stop_with_close_clients_ends_them_with_a_word(make_broker, topic, version):
    other = free_port()
    node = make_broker({"listener.tcp.other": f"127.0.0.1:{other}"})
    watcher = Client(("127.0.0.1", other), 5).connect()
    watcher.subscribe(topic)
    clients = [node.connect(version) for _ in range(20)]
    leaving = node.connect(version, will=p.Will(topic, b"gone"))
    listeners(node, "stop", "tcp:external", "--close-clients")
    for client in [*clients, leaving]:
        client.expect_disconnect(0x98)
    watcher.expect_publish(topic, b"gone")
    about = block(node, f"mqtt:tcp:127.0.0.1:{node.port}")
    assert about["current_conn"] == "0"
    assert "{listener_stopped,21}" in about["shutdown_count"]
    watcher.expect_nothing()  # of another listener


def test_a_stopped_listener_starts_again_with_what_it_had(make_broker):
    node = make_broker({"listener.tcp.external.max_connections": "7"})
    address = f"127.0.0.1:{node.port}"
    for _ in range(3):
        listeners(node, "stop", "tcp:external", "--close-clients")
        assert_nobody_listens(node.address)
        assert listeners(node, "start", "tcp:external") == f"Start mqtt:tcp listener on {address} successfully.\n"
        node.connect(5).expect_nothing()
    about = block(node, f"mqtt:tcp:{address}")
    assert about["max_conns"] == "7" and "state" not in about


def test_the_original_s_words_are_understood(make_broker):
    node = make_broker()
    address = f"127.0.0.1:{node.port}"
    done = ctl(node, "listeners", "stop", "tcp", address)
    assert (done.returncode, done.stdout) == (0, f"Stop mqtt:tcp listener on {address} successfully.\n"
                                                 f"Stop tcp listener on {address} successfully.\n")  # fmt: skip
    assert_nobody_listens(node.address)
    listeners(node, "start", "mqtt:tcp", str(node.port))
    node.connect(5)
    listeners(node, "stop", f"mqtt:tcp:{address}")
    assert_nobody_listens(node.address)


def test_what_can_t_be_done_says_why_and_exits_with_1(make_broker):
    node = make_broker()
    address = f"127.0.0.1:{node.port}"
    text = refused(node, "stop", "tcp", "1")
    assert text.startswith("Failed to stop mqtt:tcp listener on 1 - not_found\n")
    assert f"tcp:external ({address})" in text
    assert "not_found" in refused(node, "stop", "ws:external")
    assert refused(node, "start", "tcp:external") == \
        f"Failed to start mqtt:tcp listener on {address} - it is started already\n"  # fmt: skip
    listeners(node, "stop", "tcp:external")
    assert "it is stopped already" in refused(node, "stop", "tcp:external")
    assert "it has no certificates" in refused(node, "reload", "tcp:external")
    assert ctl(node, "listeners", "halt").returncode == 1
    help_text = ctl(node, "listeners", "stop", "--help")
    assert help_text.returncode == 0 and "emqx_ctl listeners stop tcp:external --close-clients" in help_text.stdout


def test_a_port_that_was_taken_meanwhile_is_said_with_its_holder(make_broker):
    node = make_broker()
    listeners(node, "stop", "tcp:external")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(node.address)
        holder.listen()
        text = refused(node, "start", "tcp:external")
        assert "the address is already in use" in text and f"process {os.getpid()} (" in text, text
        assert block(node, f"mqtt:tcp:127.0.0.1:{node.port}")["state"] == "stopped"
    listeners(node, "start", "tcp:external")
    node.connect(5)


def test_a_port_alone_that_fits_several_listeners_is_refused(make_broker):
    port = free_port()
    node = make_broker({"listener.tcp.one": f"127.0.0.2:{port}", "listener.tcp.two": f"127.0.0.3:{port}"})
    assert "several listeners have that port" in refused(node, "stop", "tcp", str(port))
    listeners(node, "stop", "tcp", f"127.0.0.2:{port}")
    assert_nobody_listens(("127.0.0.2", port))
    Client(("127.0.0.3", port), 5).connect()


# --- restart


def test_restart_uses_the_settings_of_now_and_keeps_the_clients(make_broker, topic):
    node = make_broker({"listener.tcp.external.max_connections": "50"})
    client = node.connect(5)
    client.subscribe(topic)
    configure(node, {"listener.tcp.external.max_connections": "60", "listener.tcp.external.backlog": "5"})
    address = f"127.0.0.1:{node.port}"
    assert listeners(node, "restart", "tcp:external") == f"Restart mqtt:tcp listener on {address} successfully.\n"
    fresh = node.connect(5)
    fresh.publish(topic, b"x")
    client.expect_publish(topic, b"x")
    about = block(node, f"mqtt:tcp:{address}")
    assert about["max_conns"] == "60" and about["current_conn"] == "2"  # the kept one counts as before
    client.disconnect()
    fresh.disconnect()
    wait_until(lambda: block(node, f"mqtt:tcp:{address}")["current_conn"] == "0", "the clients have gone")


def test_restart_with_close_clients_ends_those_of_before(make_broker, version):
    node = make_broker()
    clients = [node.connect(version) for _ in range(5)]
    listeners(node, "restart", "tcp:external", "--close-clients")
    for client in clients:
        client.expect_disconnect(0x98)
    node.connect(version).expect_nothing()


def test_restart_with_close_clients_ends_more_than_are_closed_in_a_turn(make_broker):
    node = make_broker({"node.workers": "1"})
    clients = [node.connect(4) for _ in range(600)]
    listeners(node, "restart", "tcp:external", "--close-clients")
    for client in clients:
        client.expect_closed()
    node.connect(5).expect_nothing()


@pytest.mark.parametrize("words", [("stop",), ("restart",)], ids=["stop", "restart"])
@pytest.mark.parametrize("before", ["restart", "stop"])
def test_close_clients_means_all_that_the_list_counts(make_broker, before, words):
    """Those of before a restart too, and those that a stop has left."""
    node = make_broker()
    clients = [node.connect(5) for _ in range(3)]
    listeners(node, before, "tcp:external")
    if before == "restart":
        clients.append(node.connect(5))
    listeners(node, *words, "tcp:external", "--close-clients")
    for client in clients:
        client.expect_disconnect(0x98)
    if words == ("restart",):
        node.connect(5).expect_nothing()


def test_a_bad_configuration_is_refused_with_file_and_line_and_nothing_changes(make_broker):
    node = make_broker()
    client = node.connect(5)
    path = node.directory / "etc" / "emqx.conf"
    good = path.read_text()
    path.write_text(good + "listener.tcp.external.backlog = many\n")
    line = len(good.splitlines()) + 1
    text = refused(node, "restart", "tcp:external")
    assert f"emqx.conf:{line}:" in text and '"many" cannot be converted to a(n) integer' in text, text
    path.write_text(good + "listener.tcp.external.backlok = 5\n")
    assert "there is no setting with that name" in refused(node, "restart", "tcp:external")
    path.write_text(good.replace("listener.tcp.external", "listener.tcp.renamed"))
    assert "listener.tcp.external is not in" in refused(node, "restart", "tcp:external")
    client.expect_nothing()
    node.connect(5).expect_nothing()


def test_a_zone_that_is_new_in_the_file_is_refused(make_broker):
    node = make_broker()
    configure(node, {"listener.tcp.external.zone": "fresh", "zone.fresh.max_inflight": "3"})
    assert "zones are read when the broker starts" in refused(node, "restart", "tcp:external")
    node.connect(5).expect_nothing()


def test_restart_moves_to_another_address(make_broker):
    node = make_broker()
    client = node.connect(5)
    port = free_port()
    configure(node, {"listener.tcp.external": f"127.0.0.1:{port}"})
    listeners(node, "restart", "tcp:external")
    assert_nobody_listens(node.address)
    Client(("127.0.0.1", port), 5).connect().expect_nothing()
    client.expect_nothing()
    configure(node, {"listener.tcp.external": f"0.0.0.0:{port}"})  # it overlaps with the one that is open
    listeners(node, "restart", "tcp:external")
    Client(("127.0.0.2", port), 5).connect().expect_nothing()


def test_a_new_address_that_is_taken_leaves_the_old_one_open(make_broker):
    node = make_broker()
    client = node.connect(5)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        configure(node, {"listener.tcp.external": f"127.0.0.1:{holder.getsockname()[1]}"})
        text = refused(node, "restart", "tcp:external", "--close-clients")
    assert "the address is already in use" in text and "It goes on as it was" in text, text
    client.expect_nothing()  # nothing has changed for anybody
    node.connect(5).expect_nothing()
    assert "state" not in block(node, f"mqtt:tcp:127.0.0.1:{node.port}")


def test_a_listener_that_is_new_in_the_file_can_be_started(make_broker):
    node = make_broker()
    port = free_port()
    configure(node, {"listener.tcp.fresh": f"127.0.0.1:{port}", "listener.tcp.fresh.max_connections": "3"})
    assert "not_found" in refused(node, "restart", "tcp:fresh")
    listeners(node, "start", "tcp:fresh")
    Client(("127.0.0.1", port), 5).connect().expect_nothing()
    assert block(node, f"mqtt:tcp:127.0.0.1:{port}")["max_conns"] == "3"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        configure(node, {"listener.tcp.never": f"127.0.0.1:{holder.getsockname()[1]}"})
        assert "the address is already in use" in refused(node, "start", "tcp:never")
    assert "tcp:never" not in listeners(node) and listeners(node).count("listener on ") == 2  # nothing stays of it
    second = free_port()
    configure(node, {"listener.tcp.never": f"127.0.0.1:{second}"})
    listeners(node, "start", "tcp:never")  # with the settings of now
    Client(("127.0.0.1", second), 5).connect().expect_nothing()
    Client(("127.0.0.1", port), 5).connect().expect_nothing()


def test_the_start_of_a_new_listener_says_what_is_wrong_with_the_file(make_broker):
    node = make_broker()
    assert "\nNor is there a line listener.tcp.fresh in " in refused(node, "start", "tcp:fresh")
    path = node.directory / "etc" / "emqx.conf"
    good = path.read_text()
    path.write_text(good + "listener.tcp.fresh = 127.0.0.1:0\nlistener.tcp.fresh.backlog = many\n")
    text = refused(node, "start", "tcp:fresh")
    assert "the configuration has errors" in text and f"emqx.conf:{len(good.splitlines()) + 2}:" in text, text
    path.write_text(good)
    assert "not_found" in refused(node, "start", "tcp:fresh")
    assert listeners(node).count("listener on ") == 1


@pytest.mark.threads
def test_nobody_is_refused_or_lost_while_a_listener_restarts(make_broker, topic):
    """Clients come, speak and go all the while; the old incarnations end with their last client."""
    node = make_broker()
    done = threading.Event()
    errors, counts = [], [0] * 4

    def come_and_go(index):
        name = unique()
        while not done.is_set():
            try:
                client = node.connect(5, client_id=name)
                client.subscribe(f"{topic}/{index}")
                client.publish(f"{topic}/{index}", b"x", 1)
                client.disconnect()
                counts[index] += 1
            except Exception as error:  # noqa: BLE001
                errors.append(repr(error))
                return

    stayed = node.connect(5)
    threads = [threading.Thread(target=come_and_go, args=(index,)) for index in range(len(counts))]
    for thread in threads:
        thread.start()
    try:
        for number in range(25):
            configure(node, {"listener.tcp.external.backlog": str(100 + number)})
            listeners(node, "restart", "tcp:external")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not errors and min(counts) > 0, (errors, counts)
    stayed.expect_nothing()


@pytest.mark.threads
def test_stops_starts_and_closes_while_clients_come(make_broker):
    node = make_broker()
    done = threading.Event()
    unexpected = []

    def come():
        while not done.is_set():
            try:
                node.connect(5).ping()
            except (Closed, OSError):
                continue
            except AssertionError as error:
                if "Disconnect" not in str(error):
                    unexpected.append(repr(error))
                    return

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            listeners(node, "stop", "tcp:external", "--close-clients")
            assert_nobody_listens(node.address)
            listeners(node, "start", "tcp:external")
            listeners(node, "restart", "tcp:external", "--close-clients")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not unexpected
    node.connect(5).expect_nothing()


# --- the types


@pytest.fixture
def all_types(make_broker, certs):
    return make_broker({**tls_listener(certs.server), "listener.ws.external": f"127.0.0.1:{free_port()}",
                        **tls_listener(certs.server, type_="wss"), "listener.unix.local": "mqtt.sock",
                        "listener.ws.second": f"127.0.0.1:{free_port()}"})  # fmt: skip


def test_every_type_opens_and_says_so_in_order(all_types):
    lines = re.findall(r"^Start mqtt:(\w+) listener on (\S+) successfully\.$", all_types.stdout.read_text(), re.M)
    assert [kind for kind, _ in lines] == ["tcp", "ssl", "ws", "ws", "wss", "unix"]
    listed = re.findall(r"^listener on mqtt:(\w+):(\S+)$", listeners(all_types), re.M)
    assert listed == lines


@pytest.mark.parametrize("kind", ["ssl", "ws"])
def test_tls_and_websocket_clients_are_kept_or_closed_as_asked(all_types, certs, kind, topic):
    port = listener_port(all_types, type_=kind)

    def connect():
        client = TlsClient(port, context(certs.authority)) if kind == "ssl" else WebSocketClient(port)
        return client.connect()

    client = connect()
    client.subscribe(topic)
    listeners(all_types, "stop", f"{kind}:external")
    assert_nobody_listens(("127.0.0.1", port))
    all_types.connect(5).publish(topic, b"kept")
    client.expect_publish(topic, b"kept")
    listeners(all_types, "start", kind, str(port))
    other = connect()
    listeners(all_types, "restart", f"{kind}:external", "--close-clients")
    for each in (client, other):
        each.expect(p.Disconnect, reason=0x98)
    connect().ping()


def test_tls_clients_of_before_a_restart_go_on(all_types, certs, topic):
    port = listener_port(all_types)
    old = TlsClient(port, context(certs.authority)).connect()
    old.subscribe(topic)
    configure(all_types, {"listener.ssl.external.max_connections": "77"})
    for _ in range(3):
        listeners(all_types, "restart", "ssl:external")
    new = TlsClient(port, context(certs.authority)).connect()
    new.publish(topic, b"x" * 100000)
    old.expect_publish(topic, b"x" * 100000)
    about = block(all_types, f"mqtt:ssl:127.0.0.1:{port}")
    assert about["max_conns"] == "77" and about["current_conn"] == "2"


def test_a_restart_with_a_certificate_that_can_t_be_read_changes_nothing(all_types, certs):
    port = listener_port(all_types)
    configure(all_types, {"listener.ssl.external.certfile": "/nonexistent/cert.pem"})
    text = refused(all_types, "restart", "ssl:external", "--close-clients")
    assert "listener.ssl.external.certfile" in text and "/nonexistent/cert.pem" in text, text
    assert TlsClient(port, context(certs.authority)).connect().server_common_name() == "localhost"
    configure(all_types, {"listener.ssl.external.certfile": certs.other_server.chain,
                          "listener.ssl.external.keyfile": certs.other_server.key})  # fmt: skip
    listeners(all_types, "restart", "ssl:external")
    assert TlsClient(port, context(certs.authority)).connect().server_common_name() == "renewed"


def test_changed_tls_files_are_used_soon_and_bad_ones_are_logged_once(make_broker, certs, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(certs.server.chain, cert)
    shutil.copy(certs.server.key, key)
    port = free_port()
    node = make_broker({**tls_listener(certs.server, port=port, certfile=cert, keyfile=key),
                        "node.tls_check_interval": "50ms", "log.level": "notice"})  # fmt: skip
    cert.write_text("no certificate")
    failure = await_log(node, "cannot be used, it keeps the ones it has", "certfile")
    assert TlsClient(port, context(certs.authority)).connect().server_common_name() == "localhost"
    shutil.copy(certs.other_server.chain, cert)
    shutil.copy(certs.other_server.key, key)
    await_log(node, "mqtt:ssl:external uses its TLS files as they are now")
    assert TlsClient(port, context(certs.authority)).connect().server_common_name() == "renewed"
    assert node.log().count(failure.split("] ", 1)[1]) == 1


def test_a_certificate_that_ends_soon_is_spoken_of(make_broker, certs, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "5",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)  # fmt: skip
    node = make_broker({**tls_listener(certs.server, certfile=cert, keyfile=key), "node.tls_check_interval": "20ms"})
    await_log(node, r"mqtt:ssl:external: its certificate expires in [45] days")
    node.connect(5).ping()
    assert node.log().count("its certificate expires") == 1  # once a day


# --- addresses


@pytest.mark.parametrize("bind, dial", [("[::1]:{}", "::1"), ("::1:{}", "::1"), ("[::]:{}", "::1"), ("[::]:{}", "127.0.0.1"),
                                        ("{}", "127.0.0.1"), ("*:{}", "127.0.0.1")])  # fmt: skip
def test_addresses_of_both_kinds_and_wildcards(make_broker, bind, dial):
    port = free_port()
    node = make_broker({"listener.tcp.other": bind.format(port)})
    client = Client((dial, port), 5).connect()
    shown = f"[{dial}]" if ":" in dial else dial
    assert f"peername={shown}:" in ctl(node, "clients", "show", client.client_id).stdout
    listeners(node, "stop", "tcp:other")
    assert_nobody_listens((dial, port))


@pytest.mark.parametrize("kind", ["tcp", "ws"])
def test_a_start_that_fails_names_the_key(tmp_path, kind):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = start_fails(tmp_path, {f"listener.{kind}.second": f"127.0.0.1:{port}"})
    assert f"Failed to start mqtt:{kind} listener on 127.0.0.1:{port} - the address is already in use" in text
    assert f"held by process {os.getpid()} (" in text and f"listener.{kind}.second in " in text


def test_an_address_that_this_machine_does_not_have_is_said(tmp_path):
    text = start_fails(tmp_path, {"listener.tcp.second": "192.0.2.1:1883"})
    assert "Failed to start mqtt:tcp listener on 192.0.2.1:1883 - " in text
    assert "This machine has no such address" in text and "listener.tcp.second in " in text


# --- limits


def descriptors_of(node) -> int:
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def metric(node, name: str) -> int:
    return int(re.search(rf"^{re.escape(name)}\s*: (\d+)$", ctl(node, "broker", "metrics").stdout, re.M).group(1))


def test_running_out_of_descriptors_is_survived(make_broker, topic):
    node = make_broker()
    served = node.connect(5)
    served.subscribe(topic)
    wait_until(lambda: block(node, f"mqtt:tcp:127.0.0.1:{node.port}")["current_conn"] == "1", "one client")
    room = 20
    limit = descriptors_of(node) + room + 8  # eight are kept back of so few
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    held, turned_away = [], 0
    while turned_away < 40 and len(held) < 10 * room:
        client = node.open(5)
        client.send(p.Connect(client_id=unique()))
        try:
            client.receive()
            held.append(client)
        except (Closed, ConnectionError):  # it was told, not left waiting
            turned_away += 1
    assert turned_away == 40 and 0 < len(held) <= room + 2  # a command that was leaving had descriptors
    served.publish(topic, b"x")
    served.expect_publish(topic, b"x")
    assert metric(node, "connections.no_descriptor") > 0  # and commands have descriptors still
    assert "{emfile," in block(node, f"mqtt:tcp:127.0.0.1:{node.port}")["shutdown_count"]
    lines = [line for line in node.log().splitlines() if "out of file descriptors" in line]
    assert len(lines) == 1 and f"the limit of {limit}" in lines[0] and "ulimit -n" in lines[0] and "[alert]" in lines[0]
    for client in held:
        client.disconnect()

    def let_in():
        with contextlib.suppress(Closed, ConnectionError):
            node.connect(5).expect_nothing()
            return True
        return False

    begin = time.monotonic()
    wait_until(let_in, "clients are let in again")
    assert time.monotonic() - begin < 2
    wait_until(lambda: "there are file descriptors again" in node.log(), "the end is logged")


@pytest.mark.config({"listener.tcp.external.rate_limit": "20000,20000"})
def test_one_large_write_does_not_overshoot_the_rate(broker, topic):
    """What is read, not what is handled: the system holds the rest."""
    client = broker.connect(4)
    before = metric(broker, "bytes.received")
    start = time.monotonic()
    client.send(b"".join(p.Publish(topic, bytes(1000)).encode(4) for _ in range(60)))
    seen = []
    while time.monotonic() - start < 1.5:
        received = metric(broker, "bytes.received") - before
        allowed = 20000 + 20000 * (time.monotonic() - start + 0.05)
        assert received <= allowed, (received, allowed)
        seen.append(received)
    assert max(seen) > 30000  # it is limited, not stopped
    client.ping()


@pytest.mark.parametrize("burst", [1, 100, 5000])
def test_a_small_burst_still_lets_everything_through(make_broker, topic, burst):
    node = make_broker({"listener.tcp.external.rate_limit": f"5000,{max(burst, 5000)}" if burst == 5000 else f"{burst},5000"})
    client = node.connect(4)
    client.publish(topic, bytes(4000), 1)
    client.ping()


# --- Unix sockets


@pytest.fixture
def unix_node(make_broker):
    return make_broker({"listener.unix.local": "mqtt.sock", "listener.unix.local.zone": "external"})


def unix_path(node) -> str:
    return str(node.directory / "data" / "mqtt.sock")


def test_a_unix_socket_serves_clients_of_this_machine(unix_node, topic, version):
    path = unix_path(unix_node)
    assert "Start mqtt:unix listener on mqtt.sock successfully.\n" in unix_node.stdout.read_text()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    client = Client(path, version).connect()
    client.subscribe(topic, qos=1)
    unix_node.connect(version).publish(topic, b"x" * 200000, 1)
    assert client.expect_publish(topic, b"x" * 200000).qos == 1
    shown = ctl(unix_node, "clients", "show", client.client_id).stdout
    assert f"peername=unix:{os.getpid()}/{os.getuid()}," in shown
    assert block(unix_node, "mqtt:unix:mqtt.sock")["current_conn"] == "1"


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed")
def test_mosquitto_s_clients_use_the_unix_socket(unix_node, topic):
    path = unix_path(unix_node)
    command = ["stdbuf", "-oL", "mosquitto_sub", "--unix", path, "-V", "5", "-q", "1", "-t", topic, "-C", "3", "-d"]
    subscriber = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in subscriber.stdout:
        lines.append(line)
        if "Subscribed" in line:
            break
    for number in range(3):
        subprocess.run(["mosquitto_pub", "--unix", path, "-q", "1", "-t", topic, "-m", f"hello {number}"], check=True,
                       timeout=3 * DEADLINE_S)  # fmt: skip
    out, _ = subscriber.communicate(timeout=3 * DEADLINE_S)
    assert subscriber.returncode == 0
    assert [line for line in out.splitlines() if line.startswith("hello")] == ["hello 0", "hello 1", "hello 2"]


def test_a_unix_socket_is_removed_when_it_is_stopped_and_made_when_it_starts(unix_node):
    path = unix_path(unix_node)
    client = Client(path, 5).connect()
    listeners(unix_node, "stop", "unix:local")
    assert not os.path.exists(path)
    client.expect_nothing()
    listeners(unix_node, "start", "unix", "mqtt.sock")
    configure(unix_node, {"listener.unix.local.mode": "0600"})
    listeners(unix_node, "restart", "unix:local")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    Client(path, 5).connect().expect_nothing()
    unix_node.stop()
    assert not os.path.exists(path)


def test_the_socket_of_a_killed_broker_is_replaced(unix_node):
    path = unix_path(unix_node)
    unix_node.kill()
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    unix_node.start()
    Client(path, 5).connect().expect_nothing()


def test_a_unix_socket_in_use_is_refused_with_its_holder(tmp_path):
    path = str(tmp_path / "taken.sock")
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(path)
        holder.listen()
        text = start_fails(tmp_path, {"listener.unix.local": path})
        assert f"Failed to start mqtt:unix listener on {path} - process {os.getpid()} (" in text
        assert "listener.unix.local in " in text
        assert os.path.exists(path)


def test_a_file_in_the_way_is_never_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    text = start_fails(tmp_path, {"listener.unix.local": str(path)})
    assert "is not a socket, so it is left alone" in text
    assert path.read_text() == "data"


def test_a_mode_that_is_not_octal_is_refused(tmp_path):
    text = start_fails(tmp_path, {"listener.unix.local": "x.sock", "listener.unix.local.mode": "0680"})
    assert "listener.unix.local.mode invalid, should be permissions in octal" in text


def test_a_path_without_a_slash_is_refused(tmp_path):
    text = start_fails(tmp_path, {"listener.ws.local": "127.0.0.1:0", "listener.ws.local.mqtt_path": "mqtt"})
    assert "listener.ws.local.mqtt_path invalid, should begin with a slash: /mqtt" in text


def test_limits_hold_for_a_unix_socket(make_broker):
    node = make_broker({"listener.unix.local": "mqtt.sock", "listener.unix.local.max_connections": "2"})
    path = unix_path(node)
    clients = [Client(path, 5).connect() for _ in range(2)]
    extra = Client(path, 5)
    with pytest.raises((Closed, ConnectionError)):
        extra.connect()
    for client in clients:
        client.expect_nothing()
