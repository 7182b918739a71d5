"""What clients cost the broker, read from /proc: large payloads are held once, hostile clients hold next to nothing."""

import re
import resource
from pathlib import Path

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import unique


def sanitized() -> bool:
    """Sanitizers take memory of their own, so figures say nothing."""
    data = emqc_broker.BINARY.read_bytes() if emqc_broker.BINARY.exists() else b""
    return b"__asan_init" in data or b"__tsan_init" in data


pytestmark = [pytest.mark.emqc, pytest.mark.slow, pytest.mark.skipif(sanitized(), reason="a sanitizer build")]

MIB = 1 << 20


def memory(node, key: str = "VmRSS") -> int:
    """Bytes; VmHWM is the peak."""
    text = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1)) * 1024


@pytest.mark.timeout(180)
def test_a_large_payload_at_qos_2_is_held_once_for_all_subscribers(make_broker, topic):
    node = make_broker({"mqtt.max_packet_size": "256MB", "zone.external.max_packet_size": "256MB"})
    size = 100 * MIB
    payload = bytes(size)
    subscribers = [node.connect(version) for version in (4, 4, 5, 5)]
    for subscriber in subscribers:
        subscriber.subscribe(topic, qos=2)
    publisher = node.connect(4)
    publisher.publish(topic, payload, 2)
    for subscriber in subscribers:
        message = subscriber.expect_publish(topic, qos=2, timeout=60)
        assert len(message.payload) == size
    # Once while it is read and once as a message; not once more for each of the four.
    assert memory(node, "VmHWM") < 2.6 * size, f"{memory(node, 'VmHWM') / size:.1f} times the payload"


@pytest.mark.timeout(180)
def test_the_largest_packet_passes(make_broker, topic):
    node = make_broker({"mqtt.max_packet_size": "256MB", "zone.external.max_packet_size": "256MB"})
    client = node.connect(4)
    client.subscribe(topic, qos=2)
    size = 256 * MIB - 5 - 2 - len(topic) - 2  # all of the packet counts: header, topic, packet identifier
    client.publish(topic, bytes(size), 2)
    assert len(client.expect_publish(topic, timeout=60).payload) == size


@pytest.mark.parametrize("begin", [b"", b"\x10", b"\x10\xff\xff\x3f\x00\x04MQTT", None], ids=["nothing", "a-byte", "huge-connect", "huge-publish"])
def test_a_hostile_connection_costs_under_2_kib(make_broker, begin):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 4000:
        pytest.skip("too few open files are allowed")
    node = make_broker({"mqtt.max_packet_size": "256MB", "zone.external.max_packet_size": "256MB"})

    def open_many(count: int) -> list:
        clients = []
        for _ in range(count):
            client = node.open(4)
            if begin is None:
                client.connect(client_id=unique()[-12:])
                client.send(b"\x30" + p.varint(200_000_000) + b"\x00\x01a")
            elif begin:
                client.send(begin)
            clients.append(client)
        return clients

    kept = open_many(300)  # what the first connections of each worker set up stays out of the count
    node.connect().ping()
    before = memory(node)
    kept += open_many(3000)
    node.connect().ping()
    cost = (memory(node) - before) / 3000
    for client in kept:
        client.drop()
    assert cost < 2048, f"{cost:.0f} bytes a connection"
