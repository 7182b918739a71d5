"""The exact bytes that this broker sends, where clients and tools could depend on them."""

import pytest

from emqc import packets as p
from emqc.client import unique

pytestmark = [pytest.mark.emqc, pytest.mark.quick]


@pytest.fixture(params=[3, 4], ids=["v3.1", "v3.1.1"])
def old(request, broker):
    """A client of an older version that is connected; a client id of its own each time."""
    client = broker.open(request.param)
    client.send(p.Connect(unique()))
    client.expect_bytes("20 02 00 00")
    return client


@pytest.fixture
def new(broker):
    return broker.connect()


@pytest.mark.parametrize("version, sent, answer", [
    (4, "10 0d 00 04 4d 51 54 54 07 02 00 3c 00 01 63", {"20 02 00 01", "20 03 00 84 00"}),
    (4, "10 0d 00 04 4d 51 54 54 02 02 00 3c 00 01 63", {"20 02 00 01"}),
    (4, "10 0c 00 04 4d 51 54 54 04 00 00 3c 00 00", {"20 02 00 02"}),
    (3, "10 0e 00 06 4d 51 49 73 64 70 03 02 00 3c 00 00", {"20 02 00 02"}),
    (4, "10 0c 00 04 4d 51 54 54 04 02 00 3c 00 00", {"20 02 00 00"}),
], ids=["level-7", "level-2", "v4-empty-id-keep", "v3-empty-id", "v4-empty-id-clean"])  # fmt: skip
def test_the_answer_to_connect(broker, version, sent, answer):
    client = broker.open(version)
    client.send(bytes.fromhex(sent))
    first = client.socket.recv(100)
    assert first.hex(" ") in answer
    if first[3]:
        assert client.socket.recv(1) == b""


def test_the_session_present_bit_is_sent_to_all_versions(broker, old):
    for version in (3, 4):
        name = unique()
        broker.connect(version, client_id=name, clean=False).disconnect()
        client = broker.open(version)
        client.send(p.Connect(name, clean=False))
        client.expect_bytes("20 02 01 00")


def test_acknowledgements_of_older_versions(old):
    old.send(bytes.fromhex("32 08 00 03 72 2f 34 00 07 78"))
    old.expect_bytes("40 02 00 07")
    old.send(bytes.fromhex("34 08 00 03 72 2f 34 00 08 78"))
    old.expect_bytes("50 02 00 08")
    old.send(bytes.fromhex("62 02 00 08"))
    old.expect_bytes("70 02 00 08")
    old.send(bytes.fromhex("62 02 00 99"))
    old.expect_bytes("70 02 00 99")
    old.send(bytes.fromhex("a2 07 00 04 00 03 61 2f 62"))
    old.expect_bytes("b0 02 00 04")
    old.send(bytes.fromhex("c0 00"))
    old.expect_bytes("d0 00")


def test_a_subscription_and_its_messages_of_older_versions(old):
    topic = unique("w/").encode()
    old.send(b"\x82" + bytes([5 + len(topic)]) + b"\x00\x01" + p.text(topic) + b"\x01")
    old.expect_bytes("90 03 00 01 01")
    old.send(b"\x30" + bytes([2 + len(topic) + 2]) + p.text(topic) + b"hi")
    old.expect_bytes((b"\x30" + bytes([2 + len(topic) + 2]) + p.text(topic) + b"hi").hex())
    old.send(b"\x32" + bytes([4 + len(topic) + 2]) + p.text(topic) + b"\x00\x09hi")
    found = {type(old.receive()) for _ in range(2)}
    assert found == {p.Puback, p.Publish}


def test_a_v5_message_without_properties(new):
    topic = unique("w/")
    new.subscribe(topic)
    new.publish(topic, b"hi")
    new.expect_bytes((b"\x30" + bytes([3 + len(topic) + 2]) + p.text(topic) + b"\x00hi").hex())


@pytest.mark.parametrize("first, ack, identifier, reason", [("32", "40", 7, "10"), ("34", "50", 8, "10")])
def test_v5_acknowledgements_without_a_subscriber(new, first, ack, identifier, reason):
    body = p.text(unique("none/")) + identifier.to_bytes(2, "big") + b"\x00x"
    new.send(bytes.fromhex(first) + bytes([len(body)]) + body)
    new.receive()
    # With or without the property length that may be left out.
    assert new.raw_in.hex(" ") in (f"{ack} 03 00 0{identifier} {reason}", f"{ack} 04 00 0{identifier} {reason} 00")


def test_v5_success_acknowledgements(new):
    topic = unique("w/")
    new.subscribe(topic)
    new.publish(topic, b"x", 1, packet_id=9, reason=0)
    assert new.raw_in.hex(" ") in ("40 02 00 09", "40 04 00 09 00 00") or isinstance(new.receive(), p.Publish)
    new.send(bytes.fromhex("62 02 00 77"))
    new.await_packet(p.Pubcomp)
    assert new.raw_in.hex(" ") in ("70 03 00 77 92", "70 04 00 77 92 00")


def test_v5_unsuback_of_nothing(new):
    new.send(bytes.fromhex("a2 08 00 04 00 00 03 7a 2f 7a"))
    new.expect_bytes("b0 04 00 04 00 11")
