"""The packet library of the tests itself: bytes as the standards print them, both ways."""

import pytest

from emqc import packets as p
from emqc.packets import Prop

pytestmark = pytest.mark.quick

SAMPLES = [
    (3, "10 0e 00 06 4d 51 49 73 64 70 03 02 00 3c 00 00", p.Connect(protocol_name="MQIsdp", protocol_level=3)),
    (4, "10 0d 00 04 4d 51 54 54 04 02 00 0a 00 01 63", p.Connect("c", keepalive=10, protocol_name="MQTT", protocol_level=4)),
    (4, "10 19 00 04 4d 51 54 54 04 ee 00 3c 00 01 63 00 01 77 00 01 78 00 01 75 00 01 70",
     p.Connect("c", will=p.Will("w", b"x", 1, True), username="u", password=b"p", protocol_name="MQTT", protocol_level=4)),
    (5, "10 13 00 04 4d 51 54 54 05 00 00 00 05 11 00 00 00 0a 00 01 63",
     p.Connect("c", False, 0, properties={Prop.SESSION_EXPIRY_INTERVAL: 10}, protocol_name="MQTT", protocol_level=5)),
    (4, "20 02 01 00", p.Connack(True, 0)),
    (5, "20 06 00 00 03 21 00 14", p.Connack(False, 0, {Prop.RECEIVE_MAXIMUM: 20})),
    (4, "30 05 00 01 74 68 69", p.Publish("t", b"hi")),
    (4, "3d 07 00 01 74 00 0a 68 69", p.Publish("t", b"hi", 2, True, True, 10)),
    (5, "32 0d 00 01 74 00 0a 05 02 00 00 00 3c 68 69",
     p.Publish("t", b"hi", 1, packet_id=10, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 60})),
    (4, "40 02 00 0a", p.Puback(10)),
    (5, "40 03 00 0a 10", p.Puback(10, 0x10)),
    (5, "50 0f 00 0a 80 0b 26 00 01 61 00 01 62 1f 00 01 6f",
     p.Pubrec(10, 0x80, [(Prop.USER_PROPERTY, ("a", "b")), (Prop.REASON_STRING, "o")])),
    (4, "62 02 00 0a", p.Pubrel(10)),
    (5, "70 03 00 0a 92", p.Pubcomp(10, 0x92)),
    (4, "82 06 00 01 00 01 74 02", p.Subscribe(1, [p.Filter("t", 2)])),
    (5, "82 09 00 01 02 0b 07 00 01 74 2d",
     p.Subscribe(1, [p.Filter("t", 1, True, True, 2)], {Prop.SUBSCRIPTION_IDENTIFIER: 7})),
    (4, "90 04 00 01 02 80", p.Suback(1, [2, 0x80])),
    (5, "90 05 00 01 00 02 87", p.Suback(1, [2, 0x87])),
    (4, "a2 05 00 01 00 01 74", p.Unsubscribe(1, ["t"])),
    (5, "a2 06 00 01 00 00 01 74", p.Unsubscribe(1, ["t"])),
    (4, "b0 02 00 01", p.Unsuback(1)),
    (5, "b0 04 00 01 00 11", p.Unsuback(1, [0x11])),
    (4, "c0 00", p.Pingreq()),
    (4, "d0 00", p.Pingresp()),
    (5, "e0 00", p.Disconnect()),
    (5, "e0 01 8e", p.Disconnect(0x8E)),
    (5, "f0 07 18 05 15 00 02 78 79", p.Auth(0x18, {Prop.AUTHENTICATION_METHOD: "xy"})),
]  # fmt: skip


@pytest.mark.parametrize("version, data, packet", SAMPLES, ids=lambda value: None if isinstance(value, p.Packet) else str(value)[:11])
def test_a_packet_becomes_these_bytes_and_back(version, data, packet):
    raw = bytes.fromhex(data)
    if isinstance(packet, p.Connect):
        assert packet.encode(version) == raw
        assert p.decode_bytes(version, raw).encode(version) == raw
    else:
        assert packet.encode(version) == raw
        assert p.decode_bytes(version, raw) == packet


@pytest.mark.parametrize("data", [
    "20 03 02 00 00",  # reserved CONNACK flag
    "20 03 01 87 00",  # session present in a refusal
    "36 06 00 01 74 00 01 00",  # QoS 3
    "38 04 00 01 74 00",  # DUP at QoS 0
    "30 04 00 01 2b 00",  # wildcard in a topic
    "32 06 00 01 74 00 00 00",  # packet identifier 0
    "30 05 00 02 c3 28 00",  # ill-formed UTF-8
    "30 07 00 01 74 03 23 00 00",  # topic alias 0
    "90 04 00 01 00 03",  # no such SUBACK code
    "60 02 00 01",  # flags of PUBREL
    "d0 01 00",  # something in a PINGRESP
    "e0 07 00 05 11 00 00 00 01",  # session expiry from a server
])  # fmt: skip
def test_what_a_server_may_not_send_is_refused(data):
    with pytest.raises(p.Malformed):
        p.decode_bytes(5, bytes.fromhex(data))


@pytest.mark.parametrize("value, data", [(0, "00"), (127, "7f"), (128, "80 01"), (16383, "ff 7f"), (268435455, "ff ff ff 7f")])
def test_a_length_takes_the_fewest_bytes(value, data):
    assert p.varint(value) == bytes.fromhex(data)
    assert p.Reader(bytes.fromhex(data)).varint() == value
