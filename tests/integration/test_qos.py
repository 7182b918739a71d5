"""Delivery at QoS 0, 1 and 2 and what happens across reconnects: sections 4.3, 4.4, 3.4 to 3.7."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop


def session(version: int, name: str, **fields) -> dict:
    """CONNECT fields of a client whose session stays."""
    if version == 5:
        fields.setdefault("properties", {Prop.SESSION_EXPIRY_INTERVAL: 60})
    return dict(client_id=name, clean=False, **fields)


@pytest.mark.mqtt5("MQTT-4.3.1-1", "MQTT-2.2.1-2")
@pytest.mark.mqtt311("MQTT-4.3.1-1", "MQTT-2.3.1-5")
def test_qos_0_is_sent_without_packet_identifier_and_dup(broker, version, topic):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=0)
    broker.connect(version).publish(topic, b"x", 1)
    subscriber.expect_publish(topic, b"x", qos=0, dup=False, packet_id=None)
    assert subscriber.raw_in[0] == 0x30


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-2.2.1-4")
@pytest.mark.mqtt311("MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-2.3.1-4")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_under_way_have_different_packet_identifiers(broker, version, topic, qos):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=qos)
    publisher = broker.connect(version)
    for number in range(20):
        publisher.publish(topic, b"%d" % number, qos)
    ids = [subscriber.expect_publish(topic, ack=False, dup=False, qos=qos).packet_id for _ in range(20)]
    assert len(set(ids)) == 20 and 0 not in ids


@pytest.mark.mqtt5("MQTT-4.3.2-3", "MQTT-4.4.0-1", "MQTT-3.3.1-1")
@pytest.mark.mqtt311("MQTT-4.3.2-1", "MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-2.3.1-4")
@pytest.mark.parametrize("qos", [1, 2])
def test_unacknowledged_messages_are_sent_again_on_reconnect(broker, version, topic, qos):
    name = unique()
    first = broker.connect(version, **session(version, name))
    first.subscribe(topic, qos=qos)
    publisher = broker.connect(version)
    for number in range(5):
        publisher.publish(topic, b"%d" % number, qos)
    sent = [first.expect_publish(topic, b"%d" % number, ack=False).packet_id for number in range(5)]
    first.drop()
    second = broker.connect(version, **session(version, name))
    again = [second.expect(p.Publish, dup=True, payload=b"%d" % number, qos=qos).packet_id for number in range(5)]
    assert again == sent
    for packet_id in again:
        second.send(p.Puback(packet_id) if qos == 1 else p.Pubrec(packet_id))
        if qos == 2:
            second.expect(p.Pubrel, packet_id=packet_id)
            second.send(p.Pubcomp(packet_id))
    second.disconnect()
    third = broker.connect(version, **session(version, name))
    third.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.3.3-3", "MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.4.0-1")
@pytest.mark.mqtt311("MQTT-4.3.3-1", "MQTT-4.4.0-1")
def test_pubrel_is_sent_again_and_publish_is_not(broker, version, topic):
    name = unique()
    first = broker.connect(version, **session(version, name))
    first.subscribe(topic, qos=2)
    broker.connect(version).publish(topic, b"x", 2)
    message = first.expect_publish(topic, b"x", ack=False, qos=2)
    first.send(p.Pubrec(message.packet_id))
    first.expect(p.Pubrel, packet_id=message.packet_id, reason=0)
    first.drop()
    for _ in range(2):
        again = broker.connect(version, **session(version, name))
        again.expect(p.Pubrel, packet_id=message.packet_id, reason=0)
        again.expect_nothing()
        again.drop()
    last = broker.connect(version, **session(version, name))
    last.expect(p.Pubrel, packet_id=message.packet_id)
    last.send(p.Pubcomp(message.packet_id))
    last.disconnect()
    broker.connect(version, **session(version, name)).expect_nothing()


@pytest.mark.mqtt5("MQTT-4.4.0-1")
@pytest.mark.mqtt311("MQTT-4.4.0-1")
def test_what_is_sent_again_keeps_its_order(broker, version, topic):
    """First the messages under way, PUBREL among them, in the order of their first sending, then the queue."""
    name, gone = unique(), unique("gone/")
    first = broker.connect(version, **session(version, name), will=p.Will(gone, b"gone"))
    first.subscribe(topic, qos=2)
    publisher = broker.connect(version)
    publisher.subscribe(gone)
    for number in range(4):
        publisher.publish(topic, b"%d" % number, 1 + number % 2)
    sent = [first.expect_publish(topic, ack=False) for _ in range(4)]
    first.send(p.Pubrec(sent[1].packet_id))
    first.expect(p.Pubrel)
    first.drop()
    publisher.expect_publish(gone, b"gone")  # the broker has noticed: what follows is queued
    for number in (4, 5):
        publisher.publish(topic, b"%d" % number, 1)
    second = broker.connect(version, **session(version, name))
    found = [second.receive() for _ in range(6)]
    assert [packet.payload for packet in found if isinstance(packet, p.Publish)] == [b"0", b"2", b"3", b"4", b"5"]
    assert [packet.packet_id for packet in found if isinstance(packet, p.Pubrel)] == [sent[1].packet_id]
    assert [packet.dup for packet in found if isinstance(packet, p.Publish)] == [True, True, True, False, False]


@pytest.mark.mqtt5("MQTT-4.3.2-4", "MQTT-4.3.2-5", "MQTT-2.2.1-5")
@pytest.mark.mqtt311("MQTT-4.3.2-2", "MQTT-2.3.1-6")
def test_after_puback_the_same_identifier_is_a_new_message(broker, version, topic):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    for dup in (False, True):
        publisher.send(p.Publish(topic, b"x", 1, dup=dup, packet_id=77))
        publisher.expect(p.Puback, packet_id=77, reason=0)
        subscriber.expect_publish(topic, b"x", dup=False)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-4.3.3-12")
@pytest.mark.mqtt311("MQTT-4.3.3-2")
def test_a_message_at_qos_2_is_delivered_once(broker, version, topic):
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=2)
    publisher = broker.connect(version)
    publisher.send(p.Publish(topic, b"x", 2, packet_id=9))
    publisher.expect(p.Pubrec, packet_id=9, reason=0)
    publisher.send(p.Publish(topic, b"x", 2, dup=True, packet_id=9))
    publisher.expect(p.Pubrec, packet_id=9)  # 0x91 is allowed as well
    for _ in range(2):
        publisher.send(p.Pubrel(9))
        publisher.expect(p.Pubcomp, packet_id=9)
    subscriber.expect_publish(topic, b"x", qos=2)
    subscriber.expect_nothing()
    publisher.send(p.Publish(topic, b"new", 2, packet_id=9))
    publisher.expect(p.Pubrec, packet_id=9, reason=0)
    subscriber.expect_publish(topic, b"new", qos=2)


@pytest.mark.mqtt5("MQTT-4.3.3-10", "MQTT-4.1.0-1", "MQTT-3.1.2-5")
@pytest.mark.mqtt311("MQTT-4.3.3-2", "MQTT-3.1.2-4")
def test_a_message_sent_again_after_a_reconnect_is_delivered_once(broker, version, topic):
    name = unique()
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=2)
    first = broker.connect(version, **session(version, name))
    first.send(p.Publish(topic, b"x", 2, packet_id=9))
    first.expect(p.Pubrec, packet_id=9, reason=0)
    first.drop()
    second = broker.connect(version, **session(version, name))
    second.send(p.Publish(topic, b"x", 2, dup=True, packet_id=9))
    ack = second.expect(p.Pubrec, packet_id=9)
    assert ack.reason < 0x80, f"a repetition is no mistake of the client: {ack}"
    second.send(p.Pubrel(9))
    second.expect(p.Pubcomp, packet_id=9, reason=0)
    subscriber.expect_publish(topic, b"x")
    subscriber.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.3.3-11")
@pytest.mark.mqtt311("MQTT-4.3.3-2")
def test_pubrel_after_a_reconnect_is_answered(broker, version, topic):
    name = unique()
    first = broker.connect(version, **session(version, name))
    first.send(p.Publish(topic, b"x", 2, packet_id=9))
    first.expect(p.Pubrec, packet_id=9)
    first.drop()
    second = broker.connect(version, **session(version, name))
    second.send(p.Pubrel(9))
    second.expect(p.Pubcomp, packet_id=9, reason=0)


@pytest.mark.mqtt5("MQTT-4.3.3-11", "MQTT-3.7.2-1")
@pytest.mark.mqtt311("MQTT-4.3.3-2")
def test_pubrel_of_an_unknown_identifier_is_answered(broker, version):
    client = broker.connect(version)
    client.send(p.Pubrel(1234))
    client.expect(p.Pubcomp, packet_id=1234, reason=0x92 if version == 5 else 0)
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.6.2-1", "MQTT-4.3.3-4")
def test_pubrec_of_an_unknown_identifier_is_answered_with_92(broker):
    client = broker.connect()
    client.send(p.Pubrec(1234))
    client.expect(p.Pubrel, packet_id=1234, reason=0x92)


@pytest.mark.emqc
def test_acknowledgements_of_unknown_identifiers_do_no_harm(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=2)
    client.send(p.Puback(99), p.Pubcomp(99))
    client.publish(topic, b"x", 2)
    client.expect_publish(topic, b"x")
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.3.3-4", "MQTT-4.4.0-2", "MQTT-4.8.2-6")
@pytest.mark.parametrize("reason", [0x80, 0x83, 0x87, 0x97, 0x99])
def test_pubrec_with_an_error_ends_the_message_without_pubrel(broker, topic, reason):
    name = unique()
    client = broker.connect(**session(5, name))
    client.subscribe(topic, qos=2)
    publisher = broker.connect()
    publisher.publish(topic, b"x", 2)
    message = client.expect_publish(topic, b"x", ack=False)
    client.send(p.Pubrec(message.packet_id, reason))
    client.expect_nothing()
    client.drop()
    broker.connect(**session(5, name)).expect_nothing()


@pytest.mark.mqtt5("MQTT-4.4.0-2")
@pytest.mark.parametrize("reason", [0x80, 0x83, 0x87, 0x97, 0x99])
def test_puback_with_an_error_ends_the_message(broker, topic, reason):
    name = unique()
    client = broker.connect(**session(5, name))
    client.subscribe(topic, qos=1)
    broker.connect().publish(topic, b"x", 1)
    message = client.expect_publish(topic, b"x", ack=False)
    client.send(p.Puback(message.packet_id, reason))
    client.ping()
    client.drop()
    broker.connect(**session(5, name)).expect_nothing()


@pytest.mark.mqtt5("MQTT-4.3.3-4", "MQTT-2.2.1-5")
@pytest.mark.mqtt311("MQTT-4.3.3-1", "MQTT-2.3.1-6")
def test_pubrec_is_answered_by_pubrel(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=2)
    broker.connect(version).publish(topic, b"x", 2)
    message = client.expect_publish(topic, b"x", ack=False)
    for _ in range(2):
        client.send(p.Pubrec(message.packet_id))
        client.expect(p.Pubrel, packet_id=message.packet_id, reason=0)
    client.send(p.Pubcomp(message.packet_id))
    client.expect_nothing()


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-4.13.1-1")
@pytest.mark.parametrize("qos, ack", [(1, p.Pubrec), (2, p.Puback), (2, p.Pubcomp), (1, p.Pubcomp)],
                         ids=["pubrec-for-1", "puback-for-2", "pubcomp-for-publish-2", "pubcomp-for-1"])  # fmt: skip
def test_an_acknowledgement_of_the_wrong_kind_is_a_protocol_error(broker, topic, qos, ack):
    client = broker.connect()
    client.subscribe(topic, qos=qos)
    broker.connect().publish(topic, b"x", qos)
    message = client.expect_publish(topic, b"x", ack=False)
    client.send(ack(message.packet_id))
    client.expect_disconnect(0x82)


@pytest.mark.mqtt5("MQTT-3.4.2-1", "MQTT-3.5.2-1")
@pytest.mark.parametrize("body", ["0005", "000500", "00050000"], ids=["2-bytes", "3-bytes", "4-bytes"])
def test_acknowledgements_of_each_length_are_understood(broker, topic, body):
    client = broker.connect()
    client.subscribe(topic, qos=2)
    publisher = broker.connect()

    def ack(first: int, packet_id: int) -> bytes:
        data = packet_id.to_bytes(2, "big") + bytes.fromhex(body)[2:]
        return bytes([first, len(data)]) + data

    publisher.publish(topic, b"1", 1)
    client.send(ack(0x40, client.expect_publish(topic, b"1", ack=False).packet_id))
    publisher.publish(topic, b"2", 2)
    message = client.expect_publish(topic, b"2", ack=False)
    client.send(ack(0x50, message.packet_id))
    client.expect(p.Pubrel, packet_id=message.packet_id, reason=0)
    client.send(ack(0x70, message.packet_id))
    client.send(p.Publish(topic, b"3", 2, packet_id=5))
    client.await_packet(p.Pubrec, packet_id=5)
    client.send(ack(0x62, 5))
    client.await_packet(p.Pubcomp, packet_id=5, reason=0)


@pytest.mark.mqtt5("MQTT-3.4.2-3", "MQTT-3.5.2-3", "MQTT-3.6.2-3")
def test_acknowledgements_with_properties_are_understood(broker, topic):
    client = broker.connect()
    client.subscribe(topic, qos=2)
    broker.connect().publish(topic, b"x", 2)
    properties = [(Prop.REASON_STRING, "why"), (Prop.USER_PROPERTY, ("a", "b"))]
    message = client.expect_publish(topic, b"x", ack=False)
    client.send(p.Pubrec(message.packet_id, 0, properties))
    client.expect(p.Pubrel, packet_id=message.packet_id, reason=0)
    client.send(p.Pubcomp(message.packet_id, 0, properties))
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-4.3.3-7", "MQTT-4.3.3-13")
def test_expiry_is_not_applied_to_a_message_that_was_sent(broker, topic):
    from test_publish import wait_for_delay

    name = unique()
    client = broker.connect(**session(5, name))
    client.subscribe(topic, qos=2)
    broker.connect().publish(topic, b"x", 2, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    message = client.expect_publish(topic, b"x", ack=False)
    wait_for_delay(broker, 2)
    client.drop()
    again = broker.connect(**session(5, name))
    again.expect_publish(topic, b"x", packet_id=message.packet_id, dup=True)


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.retry_interval": "1s"})
@pytest.mark.parametrize("qos", [1, 2])
def test_older_versions_get_the_message_again_after_the_retry_interval(broker, old_version, topic, qos):
    client = broker.connect(old_version)
    client.subscribe(topic, qos=qos)
    broker.connect().publish(topic, b"x", qos)
    message = client.expect_publish(topic, b"x", ack=False, dup=False)
    client.expect_publish(topic, b"x", ack=False, dup=True, packet_id=message.packet_id)
    client.expect_publish(topic, b"x", ack=False, dup=True, packet_id=message.packet_id)
    if qos == 2:
        client.send(p.Pubrec(message.packet_id))
        client.expect(p.Pubrel, packet_id=message.packet_id)
        client.expect(p.Pubrel, packet_id=message.packet_id)
        client.send(p.Pubcomp(message.packet_id))
    else:
        client.send(p.Puback(message.packet_id))
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-4.4.0-1")
@pytest.mark.config({"zone.external.retry_interval": "1s"})
def test_mqtt_5_does_not_resend_on_a_live_connection(broker, topic):
    old = broker.connect(4)
    new = broker.connect(5)
    for client in (old, new):
        client.subscribe(topic, qos=1)
    broker.connect().publish(topic, b"x", 1)
    new.expect_publish(topic, b"x", ack=False)
    old.expect_publish(topic, b"x", ack=False)
    for _ in range(2):  # the older client's repetitions tell that the time has come
        old.expect_publish(topic, b"x", ack=False, dup=True)
    new.expect_nothing()


@pytest.mark.emqc
@pytest.mark.config({"zone.external.max_awaiting_rel": "2"})
def test_more_qos_2_messages_than_allowed_end_the_connection(broker, version, topic):
    watcher = broker.connect()
    watcher.subscribe(topic, qos=0)
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.RECEIVE_MAXIMUM) == 2
    for packet_id in (1, 2):
        client.send(p.Publish(topic, b"%d" % packet_id, 2, packet_id=packet_id))
        client.expect(p.Pubrec, packet_id=packet_id)
    client.send(p.Publish(topic, b"3", 2, packet_id=3))
    client.expect_disconnect(0x93)
    watcher.expect_publish(topic, b"1")
    watcher.expect_publish(topic, b"2")
    fence(broker.connect(), watcher)


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.await_rel_timeout": "1s"})
def test_a_qos_2_identifier_is_forgotten_after_await_rel_timeout(broker, topic):
    from test_publish import wait_for_delay

    client = broker.connect()
    client.send(p.Publish(topic, b"x", 2, packet_id=1))
    client.expect(p.Pubrec, packet_id=1)
    wait_for_delay(broker, 3)
    client.send(p.Pubrel(1))
    client.expect(p.Pubcomp, packet_id=1, reason=0x92)


def test_packet_identifiers_wrap_around(broker, version, topic):
    """More messages than there are identifiers, one of them unacknowledged from the start."""
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    publisher.publish(topic, b"pinned", 1)
    pinned = client.expect_publish(topic, b"pinned", ack=False).packet_id
    batch = b"".join(p.Publish(topic, b"", 1, packet_id=number).encode(version) for number in range(1, 501))
    seen = set()
    for _ in range(132):
        publisher.send(batch)
        for _ in range(500):
            message = client.expect(p.Publish)
            seen.add(message.packet_id)
            client.send(p.Puback(message.packet_id))
        for _ in range(500):
            publisher.expect(p.Puback)
    assert pinned not in seen
    assert len(seen) > 60000
