"""Retained messages that outlive the broker: what a restart, also a violent one, brings back, and what it answers meanwhile."""

from __future__ import annotations

import time

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S
from emqc.packets import Prop

pytestmark = [
    pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="the store is emqc's"),
    pytest.mark.emqc,
]


def restart(broker, kill=False):
    if kill:
        broker.await_store()
    (broker.kill if kill else broker.stop)()
    return broker.start()


def retained(broker, *filters, qos=2, version=5):
    """What new subscriptions get, in order."""
    client = broker.connect(version)
    client.subscribe(*filters, qos=qos)
    found = []
    client.publish("fence", b"", 1)
    client.subscribe("fence")
    client.publish("fence", b"live")  # comes behind all retained messages
    while True:
        message = client.expect_publish()
        if message.topic == "fence":
            client.close()
            return found
        assert message.retain
        found.append(message)


def payloads(broker, *filters, **options):
    return {message.topic: message.payload for message in retained(broker, *filters, **options)}


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.1-5")
def test_a_restart_brings_retained_messages_back(make_broker, version):
    broker = make_broker()
    publisher = broker.connect(version)
    for qos in (0, 1, 2):
        publisher.publish(f"kept/{qos}", b"payload %d" % qos, qos, retain=True)
    publisher.publish("passing", b"not kept", 1)
    publisher.disconnect()
    restart(broker)
    found = retained(broker, "#", version=version)
    assert [(m.topic, m.payload, m.qos) for m in found] == [(f"kept/{q}", b"payload %d" % q, q) for q in (0, 1, 2)]


def test_properties_come_back(make_broker):
    broker = make_broker()
    properties = [
        (Prop.PAYLOAD_FORMAT_INDICATOR, 1),
        (Prop.CONTENT_TYPE, "text/plain"),
        (Prop.USER_PROPERTY, ("name", "value")),
        (Prop.RESPONSE_TOPIC, "answer/here"),
        (Prop.CORRELATION_DATA, b"\x00\x01"),
    ]
    broker.connect().publish("kept", b"text", 1, retain=True, properties=properties)
    before = retained(broker, "kept")[0]
    restart(broker)
    after = retained(broker, "kept")[0]
    assert after.properties == before.properties
    for name, value in properties:
        assert after.properties.get(name) == value


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_written_survives_sigkill(make_broker, qos):
    broker = make_broker()
    for round_number in range(3):
        publisher = broker.connect()
        for number in range(20):
            publisher.publish(f"kept/{number}", b"%d" % round_number, qos, retain=True)
        publisher.publish(f"once/{round_number}", b"x", qos, retain=True)
        restart(broker, kill=True)
        found = payloads(broker, "kept/+", "once/+")
        assert {topic: value for topic, value in found.items() if topic.startswith("kept/")} == {
            f"kept/{number}": b"%d" % round_number for number in range(20)
        }
        assert sum(topic.startswith("once/") for topic in found) == round_number + 1


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "sigkill"])
def test_a_cleared_message_stays_cleared(make_broker, kill):
    broker = make_broker()
    publisher = broker.connect()
    for name in ("first", "second", "third"):
        publisher.publish(name, b"kept", 1, retain=True)
    publisher.publish("first", b"", 1, retain=True)
    restart(broker, kill)
    assert set(payloads(broker, "+")) == {"second", "third"}
    publisher = broker.connect()
    publisher.publish("second", b"", 2, retain=True)  # one that was loaded
    restart(broker, kill)
    assert set(payloads(broker, "+")) == {"third"}


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.3.2-6")
def test_the_expiry_interval_goes_on_while_the_broker_is_down(make_broker):
    broker = make_broker()
    publisher = broker.connect()
    publisher.publish("short", b"x", 1, retain=True, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    publisher.publish("long", b"x", 1, retain=True, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1000})
    published = time.monotonic()
    deadline = published + DEADLINE_S
    while True:  # a second must pass while it is down
        broker.await_store()
        broker.kill()
        if time.monotonic() - published > 2.1:
            break
        assert time.monotonic() < deadline
        broker.start()
    broker.start()
    assert set(payloads(broker, "+")) == {"long"}
    left = retained(broker, "long")[0].properties.get(Prop.MESSAGE_EXPIRY_INTERVAL)
    assert 1000 - (time.monotonic() - published) - 3 <= left <= 998


