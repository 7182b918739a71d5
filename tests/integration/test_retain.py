"""Retained messages: section 3.3.1.3 and the subscription options of 3.8.3.1."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop


@pytest.fixture
def topic(broker):
    """A topic whose retained message is gone after the test."""
    name = unique("retain/")
    yield name
    if broker.alive():
        broker.connect().publish(name, b"", 1, retain=True)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.1-5", "MQTT-3.3.1-9")
@pytest.mark.mqtt311("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_is_sent_to_a_new_subscriber(broker, version, topic, qos):
    publisher = broker.connect(version)
    publisher.publish(topic, b"kept", qos, retain=True)
    publisher.ping()
    for other in (3, 4, 5):
        reader = broker.connect(other)
        reader.subscribe(topic, qos=2)
        reader.expect_publish(topic, b"kept", qos=qos, retain=True, dup=False)
        reader.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.1-5")
@pytest.mark.mqtt311("MQTT-3.3.1-5", "MQTT-3.3.1-7")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_later_retained_message_replaces_the_first(broker, version, topic, qos):
    publisher = broker.connect(version)
    publisher.publish(topic, b"first", 2, retain=True)
    publisher.publish(topic, b"second", qos, retain=True)
    publisher.ping()
    reader = broker.connect(version)
    reader.subscribe(topic, qos=2)
    reader.expect_publish(topic, b"second", qos=qos, retain=True)
    reader.expect_nothing()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.1-6", "MQTT-3.3.1-7")
@pytest.mark.mqtt311("MQTT-3.3.1-10", "MQTT-3.3.1-11")
def test_empty_payload_clears_the_retained_message(broker, version, topic):
    established = broker.connect(version)
    publisher = broker.connect(version)
    publisher.publish(topic, b"kept", 1, retain=True)
    established.subscribe(topic, qos=1)
    established.expect_publish(topic, b"kept", retain=True)
    publisher.publish(topic, b"", 1, retain=True)
    established.expect_publish(topic, b"", retain=False)  # processed as any message
    reader = broker.connect(version)
    reader.subscribe(topic)
    reader.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.1-8")
@pytest.mark.mqtt311("MQTT-3.3.1-12")
def test_a_message_without_retain_changes_nothing(broker, version, topic):
    publisher = broker.connect(version)
    publisher.publish(topic, b"not kept", 1)
    reader = broker.connect(version)
    reader.subscribe(topic)
    reader.expect_nothing()
    publisher.publish(topic, b"kept", 1, retain=True)
    reader.expect_publish(topic, b"kept")
    publisher.publish(topic, b"passing", 1)
    publisher.publish(topic, b"", 1)
    late = broker.connect(version)
    late.subscribe(topic)
    late.expect_publish(topic, b"kept", retain=True)
    late.expect_nothing()


@pytest.mark.mqtt311("MQTT-3.3.1-9")
@pytest.mark.mqtt5("MQTT-3.3.1-12")
@pytest.mark.parametrize("published_by", [3, 4, 5])
def test_retain_is_0_for_an_established_subscription(broker, version, topic, published_by):
    reader = broker.connect(version)
    reader.subscribe(topic)
    broker.connect(published_by).publish(topic, b"x", 1, retain=True)
    reader.expect_publish(topic, b"x", retain=False)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.1-12", "MQTT-3.3.1-13")
@pytest.mark.parametrize("published_by", [3, 4, 5])
@pytest.mark.parametrize("as_published", [False, True], ids=["rap0", "rap1"])
@pytest.mark.parametrize("retain", [False, True], ids=["retain0", "retain1"])
def test_retain_as_published_decides_the_flag(broker, topic, published_by, as_published, retain):
    reader = broker.connect()
    reader.subscribe(topic, retain_as_published=as_published)
    broker.connect(published_by).publish(topic, b"x", 1, retain=retain)
    reader.expect_publish(topic, b"x", retain=retain and as_published)


@pytest.mark.mqtt5("MQTT-3.3.1-9", "MQTT-3.3.1-12")
@pytest.mark.parametrize("published_by", [3, 4, 5])
@pytest.mark.parametrize("as_published", [False, True], ids=["rap0", "rap1"])
def test_a_message_sent_for_a_new_subscription_has_retain_1(broker, topic, published_by, as_published):
    broker.connect(published_by).publish(topic, b"x", 1, retain=True)
    reader = broker.connect()
    reader.subscribe(topic, retain_as_published=as_published)
    reader.expect_publish(topic, b"x", retain=True)


@pytest.mark.mqtt5("MQTT-3.3.1-9", "MQTT-3.8.4-4")
@pytest.mark.mqtt311("MQTT-3.8.4-3")
def test_subscribing_again_sends_the_retained_message_again(broker, version, topic):
    broker.connect(version).publish(topic, b"x", 1, retain=True)
    reader = broker.connect(version)
    for _ in range(3):
        reader.subscribe(topic)
        reader.expect_publish(topic, b"x", retain=True)
    reader.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.1-10")
def test_retain_handling_1_sends_only_to_a_new_subscription(broker, topic):
    broker.connect().publish(topic, b"x", 1, retain=True)
    reader = broker.connect()
    reader.subscribe(topic, retain_handling=1)
    reader.expect_publish(topic, b"x", retain=True)
    reader.subscribe(topic, retain_handling=1)
    reader.expect_nothing()
    reader.unsubscribe(topic)
    reader.subscribe(topic, retain_handling=1)
    reader.expect_publish(topic, b"x", retain=True)


@pytest.mark.mqtt5("MQTT-3.3.1-10")
def test_retain_handling_1_counts_a_resumed_subscription_as_existing(broker, topic):
    name = unique()
    broker.connect().publish(topic, b"x", 1, retain=True)
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    reader = broker.connect(client_id=name, properties=session)
    reader.subscribe(topic, retain_handling=1)
    reader.expect_publish(topic, b"x")
    reader.disconnect()
    reader = broker.connect(client_id=name, clean=False, properties=session)
    reader.subscribe(topic, retain_handling=1)
    reader.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.1-11")
def test_retain_handling_2_sends_nothing(broker, topic):
    broker.connect().publish(topic, b"x", 1, retain=True)
    reader = broker.connect()
    reader.subscribe(topic, retain_handling=2)
    reader.expect_nothing()
    reader.subscribe(topic, retain_handling=0)
    reader.expect_publish(topic, b"x", retain=True)


@pytest.mark.mqtt5("MQTT-3.8.3-5", "MQTT-4.13.1-1")
def test_retain_handling_3_is_a_protocol_error(broker, topic):
    client = broker.connect()
    client.send(p.Subscribe(1, [p.Filter(topic, retain_handling=3)]))
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.3.1-9", "MQTT-4.7.2-1")
@pytest.mark.mqtt311("MQTT-3.3.1-6", "MQTT-4.7.2-1")
def test_wildcards_find_retained_messages(broker, version):
    root = unique("wild")
    names = [f"{root}", f"{root}/a", f"{root}/a/b", f"{root}//", f"${root}/a"]
    publisher = broker.connect(version)
    for name in names:
        publisher.publish(name, name.encode(), 1, retain=True)
    expected = {
        f"{root}/#": names[:4],
        f"{root}/+": names[1:2],
        f"{root}/+/+": [names[2], names[3]],
        f"{root}/+/b": names[2:3],
        f"${root}/+": names[4:],
    }
    for pattern, wanted in expected.items():
        reader = broker.connect(version)
        reader.subscribe(pattern)
        assert sorted(reader.expect_publish(retain=True).topic for _ in wanted) == sorted(wanted)
        reader.expect_nothing()
    for name in names:
        publisher.publish(name, b"", 1, retain=True)


@pytest.mark.mqtt5("MQTT-4.8.2-3")
def test_a_shared_subscription_gets_no_retained_messages(broker, topic):
    broker.connect().publish(topic, b"x", 1, retain=True)
    reader = broker.connect()
    reader.subscribe(f"$share/{unique()}/{topic}")
    reader.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.2-4", "MQTT-3.3.2-18", "MQTT-3.3.4-3")
def test_a_retained_message_keeps_its_properties(broker, topic):
    pairs = [
        (Prop.PAYLOAD_FORMAT_INDICATOR, 1),
        (Prop.CONTENT_TYPE, "c"),
        (Prop.RESPONSE_TOPIC, "r"),
        (Prop.CORRELATION_DATA, b"d"),
        (Prop.USER_PROPERTY, ("z", "1")),
        (Prop.USER_PROPERTY, ("a", "2")),
    ]
    broker.connect().publish(topic, b"x", 1, retain=True, properties=pairs)
    reader = broker.connect()
    reader.subscribe(topic, properties={Prop.SUBSCRIPTION_IDENTIFIER: 9})
    message = reader.expect_publish(topic, b"x")
    assert message.properties.get(Prop.SUBSCRIPTION_IDENTIFIER) == 9
    assert message.properties.all(Prop.USER_PROPERTY) == [("z", "1"), ("a", "2")]
    for prop, value in pairs[:4]:
        assert message.properties.get(prop) == value


@pytest.mark.mqtt5("MQTT-3.3.1-5")
def test_a_retained_message_of_a_client_with_an_alias_is_stored_under_its_topic(make_broker, topic):
    node = make_broker({"mqtt.max_topic_alias": "5"})
    client = node.connect()
    client.publish(topic, b"one", 1, retain=True, properties={Prop.TOPIC_ALIAS: 1})
    client.publish("", b"two", 1, retain=True, properties={Prop.TOPIC_ALIAS: 1})
    reader = node.connect()
    reader.subscribe(topic)
    message = reader.expect_publish(topic, b"two", retain=True)
    assert Prop.TOPIC_ALIAS not in message.properties


def test_many_retained_messages_reach_a_wildcard_subscriber(broker, version):
    root = unique("many")
    publisher = broker.connect(version)
    names = {f"{root}/{number}" for number in range(1000)}
    publisher.send(*(p.Publish(name, b"x", retain=True) for name in names))
    publisher.ping()
    reader = broker.connect(version)
    reader.subscribe(f"{root}/+", qos=1)
    assert {reader.expect_publish(retain=True).topic for _ in names} == names
    reader.expect_nothing()
    publisher.send(*(p.Publish(name, retain=True) for name in names))
    publisher.ping()
    fence(publisher, broker.connect(version))
