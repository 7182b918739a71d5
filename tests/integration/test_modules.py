"""The modules: presence messages, subscriptions that the broker makes, topics rewritten by rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest

from emqc import packets as p
from emqc.broker import BINARY, NODE_NAME
from emqc.client import DEADLINE_S, Client, fence, unique
from emqc.packets import Prop
from emqc.tls import ctl, failed_start

pytestmark = pytest.mark.emqc

TREE = f"$SYS/brokers/{NODE_NAME}/clients/"


def persistent(node, version, name, **fields):
    """A client whose session outlives its connection."""
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: 3600}
    return node.connect(version, client_id=name, clean=False, **fields)


def expect_log(node, text):
    """The log's own thread writes it."""
    deadline = time.monotonic() + DEADLINE_S
    while text not in node.log():
        assert time.monotonic() < deadline, node.log()
        time.sleep(0.02)


# --- presence

PRESENCE = {"module.presence": "on"}


@pytest.fixture
def presence(make_broker):
    return make_broker(PRESENCE)


def watch(node, *names, qos=2, version=5):
    """A client that is told of those with these IDs."""
    watcher = node.connect(version)
    watcher.subscribe(*[f"{TREE}{name}/+" for name in names], qos=qos)
    return watcher


def expect_presence(watcher, name, event, shown=None, qos=1):
    """The payload, its keys in the order of the original; its time is about now."""
    message = watcher.expect_publish(f"{TREE}{shown or name}/{event}", qos=qos, retain=False)
    found = json.loads(message.payload)
    assert message.payload.decode() == json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    assert found["clientid"] == name
    assert abs(found["ts"] / 1000 - time.time()) < 2 * DEADLINE_S
    return found


@pytest.mark.quick
def test_presence_tells_of_coming_and_going(presence, version):
    name = unique()
    watcher = watch(presence, name)
    client = presence.connect(version, client_id=name, username="alice", keepalive=77)
    found = expect_presence(watcher, name, "connected")
    assert list(found) == ["clean_start", "clientid", "connack", "ipaddress", "keepalive", "proto_name", "proto_ver", "ts", "username"]
    assert found == {
        "clean_start": True, "clientid": name, "connack": 0, "ipaddress": "127.0.0.1", "keepalive": 77,
        "proto_name": "MQIsdp" if version == 3 else "MQTT", "proto_ver": version, "ts": found["ts"], "username": "alice",
    }  # fmt: skip
    client.disconnect()
    found = expect_presence(watcher, name, "disconnected")
    assert list(found) == ["clientid", "username", "reason", "ts"]
    assert (found["username"], found["reason"]) == ("alice", "normal")


def test_presence_without_user_name_of_a_session_that_stays(presence, version):
    name = unique()
    watcher = watch(presence, name)
    client = persistent(presence, version, name)
    found = expect_presence(watcher, name, "connected")
    assert (found["username"], found["clean_start"]) == ("undefined", False)
    client.close()
    found = expect_presence(watcher, name, "disconnected")
    assert (found["username"], found["reason"]) == ("undefined", "closed")


def test_presence_says_how_a_connection_ended(presence, version):
    silent, kicked = unique(), unique()
    watcher = watch(presence, silent, kicked)
    clients = [presence.connect(version, client_id=silent, keepalive=1)]
    expect_presence(watcher, silent, "connected")
    assert expect_presence(watcher, silent, "disconnected")["reason"] == "keepalive_timeout"
    clients.append(presence.connect(version, client_id=kicked))
    expect_presence(watcher, kicked, "connected")
    ctl(presence, "clients", "kick", kicked)
    assert expect_presence(watcher, kicked, "disconnected")["reason"] == "kicked"


@pytest.mark.parametrize("clean, reason", [(True, "discard"), (False, "conflict")])
def test_presence_tells_of_a_client_that_is_taken_over(presence, version, clean, reason):
    name = unique()
    watcher = watch(presence, name)
    first = persistent(presence, version, name)
    expect_presence(watcher, name, "connected")
    second = presence.connect(version, client_id=name, clean=clean)
    assert expect_presence(watcher, name, "disconnected")["reason"] == reason
    assert expect_presence(watcher, name, "connected")["clean_start"] == clean
    first.expect_disconnect(0x8E)
    second.ping()


