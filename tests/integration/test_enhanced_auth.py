"""Enhanced authentication of MQTT 5 with emqx_auth_scram: logins, re-authentication, what clients must not do, `emqx_ctl scram`."""

from __future__ import annotations

from pathlib import Path

import pytest

from emqc import packets as p
from emqc.broker import Broker
from emqc.client import Client, unique
from emqc.packets import Prop
from emqc.scram import Scram
from emqc.tls import ctl

pytestmark = pytest.mark.emqc

PLUGIN = "emqx_auth_scram"
USER, PASSWORD = "device", "a password, that = is long"
NOT_AUTHORIZED, PROTOCOL_ERROR, UNAVAILABLE, BANNED, BAD_METHOD = 0x87, 0x82, 0x88, 0x8A, 0x8C

CONF = f"""auth.scram.iterations = 4096
auth.scram.user.1.username = {USER}
auth.scram.user.1.password = {PASSWORD}
auth.scram.user.2.username = admin
auth.scram.user.2.password = admin's
auth.scram.user.2.superuser = on
"""


def node_with_scram(tmp_path: Path, settings: dict = None, conf: str = CONF) -> Broker:
    """A broker that loads the plugin when it starts."""
    for name in ("data", "etc/plugins"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc" / "plugins" / f"{PLUGIN}.conf").write_text(conf)
    (tmp_path / "data" / "loaded_plugins").write_text(f"{{{PLUGIN}, true}}.\n")
    return Broker({"allow_anonymous": "false", **(settings or {})}, directory=tmp_path)


@pytest.fixture
def scram_node(tmp_path, request):
    marker = request.node.get_closest_marker("settings")
    node = node_with_scram(tmp_path, marker.args[0] if marker else None).start()
    yield node
    node.stop()


@pytest.fixture(params=["sha256", "sha512"])
def digest(request):
    return request.param


def login(node: Broker, user=USER, password=PASSWORD, digest="sha256", **fields) -> Client:
    return Scram(digest, user, password).login(node.open(), **fields)


def refused_login(node: Broker, code: int, user=USER, password=PASSWORD, digest="sha256") -> Scram:
    client, exchange = node.open(), Scram(digest, user, password)
    client.send(exchange.connect())
    client.send(exchange.answer(client))
    client.expect_refused(code)
    return exchange


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.12.0-2", "MQTT-4.12.0-3", "MQTT-4.12.0-5")
def test_a_client_logs_in_with_its_password(scram_node, digest):
    client = login(scram_node, digest=digest)
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.12.0-4")
def test_who_does_not_know_the_password_is_refused(scram_node, digest):
    refused_login(scram_node, NOT_AUTHORIZED, password=PASSWORD + "x", digest=digest)


def test_users_who_do_not_exist_look_like_users(scram_node, digest):
    known = refused_login(scram_node, NOT_AUTHORIZED, password="wrong", digest=digest)
    one = refused_login(scram_node, NOT_AUTHORIZED, "nobody", digest=digest)
    again = refused_login(scram_node, NOT_AUTHORIZED, "nobody", digest=digest)
    other = refused_login(scram_node, NOT_AUTHORIZED, "nobody else", digest=digest)
    assert one.salt == again.salt != other.salt
    assert one.iterations == known.iterations and len(one.salt) == len(known.salt)
    scram_node.stop()
    scram_node.start()
    assert refused_login(scram_node, NOT_AUTHORIZED, "nobody", digest=digest).salt == one.salt


def test_the_user_of_the_exchange_counts(scram_node):
    client = login(scram_node, username="somebody else")
    assert f"username={USER}," in ctl(scram_node, "clients", "show", client.client_id).replace(" ", "")


@pytest.mark.settings({"acl_nomatch": "deny", "zone.external.enable_acl": "on"})
def test_superusers_are_not_asked_about_topics(scram_node):
    login(scram_node, "admin", "admin's").subscribe("any/topic")
    login(scram_node).subscribe("any/topic", codes=[NOT_AUTHORIZED])


@pytest.mark.settings({"zone.external.enable_ban": "on"})
def test_bans_count_for_who_the_client_is_shown_to_be(scram_node):
    assert ctl(scram_node, "banned", "add", "username", USER) == "ok\n"
    refused_login(scram_node, BANNED)
    login(scram_node, "admin", "admin's")


# --- re-authentication


@pytest.mark.mqtt5("MQTT-4.12.1-1")
def test_a_client_authenticates_again_while_messages_flow(scram_node, digest, topic):
    client, other = login(scram_node, digest=digest), login(scram_node)
    client.subscribe(topic, qos=1)
    exchange = Scram(digest, USER, PASSWORD)
    client.send(exchange.begin_again())
    answer = exchange.answer(client)
    other.publish(topic, b"meanwhile", qos=1)
    client.expect_publish(topic, b"meanwhile")
    client.publish(topic, b"from here", qos=1)
    client.expect_publish(topic, b"from here")
    client.send(answer)
    done = client.expect(p.Auth, reason=0)
    assert done.properties.get(Prop.AUTHENTICATION_METHOD) == exchange.method
    exchange.check(done.properties.get(Prop.AUTHENTICATION_DATA))
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.12.1-2")
def test_who_fails_to_authenticate_again_is_disconnected(scram_node):
    client, exchange = login(scram_node), Scram("sha256", USER, "wrong")
    client.send(exchange.begin_again())
    client.send(exchange.answer(client))
    client.expect_disconnect(NOT_AUTHORIZED)


def test_nobody_becomes_somebody_else(scram_node):
    client, exchange = login(scram_node), Scram("sha256", "admin", "admin's")
    client.send(exchange.begin_again())
    client.send(exchange.answer(client))
    client.expect_disconnect(NOT_AUTHORIZED)


@pytest.mark.settings({"zone.external.idle_timeout": "300ms"})
def test_authenticating_again_does_not_last_for_ever(scram_node):
    client = login(scram_node)
    client.send(Scram("sha256", USER, PASSWORD).begin_again())
    client.expect(p.Auth, reason=0x18)
    client.expect_disconnect(NOT_AUTHORIZED)


@pytest.mark.settings({"zone.external.idle_timeout": "300ms"})
def test_a_login_does_not_last_for_ever(scram_node):
    client = scram_node.open()
    client.send(Scram("sha256", USER, PASSWORD).connect())
    client.expect(p.Auth, reason=0x18)
    client.expect_closed()


# --- what clients must not do


@pytest.mark.mqtt5("MQTT-3.1.2-30")
@pytest.mark.parametrize("packet", [p.Pingreq(), p.Publish("t", b""), p.Connect("c"), p.Auth(0x19, {Prop.AUTHENTICATION_METHOD: "SCRAM-SHA-256"})], ids=lambda packet: type(packet).__name__)  # fmt: skip
def test_before_connack_only_auth_may_come(scram_node, packet):
    client = scram_node.open()
    client.send(Scram("sha256", USER, PASSWORD).connect())
    client.expect(p.Auth, reason=0x18)
    client.send(packet)
    client.expect_refused(PROTOCOL_ERROR)


def test_the_method_stays_the_same(scram_node):
    client, other = scram_node.open(), Scram("sha512", USER, PASSWORD)
    client.send(Scram("sha256", USER, PASSWORD).connect())
    client.expect(p.Auth, reason=0x18)
    client.send(p.Auth(0x18, other.properties(b"x")))
    client.expect_refused(BAD_METHOD)
    client = login(scram_node)
    client.send(other.begin_again())
    client.expect_disconnect(PROTOCOL_ERROR)


@pytest.mark.parametrize("data", [None, b"", b"n,,n=device", b"p=tls-unique,,n=device,r=abc", b"n,,n=device,r=\xff"])
def test_malformed_messages_are_refused(scram_node, data):
    client, exchange = scram_node.open(), Scram("sha256", USER, PASSWORD)
    client.send(p.Connect(unique(), properties=exchange.properties(data)))
    client.expect_refused(NOT_AUTHORIZED)


def test_a_mechanism_that_is_off_is_a_bad_method(tmp_path):
    node = node_with_scram(tmp_path, conf=CONF + "auth.scram.sha512 = off\n").start()
    client = node.open()
    client.send(Scram("sha512", USER, PASSWORD).connect())
    client.expect_refused(BAD_METHOD)
    login(node)
    node.stop()


def test_a_small_packet_limit_of_the_client_holds(scram_node):
    client = scram_node.open()
    client.send(Scram("sha256", USER, PASSWORD).connect(properties={Prop.MAXIMUM_PACKET_SIZE: 50}))
    client.expect_closed()  # the challenge does not fit
    login(scram_node)


def test_wills_and_sessions_are_those_of_any_client(scram_node, topic):
    watcher = login(scram_node)
    watcher.subscribe(topic)
    fields = {"client_id": unique(), "properties": {Prop.SESSION_EXPIRY_INTERVAL: 60}}
    client = login(scram_node, will=p.Will(topic, b"gone"), **fields)
    client.subscribe(topic + "/mine", qos=1)
    client.socket.close()
    watcher.expect_publish(topic, b"gone")
    watcher.publish(topic + "/mine", b"kept", qos=1)
    client = login(scram_node, clean=False, **fields)
    assert client.connack.session_present
    client.expect_publish(topic + "/mine", b"kept")


# --- users


def test_users_are_added_changed_and_deleted(scram_node, digest):
    assert ctl(scram_node, "scram", "add", "new", "one") == "ok\n"
    assert "there is such a user" in ctl(scram_node, "scram", "add", "new", "one", status=1)
    login(scram_node, "new", "one", digest)
    assert ctl(scram_node, "scram", "update", "new", "two") == "ok\n"
    refused_login(scram_node, NOT_AUTHORIZED, "new", "one", digest)
    assert ctl(scram_node, "scram", "add", "root", "pw", "superuser") == "ok\n"
    assert sorted(ctl(scram_node, "scram", "list").splitlines()) == ["admin (superuser)", "device", "new", "root (superuser)"]
    scram_node.stop()
    scram_node.start()
    client = login(scram_node, "new", "two", digest)
    assert ctl(scram_node, "scram", "del", "new") == "ok\n"
    assert "no such user" in ctl(scram_node, "scram", "del", "new", status=1)
    assert "no such user" in ctl(scram_node, "scram", "update", "new", "x", status=1)
    refused_login(scram_node, NOT_AUTHORIZED, "new", "two", digest)
    client.expect_nothing()  # who is in stays in
    exchange = Scram(digest, "new", "two")
    client.send(exchange.begin_again())
    client.send(exchange.answer(client))
    client.expect_disconnect(NOT_AUTHORIZED)


def test_a_user_who_is_deleted_in_the_midst_does_not_come_in(scram_node):
    client, exchange = scram_node.open(), Scram("sha256", USER, PASSWORD)
    client.send(exchange.connect())
    answer = exchange.answer(client)
    assert ctl(scram_node, "scram", "del", USER) == "ok\n"
    client.send(answer)
    client.expect_refused(NOT_AUTHORIZED)


def test_wrong_words_are_told(scram_node):
    assert "scram add <Username> <Password>" in ctl(scram_node, "scram", "add", "new", status=1)
    assert "control characters" in ctl(scram_node, "scram", "add", "new\n", "x", status=1)
    assert "control characters" in ctl(scram_node, "scram", "add", "new", "", status=1)


def test_users_of_the_settings_keep_what_was_changed(scram_node):
    assert ctl(scram_node, "scram", "update", USER, "changed") == "ok\n"
    scram_node.stop()
    scram_node.start()
    login(scram_node, USER, "changed")
    refused_login(scram_node, NOT_AUTHORIZED)


def test_no_password_is_on_the_disk(scram_node, tmp_path):
    assert ctl(scram_node, "scram", "add", "new", "hardly-guessable") == "ok\n"
    login(scram_node, "new", "hardly-guessable")
    scram_node.stop()
    for path in (tmp_path / "data", tmp_path / "log"):
        for file in path.rglob("*"):
            assert not file.is_file() or b"hardly-guessable" not in file.read_bytes(), file


# --- the plugin


@pytest.mark.threads
def test_a_plugin_that_is_unloaded_leaves_no_method_behind(scram_node):
    client, exchange = scram_node.open(), Scram("sha256", USER, PASSWORD)
    client.send(exchange.connect())
    answer = exchange.answer(client)
    inside = login(scram_node)
    ctl(scram_node, "plugins", "unload", PLUGIN)
    client.send(answer)
    client.expect_refused(UNAVAILABLE)
    inside.expect_nothing()
    client = scram_node.open()
    client.send(exchange.connect())
    client.expect_refused(BAD_METHOD)
    ctl(scram_node, "plugins", "load", PLUGIN)
    login(scram_node)
    again = Scram("sha256", USER, PASSWORD)
    inside.send(again.begin_again())
    inside.send(again.answer(inside))
    inside.expect(p.Auth, reason=0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("auth.scram.iterations = 100", "4096"),
        ("auth.scram.user.3.username = x", "needs a password"),
        ("auth.scram.nonsense = 1", "auth.scram.nonsense"),
    ],
)
def test_wrong_settings_are_told(scram_node, line, said):
    ctl(scram_node, "plugins", "unload", PLUGIN)
    (scram_node.directory / "etc" / "plugins" / f"{PLUGIN}.conf").write_text(CONF + line + "\n")
    assert said in ctl(scram_node, "plugins", "load", PLUGIN, status=1)
