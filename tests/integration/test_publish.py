"""PUBLISH and how a message reaches the subscribers: section 3.3."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop

FORWARDED = [
    (Prop.PAYLOAD_FORMAT_INDICATOR, 1),
    (Prop.CONTENT_TYPE, "text/plain; charset=ütf-8"),
    (Prop.RESPONSE_TOPIC, "answer/$here//"),
    (Prop.CORRELATION_DATA, bytes(range(256))),
]


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.4-1", "MQTT-4.5.0-1", "MQTT-3.3.2-3", "MQTT-4.2.0-1", "MQTT-2.2.1-5", "MQTT-2.2.1-2")
@pytest.mark.mqtt311("MQTT-3.3.4-1", "MQTT-4.5.0-1", "MQTT-3.3.2-3", "MQTT-2.3.1-5", "MQTT-2.3.1-6", "MQTT-4.2.0-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_reaches_its_subscribers(broker, version, topic, qos):
    subscribers = [broker.connect(other) for other in (3, 4, 5)]
    for subscriber in subscribers:
        subscriber.subscribe(topic, qos=2)
    publisher = broker.connect(version)
    publisher.publish(topic, b"hello", qos)
    for subscriber in subscribers:
        subscriber.expect_publish(topic, b"hello", qos=qos, retain=False, dup=False)
        subscriber.expect_nothing()
    publisher.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.8.4-8")
@pytest.mark.mqtt311("MQTT-3.8.4-6")
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_lower_of_the_two_qos_is_used(broker, version, topic, published, granted):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=granted)
    broker.connect(version).publish(topic, b"x", published)
    subscriber.expect_publish(topic, b"x", qos=min(published, granted))


@pytest.mark.mqtt5("MQTT-3.3.1-4", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-3.3.1-4", "MQTT-4.8.0-1")
def test_qos_3_ends_the_connection(broker, version, topic):
    client = broker.connect(version)
    client.send(p.Publish(topic, b"x", 3, packet_id=1))
    client.expect_disconnect(0x81)


@pytest.mark.mqtt5("MQTT-3.3.1-2")
@pytest.mark.mqtt311("MQTT-3.3.1-2")
def test_dup_at_qos_0_is_never_forwarded(broker, version, topic):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic)
    publisher = broker.connect(version)
    publisher.send(p.Publish(topic, b"x", dup=True))
    # Either the broker calls it malformed, or the message goes on without DUP (the parser would complain).
    publisher.send(p.Pingreq())
    answer = publisher.drain() if version == 5 and isinstance(publisher.receive(), p.Disconnect) else None
    if answer is None:
        publisher2 = broker.connect(version)
        publisher2.publish(topic, b"y")
        packet = subscriber.expect(p.Publish)
        assert packet.payload in (b"x", b"y") and not packet.dup


@pytest.mark.mqtt5("MQTT-3.3.1-3")
@pytest.mark.mqtt311("MQTT-3.3.1-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_not_passed_on(broker, version, topic, qos):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=qos)
    broker.connect(version).publish(topic, b"x", qos, dup=True)
    subscriber.expect_publish(topic, b"x", dup=False, qos=qos)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.2-2", "MQTT-4.7.0-1")
@pytest.mark.mqtt311("MQTT-3.3.2-2", "MQTT-4.7.1-1")
@pytest.mark.parametrize("name", ["a/+/b", "a/#", "#", "+"])
def test_a_topic_name_with_a_wildcard_ends_the_connection(broker, version, name):
    client = broker.connect(version)
    client.send(p.Publish(name, b"x", 1, packet_id=1))
    client.expect_disconnect(0x90, 0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.3.2-1", "MQTT-4.7.3-1")
@pytest.mark.mqtt311("MQTT-3.3.2-1", "MQTT-4.7.3-1")
def test_an_empty_topic_name_ends_the_connection(broker, version):
    client = broker.connect(version)
    client.send(p.Publish("", b"x"))
    client.expect_disconnect(0x90, 0x82)


@pytest.mark.mqtt5("MQTT-2.2.1-3")
@pytest.mark.mqtt311("MQTT-2.3.1-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_packet_identifier_0_ends_the_connection(broker, version, topic, qos):
    client = broker.connect(version)
    client.send(p.Publish(topic, b"x", qos, packet_id=0))
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-20")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_forwarded_unaltered(broker, topic, qos):
    subscriber = broker.connect()
    subscriber.subscribe(topic, qos=2)
    broker.connect().publish(topic, b"x", qos, properties=FORWARDED)
    message = subscriber.expect_publish(topic, b"x")
    assert sorted(message.properties.pairs) == sorted(FORWARDED)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-1.5.7-1")
def test_user_properties_are_forwarded_in_order(broker, topic):
    pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ключ", "значение"), ("a", "0")]
    subscriber = broker.connect()
    subscriber.subscribe(topic)
    broker.connect().publish(topic, b"x", properties=[(Prop.USER_PROPERTY, pair) for pair in pairs])
    assert subscriber.expect_publish(topic).properties.all(Prop.USER_PROPERTY) == pairs


@pytest.mark.mqtt5("MQTT-2.2.2-1")
def test_a_message_without_properties_has_property_length_0(broker, version):
    topic = "no/props" + unique()
    subscriber = broker.connect()
    subscriber.subscribe(topic)
    broker.connect(version).publish(topic, b"x")
    assert subscriber.expect_publish(topic, b"x").properties == {}
    assert subscriber.raw_in == p.Publish(topic, b"x").encode(5)


def test_older_subscribers_get_the_message_without_properties(broker, old_version, topic):
    subscriber = broker.connect(old_version)
    subscriber.subscribe(topic)
    broker.connect().publish(topic, b"x", properties=FORWARDED + [(Prop.USER_PROPERTY, ("a", "b"))])
    subscriber.expect_publish(topic, b"x")


@pytest.mark.mqtt5("MQTT-3.3.4-6", "MQTT-4.13.1-1")
def test_a_subscription_identifier_from_a_client_ends_the_connection(broker, topic):
    client = broker.connect()
    client.send(p.Publish(topic, b"x", properties={Prop.SUBSCRIPTION_IDENTIFIER: 1}))
    client.expect_disconnect(0x82, 0x81)


@pytest.mark.mqtt5("MQTT-3.3.2-14", "MQTT-3.3.2-13", "MQTT-3.3.2-19", "MQTT-4.13.1-1")
@pytest.mark.parametrize("properties", [
    {Prop.RESPONSE_TOPIC: "a/#"},
    {Prop.RESPONSE_TOPIC: "a/+/b"},
    {Prop.RESPONSE_TOPIC: b"a\xff"},
    {Prop.RESPONSE_TOPIC: b"a\0"},
    {Prop.CONTENT_TYPE: b"\xc3\x28"},
    {Prop.USER_PROPERTY: (b"\xed\xbf\xbf", b"")},
    {Prop.PAYLOAD_FORMAT_INDICATOR: 2},
    [(Prop.MESSAGE_EXPIRY_INTERVAL, 1), (Prop.MESSAGE_EXPIRY_INTERVAL, 1)],
    [(Prop.CORRELATION_DATA, b"1"), (Prop.CORRELATION_DATA, b"1")],
    {Prop.SESSION_EXPIRY_INTERVAL: 1},
    {Prop.WILL_DELAY_INTERVAL: 1},
    {0x7E: b"\x00"},
], ids=str)  # fmt: skip
def test_a_wrong_property_ends_the_connection(broker, topic, properties):
    watcher = broker.connect()
    watcher.subscribe(topic)
    client = broker.connect()
    client.send(p.Publish(topic, b"x", properties=properties))
    client.expect_disconnect(0x81, 0x82, 0x90)
    watcher.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.3.2-5")
def test_an_expired_message_is_not_delivered(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect()
    publisher.publish(topic, b"short", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    publisher.publish(topic, b"long", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 100})
    wait_for_delay(broker, 2)
    again = broker.connect(client_id=name, clean=False, properties=session)
    message = again.expect_publish(topic, b"long")
    assert message.properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) <= 98
    again.expect_nothing()


def wait_for_delay(broker, seconds: int):
    """Waits until the broker's own clock has gone on: a delayed will arrives."""
    topic = unique("clock/")
    watcher = broker.connect()
    watcher.subscribe(topic)
    will = p.Will(topic, b"now", properties={Prop.WILL_DELAY_INTERVAL: seconds})
    broker.connect(will=will, properties={Prop.SESSION_EXPIRY_INTERVAL: 600}).drop()
    watcher.expect_publish(topic, b"now")
    watcher.close()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.3.2-6")
