"""Access rules: what a client may publish and subscribe to, and what it is told otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from emqc import packets as p
from emqc.broker import Broker
from emqc.client import DEADLINE_S, Client, fence, unique
from emqc.tls import ctl

pytestmark = pytest.mark.emqc

SHIPPED = Path(__file__).resolve().parents[2] / "etc" / "acl.conf"
NOT_AUTHORIZED = 0x87
FAILURE = 0x80  # in a SUBACK before version 5


@pytest.fixture
def rules(tmp_path, make_broker):
    """Starts a broker with these access rules: rules(text, settings). Its `rules` is the file."""

    def start(text: str, settings: dict | None = None) -> Broker:
        file = tmp_path / "acl.conf"
        file.write_text(text)
        node = make_broker({"zone.external.enable_acl": "on", "acl_file": str(file), "acl_nomatch": "allow"} | (settings or {}))
        node.rules = file
        return node

    return start


def denied(version: int) -> int:
    return NOT_AUTHORIZED if version == 5 else FAILURE


def metric(node, name: str) -> int:
    (line,) = [line for line in ctl(node, "broker", "metrics").splitlines() if line.split(":")[0].strip() == name]
    return int(line.split(":")[1])


# --- PUBLISH


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_denied_message_is_dropped_and_its_publisher_goes_on(rules, version, qos):
    node = rules('{deny, all, publish, ["secret/#"]}.\n')
    watcher = node.connect(version)
    watcher.subscribe("#", qos=2)
    publisher = node.connect(version)
    ack = publisher.publish("secret/plan", b"x", qos=qos, reason=NOT_AUTHORIZED)
    if qos:
        assert ack.reason == (NOT_AUTHORIZED if version == 5 else 0)
    publisher.publish("open/plan", b"y", qos=qos)
    watcher.expect_publish("open/plan", b"y")


@pytest.mark.parametrize("qos", [1, 2])
def test_a_denied_publisher_is_disconnected_where_the_zone_says_so(rules, version, qos):
    node = rules('{deny, all, publish, ["secret"]}.\n', {"zone.external.acl_deny_action": "disconnect"})
    client = node.connect(version)
    client.send(p.Publish("secret", b"x", qos, packet_id=7))
    client.expect(p.Puback if qos == 1 else p.Pubrec, packet_id=7)
    client.expect_disconnect(NOT_AUTHORIZED)


def test_the_global_deny_action_holds_for_zones_without_their_own(rules):
    node = rules('{deny, all, publish, ["secret"]}.\n', {"acl_deny_action": "disconnect"})
    client = node.connect()
    client.publish("secret", b"x")
    client.expect_closed()


def test_a_denied_qos_2_message_leaves_its_packet_id_free(rules):
    node = rules('{deny, all, publish, ["secret"]}.\n')
    client = node.connect()
    client.send(p.Publish("secret", b"x", 2, packet_id=7))
    client.expect(p.Pubrec, packet_id=7, reason=NOT_AUTHORIZED)
    client.send(p.Publish("open", b"x", 2, packet_id=7))
    client.expect(p.Pubrec, packet_id=7, reason={0, 0x10})


def test_the_topic_of_a_delayed_message_is_what_counts(rules):
    node = rules('{deny, all, publish, ["secret"]}.\n')
    client = node.connect()
    client.publish("$delayed/1/secret", b"x", qos=1, reason=NOT_AUTHORIZED)
    client.publish("$delayed/3600/open", b"x", qos=1, reason=0)


def test_a_topic_behind_an_alias_is_checked(rules):
    node = rules('{deny, all, publish, ["secret"]}.\n', {"zone.external.max_topic_alias": 5})
    client = node.connect()
    alias = [(p.Prop.TOPIC_ALIAS, 3)]
    client.publish("secret", b"x", qos=1, reason=NOT_AUTHORIZED, properties=alias)
    client.publish("", b"x", qos=1, reason=NOT_AUTHORIZED, properties=alias)


# --- SUBSCRIBE


def test_a_denied_filter_does_not_touch_the_others_of_its_packet(rules, version):
    node = rules('{deny, all, subscribe, ["secret/#"]}.\n')
    client = node.connect(version)
    client.subscribe("a", "secret/x", "b", qos=1, codes=[1, denied(version), 1])
    for topic in ("a", "b"):
        node.connect().publish(topic, b"x", qos=1)
        client.expect_publish(topic, b"x")


def test_a_denied_subscriber_is_disconnected_where_the_zone_says_so(rules, version):
    node = rules('{deny, all, subscribe, ["secret"]}.\n', {"zone.external.acl_deny_action": "disconnect"})
    client = node.connect(version)
    client.subscribe("a", "secret", codes=[0, denied(version)])
    client.expect_disconnect(NOT_AUTHORIZED)


def test_the_share_prefix_is_not_part_of_the_filter(rules):
    node = rules('{deny, all, subscribe, ["secret"]}.\n')
    node.connect().subscribe("$share/g/secret", "$share/g/open", codes=[NOT_AUTHORIZED, 0])


def test_a_packet_of_very_many_filters_is_checked_filter_by_filter(rules):
    node = rules('{deny, all, subscribe, ["secret/+"]}.\n')
    filters = [f"{'secret' if number % 3 == 0 else 'open'}/{number}" for number in range(600)]
    node.connect().subscribe(*filters, codes=[NOT_AUTHORIZED if name.startswith("secret") else 0 for name in filters])


# --- the will


def test_a_client_with_a_denied_will_is_refused(rules, version):
    node = rules('{deny, all, publish, ["secret"]}.\n')
    client = node.open(version).connect(expect=False, will=p.Will("secret", b"gone"))
    client.expect_refused(NOT_AUTHORIZED, code=5)
    node.connect(version, will=p.Will("open", b"gone"))


# --- who


def test_rules_know_user_client_and_address(rules):
    node = rules(
        '{allow, {user, "ann"}, pubsub, ["ann/#"]}.\n'
        '{allow, {client, "boiler"}, publish, ["heat"]}.\n'
        "{allow, {'and', [{user, \"bob\"}, {ipaddr, \"127.0.0.0/8\"}]}, subscribe, [\"bob\"]}.\n"
        '{allow, all, publish, ["own/%c", "user/%u"]}.\n'
        "{deny, all}.\n"
    )
    ann = node.connect(client_id="a1", username="ann")
    ann.subscribe("ann/x", "bob", codes=[0, NOT_AUTHORIZED])
    ann.publish("own/a1", b"", qos=1)
    ann.publish("own/a2", b"", qos=1, reason=NOT_AUTHORIZED)
    ann.publish("user/ann", b"", qos=1)
    boiler = node.connect(client_id="boiler")
    boiler.publish("heat", b"", qos=1)
    boiler.publish("ann/x", b"", qos=1, reason=NOT_AUTHORIZED)
    boiler.publish("user/%u", b"", qos=1, reason=NOT_AUTHORIZED)  # it has no user name
    node.connect(username="bob").subscribe("bob", codes=[0])


def test_rules_do_not_see_the_mountpoint(rules):
    node = rules('{deny, all, pubsub, ["secret"]}.\n', {"zone.external.mountpoint": "tenant/"})
    client = node.connect()
    client.publish("secret", b"", qos=1, reason=NOT_AUTHORIZED)
    client.subscribe("secret", "open", codes=[NOT_AUTHORIZED, 0])


def test_what_no_rule_names_is_decided_by_acl_nomatch(rules):
    text = '{allow, all, pubsub, ["open"]}.\n'
    node = rules(text, {"acl_nomatch": "deny"})
    client = node.connect()
    client.subscribe("open", "other", codes=[0, NOT_AUTHORIZED])
    node = rules(text, {"acl_nomatch": "deny", "zone.external.acl_nomatch": "allow"})
    node.connect().subscribe("open", "other", codes=[0, 0])


def test_a_zone_without_enable_acl_asks_nobody(rules):
    node = rules("{deny, all}.\n", {"zone.external.enable_acl": "off"})
    client = node.connect()
    client.subscribe("a", codes=[0])
    client.publish("a", b"", qos=1)


# --- what is remembered


def test_a_verdict_is_remembered_until_it_is_old(rules):
    node = rules('{allow, all}.\n', {"acl_cache_ttl": "1s"})
    client = node.connect()
    began = time.monotonic()
    for _ in range(5):
        client.publish("a", b"", qos=1)
    in_time = time.monotonic() - began < 0.9
    assert metric(node, "client.acl.allow") == 1 or not in_time
    deadline = time.monotonic() + DEADLINE_S
    while metric(node, "client.acl.allow") < 2:
        assert time.monotonic() < deadline
        client.publish("a", b"", qos=1)


def test_nothing_is_remembered_with_the_cache_off(rules):
    node = rules('{allow, all}.\n', {"enable_acl_cache": "off"})
    client = node.connect()
    for _ in range(5):
        client.publish("a", b"", qos=1)
    assert metric(node, "client.acl.allow") == 5


def test_changed_rules_hold_at_once_for_connected_clients(rules):
    node = rules('{allow, all}.\n')
    client = node.connect()
    client.publish("a", b"", qos=1)
    node.rules.write_text('{deny, all, publish, ["a"]}.\n')
    ctl(node, "acl", "reload")
    client.publish("a", b"", qos=1, reason=NOT_AUTHORIZED)
    node.rules.write_text('{allow, all}.\n')
    ctl(node, "acl", "reload")
    client.publish("a", b"", qos=1)


# --- the shipped file


def test_the_shipped_rules_keep_others_from_everything_at_once(make_broker, tmp_path):
    """From this machine everything may be read; that a stranger may not is seen by taking this machine's line away."""
    shipped = SHIPPED.read_text()
    line = '{allow, {ipaddr, "127.0.0.1"}, pubsub, ["$SYS/#", "#"]}.'
    assert line in shipped
    for text, codes in ((shipped, [0, 0, 0]), (shipped.replace(line, ""), [NOT_AUTHORIZED, NOT_AUTHORIZED, 0])):
        file = tmp_path / unique("acl")
        file.write_text(text)
        node = make_broker({"zone.external.enable_acl": "on", "acl_file": str(file), "acl_nomatch": "allow"})
        client: Client = node.connect()
        client.subscribe("#", "$SYS/brokers", "a/#", codes=codes)
        fence(node.connect(), client)
