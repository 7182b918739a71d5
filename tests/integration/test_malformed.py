"""Bytes that are no MQTT: fixed headers, lengths, flags, garbage. Sections 2.1, 1.5.5, 4.13 and 4.8 of 3.1.1.

Whatever a client sends ends at worst with its own connection; a neighbour on the same broker notices nothing.
"""

import random
import socket

import pytest

from emqc import packets as p
from emqc.client import Client, fence, unique
from emqc.packets import Prop


@pytest.fixture
def neighbours(broker, topic):
    """Two clients that must be able to talk to each other after the test."""
    subscriber, publisher = broker.connect(), broker.connect(4)
    subscriber.subscribe(topic + "/neighbour", qos=2)
    yield
    publisher.publish(topic + "/neighbour", b"still here", 2)
    subscriber.expect_publish(topic + "/neighbour", b"still here")
    subscriber.expect_nothing()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-2.1.3-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.6.1-1", "MQTT-3.14.1-1", "MQTT-3.15.1-1",
                   "MQTT-4.13.1-1")  # fmt: skip
@pytest.mark.mqtt311("MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.6.1-1", "MQTT-3.14.1-1",
                     "MQTT-4.8.0-1")  # fmt: skip
@pytest.mark.parametrize("first, packet", [
    (0x80, p.Subscribe(1, [p.Filter("a")])), (0x83, p.Subscribe(1, [p.Filter("a")])), (0x8A, p.Subscribe(1, [p.Filter("a")])),
    (0xA0, p.Unsubscribe(1, ["a"])), (0xA6, p.Unsubscribe(1, ["a"])),
    (0x60, p.Pubrel(1)), (0x63, p.Pubrel(1)), (0x6A, p.Pubrel(1)),
    (0x41, p.Puback(1)), (0x52, p.Pubrec(1)), (0x72, p.Pubcomp(1)),
    (0xC1, p.Pingreq()), (0xC8, p.Pingreq()), (0xE1, p.Disconnect()), (0xE8, p.Disconnect()), (0xF1, p.Auth()),
], ids=lambda value: hex(value) if isinstance(value, int) else "")  # fmt: skip
def test_wrong_fixed_header_flags_end_the_connection(broker, version, first, packet, neighbours):
    if version == 3 and first in (0x8A, 0xAA, 0x6A):
        pytest.skip("3.1 has a DUP flag in these packets")
    client = broker.connect(version)
    client.send(bytes([first]) + packet.encode(version)[1:])
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.mqtt5("MQTT-2.1.3-1")
@pytest.mark.mqtt311("MQTT-2.2.2-2")
@pytest.mark.parametrize("flags", [1, 2, 8])
def test_wrong_flags_of_connect_are_refused(broker, version, flags, neighbours):
    client = broker.open(version)
    data = p.Connect(unique()).encode(version)
    client.send(bytes([data[0] | flags]) + data[1:])
    assert client.drain() in ([], [p.Connack(False, 0x81)])