def test_the_expiry_counts_down_while_the_message_waits(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect()
    publisher.publish(topic, b"x", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 100})
    publisher.publish(topic + "/retained", b"x", 1, retain=True, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 100})
    wait_for_delay(broker, 2)
    again = broker.connect(client_id=name, clean=False, properties=session)
    assert 90 <= again.expect_publish(topic, b"x").properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) <= 98
    again.subscribe(topic + "/retained")
    assert 90 <= again.expect_publish(retain=True).properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) <= 98
    publisher.publish(topic + "/retained", b"", 1, retain=True)


@pytest.mark.mqtt5("MQTT-3.3.2-6")
def test_an_expiry_of_a_message_that_did_not_wait_is_forwarded(broker, topic):
    subscriber = broker.connect()
    subscriber.subscribe(topic)
    broker.connect().publish(topic, b"x", properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1000})
    assert subscriber.expect_publish(topic).properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) in (999, 1000)


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.3.2-5")
def test_an_expired_retained_message_is_not_sent(broker, topic):
    broker.connect().publish(topic, b"x", 1, retain=True, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    reader = broker.connect()
    reader.subscribe(topic)
    reader.expect_publish(topic, b"x", retain=True)
    reader.unsubscribe(topic)
    wait_for_delay(broker, 2)
    reader.subscribe(topic)
    reader.expect_nothing()


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"broker.max_retained_messages": "20"})
def test_expired_retained_messages_make_room_for_others(broker, topic):
    client = broker.connect()
    for number in range(20):
        client.publish(f"{topic}/{number}", b"x", 1, retain=True, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    client.publish(f"{topic}/late", b"refused", 1, retain=True)
    client.subscribe(f"{topic}/late")
    client.expect_nothing()
    client.unsubscribe(f"{topic}/late")
    wait_for_delay(broker, 2)  # nobody asks for the expired ones
    client.publish(f"{topic}/late", b"kept", 1, retain=True)
    client.subscribe(f"{topic}/late")
    client.expect_publish(f"{topic}/late", b"kept", retain=True)


@pytest.mark.mqtt5("MQTT-3.4.2-1")
@pytest.mark.emqc
@pytest.mark.parametrize("qos", [1, 2])
def test_the_publisher_learns_that_nobody_subscribed(broker, topic, qos):
    client = broker.connect()
    client.publish(topic, b"x", qos, reason=0x10)
    subscriber = broker.connect()
    subscriber.subscribe(topic)
    client.publish(topic, b"x", qos, reason=0x00)
    subscriber.expect_publish(topic, b"x")


@pytest.mark.mqtt5("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5")
def test_overlapping_subscriptions_send_their_identifiers(broker):
    root = unique("overlap")
    client = broker.connect()
    client.subscribe(f"{root}/+", qos=1, properties={Prop.SUBSCRIPTION_IDENTIFIER: 7})
    client.subscribe(f"{root}/#", qos=2, properties={Prop.SUBSCRIPTION_IDENTIFIER: 268435455})
    client.subscribe(f"{root}/a", qos=0)
    publisher = broker.connect()
    publisher.publish(f"{root}/a", b"x", 2)
    identifiers, qos = [], []
    marker = unique("end/")
    client.subscribe(marker)
    publisher.publish(marker, b"end")
    while (message := client.expect_publish()).topic != marker:
        identifiers += message.properties.all(Prop.SUBSCRIPTION_IDENTIFIER)
        qos.append(message.qos)
    assert sorted(identifiers) == [7, 268435455]
    assert max(qos) == 2


@pytest.mark.mqtt311("MQTT-3.3.5-1")
def test_overlapping_subscriptions_respect_the_highest_qos(broker, old_version):
    root = unique("overlap")
    client = broker.connect(old_version)
    client.subscribe(p.Filter(f"{root}/+", 0), p.Filter(f"{root}/#", 2), p.Filter(f"{root}/a", 1))
    publisher = broker.connect(old_version)
    publisher.publish(f"{root}/a", b"x", 2)
    marker = unique("end/")
    client.subscribe(marker)
    publisher.publish(marker, b"end")
    qos = []
    while (message := client.expect_publish()).topic != marker:
        qos.append(message.qos)
    assert max(qos) == 2


@pytest.mark.emqc
def test_each_matching_filter_gets_a_copy(broker, version):
    root = unique("overlap")
    client = broker.connect(version)
    client.subscribe(p.Filter(f"{root}/+", 0), p.Filter(f"{root}/#", 2), p.Filter(f"{root}/a", 1))
    broker.connect(version).publish(f"{root}/a", b"x", 2)
    assert sorted(client.expect_publish(f"{root}/a").qos for _ in range(3)) == [0, 1, 2]
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.2-4")
def test_a_payload_is_not_touched(broker, version, topic):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    for payload in (b"", b"\0", bytes(range(256)) * 17, b"\xff" * 1000):
        publisher.publish(topic, payload, 1)
        subscriber.expect_publish(topic, payload)


@pytest.mark.parametrize("size", [126, 127, 128, 16382, 16383, 16384, 300_000])
def test_messages_of_many_sizes_arrive(broker, version, topic, size):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=2)
    publisher = broker.connect(version)
    payload = bytes(number % 251 for number in range(size))
    for qos in (0, 1, 2):
        publisher.publish(topic, payload, qos)
        subscriber.expect_publish(topic, payload, qos=qos)


