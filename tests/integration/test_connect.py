"""CONNECT and CONNACK: sections 3.1 and 3.2 of both standards."""

import pytest

from emqc import packets as p
from emqc.client import Client, unique
from emqc.packets import Prop

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.0-2")
@pytest.mark.mqtt311("MQTT-3.1.4-4", "MQTT-3.2.0-1")
def test_connect_is_answered_by_one_connack(broker, version):
    client = broker.connect(version)
    assert client.connack.reason == 0
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.2.0-1")
@pytest.mark.mqtt311("MQTT-3.2.0-1")
def test_connack_comes_before_the_messages_of_a_resumed_session(broker, version, topic):
    name = unique()
    fields = dict(client_id=name, clean=False)
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: 60}
    first = broker.connect(version, **fields)
    first.subscribe(topic, qos=1)
    first.drop()
    broker.connect(version).publish(topic, b"kept", 1)
    second = broker.open(version)
    second.send(p.Connect(**fields))
    assert second.expect(p.Connack, reason=0).session_present
    second.expect_publish(topic, b"kept")
    second.connect(expect=False, clean=True)  # a second CONNECT ends it


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.0-1")
@pytest.mark.mqtt311("MQTT-3.1.0-1")
@pytest.mark.parametrize("packet", [p.Pingreq(), p.Publish("a", b"b"), p.Subscribe(1, [p.Filter("a")]), p.Disconnect()],
                         ids=lambda packet: type(packet).__name__)  # fmt: skip
def test_a_first_packet_other_than_connect_closes(broker, version, packet):
    client = broker.open(version)
    client.send(packet)
    client.expect_closed()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.0-2", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-3.1.0-2", "MQTT-4.8.0-1")
def test_a_second_connect_ends_the_connection(broker, version):
    client = broker.connect(version)
    client.send(p.Connect(client.client_id))
    client.expect_disconnect(0x82)


@pytest.mark.mqtt5("MQTT-3.1.2-1")
@pytest.mark.mqtt311("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["MQXX", "mqtt", "", "MQIsdp"])
def test_a_wrong_protocol_name_is_refused(broker, name):
    client = broker.open(4)
    client.send(p.Connect(unique(), protocol_name=name, protocol_level=5 if name == "MQIsdp" else 4))
    answer = client.drain()
    assert answer in ([], [p.Connack(False, 1)]), answer


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-2")
@pytest.mark.mqtt311("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [0, 1, 2, 6, 7, 0x7F])
def test_an_unsupported_protocol_level_is_refused(broker, level):
    client = broker.open(4)
    client.send(b"\x10\x0d\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x3c\x00\x01x")
    data = b""
    while chunk := client.socket.recv(100):
        data += chunk
    # The older form for levels below 5; above, the form of MQTT 5 is as good.
    assert data in (bytes.fromhex("20020001"), bytes.fromhex("2003008400"), bytes.fromhex("20020084")), data.hex(" ")
    assert level > 5 or data == bytes.fromhex("20020001"), data.hex(" ")


@pytest.mark.mqtt5("MQTT-3.1.2-3", "MQTT-3.1.4-1")
@pytest.mark.mqtt311("MQTT-3.1.2-3", "MQTT-3.1.4-1")
def test_the_reserved_connect_flag_is_refused(broker, version):
    client = broker.open(version)
    client.send(p.Connect(unique(), reserved_flag=True))
    client.expect_refused(0x81)


@pytest.mark.mqtt5("MQTT-3.1.3-2", "MQTT-3.1.3-3", "MQTT-3.1.3-5")
@pytest.mark.mqtt311("MQTT-3.1.3-2", "MQTT-3.1.3-3", "MQTT-3.1.3-5")
@pytest.mark.parametrize("name", ["a", LETTERS[:23], LETTERS[23:46], LETTERS[46:] + "xyz"])
def test_client_ids_of_1_to_23_letters_and_digits_are_accepted(broker, version, name):
    client = broker.connect(version, client_id=name)
    if version == 5:
        assert Prop.ASSIGNED_CLIENT_IDENTIFIER not in client.connack.properties


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
def test_an_empty_client_id_is_replaced_by_a_unique_one(broker):
    names = set()
    clients = []
    for clean in (True, False, True, False):
        clients.append(broker.connect(client_id="", clean=clean))
        names.add(clients[-1].connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER))
    assert len(names) == 4 and None not in names and "" not in names
    for client in clients:
        client.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.3-7")
def test_the_assigned_client_id_names_the_session(broker, topic):
    first = broker.connect(client_id="", properties={Prop.SESSION_EXPIRY_INTERVAL: 60})
    name = first.connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER)
    first.subscribe(topic, qos=1)
    first.disconnect()
    again = broker.connect(client_id=name, clean=False)
    assert again.connack.session_present
    again.publish(topic, b"x", 1, reason=0)
    again.expect_publish(topic, b"x")


