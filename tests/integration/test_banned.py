"""Banned clients: refused, disconnected, let in again; flapping detection; `emqx_ctl banned`."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY, Broker
from emqc.client import DEADLINE_S, Client, Closed, unique
from emqc.tls import ctl
from test_tls_guide import Shell, blocks

pytestmark = pytest.mark.emqc

BANNED = 0x8A
OLD_CODE = 5
ADMINISTRATIVE_ACTION = 0x98
OTHER_ADDRESS = "127.0.0.2"
BANS = {"zone.external.enable_ban": "on"}
FLAPPING = BANS | {
    "zone.external.enable_flapping_detect": "on",
    "zone.external.flapping_threshold": "4, 1m",
    "zone.external.flapping_banned_expiry_interval": "2s",
}

ROW = re.compile(
    r"Banned\((?P<kind>\w+), (?P<who>[^,]*), at=(?P<at>[-0-9]{10} [:0-9]{8}), until=(?P<until>forever|[-0-9]{10} [:0-9]{8})"
    r"(, by=(?P<by>[^,]*))?(, reason=(?P<reason>[^,]*))?\)"
)


def rows(node, *words) -> list[dict]:
    lines = ctl(node, "banned", "list", *words).splitlines()
    found = [ROW.fullmatch(line) for line in lines]
    assert all(found), lines
    return [item.groupdict() for item in found]


def ban(node, kind, who, *words):
    assert ctl(node, "banned", "add", kind, who, *words) == "ok\n"


def metric(node, name: str) -> int:
    (line,) = [line for line in ctl(node, "broker", "metrics").splitlines() if line.split(":")[0].strip() == name]
    return int(line.split(":")[1])


def wait_for(condition):
    """Asks until it is so: of what no client is told."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expect_refused(node, version, source=None, **fields):
    client = Client(node.address, version, source=source).connect(expect=False, **fields)
    client.expect_refused(BANNED, code=OLD_CODE)


def expect_let_in(node, version, source=None, **fields):
    client = Client(node.address, version, source=source).connect(**fields)
    client.ping()
    client.disconnect()


@pytest.fixture
def node(make_broker):
    return make_broker(BANS)


@pytest.mark.quick
def test_a_client_id_is_refused(node, version):
    ban(node, "clientid", "bad")
    expect_refused(node, version, client_id="bad")
    expect_let_in(node, version, client_id="bad1")
    expect_let_in(node, version, client_id="good", username="bad")
    assert metric(node, "banned.refused") == 1
    assert ctl(node, "banned", "del", "clientid", "bad") == "ok\n"
    expect_let_in(node, version, client_id="bad")


def test_a_user_name_is_refused(node, version):
    ban(node, "username", "bad")
    expect_refused(node, version, username="bad", password=b"x")
    expect_let_in(node, version)
    expect_let_in(node, version, client_id="bad")
    assert ctl(node, "banned", "del", "username", "bad") == "ok\n"
    expect_let_in(node, version, username="bad")


@pytest.mark.parametrize("who", [OTHER_ADDRESS, "127.0.0.2/31", "::ffff:127.0.0.2"])
def test_addresses_and_networks_are_refused(node, version, who):
    ban(node, "ip", who)
    expect_refused(node, version, source=OTHER_ADDRESS)
    expect_let_in(node, version)
    assert ctl(node, "banned", "del", "ip", who) == "ok\n"
    expect_let_in(node, version, source=OTHER_ADDRESS)


def test_a_connected_client_is_disconnected(node, version):
    by_id, by_name = unique(), unique("user")
    clients = {
        ("clientid", by_id): node.connect(version, client_id=by_id),
        ("username", by_name): node.connect(version, username=by_name),
        ("ip", OTHER_ADDRESS): Client(node.address, version, source=OTHER_ADDRESS).connect(),
    }
    others = [node.connect(version) for _ in range(5)]
    for (kind, who), client in clients.items():
        ban(node, kind, who)
        client.expect_disconnect(ADMINISTRATIVE_ACTION)
    for client in others:
        client.ping()
    wait_for(lambda: metric(node, "banned.disconnected") == 3)
    assert "{banned,3}" in ctl(node, "listeners")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_network_of_many_is_disconnected_on_all_workers(make_broker, workers):
    node = make_broker(BANS | {"node.workers": str(workers)})
    banned = [Client(node.address, 5, source=OTHER_ADDRESS).connect() for _ in range(500)]
    others = [node.connect() for _ in range(20)]
    ban(node, "ip", "127.0.0.2/32")
    for client in banned:
        client.expect_disconnect(ADMINISTRATIVE_ACTION)
    for client in others:
        client.ping()