@pytest.mark.mqtt5("MQTT-4.7.3-3", "MQTT-3.3.2-1")
@pytest.mark.mqtt311("MQTT-4.7.3-3")
def test_the_longest_topic_name_passes(broker, version):
    name = "t" * 65535
    subscriber = broker.connect(version)
    subscriber.subscribe("#")
    publisher = broker.connect(version)
    publisher.publish(name, b"x", 1)
    while subscriber.expect(p.Publish).topic != name:
        pass


@pytest.mark.mqtt5("MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.mqtt311("MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_one_publisher_keep_their_order(broker, version, topic, qos):
    count = 500
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=qos)
    publisher = broker.connect(version)
    for start in range(0, count, 20):
        publisher.send(*(p.Publish(topic, b"%d" % n, qos, packet_id=n % 60000 + 1) for n in range(start, start + 20)))
        for n in range(start, start + 20):
            if qos == 1:
                publisher.expect(p.Puback, packet_id=n + 1)
            elif qos == 2:
                publisher.expect(p.Pubrec, packet_id=n + 1)
        if qos == 2:
            publisher.send(*(p.Pubrel(n + 1) for n in range(start, start + 20)))
            for n in range(start, start + 20):
                publisher.expect(p.Pubcomp, packet_id=n + 1)
    received = []
    while len(received) < count:
        message = subscriber.receive()
        if isinstance(message, p.Pubrel):
            subscriber.send(p.Pubcomp(message.packet_id))
            continue
        received.append(int(message.payload))
        if qos == 1:
            subscriber.send(p.Puback(message.packet_id))
        elif qos == 2:
            subscriber.send(p.Pubrec(message.packet_id))
    assert received == list(range(count))


