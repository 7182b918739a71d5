"""Delayed messages: $delayed/SECONDS/TOPIC."""

from __future__ import annotations

import random
import re
import time

import pytest

from emqc import packets as p
from emqc.client import DEADLINE_S, Client, unique
from emqc.packets import Prop
from emqc.tls import ctl

pytestmark = pytest.mark.emqc

DELAY_S = 1
TOPIC_NAME_INVALID = 0x90
QUOTA_EXCEEDED = 0x97
LARGE = 20_000  # bytes of a payload that waits on disk only

ROW = re.compile(
    r"Delayed\((?P<id>\d+), due=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, left=(?P<left>\d+)s, topic=(?P<topic>[^,]*), qos=(?P<qos>\d), "
    r"retain=(?P<retain>true|false), payload_size=(?P<size>\d+), client_id=(?P<client_id>[^)]*)\)"
)


def delayed(seconds: int, topic: str) -> str:
    return f"$delayed/{seconds}/{topic}"


def rows(node, *words) -> list[dict]:
    lines = ctl(node, "delayed", "list", *words).splitlines()
    found = [ROW.fullmatch(line) for line in lines]
    assert all(found), lines
    return [item.groupdict() for item in found]


def info(node) -> dict:
    return dict(re.split(r"\s*: ", line, maxsplit=1) for line in ctl(node, "delayed", "info").splitlines())


def figure(node, of: str, name: str) -> int:
    (line,) = [line for line in ctl(node, "broker", of).splitlines() if line.split(":")[0].strip() == name]
    return int(line.split(":")[1])