def test_presence_knows_the_generated_client_id(presence):
    watcher = presence.connect()
    watcher.subscribe(f"{TREE}#", qos=2)
    client = presence.open(5).connect(client_id="")
    name = client.connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER)
    while True:
        message = watcher.expect_publish()
        if json.loads(message.payload)["clientid"] == name:
            break
    assert message.topic == f"{TREE}{name}/connected"


@pytest.mark.parametrize("name, shown", [("sl/ash", "sl/ash"), ("a+b/#", "a%2Bb/%23"), ("müller\"\\", "müller\"\\")])
def test_presence_topics_of_odd_client_ids(presence, version, name, shown):
    watcher = presence.connect(version)
    watcher.subscribe(f"{TREE}{shown}/+", qos=2)
    client = presence.connect(version, client_id=name, username="ü\"q")
    assert expect_presence(watcher, name, "connected", shown)["username"] == "ü\"q"
    client.disconnect()
    expect_presence(watcher, name, "disconnected", shown)


def test_presence_is_silent_about_refused_clients(make_broker, version):
    node = make_broker(PRESENCE | {"node.workers": "1", "allow_anonymous": "true", "zone.external.enable_ban": "on"})
    refused, accepted = unique(), unique()
    ctl(node, "banned", "add", "clientid", refused)
    watcher = watch(node, refused, accepted)
    Client(node.address, version).connect(expect=False, client_id=refused).expect_refused(0x8A, code=5)
    malformed = Client(node.address, version)
    malformed.send(b"\x10\x00")
    malformed.drain()
    node.connect(version, client_id=accepted).disconnect()
    expect_presence(watcher, accepted, "connected")
    expect_presence(watcher, accepted, "disconnected")
    watcher.expect_nothing()


def test_presence_follows_connack(presence, version):
    """Whoever hears of a client may write to it at once: it has its CONNACK."""
    name = unique()
    watcher = presence.connect(version)
    watcher.subscribe(f"{TREE}{name}/+", qos=1)
    client = persistent(presence, version, name)
    client.subscribe(f"to/{name}", qos=1)
    client.disconnect()
    expect_presence(watcher, name, "connected")
    expect_presence(watcher, name, "disconnected")
    again = presence.open(version)
    again.send(p.Connect(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 60} if version == 5 else {}))
    expect_presence(watcher, name, "connected")
    watcher.publish(f"to/{name}", b"welcome", qos=1)
    again.expect(p.Connack, reason=0, session_present=True)
    again.expect_publish(f"to/{name}", b"welcome")


@pytest.mark.parametrize("qos", [0, 2])
def test_presence_has_the_qos_of_the_configuration(make_broker, version, qos):
    node = make_broker(PRESENCE | {"module.presence.qos": str(qos)})
    name = unique()
    watcher = watch(node, name, version=version)
    node.connect(version, client_id=name).disconnect()
    expect_presence(watcher, name, "connected", qos=qos)
    expect_presence(watcher, name, "disconnected", qos=qos)


def test_presence_waits_for_a_watcher_that_is_away(presence, version):
    name, watcher_name = unique(), unique()
    watcher = persistent(presence, version, watcher_name)
    watcher.subscribe(f"{TREE}{name}/+", qos=1)
    watcher.disconnect()
    presence.connect(version, client_id=name).disconnect()
    watcher = persistent(presence, version, watcher_name)
    expect_presence(watcher, name, "connected")
    expect_presence(watcher, name, "disconnected")


def test_presence_messages_at_the_end_of_the_node_are_kept(make_broker):
    node = make_broker(PRESENCE | {"zone.external.durability": "fsync", "node.workers": "2"})
    name, watcher_name = unique(), unique()
    watcher = persistent(node, 4, watcher_name)
    watcher.subscribe(f"{TREE}{name}/disconnected", qos=1)
    watcher.disconnect()
    client = node.connect(4, client_id=name)
    node.stop()
    client.expect_closed()
    node.start()
    watcher = persistent(node, 4, watcher_name)
    assert expect_presence(watcher, name, "disconnected")["reason"] == "shutdown"


