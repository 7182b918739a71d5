"""SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK: sections 3.8 to 3.11."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop


def expect_filter_refused(client, packet_id: int):
    """Either SUBACK says no (0x8F, before version 5 0x80), or the connection ends with a fitting reason."""
    try:
        packet = client.receive()
    except AssertionError:
        assert client.version != 5, "closed without DISCONNECT"
        return
    if isinstance(packet, p.Suback):
        assert packet == p.Suback(packet_id, [0x8F if client.version == 5 else 0x80])
    else:
        assert isinstance(packet, p.Disconnect) and packet.reason in (0x81, 0x82, 0x8F), packet
        client.expect_closed()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1",
                   "MQTT-3.9.3-2", "MQTT-2.2.1-6", "MQTT-3.2.2-10")  # fmt: skip
@pytest.mark.mqtt311("MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2",
                     "MQTT-2.3.1-7")  # fmt: skip
@pytest.mark.parametrize("packet_id", [1, 258, 65535])
def test_suback_has_a_code_for_each_filter_in_order(broker, version, topic, packet_id):
    client = broker.connect(version)
    client.send(p.Subscribe(packet_id, [p.Filter(f"{topic}/{n}", qos) for n, qos in enumerate([2, 0, 1, 1, 0, 2])]))
    client.expect(p.Suback, packet_id=packet_id, codes=[2, 0, 1, 1, 0, 2])


@pytest.mark.mqtt5("MQTT-3.8.4-5")
@pytest.mark.mqtt311("MQTT-3.8.4-4")
def test_each_filter_of_one_subscribe_is_subscribed(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(*(p.Filter(f"{topic}/{n}", n % 3) for n in range(50)))
    publisher = broker.connect(version)
    for n in range(50):
        publisher.publish(f"{topic}/{n}", b"x", 2)
        client.expect_publish(f"{topic}/{n}", b"x", qos=n % 3)


@pytest.mark.mqtt5("MQTT-3.8.4-5")
@pytest.mark.mqtt311("MQTT-3.8.4-4")
def test_the_same_filter_twice_in_one_subscribe_is_one_subscription(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(p.Filter(topic, 0), p.Filter(topic, 2))
    broker.connect(version).publish(topic, b"x", 2)
    client.expect_publish(topic, b"x", qos=2)
    client.expect_nothing()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.8.4-3")
@pytest.mark.mqtt311("MQTT-3.8.4-3")
def test_subscribing_again_replaces_the_subscription(broker, version, topic):
    client = broker.connect(version)
    publisher = broker.connect(version)
    for qos in (0, 2, 1, 0):
        client.subscribe(topic, qos=qos)
        publisher.publish(topic, b"x", 2)
        client.expect_publish(topic, b"x", qos=qos)
        client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.8.4-3", "MQTT-3.3.4-3")
def test_subscribing_again_replaces_options_and_identifier(broker, topic):
    client = broker.connect()
    client.subscribe(topic, properties={Prop.SUBSCRIPTION_IDENTIFIER: 1}, no_local=True, qos=1)
    client.subscribe(topic, properties={Prop.SUBSCRIPTION_IDENTIFIER: 2})
    client.publish(topic, b"x")
    assert client.expect_publish(topic).properties.all(Prop.SUBSCRIPTION_IDENTIFIER) == [2]
    client.subscribe(topic)
    client.publish(topic, b"y")
    assert client.expect_publish(topic).properties.all(Prop.SUBSCRIPTION_IDENTIFIER) == []


@pytest.mark.mqtt5("MQTT-3.8.4-4")
@pytest.mark.mqtt311("MQTT-3.8.4-3")
def test_no_message_is_lost_while_a_subscription_is_replaced(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    for number in range(100):
        publisher.send(p.Publish(topic, b"%d" % number, 1, packet_id=number + 1))
        client.subscribe(topic, qos=1)
    for number in range(100):
        client.expect_publish(topic, b"%d" % number)


@pytest.mark.mqtt5("MQTT-3.3.4-3")
@pytest.mark.parametrize("identifier", [1, 127, 128, 268435455])
def test_the_subscription_identifier_comes_with_each_message(broker, topic, identifier):
    client = broker.connect()
    client.subscribe(f"{topic}/a", f"{topic}/b", properties={Prop.SUBSCRIPTION_IDENTIFIER: identifier})
    for name in "ab":
        client.publish(f"{topic}/{name}", b"x")
        assert client.expect_publish().properties.all(Prop.SUBSCRIPTION_IDENTIFIER) == [identifier]


@pytest.mark.mqtt5("MQTT-3.3.4-3", "MQTT-3.1.2-23")
def test_the_subscription_identifier_outlives_the_connection(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1, properties={Prop.SUBSCRIPTION_IDENTIFIER: 5})
    client.disconnect()
    broker.connect().publish(topic, b"x", 1)
    again = broker.connect(client_id=name, clean=False, properties=session)
    assert again.expect_publish(topic, b"x").properties.all(Prop.SUBSCRIPTION_IDENTIFIER) == [5]


@pytest.mark.mqtt5("MQTT-4.13.1-1")
@pytest.mark.parametrize("properties", [
    {Prop.SUBSCRIPTION_IDENTIFIER: 0},
    [(Prop.SUBSCRIPTION_IDENTIFIER, 1), (Prop.SUBSCRIPTION_IDENTIFIER, 2)],
    {Prop.TOPIC_ALIAS: 1},
    {Prop.USER_PROPERTY: (b"\xff", b"")},
], ids=str)  # fmt: skip
def test_a_wrong_property_in_subscribe_ends_the_connection(broker, topic, properties):
    client = broker.connect()
    client.send(p.Subscribe(1, [p.Filter(topic)], properties))
    client.expect_disconnect(0x81, 0x82, 0xA1)


@pytest.mark.mqtt5("MQTT-3.8.3-2", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-3.8.3-3", "MQTT-4.8.0-1")
def test_subscribe_without_a_filter_ends_the_connection(broker, version):
    client = broker.connect(version)
    client.send(p.Subscribe(1, []))
    client.expect_disconnect(0x81, 0x82, 0x8F)


@pytest.mark.mqtt5("MQTT-3.10.3-2", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-3.10.3-2", "MQTT-4.8.0-1")
def test_unsubscribe_without_a_filter_ends_the_connection(broker, version):
    client = broker.connect(version)
    client.send(p.Unsubscribe(1, []))
    client.expect_disconnect(0x81, 0x82, 0x8F)


@pytest.mark.mqtt5("MQTT-3.8.3-5")
@pytest.mark.mqtt311("MQTT-3.8.3-4")
@pytest.mark.parametrize("options", [0x03, 0x40, 0x80, 0xC0], ids=hex)
def test_reserved_subscription_options_end_the_connection(broker, version, topic, options):
    client = broker.connect(version)
    client.send(p.Subscribe(1, [p.Filter(topic, raw_options=options)]))
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.mqtt311("MQTT-3.8.3-4")
@pytest.mark.parametrize("options", [0x04, 0x08, 0x10, 0x20], ids=hex)
def test_options_of_mqtt_5_are_reserved_in_3_1_1(broker, topic, options):
    client = broker.connect(4)
    client.send(p.Subscribe(1, [p.Filter(topic, raw_options=options)]))
    client.expect_closed()


@pytest.mark.mqtt5("MQTT-2.2.1-3")
@pytest.mark.mqtt311("MQTT-2.3.1-1")
@pytest.mark.parametrize("packet", [p.Subscribe(0, [p.Filter("a")]), p.Unsubscribe(0, ["a"])], ids=["sub", "unsub"])
def test_packet_identifier_0_ends_the_connection(broker, version, packet):
    client = broker.connect(version)
    client.send(packet)
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.8.3-1", "MQTT-3.10.3-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-4.7.3-2")
@pytest.mark.mqtt311("MQTT-3.8.3-1", "MQTT-3.10.3-1", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-4.7.3-2")
@pytest.mark.parametrize("text", [b"a\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"a\0"], ids=["ff", "surrogate", "overlong", "null"])
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_an_ill_formed_filter_ends_the_connection(broker, version, kind, text):
    client = broker.connect(version)
    client.send(p.Subscribe(1, [p.Filter(text)]) if kind == "subscribe" else p.Unsubscribe(1, [text]))
    client.expect_disconnect(0x81, 0x82, 0x8F)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1")
@pytest.mark.mqtt311("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1")
@pytest.mark.parametrize("pattern", ["", "a#", "a/#/b", "#/a", "a/b#", "a+", "+a", "a/+b/c", "a/b+/c", "##", "++", "a/+#"])
def test_a_filter_with_a_misplaced_wildcard_is_refused(broker, version, pattern):
    client = broker.connect(version)
    client.send(p.Subscribe(1, [p.Filter(pattern)]))
    expect_filter_refused(client, 1)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-3.11.3-2", "MQTT-2.2.1-6", "MQTT-3.10.4-5")
@pytest.mark.mqtt311("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-2.3.1-7")
def test_unsubscribe_stops_the_messages(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    publisher.publish(topic, b"x", 1)
    client.expect_publish(topic, b"x")
    client.unsubscribe(topic)
    publisher.publish(topic, b"y", 1)
    fence(publisher, client)


@pytest.mark.mqtt5("MQTT-3.10.4-5", "MQTT-3.10.4-4")
@pytest.mark.mqtt311("MQTT-3.10.4-5", "MQTT-3.10.4-4")
def test_unsubscribe_of_nothing_is_answered(broker, version, topic):
    broker.connect(version).unsubscribe(topic, codes=[0x11])


@pytest.mark.mqtt5("MQTT-3.10.4-6", "MQTT-3.11.3-1")
@pytest.mark.mqtt311("MQTT-3.10.4-6")
def test_unsubscribe_of_many_filters_has_one_answer(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(f"{topic}/1", f"{topic}/3", f"{topic}/+")
    client.unsubscribe(f"{topic}/1", f"{topic}/2", f"{topic}/3", codes=[0, 0x11, 0])
    publisher = broker.connect(version)
    publisher.publish(f"{topic}/1", b"x")
    client.expect_publish(f"{topic}/1", b"x")  # by the wildcard, which stayed
    fence(publisher, client)


@pytest.mark.mqtt5("MQTT-3.10.4-1", "MQTT-4.7.3-4")
@pytest.mark.mqtt311("MQTT-3.10.4-1", "MQTT-4.7.3-4")
def test_unsubscribe_compares_character_by_character(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(f"{topic}/+")
    client.unsubscribe(f"{topic}/#", f"{topic}/a", f"{topic}/+/", f"{topic.upper()}/+", codes=[0x11] * 4)
    broker.connect(version).publish(f"{topic}/a", b"x")
    client.expect_publish(f"{topic}/a", b"x")


@pytest.mark.mqtt5("MQTT-3.10.4-3")
@pytest.mark.mqtt311("MQTT-3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_under_way_are_completed_after_unsubscribe(broker, version, topic, qos):
    name = unique()
    fields = dict(client_id=name, clean=False)
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    client = broker.connect(version, **fields)
    client.subscribe(topic, qos=qos)
    broker.connect(version).publish(topic, b"x", qos)
    client.expect_publish(topic, b"x", ack=False)
    client.unsubscribe(topic)
    client.drop()
    again = broker.connect(version, **fields)
    again.expect_publish(topic, b"x", dup=True, qos=qos)
    again.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.2-29", "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2", "MQTT-3.4.2-2",
                   "MQTT-3.4.2-3", "MQTT-3.7.2-2", "MQTT-3.7.2-3", "MQTT-3.6.2-2", "MQTT-3.6.2-3", "MQTT-3.5.2-2",
                   "MQTT-3.5.2-3")  # fmt: skip
@pytest.mark.parametrize("prop, value", [(Prop.REQUEST_PROBLEM_INFORMATION, 0), (Prop.MAXIMUM_PACKET_SIZE, 64)],
                         ids=["no-problem-information", "small-packets"])  # fmt: skip
def test_no_reason_strings_where_the_client_does_not_want_them(broker, topic, prop, value):
    client = broker.connect(properties={prop: value})

    def bare(packet):
        if prop == Prop.REQUEST_PROBLEM_INFORMATION:
            assert packet.properties == {}
        else:
            assert len(client.raw_in) <= value

    client.send(p.Subscribe(1, [p.Filter("$share/bad"), p.Filter(topic)]))
    bare(client.expect(p.Suback))
    client.send(p.Unsubscribe(2, [topic + "/none"]))
    bare(client.expect(p.Unsuback))
    client.send(p.Pubrel(9))
    bare(client.expect(p.Pubcomp, reason=0x92))
    client.send(p.Pubrec(9))
    bare(client.expect(p.Pubrel, reason=0x92))
    client.send(p.Publish(topic + "/none", b"", 1, packet_id=3))
    bare(client.expect(p.Puback, reason=0x10))
    client.send(p.Publish(topic + "/none", b"", 2, packet_id=4))
    bare(client.expect(p.Pubrec, reason=0x10))


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.8.4-5", "MQTT-3.8.4-7", "MQTT-3.9.3-1")
@pytest.mark.mqtt311("MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1")
@pytest.mark.config({"mqtt.max_topic_levels": "2"})
def test_one_refused_filter_does_not_refuse_the_others(broker, version):
    client = broker.connect(version)
    client.send(p.Subscribe(1, [p.Filter("ok/1", 1), p.Filter("too/many/levels", 1), p.Filter("ok/2", 2)]))
    client.expect(p.Suback, packet_id=1, codes=[1, 0x8F if version == 5 else 0x80, 2])
    publisher = broker.connect(version)
    for name in ("ok/1", "ok/2"):
        publisher.publish(name, b"x", 2)
        client.expect_publish(name, b"x")
    publisher.publish("too/many/levels", b"x", 1)
    client.expect_nothing()


@pytest.mark.emqc
@pytest.mark.mqtt311("MQTT-3.8.3-2")
@pytest.mark.config({"mqtt.wildcard_subscription": "false"})
def test_wildcards_are_refused_where_they_are_off(broker, version):
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.WILDCARD_SUBSCRIPTION_AVAILABLE) == 0
    no = 0xA2 if version == 5 else 0x80
    client.subscribe(p.Filter("a/+", 1), p.Filter("a/b", 1), p.Filter("#", 1), codes=[no, 1, no])
    client.expect_nothing()


@pytest.mark.emqc
@pytest.mark.config({"zone.external.max_topic_levels": "0"})
@pytest.mark.parametrize("wildcard", ["+", "x"])
def test_no_filter_has_more_than_1024_levels(broker, version, topic, wildcard):
    client = broker.connect(version)
    deep = "/".join([wildcard] + ["x"] * (1023 - topic.count("/") - 1))
    no = 0x8F if version == 5 else 0x80
    client.subscribe(p.Filter(f"{topic}/{deep}", 1), p.Filter(f"{topic}/{deep}/x", 1), p.Filter("x/" * 30000, 1),
                     codes=[1, no, no])  # fmt: skip
    client.publish(f"{topic}/{deep}".replace("+", "y"), b"deep", 1)
    client.expect_publish(payload=b"deep")


@pytest.mark.emqc
@pytest.mark.config({"zone.external.max_topic_levels": "30001"})
def test_more_levels_are_served_where_the_configuration_says_so(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(p.Filter("+/" * 30000 + "x", 1))
    client.publish("a/" * 30000 + "x", b"deep", 1)
    client.expect_publish(payload=b"deep")