def wait_for(condition):
    """Asks until it is so: of what no client is told."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until(moment: float):
    """Lets time pass where nothing says so: the broker is down, or the moment of a kill is drawn."""
    while time.monotonic() < moment:
        time.sleep(0.002)


@pytest.mark.quick
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_comes_after_its_delay(broker, version, topic, qos):
    reader = broker.connect(version)
    reader.subscribe(topic, qos=2)
    publisher = broker.connect(version)
    begin = time.monotonic()
    publisher.publish(delayed(DELAY_S, topic), b"later", qos, reason=0)
    publisher.publish(topic, b"now", 1)
    reader.expect_publish(topic, b"now")
    reader.expect_nothing()
    reader.expect_publish(topic, b"later", qos=qos, retain=False)
    assert time.monotonic() - begin >= DELAY_S
    reader.expect_nothing()


def test_messages_come_in_the_order_of_their_times(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=1)
    publisher.publish(delayed(2, topic), b"third", 1, reason=0)
    for i in range(200):
        publisher.publish(delayed(1, topic), b"%d" % i, 1, reason=0)
    publisher.publish(delayed(0, topic), b"first", 1, reason=0)
    reader.expect_publish(topic, b"first")
    for i in range(200):
        reader.expect_publish(topic, b"%d" % i)
    reader.expect_publish(topic, b"third")


def test_an_absolute_time(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=1)
    due = int(time.time()) + 2
    publisher.publish(delayed(due, topic), b"second", 1, reason=0)
    publisher.publish(delayed(due - 1000, topic), b"first: that time has passed", 1, reason=0)
    reader.expect_publish(topic, b"first: that time has passed")
    reader.expect_publish(topic, b"second")
    assert time.time() >= due


def test_the_topic_itself_gets_nothing(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe("$delayed/#", qos=1)
    reader.subscribe(topic, qos=1)
    publisher.publish(delayed(0, topic), b"m", 1, reason=0)
    reader.expect_publish(topic, b"m")
    reader.expect_nothing()


def test_properties_are_kept_and_the_expiry_interval_counts_from_the_first_publish(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=1)
    properties = [(Prop.MESSAGE_EXPIRY_INTERVAL, 100), (Prop.USER_PROPERTY, ("a", "b")), (Prop.CONTENT_TYPE, "text/plain")]
    publisher.publish(delayed(2, topic), b"m", 1, reason=0, properties=properties)
    publisher.publish(delayed(1, topic), b"expired", 1, reason=0, properties=[(Prop.MESSAGE_EXPIRY_INTERVAL, 0)])
    message = reader.expect_publish(topic, b"m")
    assert message.properties.get(Prop.USER_PROPERTY) == ("a", "b")
    assert message.properties.get(Prop.CONTENT_TYPE) == "text/plain"
    assert 96 <= message.properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) <= 98


MALFORMED = ["$delayed/", "$delayed/5", "$delayed/5/", "$delayed//a", "$delayed/x/a", "$delayed/-1/a", "$delayed/1.5/a",
             "$delayed/9999999999/a", "$delayed/5/$delayed/5/a"]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_topics_are_refused(broker, name, qos):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe("$delayed/#", "a", qos=1)
    publisher.publish(name, b"m", qos, reason=TOPIC_NAME_INVALID, packet_id=7)
    publisher.publish(delayed(0, "a"), b"good", qos, reason=0, packet_id=7)  # the packet ID is free again
    reader.expect_publish("a", b"good")
    reader.expect_nothing()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_malformed_topics_of_old_clients_are_acknowledged_and_dropped(broker, old_version, qos):
    reader, publisher = broker.connect(), broker.connect(old_version)
    reader.subscribe("$delayed/#", "a", qos=1)
    for name in MALFORMED:
        publisher.publish(name, b"m", qos)
    publisher.publish(delayed(0, "a"), b"good", qos)
    reader.expect_publish("a", b"good")
    reader.expect_nothing()


@pytest.mark.config({"zone.external.max_topic_alias": "10"})
def test_a_topic_alias_may_stand_for_the_delayed_topic(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=1)
    publisher.publish(delayed(0, topic), b"1", 1, reason=0, properties=[(Prop.TOPIC_ALIAS, 1)])
    publisher.publish("", b"2", 1, reason=0, properties=[(Prop.TOPIC_ALIAS, 1)])
    reader.expect_publish(topic, b"1")
    reader.expect_publish(topic, b"2")


def test_a_retained_message_is_retained_when_it_is_due(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=1)
    publisher.publish(delayed(1, topic), b"kept", 1, reason=0, retain=True)
    early = broker.connect()
    early.subscribe(topic, "$delayed/#")
    early.expect_nothing()
    early.disconnect()
    reader.expect_publish(topic, b"kept", retain=False)
    late = broker.connect()
    late.subscribe(topic, qos=1)
    late.expect_publish(topic, b"kept", retain=True)
    publisher.publish(topic, b"", 1, retain=True)


@pytest.mark.config({"zone.external.mountpoint": "m/%c/"})
def test_the_mount_point_is_put_before_the_inner_topic(broker, version):
    client = broker.connect(version, client_id="one")
    client.subscribe("a/#", qos=1)
    client.publish(delayed(0, "a/b"), b"x", 1, reason=0)
    client.expect_publish("a/b", b"x")
    assert rows(broker) == []


@pytest.mark.parametrize("settings", [{}, {"zone.external.mountpoint": "m/%u/"}], ids=["plain", "mount-point"])
def test_a_will_may_be_delayed(make_broker, version, settings):
    node = make_broker(settings)
    reader = node.connect(version, username="u")
    reader.subscribe("w/#", "$delayed/#", qos=2)
    client = node.connect(version, username="u", will=p.Will(delayed(1, "w/t"), b"gone", 1))
    begin = time.monotonic()
    client.drop()
    reader.expect_publish("w/t", b"gone", qos=1)
    assert time.monotonic() - begin >= 1
    reader.expect_nothing()


def test_a_delayed_will_of_the_last_moment_is_sent_after_the_restart(make_broker):
    node = make_broker()
    node.connect(will=p.Will(delayed(1, "w/t"), b"gone", 1))
    node.stop()
    node.start()
    reader = node.connect()
    reader.subscribe("w/#", qos=1)
    reader.expect_publish("w/t", b"gone", qos=1)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_will_with_a_malformed_delay_is_refused(broker, name):
    client = broker.open()
    client.send(p.Connect(client_id=unique(), will=p.Will(name, b"m", 1)))
    client.expect_refused(TOPIC_NAME_INVALID)


@pytest.mark.config({"delayed.max_messages": "2", "delayed.max_payload": "1KB"})
@pytest.mark.parametrize("qos", [1, 2])
def test_limits(broker, topic, qos):
    publisher = broker.connect()
    publisher.publish(delayed(100, topic), b"x" * 1025, qos, reason=QUOTA_EXCEEDED, packet_id=1)
    publisher.publish(delayed(100, topic), b"x" * 1024, qos, reason=0, packet_id=1)
    publisher.publish(delayed(100, topic), b"b", qos, reason=0)
    publisher.publish(delayed(100, topic), b"c", qos, reason=QUOTA_EXCEEDED)
    publisher.publish(topic, b"not delayed", qos, reason=0x10)
    assert figure(broker, "stats", "delayed.count") == 2
    assert figure(broker, "metrics", "messages.delayed.dropped") == 2
    ctl(broker, "delayed", "delete", rows(broker)[0]["id"])
    publisher.publish(delayed(100, topic), b"c", qos, reason=0)
    assert info(broker)["waiting"] == "2" and info(broker)["limit"] == "2"


@pytest.mark.config({"store.min_free_space": "1000000GB"})
def test_a_full_disk_refuses_what_would_have_to_be_stored(broker, topic):
    reader, publisher = broker.connect(), broker.connect()
    reader.subscribe(topic, qos=2)
    for qos in (1, 2):
        publisher.publish(delayed(0, topic), b"refused", qos, reason=QUOTA_EXCEEDED)
    older = broker.connect(4)
    older.send(p.Publish(delayed(0, topic), b"refused", 1, packet_id=1))
    older.expect_closed()  # it shall try again
    publisher.publish(delayed(0, topic), b"nobody was promised anything", 0)
    reader.expect_publish(topic, b"nobody was promised anything", qos=0)
    reader.expect_nothing()


def crash(node):
    node.kill()


def stop(node):
    node.stop()


@pytest.mark.parametrize("end", [stop, crash])
def test_messages_survive_a_restart(make_broker, end):
    node = make_broker()
    publisher = node.connect()
    publisher.publish(delayed(3, "t"), b"three", 1, reason=0)
    publisher.publish(delayed(4, "t"), b"four" * LARGE, 2, reason=0)
    publisher.publish(delayed(600, "t"), b"much later", 1, reason=0, retain=True)
    begin = time.monotonic()
    end(node)
    node.start()
    reader = node.connect()
    reader.subscribe("t", qos=2)
    assert [(row["topic"], row["qos"], row["retain"]) for row in rows(node)] == [
        ("t", "1", "false"), ("t", "2", "false"), ("t", "1", "true")]
    assert rows(node)[2]["client_id"] == publisher.connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER, publisher.client_id)
    reader.expect_publish("t", b"three", qos=1)
    assert time.monotonic() - begin >= 2.9  # the acknowledgement came a moment after the broker's clock was read
    reader.expect_publish("t", b"four" * LARGE, qos=2)
    reader.expect_nothing()
    assert len(rows(node)) == 1


@pytest.mark.parametrize("end", [stop, crash])
def test_what_became_due_while_the_broker_was_down_is_sent_after_the_start(make_broker, end):
    node = make_broker()
    publisher = node.connect()
    # Subscribed before: a subscription made while the broker sends may get a message as published and as retained.
    absent = node.connect(client_id="absent", properties=[(Prop.SESSION_EXPIRY_INTERVAL, 600)])
    absent.subscribe("t/#", qos=2)
    publisher.publish(delayed(1, "t/small"), b"small", 1, reason=0, retain=True)
    publisher.publish(delayed(1, "t/large"), b"large" * LARGE, 2, reason=0, retain=True)
    publisher.publish(delayed(1, "t/expired"), b"expired", 1, reason=0, retain=True,
                      properties=[(Prop.MESSAGE_EXPIRY_INTERVAL, 1)])
    begin = time.monotonic()
    end(node)
    wait_until(begin + 2.1)
    node.start()
    sent = {"t/small": b"small", "t/large": b"large" * LARGE}
    reader = node.connect(client_id="absent", clean=False, properties=[(Prop.SESSION_EXPIRY_INTERVAL, 600)])
    assert reader.connack.session_present
    got = {message.topic: message.payload for message in (reader.expect_publish(), reader.expect_publish())}
    assert got == sent
    reader.expect_nothing()
    late = node.connect()
    late.subscribe("t/#", qos=2)
    retained = {message.topic: message.payload for message in (late.expect_publish(), late.expect_publish())}
    assert retained == sent
    late.expect_nothing()
    assert rows(node) == []


@pytest.mark.parametrize("end", [stop, crash])
def test_what_was_sent_is_not_sent_again_after_a_restart(make_broker, end):
    node = make_broker()
    reader, publisher = node.connect(), node.connect()
    reader.subscribe("t", qos=2)
    for qos in (0, 1, 2):
        publisher.publish(delayed(0, "t"), b"%d" % qos, qos, reason=0)
    for qos in (0, 1, 2):
        reader.expect_publish("t", b"%d" % qos, qos=qos)
    for payload in (b"fence", b"fence"):  # behind the first are all deletes, and they are on disk when the second is
        publisher.publish(delayed(600, "t"), payload, 1, reason=0)
    end(node)
    node.start()
    assert [int(row["left"]) > 100 for row in rows(node)] == [True, True]


@pytest.mark.slow
def test_kills_while_messages_are_sent_lose_nothing_and_double_no_qos_2(make_broker):
    """Much is due at one moment, for absent sessions, and the broker is killed in the middle of it, several times."""
    node = make_broker({"node.workers": "2", "zone.external.max_mqueue_len": "0", "zone.external.max_awaiting_rel": "0"})
    names = [unique() for _ in range(2)]
    for name in names:
        reader = node.connect(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 3600})
        reader.subscribe("t", qos=2)
        reader.disconnect()
    batch, published = 1200, 0
    for _ in range(4):
        publishers = [node.connect() for _ in range(3)]
        due = int(time.time()) + 3
        for number in range(published, published + batch):
            publisher = publishers[number % 3]
            publisher.send(p.Publish(delayed(due, "t"), b"%d" % number, 1 + number % 2, packet_id=publisher.next_id()))
        for number in range(published, published + batch):
            assert publishers[number % 3].receive().reason == 0
        assert time.time() < due, "the machine is too slow for this test"
        published += batch
        witness = node.connect()
        witness.subscribe("t")
        witness.expect_publish("t")
        wait_until(time.monotonic() + random.uniform(0, 0.02))
        node.kill()
        node.start()
    wait_for(lambda: info(node)["waiting"] == "0")
    node.connect().publish("t", b"fence", 1)
    for name in names:
        reader = node.connect(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 3600})
        assert reader.connack.session_present
        counts = [0] * published
        while (message := reader.expect_publish("t")).payload != b"fence":
            counts[int(message.payload)] += 1
        assert [number for number, count in enumerate(counts) if count == 0] == []
        assert [number for number, count in enumerate(counts) if number % 2 == 1 and count > 1] == []


def test_durability_none_forgets_at_a_restart(make_broker):
    node = make_broker({"zone.external.durability": "none"})
    reader, publisher = node.connect(), node.connect()
    reader.subscribe("t", qos=1)
    publisher.publish(delayed(600, "t"), b"lost", 1, reason=0)
    publisher.publish(delayed(0, "t"), b"large" * LARGE, 1, reason=0)
    reader.expect_publish("t", b"large" * LARGE)
    assert len(rows(node)) == 1
    node.stop()
    node.start()
    assert rows(node) == []


def test_list_info_and_delete(make_broker):
    node = make_broker({"node.workers": "2"})
    reader = node.connect()
    reader.subscribe("#", qos=1)
    publishers = [node.connect(client_id=f"p{i}") for i in range(4)]
    for i, seconds in enumerate((400, 100, 300, 200)):
        publishers[i].publish(delayed(seconds, f"t/{seconds}"), b"x" * seconds, 1, reason=0)
    publishers[0].publish(delayed(500, "t/large"), b"x" * LARGE, 1, reason=0)
    found = rows(node)
    assert [row["topic"] for row in found] == ["t/100", "t/200", "t/300", "t/400", "t/large"]
    assert [row["client_id"] for row in found] == ["p1", "p3", "p2", "p0", "p0"]
    assert [int(row["size"]) for row in found] == [100, 200, 300, 400, LARGE]
    assert all(0 < wanted - int(row["left"]) + 1 <= 30 for wanted, row in zip((100, 200, 300, 400, 500), found))
    assert rows(node, "2") == rows(node, "--limit", "2")
    assert [row["topic"] for row in rows(node, "2")] == ["t/100", "t/200"]
    assert info(node)["waiting"] == "5" and int(info(node)["memory"].split()[0]) > 1000

    assert ctl(node, "delayed", "delete", found[1]["id"]) == "ok\n"
    assert ctl(node, "delayed", "delete", found[4]["id"]) == "ok\n"
    assert ctl(node, "delayed", "delete", found[1]["id"], status=1) == "Not Found.\n"
    assert [row["topic"] for row in rows(node)] == ["t/100", "t/300", "t/400"]
    assert info(node)["dropped"] == "2"
    node.stop()
    node.start()
    assert [row["topic"] for row in rows(node)] == ["t/100", "t/300", "t/400"]


def test_a_long_list_comes_in_slices(make_broker):
    node = make_broker()
    publishers = [node.connect() for _ in range(4)]
    count = 150
    for i in range(count):
        publisher = publishers[i % 4]
        publisher.send(p.Publish(delayed(1000 + i, f"t/{i}"), b"", 1, packet_id=publisher.next_id()))
    for i in range(count):
        publishers[i % 4].expect(p.Puback, reason=0)
    assert [row["topic"] for row in rows(node)] == [f"t/{i}" for i in range(count)]
    assert len(rows(node, "99")) == 99


def test_many_clients_and_workers_at_once(make_broker, topic):
    """What several workers send at the same moment arrives in full, in the order of each publisher."""
    node = make_broker({"node.workers": "4"})
    reader = node.connect()
    reader.subscribe(topic, qos=1)
    publishers: list[Client] = [node.connect(client_id=unique()) for _ in range(8)]
    for i in range(100):
        for number, publisher in enumerate(publishers):
            publisher.send(p.Publish(delayed(1, topic), b"%d %d" % (number, i), 1, packet_id=publisher.next_id()))
    for publisher in publishers:
        for _ in range(100):
            publisher.expect(p.Puback, reason=0)
    got = [tuple(map(int, reader.expect_publish(topic).payload.split())) for _ in range(800)]
    for number in range(8):
        assert [i for who, i in got if who == number] == list(range(100))
    reader.expect_nothing()
    assert info(node)["waiting"] == "0"