def test_a_will_and_the_session_outlive_the_ban(node, topic):
    watcher = node.connect()
    watcher.subscribe(topic)
    properties = [(p.Prop.SESSION_EXPIRY_INTERVAL, 100)]
    client_id = unique()
    client = node.connect(client_id=client_id, clean=False, properties=properties, will=p.Will(topic, b"gone"))
    client.subscribe("kept", qos=1)
    ban(node, "clientid", client_id)
    client.expect_disconnect(ADMINISTRATIVE_ACTION)
    watcher.expect_publish(topic, b"gone")
    ctl(node, "banned", "del", "clientid", client_id)
    again = node.connect(client_id=client_id, clean=False, properties=properties)
    assert again.connack.session_present


def test_a_ban_ends_by_itself(node):
    ban(node, "clientid", "bad", "--for", "2s")
    begin = time.monotonic()
    expect_refused(node, 5, client_id="bad")
    wait_for(lambda: rows(node) == [])
    assert 0.9 < time.monotonic() - begin < 2 + DEADLINE_S / 2
    expect_let_in(node, 5, client_id="bad")


def test_bans_survive_a_kill(node):
    ban(node, "clientid", "kept", "--reason", "sends garbage", "--by", "me", "--for", "1h")
    ban(node, "ip", "127.0.0.2/31")
    ban(node, "username", "lifted")
    assert ctl(node, "banned", "del", "username", "lifted") == "ok\n"
    before = sorted(map(str, rows(node)))
    node.kill()
    node.start()
    assert sorted(map(str, rows(node))) == before
    assert len(before) == 2
    expect_refused(node, 5, client_id="kept")
    expect_refused(node, 5, source=OTHER_ADDRESS)
    expect_let_in(node, 5, username="lifted")


def test_a_ban_that_ended_while_the_broker_was_down_is_over(node):
    ban(node, "clientid", "bad", "--for", "1s")
    begin = time.time()
    node.kill()
    wait_for(lambda: time.time() > begin + 1.1)
    node.start()
    assert rows(node) == []
    expect_let_in(node, 5, client_id="bad")


@pytest.mark.config({"zone.external.enable_ban": "off"})
def test_zones_without_enable_ban_know_no_bans(broker):
    client = broker.connect(client_id="bad")
    answer = ctl(broker, "banned", "add", "clientid", "bad")
    assert answer == "ok\nnote: no zone has enable_ban = on, so that nobody is refused\n"
    client.ping()
    expect_let_in(broker, 5, client_id="other")


def test_the_list(node):
    assert ctl(node, "banned", "list") == ""
    ban(node, "clientid", "a\nb")
    (row,) = rows(node)
    assert (row["kind"], row["who"], row["until"], row["by"], row["reason"]) == ("client_id", "a\\x0ab", "forever", "emqx_ctl", None)
    ban(node, "clientid", "a\nb", "--reason", "twice", "--for", "1h30m")
    (row,) = rows(node)
    assert row["reason"] == "twice"
    seconds = time.mktime(time.strptime(row["until"], "%Y-%m-%d %H:%M:%S")) - time.mktime(time.strptime(row["at"], "%Y-%m-%d %H:%M:%S"))
    assert seconds == 5400
    for address in ("10.1.2.3/8", "2001:DB8::/32", "192.0.2.1"):
        ban(node, "ip", address)
    assert {row["who"] for row in rows(node)} == {"a\\x0ab", "10.0.0.0/8", "2001:db8::/32", "192.0.2.1"}
    assert len(rows(node, "2")) == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("add", "ip", "10.1.2"), "'10.1.2' is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32\n"),
        (("add", "ip", "10.0.0.0/33"), "'10.0.0.0/33' is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32\n"),
        (("add", "clientid", ""), "Nothing is named that could be banned\n"),
        (("add", "clientid", "x", "--for", "9000y"), None),
        (("add", "clientid", "x", "--for", "300000000000"), "That is too far ahead: the last year is 9999\n"),
        (("add", "clientid", "x", "--reason", "y" * 2000), "Too long: at most 65535 bytes for a client id or user name, 1024 for the other texts\n"),
        (("add", "clientid", "x", "--for", "0"), None),
        (("add", "clientid", "x", "--for"), None),
        (("add", "clientid", "x", "--why", "y"), None),
        (("add", "clientid"), None),
        (("add", "nick", "x"), None),
        (("del", "clientid", "x", "y"), None),
        (("del", "clientid", "nobody"), "Not Found.\n"),
        (("del", "ip", "nowhere"), "'nowhere' is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32\n"),
        (("list", "0"), None),
        ((), None),
    ],
)
def test_wrong_words(broker, words, answer):
    told = ctl(broker, "banned", *words, status=1)
    if answer is None:
        assert "banned add clientid <ClientId>" in told
    else:
        assert told == answer
    assert ctl(broker, "banned", "list") == ""