@pytest.mark.mqtt5("MQTT-3.8.3-3")
def test_no_local_keeps_own_messages_away(broker, topic):
    client = broker.connect()
    client.subscribe(topic, qos=1, no_local=True)
    client.publish(topic, b"own", 1)
    fence(client, client)
    other = broker.connect()
    other.publish(topic, b"other", 1)
    client.expect_publish(topic, b"other")


@pytest.mark.mqtt5("MQTT-3.8.3-3")
def test_no_local_holds_for_a_client_whose_id_was_assigned(broker, topic):
    client = broker.connect(client_id="")
    client.subscribe(topic, no_local=True)
    client.publish(topic, b"own")
    fence(client, client)


def test_own_messages_come_back_without_no_local(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    client.publish(topic, b"own", 1, reason=0)
    client.expect_publish(topic, b"own")


@pytest.mark.mqtt311("MQTT-3.3.5-2")
@pytest.mark.emqc
@pytest.mark.config({"mqtt.max_qos_allowed": "1"})
def test_a_publish_that_is_not_allowed_is_not_delivered(broker, version, topic):
    watcher = broker.connect()
    watcher.subscribe(topic, qos=1)
    client = broker.connect(version)
    client.send(p.Publish(topic, b"x", 2, packet_id=1))
    client.drain()
    watcher.expect_nothing()
