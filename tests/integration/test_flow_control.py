"""Receive Maximum, Maximum Packet Size and Topic Alias, both ways: sections 3.1.2.11, 3.2.2.3, 3.3.2.3.4 and 4.9."""

import pytest

from emqc import packets as p
from emqc.client import unique
from emqc.packets import Prop


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
@pytest.mark.parametrize("maximum", [1, 3])
@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_messages_than_the_receive_maximum_are_under_way(broker, topic, maximum, qos):
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: maximum})
    client.subscribe(topic, qos=qos)
    publisher = broker.connect()
    for number in range(6):
        publisher.publish(topic, b"%d" % number, qos)
    for start in range(0, 6, maximum):
        batch = [client.expect_publish(topic, b"%d" % (start + n), ack=False) for n in range(maximum)]
        client.expect_nothing()
        for message in batch:
            if qos == 2:
                client.send(p.Pubrec(message.packet_id))
                client.expect(p.Pubrel, packet_id=message.packet_id)
        if qos == 2:
            client.expect_nothing()  # PUBREC gives no room, PUBCOMP does
        client.send(*((p.Puback if qos == 1 else p.Pubcomp)(message.packet_id) for message in batch))
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.9.0-2", "MQTT-4.4.0-2")
def test_a_pubrec_with_an_error_gives_room_for_the_next_message(broker, topic):
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: 1})
    client.subscribe(topic, qos=2)
    publisher = broker.connect()
    publisher.publish(topic, b"1", 2)
    publisher.publish(topic, b"2", 2)
    message = client.expect_publish(topic, b"1", ack=False)
    client.send(p.Pubrec(message.packet_id, 0x97))
    client.expect_publish(topic, b"2")


@pytest.mark.mqtt5("MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_a_full_window_delays_nothing_but_publish(broker, topic):
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: 1})
    client.subscribe(topic, qos=1)
    publisher = broker.connect()
    publisher.publish(topic, b"1", 1)
    publisher.publish(topic, b"2", 1)
    message = client.expect_publish(topic, b"1", ack=False)
    client.expect_nothing()
    client.subscribe(topic + "/other")
    client.unsubscribe(topic + "/other")
    client.send(p.Publish(unique(), b"", 2, packet_id=9))
    client.expect(p.Pubrec, packet_id=9)
    client.send(p.Pubrel(9))
    client.expect(p.Pubcomp, packet_id=9)
    client.send(p.Puback(message.packet_id))
    client.expect_publish(topic, b"2")


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-4.9.0-2")
def test_qos_0_does_not_wait_for_a_full_window(broker, topic):
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: 1})
    client.subscribe(topic, qos=1)
    publisher = broker.connect()
    publisher.publish(topic, b"1", 1)
    client.expect_publish(topic, b"1", ack=False)
    publisher.publish(topic, b"0", 0)
    client.expect_publish(topic, b"0", qos=0)