@pytest.mark.mqtt311("MQTT-3.1.3-6", "MQTT-3.1.3-7")
def test_empty_client_ids_of_3_1_1_are_told_apart(broker, topic):
    first = broker.connect(4, client_id="")
    second = broker.connect(4, client_id="")
    first.subscribe(topic)
    second.publish(topic, b"x")
    first.expect_publish(topic, b"x")
    second.expect_nothing()


@pytest.mark.mqtt311("MQTT-3.1.3-8", "MQTT-3.1.3-9")
def test_an_empty_client_id_without_clean_session_is_refused(broker):
    client = broker.open(4)
    client.send(p.Connect("", clean=False))
    client.expect_refused(code=2)


def test_an_empty_client_id_of_3_1_is_refused(broker):
    client = broker.open(3)
    client.send(p.Connect("", clean=True))
    client.expect_refused(code=2)


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.1.3-8")
@pytest.mark.mqtt311("MQTT-3.1.3-9")
@pytest.mark.config({"mqtt.max_clientid_len": "30"})
def test_a_client_id_that_is_too_long_is_refused(broker, version):
    broker.connect(version, client_id="x" * 30)
    client = broker.open(version)
    client.send(p.Connect("x" * 31))
    client.expect_refused(0x85, code=2)


@pytest.mark.mqtt5("MQTT-3.1.3-4", "MQTT-3.1.3-11", "MQTT-3.1.3-12", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.1.4-1")
@pytest.mark.mqtt311("MQTT-3.1.3-4", "MQTT-3.1.3-10", "MQTT-3.1.3-11", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.1.4-1")
@pytest.mark.parametrize("text", [b"a\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\0b"],
                         ids=["byte-ff", "surrogate", "overlong", "above-10ffff", "null"])  # fmt: skip
@pytest.mark.parametrize("field", ["client_id", "username", "will_topic"])
def test_ill_formed_text_in_connect_is_refused(broker, version, field, text):
    fields = {"client_id": unique()}
    if field == "will_topic":
        fields["will"] = p.Will(text, b"")
    else:
        fields[field] = text
    client = broker.open(version)
    client.send(p.Connect(**fields))
    # 0x85 and 0x90 name the field, as good as "malformed".
    if version == 5:
        client.expect(p.Connack, reason={0x81, 0x82, 0x85, 0x86, 0x90})
        client.expect_closed()
    else:
        assert client.drain() in ([], [p.Connack(False, 2)])


def _connect_bytes(version: int, flags: int, payload: bytes) -> bytes:
    name = p.text("MQIsdp" if version == 3 else "MQTT")
    body = name + bytes([version, flags]) + b"\x00\x3c" + (b"\x00" if version == 5 else b"") + payload
    return b"\x10" + p.varint(len(body)) + body


ID = p.text("shape")
EMPTY_PROPS = b"\x00"


@pytest.mark.mqtt5("MQTT-3.1.2-9", "MQTT-3.1.2-16", "MQTT-3.1.2-17", "MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.3-1",
                   "MQTT-3.1.4-1")  # fmt: skip
@pytest.mark.mqtt311("MQTT-3.1.2-9", "MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.2-20", "MQTT-3.1.2-21", "MQTT-3.1.3-1",
                     "MQTT-3.1.4-1")  # fmt: skip
@pytest.mark.parametrize("flags, payload", [
    (0x82, ID),  # user name flag without a user name
    (0xC2, ID + p.text("u")),  # password flag without a password
    (0x02, ID + p.text("u")),  # a user name without its flag
    (0x82, ID + p.text("u") + p.text("p")),  # a password without its flag
    (0x06, ID),  # will flag without a will
    (0x06, ID + b"W" + p.text("w")),  # a will topic without a payload
    (0x02, ID + b"W" + p.text("w") + p.text("p")),  # a will without its flag
    (0x02, b"\x00\x09abc"),  # a client id longer than the packet
    (0x02, b""),  # no client id
], ids=["no-user", "no-password", "extra-user", "extra-password", "no-will", "half-will", "extra-will", "cut-id", "no-id"])  # fmt: skip
def test_a_connect_whose_payload_does_not_fit_its_flags_is_refused(broker, version, flags, payload):
    if version == 3 and flags & 0xC0:
        pytest.skip("3.1 lets a user name or password be missing")
    client = broker.open(version)
    client.send(_connect_bytes(version, flags, payload.replace(b"W", EMPTY_PROPS if version == 5 else b"")))
    client.expect_refused(0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.1.2-11", "MQTT-3.1.2-12", "MQTT-3.1.2-13")
@pytest.mark.mqtt311("MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-14", "MQTT-3.1.2-15")
@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x22, 0x1E], ids=["qos1-no-will", "qos2-no-will", "retain-no-will", "qos3"])
def test_will_flags_that_contradict_each_other_are_refused(broker, version, flags):
    will = (EMPTY_PROPS if version == 5 else b"") + p.text("w") + p.text("x") if flags & 4 else b""
    client = broker.open(version)
    client.send(_connect_bytes(version, flags, ID + will))
    client.expect_refused(0x81, 0x82)


@pytest.mark.mqtt311("MQTT-3.1.2-22", "MQTT-3.1.4-1")
def test_a_password_without_a_user_name_is_refused_in_3_1_1(broker):
    client = broker.open(4)
    client.send(p.Connect(unique(), password=b"p"))
    client.expect_refused()


@pytest.mark.mqtt5("MQTT-3.1.2-18", "MQTT-3.1.2-19")
def test_a_password_without_a_user_name_is_fine_in_mqtt_5(broker):
    broker.connect(password=b"p").expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.3-1", "MQTT-3.1.2-17", "MQTT-3.1.2-19")
@pytest.mark.mqtt311("MQTT-3.1.3-1", "MQTT-3.1.2-19", "MQTT-3.1.2-21")
def test_a_connect_with_every_field_is_accepted(broker, version, topic):
    fields = dict(will=p.Will(topic, b"w", 2, True), username="u", password=b"\x00\xff", keepalive=0xFFFF)
    if version == 5:
        fields["properties"] = [
            (Prop.SESSION_EXPIRY_INTERVAL, 1),
            (Prop.RECEIVE_MAXIMUM, 1),
            (Prop.MAXIMUM_PACKET_SIZE, 1000),
            (Prop.TOPIC_ALIAS_MAXIMUM, 1),
            (Prop.REQUEST_RESPONSE_INFORMATION, 1),
            (Prop.REQUEST_PROBLEM_INFORMATION, 0),
            (Prop.USER_PROPERTY, ("a", "b")),
            (Prop.USER_PROPERTY, ("a", "b")),
        ]
        fields["will"].properties = [
            (Prop.WILL_DELAY_INTERVAL, 1),
            (Prop.PAYLOAD_FORMAT_INDICATOR, 1),
            (Prop.MESSAGE_EXPIRY_INTERVAL, 1),
            (Prop.CONTENT_TYPE, "t"),
            (Prop.RESPONSE_TOPIC, "r"),
            (Prop.CORRELATION_DATA, b"\x00"),
            (Prop.USER_PROPERTY, ("c", "d")),
        ]
    client = broker.connect(version, **fields)
    client.expect_nothing()
    client.disconnect()


@pytest.mark.mqtt5("MQTT-3.1.4-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize("properties", [
    {Prop.RECEIVE_MAXIMUM: 0},
    {Prop.MAXIMUM_PACKET_SIZE: 0},
    {Prop.REQUEST_RESPONSE_INFORMATION: 2},
    {Prop.REQUEST_PROBLEM_INFORMATION: 2},
    [(Prop.RECEIVE_MAXIMUM, 5), (Prop.RECEIVE_MAXIMUM, 5)],
    [(Prop.SESSION_EXPIRY_INTERVAL, 5), (Prop.SESSION_EXPIRY_INTERVAL, 5)],
    {Prop.AUTHENTICATION_DATA: b"data without a method"},
    {Prop.TOPIC_ALIAS: 1},  # belongs to PUBLISH
    {0x7F: b""},  # nobody's
    {Prop.USER_PROPERTY: (b"\xff", b"")},
], ids=str)  # fmt: skip
def test_a_wrong_property_in_connect_is_refused(broker, properties):
    client = broker.open()
    client.send(p.Connect(unique(), properties=properties))
    client.expect_refused(0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.1.4-1")
@pytest.mark.parametrize("properties", [{Prop.WILL_DELAY_INTERVAL: 1, Prop.TOPIC_ALIAS: 1}, {Prop.PAYLOAD_FORMAT_INDICATOR: 2},
                                        [(Prop.CONTENT_TYPE, "a"), (Prop.CONTENT_TYPE, "a")]], ids=str)  # fmt: skip
def test_a_wrong_will_property_is_refused(broker, topic, properties):
    client = broker.open()
    client.send(p.Connect(unique(), will=p.Will(topic, b"w", properties=properties)))
    client.expect_refused(0x81, 0x82)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.4-6", "MQTT-3.2.2-7", "MQTT-4.13.2-1", "MQTT-3.2.2-6")
@pytest.mark.mqtt311("MQTT-3.1.4-5", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
def test_what_follows_a_refused_connect_is_not_processed(broker, version, topic):
    watcher = broker.connect()
    watcher.subscribe(topic)
    client = broker.open(version)
    refused = p.Connect("", clean=False) if version != 5 else p.Connect(unique(), properties={Prop.RECEIVE_MAXIMUM: 0})
    client.send(refused, p.Publish(topic, b"must not arrive"), p.Pingreq())
    client.expect_refused(0x82, code=2)
    watcher.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.4-5")
@pytest.mark.mqtt311("MQTT-3.1.4-4")
def test_packets_sent_right_behind_connect_are_processed_after_it(broker, version, topic):
    client = broker.open(version)
    client.send(p.Connect(unique()), p.Subscribe(5, [p.Filter(topic, 1)]), p.Publish(topic, b"early", 1, packet_id=6))
    client.expect(p.Connack, reason=0)
    client.expect(p.Suback, packet_id=5, codes=[1])
    client.await_packet(p.Puback, packet_id=6)
    client.expect_publish(topic, b"early")


@pytest.mark.mqtt5("MQTT-3.2.2-1", "MQTT-3.2.2-8", "MQTT-2.2.2-1", "MQTT-4.12.0-6")
def test_connack_carries_only_what_it_may(broker):
    connack = broker.connect().connack  # the parser refuses anything else
    assert Prop.AUTHENTICATION_METHOD not in connack.properties
    assert Prop.REASON_STRING not in connack.properties
    assert connack.properties.get(Prop.RECEIVE_MAXIMUM, 65535) > 0
    assert connack.properties.get(Prop.MAXIMUM_QOS) in (None, 0, 1)
    assert connack.properties.get(Prop.MAXIMUM_PACKET_SIZE, 1) > 0


@pytest.mark.mqtt5("MQTT-3.1.2-28")
@pytest.mark.parametrize("properties", [{}, {Prop.REQUEST_RESPONSE_INFORMATION: 0}], ids=["absent", "zero"])
def test_no_response_information_unless_asked_for(broker, properties):
    assert Prop.RESPONSE_INFORMATION not in broker.connect(properties=properties).connack.properties


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.2.2-12", "MQTT-3.2.2-9")
@pytest.mark.config({"mqtt.max_qos_allowed": "1"})
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_above_the_maximum_qos_is_refused(broker, topic, qos):
    client = broker.open()
    client.send(p.Connect(unique(), will=p.Will(topic, b"w", qos)))
    if qos == 2:
        client.expect_refused(0x9B)
    else:
        connack = client.expect(p.Connack, reason=0)
        assert connack.properties.get(Prop.MAXIMUM_QOS) == 1


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.2.2-13")
@pytest.mark.config({"mqtt.retain_available": "false"})
def test_a_retained_will_is_refused_where_retain_is_off(broker, topic):
    client = broker.open()
    client.send(p.Connect(unique(), will=p.Will(topic, b"w", retain=True)))
    client.expect_refused(0x9A)
    connack = broker.connect(will=p.Will(topic, b"w")).connack
    assert connack.properties.get(Prop.RETAIN_AVAILABLE) == 0


@pytest.mark.mqtt5("MQTT-3.1.4-2")
@pytest.mark.mqtt311("MQTT-3.1.4-1")
@pytest.mark.emqc
@pytest.mark.config({"allow_anonymous": "false"})
def test_a_client_that_nobody_knows_is_refused(broker, version):
    client = broker.open(version)
    client.send(p.Connect(unique()))
    client.expect_refused(0x87, code=5)


@pytest.mark.mqtt5("MQTT-3.1.4-1")
@pytest.mark.emqc
@pytest.mark.parametrize("will_topic", ["a/+/b", "#", "", "a/#"])
def test_a_will_topic_that_is_no_topic_name_is_refused(broker, version, will_topic):
    client = broker.open(version)
    client.send(p.Connect(unique(), will=p.Will(will_topic, b"w")))
    if version == 5:
        client.expect_refused(0x90)
    else:
        assert client.drain() in ([], [p.Connack(False, 3)])


@pytest.mark.emqc
def test_the_bridge_bit_of_the_protocol_level_is_accepted(broker):
    for level in (3, 4):
        client = broker.open(level)
        client.send(p.Connect(unique(), protocol_level=0x80 | level))
        client.expect(p.Connack, reason=0)
        client.expect_nothing()


def test_many_connections_at_once_are_served(broker, version):
    clients = [Client(broker.address, version) for _ in range(50)]
    for client in clients:
        client.send(p.Connect(unique()))
    for client in clients:
        client.expect(p.Connack, reason=0)
    for client in clients:
        client.expect_nothing()
        client.close()