def test_presence_is_off_unless_switched_on(make_broker, version):
    node = make_broker({"node.workers": "1"})
    watcher = node.connect(version)
    watcher.subscribe(f"{TREE}#", qos=1)
    node.connect(version).disconnect()
    fence(node.connect(version), watcher)


# --- subscription


def subscribing(*filters, **settings):
    """Settings with these filters, a (topic, qos) each; qos None: not set."""
    lines = {"module.subscription": "on"}
    for number, (text, qos) in enumerate(filters):
        lines[f"module.subscription.{number}.topic"] = text
        if qos is not None:
            lines[f"module.subscription.{number}.qos"] = str(qos)
    return lines | settings


@pytest.fixture
def shipped(make_broker):
    """The filters of the shipped file."""
    return make_broker(subscribing(("$client/%c", 1), ("$user/%u", None)))


@pytest.mark.quick
def test_new_clients_are_subscribed(shipped, version):
    name, user = unique(), unique("user")
    client = shipped.connect(version, client_id=name, username=user)
    publisher = shipped.connect(version)
    publisher.publish(f"$client/{name}", b"one", qos=2)
    client.expect_publish(f"$client/{name}", b"one", qos=1)
    publisher.publish(f"$user/{user}", b"two", qos=1)
    client.expect_publish(f"$user/{user}", b"two", qos=1)
    publisher.publish("$client/other", b"three")
    fence(publisher, client)


def test_without_user_name_its_placeholder_stays(shipped, version):
    client, publisher = shipped.connect(version), shipped.connect(version)
    publisher.publish("$user/%u", b"x")
    client.expect_publish("$user/%u", b"x", qos=0)
    publisher.expect_publish("$user/%u", b"x", qos=0)


def test_a_client_id_with_wildcards_opens_nothing(shipped, version):
    client = shipped.connect(version, client_id="+", username="#")
    publisher = shipped.connect(version, client_id=unique())
    publisher.publish("$client/other", b"x")
    fence(publisher, client)
    expect_log(shipped, "[Subscription] the client is not subscribed to $client/%c")
    expect_log(shipped, "[Subscription] the client is not subscribed to $user/%u")


def test_the_client_may_end_and_change_its_subscription(shipped, version):
    name = unique()
    client, publisher = persistent(shipped, version, name), shipped.connect(version)
    client.subscribe(f"$client/{name}", qos=0)
    publisher.publish(f"$client/{name}", b"one", qos=1)
    client.expect_publish(f"$client/{name}", b"one", qos=0)
    client.unsubscribe(f"$client/{name}")
    publisher.publish(f"$client/{name}", b"two", qos=1)
    fence(publisher, client)
    client.disconnect()
    client = persistent(shipped, version, name)  # resumed: not subscribed again
    assert client.connack.session_present or version == 3
    publisher.publish(f"$client/{name}", b"three", qos=1)
    fence(publisher, client)


def test_what_comes_while_the_client_is_away_waits(shipped, version):
    name = unique()
    persistent(shipped, version, name).disconnect()
    shipped.connect(version).publish(f"$client/{name}", b"x", qos=1)
    client = persistent(shipped, version, name)
    client.expect_publish(f"$client/{name}", b"x", qos=1)
    client.expect_nothing()


def test_the_subscription_survives_a_crash(make_broker, version):
    node = make_broker(subscribing(("$client/%c", 1), **{"zone.external.durability": "fsync"}))
    name = unique()
    persistent(node, version, name)
    node.kill()
    node.settings["module.subscription"] = "off"
    node.start()
    node.connect(version).publish(f"$client/{name}", b"x", qos=1)
    client = persistent(node, version, name)
    client.expect_publish(f"$client/{name}", b"x", qos=1)


