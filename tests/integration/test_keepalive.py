"""Keep alive: sections 3.1.2.10, 3.2.2.3.14 and 3.12."""

import time

import pytest

from emqc import packets as p
from emqc.client import unique
from emqc.packets import Prop


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.12.4-1")
@pytest.mark.mqtt311("MQTT-3.12.4-1")
def test_pingreq_is_answered(broker, version):
    client = broker.connect(version)
    client.send(p.Pingreq(), p.Pingreq(), p.Pingreq())
    for _ in range(3):
        client.expect(p.Pingresp)


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-22", "MQTT-3.2.2-22")
@pytest.mark.mqtt311("MQTT-3.1.2-24")
def test_a_silent_client_is_disconnected(broker, version, topic):
    watcher = broker.connect()
    watcher.subscribe(topic)
    client = broker.connect(version, keepalive=1, will=p.Will(topic, b"silent"))
    start = time.monotonic()
    client.expect_disconnect(0x8D)
    assert 1.4 <= time.monotonic() - start <= 4
    watcher.expect_publish(topic, b"silent")


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-22")
@pytest.mark.mqtt311("MQTT-3.1.2-24")
def test_any_packet_keeps_the_connection(broker, version, topic):
    client = broker.connect(version, keepalive=1)
    clock = broker.connect(4, keepalive=1)
    deadline = time.monotonic() + 10
    # As long as the clock client, silent for 1.5 s, is not closed, the other says something each 0.3 s.
    while time.monotonic() < deadline:
        client.publish(topic, b"x")
        try:
            clock.expect_closed(timeout=0.3)
            break
        except TimeoutError:
            continue
    else:
        pytest.fail("the silent client was never closed")
    client.expect_nothing()


def send_slowly(client, data: bytes, step: int, pause: float = 0.1) -> bool:
    """False: the broker closed the connection before the end."""
    last = (len(data) - 1) // step * step
    for at in range(0, last, step):
        try:
            client.send(data[at : at + step])
            client.expect_disconnect(0x8D, 0x80, timeout=pause)
        except TimeoutError:
            continue
        except OSError:
            pass
        return False
    client.send(data[last:])
    return True


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.1.2-22")
@pytest.mark.mqtt311("MQTT-3.1.2-24")
def test_single_bytes_of_a_packet_do_not_keep_the_connection(broker, version, topic):
    client = broker.connect(version, keepalive=1)
    start = time.monotonic()
    assert not send_slowly(client, p.Publish(topic, bytes(100), 1, packet_id=1).encode(version), 1)
    assert 1.4 <= time.monotonic() - start <= 4


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.parametrize("size, step, finishes", [(30000, 800, True), (1000000, 800, False)])
def test_a_large_packet_that_comes_along_keeps_the_connection(broker, topic, size, step, finishes):
    client = broker.connect(keepalive=1)
    start = time.monotonic()
    # 1.5 s are to bring 1 KiB of the smaller packet and 16 kB of the larger one; they bring 12 kB.
    sent = send_slowly(client, p.Publish(topic, bytes(size), 1, packet_id=1).encode(5), step)
    assert sent == finishes
    if finishes:
        assert time.monotonic() - start > 3
        client.expect(p.Puback, packet_id=1)


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.idle_timeout": "300ms"})
def test_a_packet_once_begun_must_come_along_without_keep_alive_too(broker, version, topic):
    client, silent = broker.connect(version, keepalive=0), broker.connect(version, keepalive=0)
    client.ping()
    start = time.monotonic()
    assert not send_slowly(client, p.Publish(topic, bytes(100), 1, packet_id=1).encode(version), 1)
    assert 1.1 <= time.monotonic() - start <= 4
    assert send_slowly(silent, p.Publish(topic, bytes(5), 1, packet_id=1).encode(version), 4)
    silent.expect(p.Puback, packet_id=1)
    broker.connect(4, keepalive=1).expect_closed()
    silent.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-22")
@pytest.mark.mqtt311("MQTT-3.1.2-24")
def test_keep_alive_zero_is_for_ever(broker, version):
    client = broker.connect(version, keepalive=0)
    broker.connect(4, keepalive=1).expect_closed()
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.1.2-22")
def test_what_the_broker_sends_does_not_count(broker, topic):
    client = broker.connect(keepalive=1)
    client.subscribe(topic)
    publisher = broker.connect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        publisher.publish(topic, b"x")
        packet = client.receive()
        if isinstance(packet, p.Disconnect):
            assert packet.reason == 0x8D
            return
        assert isinstance(packet, p.Publish)
        try:
            packet = client.receive(timeout=0.2)
        except TimeoutError:
            continue
        assert isinstance(packet, p.Disconnect) and packet.reason == 0x8D
        return
    pytest.fail("a client that sends nothing was never closed")


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.server_keepalive": "1"})
def test_the_server_keep_alive_is_announced_and_enforced(broker):
    client = broker.connect(keepalive=600)
    assert client.connack.properties.get(Prop.SERVER_KEEP_ALIVE) == 1
    start = time.monotonic()
    client.expect_disconnect(0x8D)
    assert 1.4 <= time.monotonic() - start <= 4


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.2.2-22")
def test_no_server_keep_alive_is_announced_by_default(broker):
    assert Prop.SERVER_KEEP_ALIVE not in broker.connect(keepalive=33).connack.properties


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.keepalive_backoff": "1.5"})
def test_the_backoff_stretches_the_keep_alive(broker, version):
    client = broker.connect(version, keepalive=1)
    start = time.monotonic()
    client.expect_disconnect(0x8D)
    assert 2.8 <= time.monotonic() - start <= 7


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.idle_timeout": "1s"})
@pytest.mark.parametrize("begin", [b"", b"\x10", b"\x10\x20\x00\x04MQ"], ids=["nothing", "one-byte", "half-a-packet"])
def test_connect_must_be_complete_within_the_idle_timeout(broker, begin):
    client = broker.open()
    start = time.monotonic()
    if begin:
        client.send(begin)
    client.expect_closed()
    assert 0.9 <= time.monotonic() - start <= 4


@pytest.mark.slow
@pytest.mark.emqc
@pytest.mark.config({"zone.external.idle_timeout": "1s"})
def test_a_connect_that_trickles_does_not_stretch_the_idle_timeout(broker):
    client = broker.open()
    start = time.monotonic()
    data = p.Connect(unique("x" * 60)).encode(5)
    for byte in data:
        client.send(bytes([byte]))
        try:
            client.expect_closed(timeout=0.1)
            break
        except TimeoutError:
            continue
    else:
        pytest.fail("a client that took seconds for its CONNECT was let in")
    assert 0.9 <= time.monotonic() - start <= 4