@pytest.mark.quick
def test_large_payloads_come_from_the_disk_in_order(make_broker):
    broker = make_broker({"store.retained_in_memory": "1KB"})
    wanted = [(f"file/{number:02}", bytes([65 + number]) * (300000 if number % 3 else 10)) for number in range(12)]
    publisher = broker.connect()
    for name, payload in wanted:
        publisher.publish(name, payload, 1, retain=True)
    for _ in range(2):
        assert [(m.topic, m.payload) for m in retained(broker, "file/#", qos=1)] == wanted
        assert [(m.topic, m.payload) for m in retained(broker, "file/01", "file/+", qos=0)] == wanted[1:2] + wanted
        restart(broker)
    publisher = broker.connect()
    publisher.publish("file/01", b"small", 1, retain=True)
    publisher.publish("file/02", b"", 1, retain=True)
    found = payloads(broker, "file/+")
    assert found["file/01"] == b"small" and "file/02" not in found and len(found) == 11


def test_many_clients_ask_for_large_payloads_at_once(make_broker):
    broker = make_broker({"store.retained_in_memory": "0"})
    publisher = broker.connect()
    for number in range(40):
        publisher.publish(f"file/{number:02}", b"%02d" % number * 5000, 1, retain=True)
    clients = [broker.connect() for _ in range(25)]
    for client in clients:
        client.send(p.Subscribe(1, [p.Filter("file/#", 0)]))
    for client in clients[20:]:
        client.drop()  # while it is read for them
    for client in clients[:20]:
        client.await_packet(p.Suback)
        for number in range(40):
            client.expect_publish(f"file/{number:02}", b"%02d" % number * 5000, retain=True)
        client.expect_nothing()


MANY = 60000


def fill(broker, count):
    publisher = broker.connect()
    for start in range(0, count, 1000):
        publisher.send(
            b"".join(
                p.Publish(f"many/{number:06}", b"%d" % number, retain=True).encode(5) for number in range(start, start + 1000)
            )
        )
    publisher.publish("many/end", b"end", 1, retain=True)
    publisher.disconnect()


@pytest.mark.slow
@pytest.mark.threads
def test_subscriptions_are_answered_while_the_rest_is_loaded(make_broker):
    broker = make_broker({"zone.external.max_inflight": "0"})
    fill(broker, MANY)
    restart(broker)
    # Everything here happens as soon as the broker can be reached, with some part loaded.
    everything = broker.connect()
    everything.send(p.Subscribe(1, [p.Filter("many/#", 0, no_local=True)]))
    assert payloads(broker, f"many/{MANY - 1:06}", "many/000000", "many/nothing", qos=0) == {
        f"many/{MANY - 1:06}": b"%d" % (MANY - 1),
        "many/000000": b"0",
    }
    changer = broker.connect()
    changer.publish(f"many/{MANY - 2:06}", b"new", 1, retain=True)
    changer.publish(f"many/{MANY - 3:06}", b"", 1, retain=True)
    changer.publish("many/000001", b"", 1, retain=True)
    everything.await_packet(p.Suback)
    seen = []
    while seen[-1:] != ["many/end"]:
        message = everything.expect_publish()
        if message.retain:
            seen.append(message.topic)
    assert seen == sorted(set(seen)), "each once, in order"
    missing = {f"many/{number:06}" for number in range(MANY)} - set(seen)
    assert missing <= {f"many/{MANY - 3:06}", "many/000001"}
    found = payloads(broker, f"many/{MANY - 2:06}", f"many/{MANY - 3:06}", "many/000001", qos=0)
    assert found == {f"many/{MANY - 2:06}": b"new"}
    restart(broker, kill=True)
    found = payloads(broker, f"many/{MANY - 2:06}", f"many/{MANY - 3:06}", "many/000001", "many/000002", qos=0)
    assert found == {f"many/{MANY - 2:06}": b"new", "many/000002": b"2"}


def test_the_limits_hold_after_a_restart(make_broker):
    broker = make_broker({"broker.max_retained_messages": "2"})
    publisher = broker.connect()
    publisher.publish("a", b"1", 1, retain=True)
    publisher.publish("b", b"2", 1, retain=True)
    restart(broker)
    assert payloads(broker, "+") == {"a": b"1", "b": b"2"}
    publisher = broker.connect()
    publisher.send(p.Publish("c", b"3", 0, retain=True))
    publisher.publish("b", b"4", 1, retain=True)
    assert payloads(broker, "+") == {"a": b"1", "b": b"4"}