def test_a_session_begun_anew_is_subscribed_anew(shipped, version):
    name = unique()
    client = persistent(shipped, version, name)
    client.unsubscribe(f"$client/{name}")
    client.disconnect()
    client = shipped.connect(version, client_id=name, clean=True)
    shipped.connect(version).publish(f"$client/{name}", b"x")
    client.expect_publish(f"$client/{name}", b"x")


def test_retained_messages_follow_connack(make_broker, version):
    node = make_broker(subscribing(("news/#", 1)))
    node.connect(version).publish("news/today", b"x", qos=1, retain=True)
    client = node.connect(version)  # expects CONNACK first
    client.expect_publish("news/today", b"x", qos=1, retain=True)


def test_access_rules_and_mountpoint_are_not_asked(make_broker, tmp_path, version):
    rules = tmp_path / "acl.conf"
    rules.write_text('{deny, all, subscribe, ["#"]}.\n{allow, all}.\n')
    node = make_broker(subscribing(("m/auto", 1), **{
        "zone.external.enable_acl": "on", "acl_file": str(rules), "zone.external.mountpoint": "m/",
        "zone.external.max_topic_levels": "1", "zone.external.wildcard_subscription": "false",
    }))  # fmt: skip
    client = node.connect(version)
    client.subscribe("auto", codes=[0x87 if version == 5 else 0x80])
    client.publish("auto", b"x", qos=1)
    client.expect_publish("auto", b"x", qos=1)


def test_shared_filters(make_broker, version):
    node = make_broker(subscribing(("$share/all/work", 1), **{"node.workers": "1"}))
    workers = [node.connect(version) for _ in range(2)]
    for number in range(4):
        workers[0].publish("work", b"%d" % number, qos=1)
    found = []
    for worker in workers:
        worker.send(p.Pingreq())
        while not isinstance(packet := worker.receive(), p.Pingresp):
            worker.acknowledge(packet)
            found.append(packet.payload)
    assert sorted(found) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "settings, line",
    [
        (subscribing(("a/#/b", 1)), r"emqx\.conf:\d+: module\.subscription\.0\.topic invalid: it is no topic filter"),
        (subscribing(("$share/a", 1)), r"emqx\.conf:\d+: module\.subscription\.0\.topic invalid: it is no topic filter"),
        ({"module.subscription": "on", "module.subscription.7.qos": "1"},
         r"emqx\.conf:\d+: module\.subscription\.7\.qos invalid: there is no topic with that ID"),
    ],
)  # fmt: skip
def test_a_bad_subscription_stops_the_start(settings, line):
    status, said = failed_start(settings)
    assert status == 1
    assert re.search(line + r"\n  Right would be: ", said), said


# --- rewrite


def rewriting(*rules, **settings):
    """Settings with these rules, by rising ID."""
    return {"module.rewrite": "on"} | {f"module.rewrite.rule.{number}": rule for number, rule in enumerate(rules, 1)} | settings


SHIPPED_RULES = ["x/# ^x/y/(.+)$ z/y/$1", "y/+/z/# ^y/(.+)/z/(.+)$ y/z/$2"]


@pytest.fixture
def rules(make_broker):
    return make_broker(rewriting(*SHIPPED_RULES))


@pytest.mark.quick
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_published_topics_are_rewritten(rules, version, qos):
    watcher, publisher = rules.connect(version), rules.connect(version)
    watcher.subscribe("#", qos=2)
    for topic, becomes in [("x/y/abc", "z/y/abc"), ("y/a/z/b", "y/z/b"), ("x/1/2", "x/1/2"), ("a", "a")]:
        publisher.publish(topic, topic.encode(), qos=qos)
        watcher.expect_publish(becomes, topic.encode(), qos=qos)


