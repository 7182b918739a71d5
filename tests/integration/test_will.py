"""Will messages: sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.14.4."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop


def with_delay(delay: int, expiry: int = 60, **will) -> dict:
    """CONNECT fields of a version 5 client with a delayed will."""
    properties = [(Prop.WILL_DELAY_INTERVAL, delay), *will.pop("properties", [])]
    return {
        "will": p.Will(will.pop("topic"), will.pop("payload", b"w"), properties=properties, **will),
        "properties": {Prop.SESSION_EXPIRY_INTERVAL: expiry},
    }


@pytest.fixture
def watcher(broker, topic):
    client = broker.connect()
    client.subscribe(topic, qos=2, retain_as_published=True)
    return client


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-9", "MQTT-3.1.2-12", "MQTT-3.1.2-14")
@pytest.mark.mqtt311("MQTT-3.1.2-8", "MQTT-3.1.2-9", "MQTT-3.1.2-14", "MQTT-3.1.2-16")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_will_is_published_when_the_connection_is_lost(broker, version, topic, watcher, qos):
    broker.connect(version, will=p.Will(topic, b"gone", qos)).drop()
    watcher.expect_publish(topic, b"gone", qos=qos, retain=False)
    late = broker.connect()
    late.subscribe(topic)
    late.expect_nothing()  # it was not retained


@pytest.mark.mqtt5("MQTT-3.1.2-8")
@pytest.mark.mqtt311("MQTT-3.1.2-8")
def test_the_will_is_published_when_the_peer_closes_in_order(broker, version, topic, watcher):
    broker.connect(version, will=p.Will(topic, b"closed")).close()
    watcher.expect_publish(topic, b"closed")


@pytest.mark.mqtt5("MQTT-3.1.2-8")
@pytest.mark.mqtt311("MQTT-3.1.2-8")
def test_the_will_is_published_when_the_broker_ends_the_connection(broker, version, topic, watcher):
    client = broker.connect(version, will=p.Will(topic, b"cut"))
    client.send(b"\x00\x00")  # packet type 0
    client.drain()
    watcher.expect_publish(topic, b"cut")


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-15")
@pytest.mark.mqtt311("MQTT-3.1.2-17")
def test_a_retained_will_is_stored(broker, version, topic, watcher):
    broker.connect(version, will=p.Will(topic, b"retained", 1, True)).drop()
    watcher.expect_publish(topic, b"retained", retain=True)
    late = broker.connect(version)
    late.subscribe(topic, qos=1)
    late.expect_publish(topic, b"retained", retain=True, qos=1)
    late.publish(topic, b"", 1, retain=True)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.14.4-3", "MQTT-3.1.2-10", "MQTT-3.1.2-8")
@pytest.mark.mqtt311("MQTT-3.14.4-3", "MQTT-3.1.2-10", "MQTT-3.1.2-8")
def test_disconnect_deletes_the_will(broker, version, topic, watcher):
    client = broker.connect(version, will=p.Will(topic, b"must not come"))
    client.disconnect()
    fence(broker.connect(), watcher)


@pytest.mark.mqtt311("MQTT-3.1.2-12")
@pytest.mark.mqtt5("MQTT-3.1.2-7")
def test_without_a_will_nothing_is_published(broker, version, watcher):
    broker.connect(version).drop()
    fence(broker.connect(), watcher)


@pytest.mark.mqtt5("MQTT-3.1.2-8", "MQTT-3.14.2-1")
@pytest.mark.parametrize("reason", [0x04, 0x80, 0x81, 0x93])
def test_disconnect_with_another_reason_publishes_the_will(broker, topic, watcher, reason):
    broker.connect(will=p.Will(topic, b"with will")).disconnect(reason)
    watcher.expect_publish(topic, b"with will")


@pytest.mark.mqtt5("MQTT-3.1.2-10")
@pytest.mark.mqtt311("MQTT-3.1.2-10")
def test_a_published_will_is_not_published_again(broker, version, topic, watcher):
    name = unique()
    fields = {"properties": {Prop.SESSION_EXPIRY_INTERVAL: 60}} if version == 5 else {}
    broker.connect(version, client_id=name, clean=False, will=p.Will(topic, b"once"), **fields).drop()
    watcher.expect_publish(topic, b"once")
    broker.connect(version, client_id=name, clean=False, **fields).drop()
    again = broker.connect(version, client_id=name, clean=False, **fields)
    fence(again, watcher)


@pytest.mark.mqtt5("MQTT-3.1.2-8", "MQTT-3.1.4-3")
@pytest.mark.mqtt311("MQTT-3.1.2-8")
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "resume"])
def test_a_takeover_publishes_the_will_without_delay(broker, version, topic, watcher, clean):
    name = unique()
    fields = {"properties": {Prop.SESSION_EXPIRY_INTERVAL: 60}} if version == 5 else {}
    broker.connect(version, client_id=name, clean=clean, will=p.Will(topic, b"taken over"), **fields)
    broker.connect(version, client_id=name, clean=clean, **fields)
    watcher.expect_publish(topic, b"taken over")


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-8")
def test_the_will_waits_for_its_delay(broker, topic, watcher):
    broker.connect(**with_delay(1, topic=topic)).drop()
    fence(broker.connect(), watcher)
    watcher.expect_publish(topic, b"w")


@pytest.mark.mqtt5("MQTT-3.1.2-8")
def test_the_will_does_not_wait_beyond_the_session(broker, topic, watcher):
    broker.connect(**with_delay(3600, expiry=0, topic=topic)).drop()
    watcher.expect_publish(topic, b"w")


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-8")
def test_a_delayed_will_comes_when_the_session_expires(broker, topic, watcher):
    broker.connect(**with_delay(3600, expiry=1, topic=topic)).drop()
    watcher.expect_publish(topic, b"w")


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.3-9", "MQTT-3.1.2-8")
def test_a_reconnect_within_the_delay_cancels_the_will(broker, topic, watcher):
    name = unique()
    broker.connect(client_id=name, **with_delay(1, topic=topic, payload=b"cancelled")).drop()
    again = broker.connect(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    assert again.connack.session_present
    # Another will with the same delay shows that the time has passed.
    broker.connect(**with_delay(1, topic=topic, payload=b"later")).drop()
    watcher.expect_publish(topic, b"later")
    watcher.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.2-8", "MQTT-3.1.2-4")
def test_clean_start_ends_the_session_and_so_publishes_a_delayed_will(broker, topic, watcher):
    name = unique()
    broker.connect(client_id=name, **with_delay(3600, topic=topic)).drop()
    broker.connect(client_id=name, clean=True)
    watcher.expect_publish(topic, b"w")


@pytest.mark.mqtt5("MQTT-3.1.3-10", "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-20")
def test_the_will_carries_its_properties(broker, topic, watcher):
    pairs = [
        (Prop.PAYLOAD_FORMAT_INDICATOR, 1),
        (Prop.CONTENT_TYPE, "text/plain"),
        (Prop.RESPONSE_TOPIC, "answer/here"),
        (Prop.CORRELATION_DATA, b"\x00\x01"),
        (Prop.USER_PROPERTY, ("z", "1")),
        (Prop.USER_PROPERTY, ("a", "2")),
        (Prop.USER_PROPERTY, ("z", "3")),
    ]
    broker.connect(will=p.Will(topic, b"w", properties=pairs + [(Prop.MESSAGE_EXPIRY_INTERVAL, 100)])).drop()
    message = watcher.expect_publish(topic, b"w")
    for prop, value in pairs[:4]:
        assert message.properties.get(prop) == value
    assert message.properties.all(Prop.USER_PROPERTY) == [("z", "1"), ("a", "2"), ("z", "3")]
    assert message.properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) in (99, 100)
    assert Prop.WILL_DELAY_INTERVAL not in message.properties


@pytest.mark.emqc
def test_an_empty_will_payload_is_published(broker, version, topic, watcher):
    broker.connect(version, will=p.Will(topic, b"")).drop()
    watcher.expect_publish(topic, b"")


@pytest.mark.emqc
def test_stopping_the_broker_publishes_the_wills_of_live_clients(make_broker, topic):
    node = make_broker()
    watcher = node.connect()
    watcher.subscribe(topic)
    keeper = node.connect(4, will=p.Will(topic, b"stopped"))
    node.process.terminate()
    watcher.expect_publish(topic, b"stopped")
    watcher.expect_disconnect(0x8B)
    keeper.expect_closed()
    assert node.wait() == 0