@pytest.mark.emqc
@pytest.mark.config({"zone.external.max_inflight": "2"})
def test_the_window_of_the_zone_limits_every_version(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    for number in range(4):
        publisher.publish(topic, b"%d" % number, 1)
    first = client.expect_publish(topic, b"0", ack=False)
    client.expect_publish(topic, b"1", ack=False)
    client.expect_nothing()
    client.send(p.Puback(first.packet_id))
    client.expect_publish(topic, b"2", ack=False)
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.9.0-1", "MQTT-4.4.0-1")
def test_the_receive_maximum_of_the_new_connection_counts_after_a_reconnect(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect()
    for number in range(5):
        publisher.publish(topic, b"%d" % number, 1)
    again = broker.connect(client_id=name, clean=False, properties={**session, Prop.RECEIVE_MAXIMUM: 2})
    messages = [again.expect_publish(topic, ack=False) for _ in range(2)]
    again.expect_nothing()
    again.send(*(p.Puback(message.packet_id) for message in messages))
    for number in (2, 3, 4):
        again.expect_publish(topic, b"%d" % number)


# --- maximum packet size


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-24", "MQTT-3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_too_large_for_the_client_is_left_out(broker, topic, qos):
    size = 100
    client = broker.connect(properties={Prop.MAXIMUM_PACKET_SIZE: size, Prop.RECEIVE_MAXIMUM: 1})
    client.subscribe(topic, qos=qos)
    large = broker.connect()
    large.subscribe(topic, qos=qos)
    publisher = broker.connect()
    overhead = len(p.Publish(topic, b"", qos, packet_id=1).encode(5))
    for payload in (b"x" * 5000, b"y" * (size - overhead + 1), b"z" * (size - overhead), b"small"):
        publisher.publish(topic, payload, qos)
        large.expect_publish(topic, payload)
    message = client.expect_publish(topic, b"z" * (size - overhead), ack=False)
    assert len(client.raw_in) == size
    client.acknowledge(message)
    client.expect_publish(topic, b"small")
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_queued_and_retained_messages_too_large_for_the_client_are_left_out(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect()
    publisher.publish(topic, b"x" * 1000, 1)
    publisher.publish(topic, b"small", 1)
    publisher.publish(topic + "/r", b"x" * 1000, 1, retain=True)
    again = broker.connect(client_id=name, clean=False, properties={**session, Prop.MAXIMUM_PACKET_SIZE: 100})
    again.expect_publish(topic, b"small")
    again.subscribe(topic + "/r")
    again.expect_nothing()
    publisher.publish(topic + "/r", b"", 1, retain=True)


@pytest.mark.mqtt5("MQTT-3.2.2-19", "MQTT-3.2.2-20", "MQTT-3.14.2-3", "MQTT-3.14.2-4", "MQTT-3.1.2-24")
@pytest.mark.parametrize("size", [4, 8, 20])
def test_a_refusal_fits_the_maximum_packet_size(broker, size):
    client = broker.open()
    client.send(p.Connect(unique(), properties={Prop.MAXIMUM_PACKET_SIZE: size, Prop.RECEIVE_MAXIMUM: 0}))
    for _ in client.drain():
        assert len(client.raw_in) <= max(size, 5)
    client = broker.open()
    client.send(p.Connect(unique(), properties={Prop.MAXIMUM_PACKET_SIZE: 64}))
    client.expect(p.Connack)
    client.send(p.Publish("a/#", b""))
    client.expect(p.Disconnect)
    assert len(client.raw_in) <= 64


@pytest.mark.emqc
@pytest.mark.config({"mqtt.max_packet_size": "1KB"})
def test_a_packet_larger_than_announced_ends_the_connection(broker, version, topic):
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.MAXIMUM_PACKET_SIZE) == 1024
    overhead = len(p.Publish(topic, b"x" * 900).encode(version)) - 900
    client.send(p.Publish(topic, b"x" * (1024 - overhead)))
    client.expect_nothing()
    client.send(p.Publish(topic, b"x" * (1025 - overhead)))
    client.expect_disconnect(0x95)


@pytest.mark.emqc
@pytest.mark.config({"mqtt.max_packet_size": "1KB"})
def test_a_connect_larger_than_allowed_is_refused(broker, version):
    client = broker.open(version)
    client.send(p.Connect(unique(), will=p.Will("w", b"x" * 1100)))
    packets = client.drain()
    if version == 5:
        assert packets in ([p.Connack(False, 0x95)], []), packets
    else:
        assert packets == []


# --- topic alias

ALIASES = {"mqtt.max_topic_alias": "3"}


@pytest.mark.emqc
@pytest.mark.config(ALIASES)
@pytest.mark.mqtt5("MQTT-3.3.2-12")
def test_every_alias_up_to_the_maximum_is_accepted(broker, topic):
    watcher = broker.connect()
    watcher.subscribe(topic + "/#", qos=1)
    client = broker.connect()
    assert client.connack.properties.get(Prop.TOPIC_ALIAS_MAXIMUM) == 3
    for alias in (1, 2, 3):
        client.publish(f"{topic}/{alias}", b"set", 1, properties={Prop.TOPIC_ALIAS: alias})
    for alias in (3, 1, 2):
        client.publish("", b"used", 1, properties={Prop.TOPIC_ALIAS: alias})
    client.publish(f"{topic}/new", b"set", properties={Prop.TOPIC_ALIAS: 2})
    client.publish("", b"used", properties={Prop.TOPIC_ALIAS: 2})
    wanted = [f"{topic}/{name}" for name in (1, 2, 3, 3, 1, 2, "new", "new")]
    for name in wanted:
        message = watcher.expect_publish(name)
        assert Prop.TOPIC_ALIAS not in message.properties


@pytest.mark.emqc
@pytest.mark.config(ALIASES)
@pytest.mark.mqtt5("MQTT-3.3.2-8", "MQTT-4.13.1-1")
@pytest.mark.parametrize("alias", [0, 4, 65535])
def test_an_alias_out_of_range_ends_the_connection(broker, topic, alias):
    client = broker.connect()
    client.send(p.Publish(topic, b"x", properties={Prop.TOPIC_ALIAS: alias}))
    client.expect_disconnect(0x94)


@pytest.mark.emqc
@pytest.mark.config(ALIASES)
@pytest.mark.mqtt5("MQTT-3.3.2-7", "MQTT-4.13.1-1")
def test_aliases_end_with_their_connection(broker, topic):
    name = unique()
    fields = dict(client_id=name, clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    client = broker.connect(**fields)
    client.publish(topic, b"x", 1, properties={Prop.TOPIC_ALIAS: 1})
    client.drop()
    again = broker.connect(**fields)
    again.send(p.Publish("", b"x", properties={Prop.TOPIC_ALIAS: 1}))
    again.expect_disconnect(0x82, 0x94)


@pytest.mark.mqtt5("MQTT-3.3.2-9")
def test_an_alias_is_refused_where_none_is_allowed(broker, topic):
    client = broker.connect()
    maximum = client.connack.properties.get(Prop.TOPIC_ALIAS_MAXIMUM, 0)
    client.send(p.Publish(topic, b"x", properties={Prop.TOPIC_ALIAS: maximum + 1}))
    client.expect_disconnect(0x94)


@pytest.mark.mqtt5("MQTT-3.1.2-27", "MQTT-3.3.2-11")
@pytest.mark.parametrize("properties", [{}, {Prop.TOPIC_ALIAS_MAXIMUM: 0}], ids=["absent", "zero"])
def test_no_alias_is_sent_to_a_client_that_takes_none(broker, topic, properties):
    client = broker.connect(properties=properties)
    client.subscribe(topic)
    publisher = broker.connect()
    for _ in range(5):
        publisher.publish(topic, b"x")
        assert Prop.TOPIC_ALIAS not in client.expect_publish(topic, b"x").properties


@pytest.mark.mqtt5("MQTT-3.1.2-26", "MQTT-3.3.2-11")
@pytest.mark.parametrize("maximum", [1, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_aliases_sent_stay_within_the_client_s_maximum(broker, topic, maximum, qos):
    client = broker.connect(properties={Prop.TOPIC_ALIAS_MAXIMUM: maximum})
    client.subscribe(topic + "/#", qos=qos)
    publisher = broker.connect()
    for number in range(60):
        name = f"{topic}/{number % 8}"
        publisher.publish(name, b"%d" % number, qos)
        message = client.expect_publish(name, b"%d" % number)  # the client resolves the alias
        assert message.properties.get(Prop.TOPIC_ALIAS, 1) <= maximum


@pytest.mark.emqc
def test_aliases_save_the_topic_name(broker):
    topic = unique("a/long/topic/name/that/is/worth/an/alias/")
    client = broker.connect(properties={Prop.TOPIC_ALIAS_MAXIMUM: 10})
    client.subscribe(topic)
    publisher = broker.connect()
    sizes = []
    for _ in range(5):
        publisher.publish(topic, b"x")
        client.expect_publish(topic, b"x")
        sizes.append(len(client.raw_in))
    assert sizes[-1] < len(topic), sizes


@pytest.mark.mqtt5("MQTT-3.3.2-7")
def test_a_resumed_connection_gets_topic_names_again(broker, topic):
    name = unique()
    fields = dict(client_id=name, clean=False,
                  properties={Prop.SESSION_EXPIRY_INTERVAL: 60, Prop.TOPIC_ALIAS_MAXIMUM: 5})  # fmt: skip
    client = broker.connect(**fields)
    client.subscribe(topic, qos=1)
    publisher = broker.connect()
    for _ in range(3):
        publisher.publish(topic, b"x", 1)
        client.expect_publish(topic, b"x", ack=False)
    client.drop()
    again = broker.connect(**fields)  # knows no alias: each is set up anew, or the helper complains
    for _ in range(3):
        again.expect_publish(topic, b"x", dup=True)