def test_filters_are_rewritten(rules, version):
    client, publisher = rules.connect(version), rules.connect(version)
    client.subscribe("x/y/a", "x/y/b/#", "q", qos=1)
    publisher.publish("z/y/a", b"1")
    client.expect_publish("z/y/a", b"1")
    publisher.publish("x/y/b/c", b"2")
    client.expect_publish("z/y/b/c", b"2")
    client.unsubscribe("x/y/a")
    client.unsubscribe("z/y/b/#")
    publisher.publish("z/y/a", b"3")
    publisher.publish("z/y/b/c", b"4")
    publisher.publish("q", b"5")
    client.expect_publish("q", b"5")


def test_retained_messages_of_a_rewritten_filter(rules, version):
    rules.connect(version).publish("x/y/kept", b"1", qos=1, retain=True)
    client = rules.connect(version)
    client.subscribe("x/y/kept")
    client.expect_publish("z/y/kept", b"1", retain=True)


def test_shared_filters_keep_their_group(rules, version):
    client, publisher = rules.connect(version), rules.connect(version)
    client.subscribe("$share/g/x/y/s", "$queue/x/y/q")
    publisher.publish("z/y/s", b"1")
    client.expect_publish("z/y/s", b"1")
    publisher.publish("x/y/q", b"2")
    client.expect_publish("z/y/q", b"2")
    client.unsubscribe("$share/g/x/y/s", "$queue/x/y/q")
    publisher.publish("z/y/s", b"3")
    fence(publisher, client)


def test_wills_and_properties_are_rewritten_along(rules, version):
    watcher = rules.connect(version)
    watcher.subscribe("z/#", qos=1)
    dying = rules.connect(version, will=p.Will("x/y/will", b"gone", qos=1))
    dying.drop()
    watcher.expect_publish("z/y/will", b"gone", qos=1)
    if version == 5:
        publisher = rules.connect(5)
        publisher.publish("x/y/p", b"1", qos=1, properties={Prop.CONTENT_TYPE: "t", Prop.MESSAGE_EXPIRY_INTERVAL: 100})
        found = watcher.expect_publish("z/y/p", b"1")
        assert found.properties.get(Prop.CONTENT_TYPE) == "t"
        assert found.properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) in range(80, 101)


def test_access_rules_see_what_the_client_said(make_broker, tmp_path, version):
    file = tmp_path / "acl.conf"
    file.write_text('{deny, all, publish, ["x/y/no"]}.\n{deny, all, publish, ["z/#"]}.\n{allow, all}.\n')
    node = make_broker(rewriting(*SHIPPED_RULES, **{"zone.external.enable_acl": "on", "acl_file": str(file)}))
    watcher, publisher = node.connect(version), node.connect(version)
    watcher.subscribe("#", qos=1)
    for topic in ("x/y/no", "z/y/no", "x/y/yes"):
        publisher.publish(topic, b"1", qos=1, reason=0x87 if topic != "x/y/yes" else 0)
    watcher.expect_publish("z/y/yes", b"1")
    watcher.expect_nothing()


def test_the_mountpoint_is_before_rules_for_topics_and_behind_them_for_filters(make_broker, version):
    node = make_broker(rewriting("m/x/# ^m/x/(.+)$ m/z/$1", "x/# ^x/(.+)$ z/$1", **{"zone.external.mountpoint": "m/"}))
    client = node.connect(version)
    client.subscribe("x/1")
    client.publish("x/1", b"1")
    client.expect_publish("z/1", b"1")


def test_rules_apply_by_rising_id_whatever_their_order(make_broker, version):
    node = make_broker({
        "module.rewrite": "on",
        "module.rewrite.rule.10": "a/# ^a/(.+)$ ten/$1",
        "module.rewrite.rule.9": "a/b ^a/b$ nine",
    })  # fmt: skip
    client = node.connect(version)
    client.subscribe("nine", "ten/#")
    client.publish("a/b", b"1")
    client.expect_publish("nine", b"1")
    client.publish("a/c", b"2")
    client.expect_publish("ten/c", b"2")


def test_what_would_be_no_topic_stays(make_broker, version):
    node = make_broker(rewriting("a/# ^a/(.*)$ $1"))
    client = node.connect(version)
    client.subscribe("a/")  # would be empty
    client.publish("a/", b"1")
    client.expect_publish("a/", b"1")
    expect_log(node, "[Rewrite] a/ stays as it is: the rule makes no topic of it")


