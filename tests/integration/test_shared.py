"""Shared subscriptions: section 4.8.2 and the broker's strategies."""

from collections import Counter

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop
from test_subscribe import expect_filter_refused

pytestmark = pytest.mark.threads


def members(broker, pattern: str, count: int, qos: int = 0, version: int = 5, **fields) -> list:
    found = []
    for _ in range(count):
        found.append(broker.connect(version, **fields))
        found[-1].subscribe(pattern, qos=qos)
    return found


def collect(publisher, clients) -> list[list[bytes]]:
    """What each client got up to now; all are connected."""
    found = []
    for client in clients:
        topic = unique("fence/")
        client.subscribe(topic)
        publisher.publish(topic, b"")
        mine = []
        while (message := client.expect_publish()).topic != topic:
            mine.append(message.payload)
        client.unsubscribe(topic)
        found.append(mine)
    return found


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-4.8.2-2", "MQTT-4.8.2-3")
@pytest.mark.parametrize("prefix", ["$share/group/", "$queue/"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_goes_to_one_member(broker, version, topic, prefix, qos):
    group = members(broker, prefix + topic, 3, qos, version)
    publisher = broker.connect(version)
    for number in range(30):
        publisher.publish(topic, b"%d" % number, qos)
    got = collect(publisher, group)
    assert sorted(sum(got, []), key=int) == [b"%d" % number for number in range(30)]
    for mine in got:
        assert mine == sorted(mine, key=int)


@pytest.mark.mqtt5("MQTT-4.8.2-1")
def test_each_group_and_each_plain_subscriber_gets_the_message(broker, topic):
    groups = [members(broker, f"$share/{name}/{topic}", 2) for name in ("one", "two")]
    plain = members(broker, topic, 1)
    queue = members(broker, f"$queue/{topic}", 2)
    publisher = broker.connect()
    publisher.publish(topic, b"x")
    for group in (*groups, plain, queue):
        assert sorted(collect(publisher, group), key=len)[-1] == [b"x"]
        assert sum(len(mine) for mine in collect(publisher, group)) == 0


@pytest.mark.mqtt5("MQTT-4.8.2-3")
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_granted_qos_of_the_member_counts(broker, topic, granted):
    (client,) = members(broker, f"$share/g/{topic}", 1, granted)
    broker.connect().publish(topic, b"x", 2)
    client.expect_publish(topic, b"x", qos=granted)


@pytest.mark.mqtt5("MQTT-3.8.3-4", "MQTT-4.13.1-1")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(broker, topic):
    client = broker.connect()
    client.send(p.Subscribe(1, [p.Filter(f"$share/g/{topic}", no_local=True)]))
    client.expect_disconnect(0x82)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize("pattern", ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a", "$share/+/a"])
def test_a_malformed_share_filter_is_refused(broker, pattern):
    client = broker.connect()
    client.send(p.Subscribe(1, [p.Filter(pattern)]))
    if pattern == "$share":  # an ordinary filter of one level
        client.expect(p.Suback)
    else:
        expect_filter_refused(client, 1)


@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-3.10.4-1")
def test_a_member_that_unsubscribes_gets_nothing_more(broker, version, topic):
    stays, leaves = members(broker, f"$share/g/{topic}", 2, version=version)
    leaves.unsubscribe(f"$share/g/{topic}")
    publisher = broker.connect(version)
    for _ in range(10):
        publisher.publish(topic, b"x")
    assert [len(mine) for mine in collect(publisher, [stays, leaves])] == [10, 0]


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.8.4-3")
def test_a_shared_and_a_plain_subscription_are_two(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=0)
    client.subscribe(f"$share/g/{topic}", qos=1)
    publisher = broker.connect(version)
    publisher.publish(topic, b"x", 1)
    assert sorted(client.expect_publish(topic, b"x").qos for _ in range(2)) == [0, 1]
    client.unsubscribe(f"$share/g/{topic}")
    publisher.publish(topic, b"y", 1)
    client.expect_publish(topic, b"y", qos=0)
    fence(publisher, client)


@pytest.mark.mqtt5("MQTT-3.3.4-3")
def test_a_shared_subscription_has_its_identifier(broker, topic):
    client = broker.connect()
    client.subscribe(f"$share/g/{topic}", properties={Prop.SUBSCRIPTION_IDENTIFIER: 3})
    broker.connect().publish(topic, b"x")
    assert client.expect_publish(topic).properties.all(Prop.SUBSCRIPTION_IDENTIFIER) == [3]


@pytest.mark.mqtt5("MQTT-4.8.2-1")
def test_a_wildcard_filter_can_be_shared(broker, version):
    root = unique("shared")
    group = members(broker, f"$share/g/{root}/+/#", 2, version=version)
    publisher = broker.connect(version)
    for name in ("a", "a/b", "c/d/e"):
        publisher.publish(f"{root}/{name}", name.encode())
    assert sorted(sum(collect(publisher, group), [])) == [b"a", b"a/b", b"c/d/e"]


@pytest.mark.emqc
def test_a_member_that_is_offline_is_not_preferred(broker, version, topic):
    name = unique()
    fields = {"properties": {Prop.SESSION_EXPIRY_INTERVAL: 60}} if version == 5 else {}
    gone = broker.connect(version, client_id=name, clean=False, **fields)
    gone.subscribe(f"$share/g/{topic}", qos=1)
    (online,) = members(broker, f"$share/g/{topic}", 1, 1, version)
    gone.disconnect()
    publisher = broker.connect(version)
    for _ in range(20):
        publisher.publish(topic, b"x", 1)
    assert len(collect(publisher, [online])[0]) == 20


@pytest.mark.emqc
def test_a_group_whose_members_are_all_offline_queues(broker, version, topic):
    name = unique()
    fields = {"properties": {Prop.SESSION_EXPIRY_INTERVAL: 60}} if version == 5 else {}
    gone = broker.connect(version, client_id=name, clean=False, **fields)
    gone.subscribe(f"$share/g/{topic}", qos=1)
    gone.disconnect()
    broker.connect(version).publish(topic, b"x", 1, reason=0)
    again = broker.connect(version, client_id=name, clean=False, **fields)
    again.expect_publish(topic, b"x")


@pytest.mark.mqtt5("MQTT-4.8.2-4")
def test_a_qos_2_message_under_way_is_completed_with_its_member(broker, topic):
    name = unique()
    session = dict(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    chosen = broker.connect(**session)
    chosen.subscribe(f"$share/g/{topic}", qos=2)
    publisher = broker.connect()
    publisher.publish(topic, b"x", 2)
    message = chosen.expect_publish(topic, b"x", ack=False)
    (other,) = members(broker, f"$share/g/{topic}", 1, 2)
    chosen.drop()
    fence(publisher, other)
    again = broker.connect(**session)
    again.expect_publish(topic, b"x", dup=True, packet_id=message.packet_id)
    other.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.8.2-5")
def test_a_qos_2_message_under_way_goes_to_nobody_else_when_the_session_ends(broker, topic):
    chosen = broker.connect(properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    chosen.subscribe(f"$share/g/{topic}", qos=2)
    publisher = broker.connect()
    publisher.publish(topic, b"x", 2)
    message = chosen.expect_publish(topic, b"x", ack=False)
    chosen.send(p.Pubrec(message.packet_id))
    chosen.expect(p.Pubrel)
    (other,) = members(broker, f"$share/g/{topic}", 1, 2)
    chosen.disconnect(properties={Prop.SESSION_EXPIRY_INTERVAL: 0})
    fence(publisher, other)


@pytest.mark.mqtt5("MQTT-4.8.2-6")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_a_member_refuses_goes_to_nobody_else(broker, topic, qos):
    group = members(broker, f"$share/g/{topic}", 1, qos)
    publisher = broker.connect()
    publisher.publish(topic, b"x", qos)
    message = group[0].expect_publish(topic, b"x", ack=False)
    (other,) = members(broker, f"$share/g/{topic}", 1, qos)
    group[0].send((p.Puback if qos == 1 else p.Pubrec)(message.packet_id, 0x83))
    group[0].expect_nothing()
    fence(publisher, other)


@pytest.mark.emqc
@pytest.mark.config({"zone.external.max_inflight": "1", "broker.shared_subscription_strategy": "round_robin"})
def test_what_waits_for_a_member_that_leaves_goes_to_the_others(broker, version, topic):
    leaves, stays = members(broker, f"$share/g/{topic}", 2, 1, version)
    publisher = broker.connect(version)
    for number in range(10):
        publisher.publish(topic, b"%d" % number, 1)
    under_way = leaves.expect_publish(topic, ack=False).payload
    leaves.expect_nothing()  # four more wait in its queue
    leaves.drop()
    got = sorted(stays.expect_publish(topic).payload for _ in range(9))
    assert got == [b"%d" % number for number in range(10) if b"%d" % number != under_way]
    stays.expect_nothing()


STRATEGY = "broker.shared_subscription_strategy"


@pytest.mark.emqc
@pytest.mark.config({STRATEGY: "round_robin"})
def test_round_robin_gives_each_member_the_same_number(broker, version, topic):
    group = members(broker, f"$share/g/{topic}", 4, version=version)
    publishers = [broker.connect(version) for _ in range(5)]
    for publisher in publishers:  # one counter for all publishers
        for _ in range(8):
            publisher.publish(topic, b"x")
        publisher.ping()
    counts = [len(mine) for mine in collect(publishers[0], group)]
    assert sum(counts) == 40 and max(counts) - min(counts) <= 4, counts


@pytest.mark.emqc
@pytest.mark.config({STRATEGY: "random"})
def test_random_reaches_every_member(broker, topic):
    group = members(broker, f"$share/g/{topic}", 4)
    publisher = broker.connect()
    for _ in range(200):
        publisher.publish(topic, b"x")
    counts = [len(mine) for mine in collect(publisher, group)]
    assert sum(counts) == 200 and min(counts) > 10, counts


@pytest.mark.emqc
@pytest.mark.config({STRATEGY: "sticky"})
def test_sticky_stays_with_one_member_while_it_lives(broker, topic):
    group = members(broker, f"$share/g/{topic}", 3)
    publisher = broker.connect()
    for _ in range(2):
        for _ in range(10):
            publisher.publish(topic, b"x")
        counts = [len(mine) for mine in collect(publisher, group)]
        assert sorted(counts) == [0] * (len(group) - 1) + [10], counts
        group.pop(counts.index(10)).disconnect()


@pytest.mark.emqc
@pytest.mark.config({STRATEGY: "hash"})
def test_hash_sends_a_publisher_to_the_same_member(broker, topic):
    group = members(broker, f"$share/g/{topic}", 3)
    reached = Counter()
    for _ in range(20):
        publisher = broker.connect()
        for _ in range(5):
            publisher.publish(topic, b"x")
        counts = [len(mine) for mine in collect(publisher, group)]
        assert sorted(counts) == [0, 0, 5], counts
        reached[counts.index(5)] += 1
    assert len(reached) > 1, "twenty publishers all hit one member"


@pytest.mark.emqc
@pytest.mark.config({"broker.shared_dispatch_ack_enabled": "true"})
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_with_dispatch_ack_offline_members_are_passed_over(broker, topic, qos):
    name = unique()
    gone = broker.connect(client_id=name, properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    gone.subscribe(f"$share/g/{topic}", qos=qos)
    (online,) = members(broker, f"$share/g/{topic}", 1, qos)
    gone.disconnect()
    publisher = broker.connect()
    for _ in range(10):
        publisher.publish(topic, b"x", qos)
    assert len(collect(publisher, [online])[0]) == 10


@pytest.mark.emqc
@pytest.mark.config({"broker.shared_dispatch_ack_enabled": "true", "zone.external.max_inflight": "1"})
def test_with_dispatch_ack_members_with_a_full_window_are_passed_over(broker, topic):
    full, free = members(broker, f"$share/g/{topic}", 2, 1, version=4)
    publisher = broker.connect()
    for _ in range(2):  # one each, whatever the strategy
        publisher.publish(topic, b"first", 1)
    full.expect_publish(topic, b"first", ack=False)
    free.expect_publish(topic, b"first")
    for number in range(6):
        free.ping()  # its PUBACK has been seen
        publisher.publish(topic, b"%d" % number, 1)
        free.expect_publish(topic, b"%d" % number)
    full.expect_nothing()


@pytest.mark.emqc
@pytest.mark.config({"mqtt.shared_subscription": "false"})
def test_shared_subscriptions_are_refused_where_they_are_off(broker, version, topic):
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.SHARED_SUBSCRIPTION_AVAILABLE) == 0
    no = 0x9E if version == 5 else 0x80
    client.subscribe(f"$share/g/{topic}", f"$queue/{topic}", topic, codes=[no, no, 0])