def test_help(broker):
    told = ctl(broker, "banned", "help")
    assert "Examples:" in told and "--for" in told


def test_a_full_table_refuses_one_more(make_broker):
    node = make_broker(BANS | {"banned.max_entries": "3"})
    for i in range(3):
        ban(node, "clientid", f"c{i}")
    told = ctl(node, "banned", "add", "clientid", "c3", status=1)
    assert told == "There are 3 bans already, as many as banned.max_entries allows\n"
    ban(node, "clientid", "c1", "--for", "1h")
    expect_let_in(node, 5, client_id="c3")
    expect_refused(node, 5, client_id="c1")


def test_a_full_disk(make_broker):
    node = make_broker(BANS)
    ban(node, "clientid", "kept")
    ban(node, "clientid", "lifted")
    node.stop()
    node.settings["store.min_free_space"] = "1000000GB"
    node.start()
    told = ctl(node, "banned", "add", "clientid", "new", status=1)
    assert told.startswith("Not banned: the store cannot be written: ") and len(told) > 50
    expect_let_in(node, 5, client_id="new")
    expect_refused(node, 5, client_id="kept")
    told = ctl(node, "banned", "del", "clientid", "lifted", status=1)
    assert told.startswith("The ban is lifted, but a restart may bring it back: the store cannot be written: ")
    expect_let_in(node, 5, client_id="lifted")


# --- flapping


def flap(node, version, client_id) -> int:
    """Connects and disconnects until that is refused: how often it was let in."""
    for count in range(100):
        client = node.open(version).connect(expect=False, client_id=client_id)
        answer = client.expect(p.Connack)
        if answer.reason != 0:
            assert answer.reason == (BANNED if version == 5 else OLD_CODE)
            client.expect_closed()
            return count
        try:
            client.disconnect()
        except (Closed, OSError):
            pass
    raise AssertionError("it may flap as it likes")


@pytest.mark.config(FLAPPING)
def test_a_flapping_client_is_banned_and_comes_back(broker, version):
    client_id, other = unique(), unique()
    expect_let_in(broker, version, client_id=other)
    count = flap(broker, version, client_id)
    assert count == 3  # the third connect is the fifth change
    wait_for(lambda: rows(broker))
    (row,) = rows(broker)
    assert (row["kind"], row["who"], row["by"], row["reason"]) == ("client_id", client_id, "flapping_checker", "flapping")
    expect_let_in(broker, version, client_id=other)
    wait_for(lambda: rows(broker) == [])
    expect_let_in(broker, version, client_id=client_id)
    assert metric(broker, "banned.flapping") == 1


@pytest.mark.config(FLAPPING | {"zone.external.allow_anonymous": "false", "allow_anonymous": "false"})
def test_who_is_never_let_in_gets_nobody_banned(broker):
    for _ in range(20):
        broker.open(5).connect(expect=False, client_id="victim").expect_refused(0x87)
    assert rows(broker) == []


@pytest.mark.config(FLAPPING)
def test_sockets_without_connect_do_not_count(broker):
    for _ in range(20):
        broker.open().close()
    expect_let_in(broker, 5)
    assert rows(broker) == []


@pytest.mark.config(FLAPPING)
def test_clients_that_fight_for_an_id_are_banned(broker):
    client_id = unique()
    for _ in range(3):  # each takeover is an end and a connect
        last = broker.connect(client_id=client_id)
    last.expect_disconnect(ADMINISTRATIVE_ACTION)
    expect_refused(broker, 5, client_id=client_id)


@pytest.mark.config(FLAPPING | {"zone.external.enable_flapping_detect": "off"})
def test_flapping_is_off_by_default(broker):
    for _ in range(20):
        expect_let_in(broker, 5, client_id="restless")
    assert rows(broker) == []


# --- docs/banned.md


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed")
def test_the_guide_does_what_it_says(tmp_path):
    text = (REPOSITORY / "docs" / "banned.md").read_text()
    found = blocks(text)
    settings = dict(line.split(" = ", 1) for kind, block in found if kind == "properties" for line in block.splitlines())
    node = Broker(settings, tmp_path).start()
    try:
        shell = Shell(tmp_path, {})
        for kind, block in found:
            if kind == "console":
                shell.run(block.replace("mosquitto_pub ", f"mosquitto_pub -p {node.port} "))
    finally:
        node.stop()