def test_no_topic_holds_the_broker(make_broker, version):
    """Of a rule whose matching would take longer than anybody lives."""
    node = make_broker(rewriting("a/# ^a/(b+)+(b+)+(b+)+$ z/$1", **{"node.workers": "1"}))
    topic = "a/" + 60 * "b" + "!"
    client = node.connect(version)
    client.subscribe("#", qos=1)
    for _ in range(20):
        client.publish(topic, b"1", qos=1)
        client.expect_publish(topic, b"1", qos=1)
    expect_log(node, "its rule would take too long")


def test_a_callback_of_rewrite_costs_nobody_a_message(rules):
    """Many in flight at once, with payloads that take over their buffer as well."""
    watcher, publisher = rules.connect(), rules.connect()
    watcher.subscribe("z/y/+", qos=1)
    payloads = [bytes([number]) * (10 if number % 2 else 70000) for number in range(30)]
    publisher.send(*[p.Publish("x/y/t", payload, 1, packet_id=number) for number, payload in enumerate(payloads, 1)])
    for payload in payloads:
        watcher.expect_publish("z/y/t", payload)


@pytest.mark.parametrize(
    "rule, why",
    [
        ("x/#", "it has 1 word"),
        ("x/# ^x y z", "it has 4 words"),
        ("x/#/y ^x y", "x/#/y is no topic filter"),
        ("x/# ^x/(.+$ y/$1", "the regular expression ^x/(.+$ is wrong at its character 8: missing closing parenthesis"),
        ("x/# ^x/(.+)$ y/$2", "the new topic has $2, but the regular expression has 1 group in parentheses"),
        ("x/# ^x/(.+)$ y+", "y+ makes no topic"),
    ],
)
def test_a_bad_rule_stops_the_start(rule, why):
    status, said = failed_start(rewriting(SHIPPED_RULES[0], rule))
    assert status == 1
    pattern = r"emqx\.conf:\d+: module\.rewrite\.rule\.2 invalid: " + re.escape(why) + r"\n  Right would be: .*: x/# \^x/y/\(\.\+\)\$ z/y/\$1"
    assert re.search(pattern, said), said


def restart(node):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    return subprocess.run([str(BINARY), "restart"], env=environment | {"EMQX_ROOT": str(node.directory)}, capture_output=True,
                          text=True, timeout=6 * DEADLINE_S)  # fmt: skip


@pytest.mark.parametrize(
    "right, wrong, line",
    [
        ("module.rewrite.rule.1 = x/# ^x/y/(.+)$ z/y/$1", "module.rewrite.rule.1 = x/#", "module.rewrite.rule.1 invalid: it has 1 word"),
        ("module.subscription.0.topic = a", "module.subscription.0.topic = a#", "module.subscription.0.topic invalid: it is no topic filter"),
    ],
)  # fmt: skip
def test_a_restart_is_refused_while_a_module_s_setting_is_wrong(make_broker, right, wrong, line):
    node = make_broker(rewriting(*SHIPPED_RULES) | subscribing(("a", 1)))
    file = node.directory / "etc" / "emqx.conf"
    text = file.read_text()
    client = node.connect()
    file.write_text(text.replace(right, wrong))
    answer = restart(node)
    assert answer.returncode == 1
    assert line in answer.stderr and "The broker goes on as it is." in answer.stderr
    client.ping()
    file.write_text(text)
    assert restart(node).returncode == 0
    client.expect_disconnect(0x8B)
    client = node.connect()
    client.subscribe("x/y/1")
    client.publish("z/y/1", b"1")
    client.expect_publish("z/y/1", b"1")


def test_rules_are_not_looked_at_while_the_module_is_off(make_broker, version):
    node = make_broker({"module.rewrite": "off", "module.rewrite.rule.1": "# . z"})
    client = node.connect(version)
    client.subscribe("a")
    client.publish("a", b"1")
    client.expect_publish("a", b"1")