@pytest.mark.mqtt5("MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.parametrize("data", [
    p.Connack(), p.Suback(1, [0]), p.Unsuback(1, [0]), p.Pingresp(), b"\x00\x00",
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_packets_that_only_a_server_sends_end_the_connection(broker, version, data, neighbours):
    client = broker.connect(version)
    client.send(data)
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.mqtt311("MQTT-4.8.0-1")
def test_auth_does_not_exist_before_mqtt_5(broker, old_version, neighbours):
    client = broker.connect(old_version)
    client.send(b"\xf0\x00")
    client.expect_closed()


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-1.5.5-1", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.parametrize("data", ["c0 80 80 80 80 00", "c0 ff ff ff ff 7f", "30 ff ff ff ff"], ids=["zeros", "ones", "publish"])
def test_a_length_of_more_than_4_bytes_ends_the_connection(broker, version, data, neighbours):
    client = broker.connect(version)
    client.send(bytes.fromhex(data))
    client.expect_disconnect(0x81, 0x95)


@pytest.mark.mqtt5("MQTT-1.5.5-1")
@pytest.mark.parametrize("data", ["c0 80 00", "c0 80 80 00"])
def test_a_length_in_too_many_bytes_does_no_harm(broker, data, neighbours):
    """The sender must use the fewest bytes; a receiver may accept more or end the connection."""
    client = broker.connect()
    client.send(bytes.fromhex(data))
    packet = client.receive()
    assert isinstance(packet, p.Pingresp) or packet == p.Disconnect(0x81), packet


@pytest.mark.mqtt5("MQTT-1.5.5-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize("length", ["80 80 80 80 01", "ff ff ff 7f", "05"], ids=["five-bytes", "largest", "beyond-the-packet"])
def test_a_property_length_that_does_not_fit_ends_the_connection(broker, topic, length, neighbours):
    client = broker.connect()
    body = p.text(topic) + bytes.fromhex(length) + b"\x01\x00"
    client.send(b"\x30" + p.varint(len(body)) + body)
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.parametrize("data", [
    "32 02 00 05", "32 05 00 03 61 62 63", "30 01 00", "30 00", "82 02 00 01", "82 05 00 01 00 09 61", "82 01 00",
    "a2 04 00 01 00 05", "40 00", "40 01 00", "50 01 00", "62 00", "70 01 00", "c0 01 00", "40 02 00 00", "62 02 00 00",
])  # fmt: skip
def test_a_packet_cut_short_or_too_long_ends_the_connection(broker, version, data, neighbours):
    client = broker.connect(version)
    client.send(bytes.fromhex(data))
    client.expect_disconnect(0x81, 0x82, 0x8F, 0x90)


@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.parametrize("data", ["40 03 00 01 00", "50 04 00 01 00 00", "62 03 00 01 00", "70 03 00 01 00", "e0 01 00"])
def test_fields_of_mqtt_5_end_the_connection_of_older_clients(broker, old_version, data, neighbours):
    client = broker.connect(old_version)
    client.send(bytes.fromhex(data))
    client.expect_closed()


@pytest.mark.mqtt5("MQTT-4.13.1-1")
@pytest.mark.parametrize("data", [
    "40 04 00 01 00 05", "40 06 00 01 00 02 01 00", "62 04 00 01 91 00", "40 03 00 01 55", "70 03 00 01 10", "e0 01 8e 00",
    "e0 02 00 05", "e0 07 00 05 21 00 05", "e0 01 55", "c0 02 00 00",
])  # fmt: skip
def test_wrong_reasons_and_properties_of_acknowledgements_end_the_connection(broker, data, neighbours):
    client = broker.connect()
    raw = bytes.fromhex(data)
    client.send(raw[:1] + p.varint(len(raw) - 2) + raw[2:])
    client.expect_disconnect(0x81, 0x82)


@pytest.mark.quick
def test_one_byte_at_a_time_is_as_good(broker, version, topic):
    client = broker.open(version)
    packets = (p.Connect(unique()), p.Subscribe(1, [p.Filter(topic, 2)]), p.Publish(topic, b"slow" * 50, 2, packet_id=2),
               p.Pubrel(2), p.Pingreq())  # fmt: skip
    for byte in b"".join(packet.encode(version) for packet in packets):
        client.send(bytes([byte]))
    client.expect(p.Connack, reason=0)
    client.expect(p.Suback, codes=[2])
    found = [client.receive() for _ in range(4)]
    assert {type(packet) for packet in found} == {p.Pubrec, p.Pubcomp, p.Pingresp, p.Publish}


@pytest.mark.parametrize("cut", [1, 2, 7, 100])
def test_packets_split_anywhere_are_put_together(broker, version, topic, cut):
    client = broker.connect(version)
    client.subscribe(topic)
    data = b"".join(p.Publish(topic, bytes([n]) * n).encode(version) for n in range(1, 200))
    for at in range(0, len(data), 997 * cut):
        client.send(data[at : at + 997 * cut])
    for n in range(1, 200):
        client.expect_publish(topic, bytes([n]) * n)


@pytest.mark.quick
def test_a_huge_declared_length_reserves_nothing(broker, version, neighbours):
    clients = []
    for _ in range(20):
        client = broker.connect(version)
        # Above the limit the connection ends at once; just below it the broker waits for what never comes.
        client.send(b"\x30" + p.varint(1_000_000) + b"\x00\x01a")
        clients.append(client)
    client = broker.connect(version)
    client.send(b"\x30" + p.varint(268_435_455))
    client.expect_disconnect(0x95, 0x81)
    for client in clients:
        client.drop()


@pytest.mark.emqc
def test_a_huge_declared_length_before_connect_ends_the_connection(broker, neighbours):
    client = broker.open()
    client.send(b"\x10" + p.varint(268_435_455))
    assert client.drain() in ([], [p.Connack(False, 0x95)], [p.Connack(False, 0x81)])


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.0-1", "MQTT-3.1.4-1")
@pytest.mark.mqtt311("MQTT-3.1.0-1", "MQTT-3.1.4-1")
@pytest.mark.parametrize("seed", range(8))
def test_random_garbage_harms_nobody_else(broker, seed, neighbours):
    generator = random.Random(seed)
    for _ in range(25):
        with socket.create_connection(broker.address) as raw:
            raw.sendall(generator.randbytes(generator.randint(1, 300)))
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(10)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionResetError:
                pass


@pytest.mark.parametrize("seed", range(8))
def test_garbage_behind_a_good_connect_harms_nobody_else(broker, version, seed, neighbours):
    generator = random.Random(seed)
    for _ in range(20):
        client = broker.connect(version)
        client.send(generator.randbytes(generator.randint(1, 300)))
        client.half_close()
        raw_drain(client)


def raw_drain(client: Client):
    client.socket.settimeout(10)
    try:
        while client.socket.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    client.close()


@pytest.mark.parametrize("seed", range(6))
def test_good_packets_with_broken_bytes_harm_nobody_else(broker, version, topic, seed, neighbours):
    generator = random.Random(seed)
    name = topic + "/own"
    properties = {Prop.USER_PROPERTY: ("a", "b"), Prop.MESSAGE_EXPIRY_INTERVAL: 5} if version == 5 else {}
    for _ in range(25):
        client = broker.open(version)
        data = bytearray(b"".join(packet.encode(version) for packet in (
            p.Connect(unique(), will=p.Will(name, b"w", 1), username="u", password=b"p"),
            p.Subscribe(1, [p.Filter(name, 2)]), p.Publish(name, b"x" * 20, 2, packet_id=2, properties=properties),
            p.Pubrel(2), p.Unsubscribe(3, [name]), p.Pingreq(), p.Disconnect(),
        )))  # fmt: skip
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        client.send(bytes(data))
        client.half_close()
        raw_drain(client)


@pytest.mark.parametrize("at", range(1, 40, 3))
def test_a_connection_lost_in_the_middle_of_a_packet_harms_nobody_else(broker, version, topic, at, neighbours):
    client = broker.connect(version)
    client.send(p.Publish(topic, b"x" * 40, 1, packet_id=1).encode(version)[:at])
    client.drop()


def test_a_client_that_never_reads_is_no_burden(broker, topic, neighbours):
    """Its messages wait or are dropped; others get theirs."""
    deaf = broker.connect()
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.subscribe(topic)
    subscriber, publisher = broker.connect(), broker.connect()
    subscriber.subscribe(topic)
    for number in range(300):
        publisher.publish(topic, number.to_bytes(2, "big") * 20_000)
        subscriber.expect_publish(topic, number.to_bytes(2, "big") * 20_000)
    fence(publisher, subscriber)
    deaf.drop()


def test_hundreds_of_requests_in_one_write_are_answered(broker, version):
    client = broker.connect(version)
    client.send(*[p.Pingreq()] * 2000)
    for _ in range(2000):
        client.expect(p.Pingresp)
