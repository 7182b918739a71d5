"""What one client can make the broker hold or do is bounded, however it behaves, and the others are served meanwhile."""

import os
import re
import select
import socket
import subprocess
import time
from collections import Counter

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S, Client, Closed, unique
from emqc.packets import Prop
from test_memory import MIB, memory, sanitized

pytestmark = pytest.mark.emqc

# So that a client that does not read is noticed after kilobytes, not after the megabytes the system would take.
SMALL_BUFFERS = {"listener.tcp.external.sndbuf": "16KB", "listener.tcp.external.recbuf": "64KB"}
SMALL = {**SMALL_BUFFERS, "zone.external.high_watermark": "256KB"}


def ctl(node, *words) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(node.directory)
    done = subprocess.run([emqc_broker.BINARY.with_name("emqx_ctl"), *words], env=environment, capture_output=True,
                          text=True, timeout=3 * DEADLINE_S)  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


def shutdown_count(node, reason: str) -> int:
    """Connections closed for that reason, over all listeners."""
    return sum(int(count) for count in re.findall(rf"\{{{reason},(\d+)\}}", ctl(node, "listeners")))


def await_shutdown(node, reason: str, timeout: float = None):
    """Until a connection was closed for that reason; the broker sends no event to ask for."""
    deadline = time.monotonic() + (timeout or DEADLINE_S)
    while not shutdown_count(node, reason):
        assert time.monotonic() < deadline, f"{reason} expected: {ctl(node, 'listeners')}"
        pace(0.05)


def pace(seconds: float):
    """Lets time pass: only where the speed of a client is what is tested."""
    select.select([], [], [], seconds)


def grew(node, before: int, most: int):
    """Sanitizers take memory of their own, so figures say nothing there."""
    if not sanitized():
        growth = memory(node, "VmHWM") - before
        assert growth < most, f"{growth / MIB:.1f} MiB more, {most / MIB:.1f} allowed"


def narrow(node, version: int = 4, **fields) -> Client:
    """A client whose system takes few bytes for it. Such a window is probed only five times a second, so reading is slow."""
    client = node.open(version)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return client.connect(**fields)


def others_are_served(node, topic: str, rounds: int = 8):
    """Round trips through both kinds of worker: connections are spread over them."""
    for _ in range(rounds):
        start = time.monotonic()
        client = node.connect()
        client.subscribe(topic, qos=1)
        client.publish(topic, b"served", 1)
        client.expect_publish(topic, b"served")
        client.disconnect()
        assert time.monotonic() - start < 2 * DEADLINE_S / 10


def retain_many(node, prefix: str, count: int, qos: int = 0):
    publisher = node.connect(4)
    for start in range(0, count, 1000):
        publisher.send(*(p.Publish(f"{prefix}/{n}", b"%d" % n, qos, retain=True, packet_id=n + 1)
                         for n in range(start, min(start + 1000, count))))  # fmt: skip
        if qos:
            for n in range(start, min(start + 1000, count)):
                publisher.expect(p.Puback, packet_id=n + 1)
    publisher.ping()
    publisher.close()


# --- a client that sends and does not read


def send_until_stuck(client: Client, data: bytes, most: int) -> int:
    """Sends `data` over and over until the broker takes no more for half a second; the number of bytes sent."""
    client.socket.setblocking(False)
    sent = 0
    writable = select.poll()
    writable.register(client.socket, select.POLLOUT)
    view = memoryview(data)
    while writable.poll(500):
        sent += client.socket.send(view[sent % len(data) :])
        assert sent < most, "the broker reads on although nobody takes its answers"
    client.socket.setblocking(True)
    return sent


def read_exactly(client: Client, count: int) -> bytes:
    client.socket.settimeout(DEADLINE_S)
    parts = []
    while count:
        parts.append(client.socket.recv(min(count, 1 << 18)))
        assert parts[-1], "closed by the broker"
        count -= len(parts[-1])
    return b"".join(parts)


@pytest.mark.slow
@pytest.mark.config(SMALL)
@pytest.mark.parametrize("kind", ["pingreq", "publish"])
def test_a_client_that_sends_without_reading_is_not_read_either(broker, topic, kind):
    requests, answers = p.Pingreq().encode(4) * 30000, p.Pingresp().encode(4) * 30000
    if kind == "publish":
        requests = b"".join(p.Publish("a", b"", 1, packet_id=n).encode(4) for n in range(1, 65536))
        answers = b"".join(p.Puback(n).encode(4) for n in range(1, 65536))
    one, each = (2, 2) if kind == "pingreq" else (len(requests) // 65535, 4)
    client = broker.connect(4)
    others_are_served(broker, topic)
    before = memory(broker)
    sent = send_until_stuck(client, requests, 64 * MIB)
    others_are_served(broker, topic)
    grew(broker, before, 4 * MIB)
    due = sent // one * each
    got = read_exactly(client, due)
    assert got == (answers * (due // len(answers) + 1))[:due]
    if sent % one:
        client.send(requests[sent % len(requests) :][: one - sent % one])
        read_exactly(client, each)
    client.ping()
    client.subscribe(topic, qos=1)
    client.publish(topic, b"on", 1)
    client.expect_publish(topic, b"on")


# --- retained messages


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.config(SMALL)
def test_subscribing_again_and_again_does_not_pile_up_retained_messages(broker, topic):
    count = 20000
    retain_many(broker, topic, count)
    others_are_served(broker, "other")
    client = broker.connect(4)
    before = memory(broker)
    requests = [p.Subscribe(n, [p.Filter(f"{topic}/#")]) for n in range(1, 2001)]
    client.send(*requests)
    others_are_served(broker, "other")
    grew(broker, before, 4 * MIB)
    subacks, seen = 0, set()
    while subacks < len(requests) or len(seen) < count:
        packet = client.receive()
        if isinstance(packet, p.Suback):
            subacks += 1
            assert packet == p.Suback(subacks, [0], packet.properties)
            continue
        number = int(packet.payload)
        assert packet.topic == f"{topic}/{number}" and packet.retain
        seen.add(number)
    others_are_served(broker, "other")
    grew(broker, before, 4 * MIB)
    client.drop()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.config({**SMALL, "zone.external.max_mqueue_len": "10"})
@pytest.mark.parametrize("qos", [0, 1])
def test_a_small_receive_window_gets_all_retained_messages(broker, topic, qos):
    count = 20000
    retain_many(broker, topic, count, qos)
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: 3})
    client.subscribe(f"{topic}/#", qos=qos)
    live = broker.connect()
    seen = Counter()
    for turn in range(count):
        message = client.expect_publish(qos=qos, retain=True)
        seen[int(message.payload)] += 1
        if turn == count // 2:
            others_are_served(broker, "other", 2)
    assert len(seen) == count and set(seen.values()) == {1}
    live.publish(f"{topic}/live", b"live", 1)
    client.expect_publish(f"{topic}/live", b"live", retain=False)
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-3.10.4-2")
@pytest.mark.mqtt311("MQTT-3.10.4-2")
def test_unsubscribing_ends_retained_messages_that_are_not_under_way_yet(broker, topic):
    count = 5000
    retain_many(broker, topic, count, 1)
    client = broker.connect(properties={Prop.RECEIVE_MAXIMUM: 1})
    client.subscribe(f"{topic}/#", qos=1)
    client.expect_publish()
    client.unsubscribe(f"{topic}/#")
    live = broker.connect()
    client.subscribe("after", qos=1)
    live.publish("after", b"", 1)
    more = 0
    while client.expect_publish().topic != "after":
        more += 1
    assert more < count / 2  # those that the broker had looked up
    for _ in range(2):  # in the middle of one subscription the next begins: it gets all
        client.subscribe(f"{topic}/#", qos=1)
        client.unsubscribe(f"{topic}/#")
    client.subscribe(f"{topic}/#", qos=1)
    live.publish("after", b"", 1)
    seen = set()
    while (message := client.expect_publish()).topic != "after":
        seen.add(message.topic)
    assert len(seen) == count
    publisher = broker.connect()
    for n in range(count):
        publisher.send(p.Publish(f"{topic}/{n}", b"", retain=True))
    publisher.ping()


# --- subscriptions


@pytest.mark.slow
@pytest.mark.parametrize("packets", [1, 40])
def test_20000_shared_filters_are_served_within_seconds(broker, topic, packets):
    count = 20000
    filters = [f"$share/g/{topic}/{n}" for n in range(count)]
    slices = [filters[n :: packets] for n in range(packets)]
    others_are_served(broker, topic)
    client, other = broker.connect(), broker.connect()
    start = time.monotonic()
    client.send(*(p.Subscribe(n + 1, [p.Filter(text, 1) for text in part]) for n, part in enumerate(slices)))
    others_are_served(broker, topic)
    for n, part in enumerate(slices):
        client.expect(p.Suback, packet_id=n + 1, codes=[1] * len(part))
    assert time.monotonic() - start < DEADLINE_S / 2
    for n in (0, 1, count // 2, count - 1):
        other.publish(f"{topic}/{n}", b"%d" % n, 1)
        client.expect_publish(f"{topic}/{n}", b"%d" % n)
    start = time.monotonic()
    client.send(*(p.Unsubscribe(n + 1, part) for n, part in enumerate(slices)))
    others_are_served(broker, topic)
    for n, part in enumerate(slices):
        client.expect(p.Unsuback, packet_id=n + 1, codes=[0] * len(part))
    assert time.monotonic() - start < DEADLINE_S / 2
    other.publish(f"{topic}/1", b"", 1, reason={0x10})
    client.expect_nothing()


def many_filters(topic: str, count: int = 70000) -> list:
    """As many short filters as fit into a packet of 1 MB, nearly."""
    return [f"{n:05x}" if n % 1000 else f"{topic}/{n}" for n in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("version", [4, 5])
def test_a_subscribe_of_70000_filters_is_answered_once_and_in_order(broker, version, topic):
    filters = many_filters(topic)
    publisher, client = broker.connect(), broker.connect(version)
    publisher.publish(f"{topic}/1000", b"kept", 1, retain=True)
    client.send(p.Subscribe(1, [p.Filter(text, n % 3) for n, text in enumerate(filters)]), p.Pingreq())
    others_are_served(broker, topic)
    suback = client.await_packet(p.Suback, packet_id=1)
    assert suback.codes == [n % 3 for n in range(len(filters))]
    kinds = [client.receive(), client.receive()]  # the retained message after the SUBACK, and then what came behind it
    assert [type(packet) for packet in kinds if not isinstance(packet, p.Publish)] == [p.Pingresp]
    assert [packet.payload for packet in kinds if isinstance(packet, p.Publish)] == [b"kept"]
    client.acknowledge(next(packet for packet in kinds if isinstance(packet, p.Publish)))
    publisher.publish(f"{topic}/69000", b"live", 0)
    client.expect_publish(f"{topic}/69000", b"live")
    client.send(p.Unsubscribe(2, filters[:-1] + ["never"]), p.Pingreq())
    others_are_served(broker, topic)
    unsuback = client.await_packet(p.Unsuback, packet_id=2)
    assert version < 5 or unsuback.codes == [0] * (len(filters) - 1) + [0x11]
    client.expect(p.Pingresp)
    publisher.publish(f"{topic}/69000", b"", 1, reason={0x10})
    publisher.publish(f"{topic}/1000", b"", 0, retain=True)


@pytest.mark.slow
def test_a_client_that_ends_in_the_middle_of_its_filters_leaves_nothing_behind(broker, topic):
    filters = many_filters(topic)
    name = unique("filters")
    for _ in range(3):
        client = broker.connect(client_id=name)
        client.send(p.Subscribe(1, [p.Filter(text) for text in filters]))
        client.drop()
        client = broker.connect(client_id=name)  # a new session at once
        assert not client.connack.session_present
        client.send(p.Subscribe(1, [p.Filter(text) for text in filters]))
        again = broker.connect(client_id=name)  # takes over while the filters are served
        client.expect_disconnect(0x8E)
        again.subscribe(f"{topic}/mine")
        again.publish(f"{topic}/mine", b"m")
        again.expect_publish(f"{topic}/mine", b"m")
        again.disconnect()
    others_are_served(broker, topic)
    publisher = broker.connect()
    deadline = time.monotonic() + DEADLINE_S
    while publisher.publish(f"{topic}/1000", b"", 1, reason={0, 0x10}).reason != 0x10:
        assert time.monotonic() < deadline, "an ended session is subscribed still"


@pytest.mark.slow
def test_a_session_keeps_the_filters_that_were_done_when_its_connection_ended(broker, topic):
    filters = many_filters(topic)
    name = unique("filters")
    fields = dict(client_id=name, properties=[(Prop.SESSION_EXPIRY_INTERVAL, 600)])
    client = broker.connect(**fields)
    client.send(p.Subscribe(1, [p.Filter(text, 1) for text in filters]))
    client.drop()
    client = broker.connect(clean=False, **fields)
    assert client.connack.session_present
    client.subscribe(*(p.Filter(text, 1) for text in filters))  # some are there already, which makes no difference
    client.publish(f"{topic}/2000", b"m", 1, reason={0})
    client.expect_publish(f"{topic}/2000", b"m")
    client.disconnect()
    start = time.monotonic()
    client = broker.connect(clean=True, client_id=name)  # ends a session with all of them
    assert time.monotonic() - start < DEADLINE_S / 5 and not client.connack.session_present
    others_are_served(broker, topic)
    client.expect_nothing()


# --- sessions whose clients are away


@pytest.mark.parametrize("version", [4, 5])
def test_sessions_left_behind_are_bounded_in_number(make_broker, topic, version):
    node = make_broker({"broker.max_detached_sessions": "50", "node.workers": "1"})
    fields = dict(clean=False, properties=[(Prop.SESSION_EXPIRY_INTERVAL, 7200)] if version == 5 else ())
    stays = node.connect(version, client_id="stays", **fields)
    stays.subscribe(topic, qos=1)
    for n in range(120):
        client = node.connect(version, client_id=f"left-{n}", **fields)
        client.subscribe(f"{topic}/{n}", qos=1)
        client.disconnect()
    node.connect(4).ping()
    metrics = ctl(node, "broker", "metrics")
    evicted = int(re.search(r"sessions.evicted\s*:\s*(\d+)", metrics).group(1))
    assert 69 <= evicted <= 70, metrics  # the last one may still be on its way out
    stays.publish(topic, b"here", 1)
    stays.expect_publish(topic, b"here")
    for n, present in ((119, True), (100, True), (40, False), (0, False)):
        client = node.connect(version, client_id=f"left-{n}", **fields)
        assert client.connack.session_present == present, n
        client.disconnect()


# --- mount point


@pytest.mark.config({"zone.external.mountpoint": "m/%c/"})
@pytest.mark.parametrize("name", ["+", "#", "a+b", "a#"])
def test_a_client_id_with_a_wildcard_does_not_get_into_the_mount_point(broker, version, name):
    client = broker.open(version)
    client.send(p.Connect(name))
    client.expect_refused(0x85, code=2)
    good = broker.connect(version, client_id=unique(), username="+")  # it is not part of this mount point
    good.subscribe("#")
    good.publish("a", b"x")
    good.expect_publish("a", b"x")


@pytest.mark.config({"zone.external.mountpoint": "m/%u/"})
@pytest.mark.parametrize("name", ["+", "#", "a+b", "a#"])
def test_a_user_name_with_a_wildcard_does_not_get_into_the_mount_point(broker, version, name):
    client = broker.open(version)
    client.send(p.Connect(unique(), username=name))
    client.expect_refused(0x86, code=4)
    good = broker.connect(version, client_id=unique() + "+", username="u")
    good.subscribe("#")
    good.publish("a", b"x")
    good.expect_publish("a", b"x")


@pytest.mark.config({"zone.external.mountpoint": "tenant"})
def test_filters_that_a_mount_point_without_a_slash_makes_invalid_are_refused(broker, version, topic):
    no = 0x8F if version == 5 else 0x80
    client = broker.connect(version)
    client.subscribe("#", topic, "+", "/#", "$share/g/#", codes=[no, 0, no, 0, no])
    client.publish(topic, b"x")
    client.expect_publish(topic, b"x")
    client.publish("/a", b"y")
    client.expect_publish("/a", b"y")
    client.publish("b", b"z")
    client.expect_nothing()


# --- force_shutdown_policy


@pytest.mark.parametrize("policy, most", [("100|0MB", 100), ("0|100KB", 100)], ids=["messages", "bytes"])
def test_a_connected_client_whose_queue_grows_too_long_is_closed(make_broker, version, topic, policy, most):
    node = make_broker({"zone.external.max_mqueue_len": "0", "zone.external.force_shutdown_policy": policy})
    hoarder, good = node.connect(version), node.connect(version)
    for client in (hoarder, good):
        client.subscribe(topic, qos=1)
    publisher = node.connect()
    for number in range(300):
        publisher.publish(topic, b"%1024d" % number, 1)
        good.expect_publish(topic, b"%1024d" % number)
    for number in range(32):
        hoarder.expect_publish(topic, b"%1024d" % number, ack=False)
    hoarder.expect_disconnect(0x97)
    assert shutdown_count(node, "message_queue_too_long") == 1
    for client in (good, publisher):
        client.expect_nothing()


@pytest.mark.config({**SMALL, "zone.external.max_mqueue_len": "0", "zone.external.force_shutdown_policy": "0|500KB"})
@pytest.mark.parametrize("qos", [0, 1])
def test_a_connected_client_that_never_reads_is_closed(broker, version, topic, qos):
    hoarder, good = narrow(broker, version), broker.connect(version)
    for client in (hoarder, good):
        client.subscribe(topic, qos=qos)
    publisher = broker.connect(4)
    before = memory(broker)
    for number in range(3000):
        publisher.send(p.Publish(topic, b"%1024d" % number, qos, packet_id=number + 1))
        if qos:
            publisher.expect(p.Puback, packet_id=number + 1)
        good.expect_publish(topic, b"%1024d" % number)
    await_shutdown(broker, "message_queue_too_long")
    grew(broker, before, 6 * MIB)
    good.expect_nothing()


@pytest.mark.config({"zone.external.max_mqueue_len": "0", "zone.external.force_shutdown_policy": "0|50KB",
                     "zone.external.durability": "none"})  # what is on disk takes no memory
def test_an_absent_session_over_the_limit_loses_only_its_oldest_messages(broker, topic):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 600}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect()
    for number in range(200):
        publisher.publish(topic, b"%1024d" % number, 1, reason={0})
    again = broker.connect(client_id=name, clean=False, properties=session)
    assert again.connack.session_present
    first = int(again.expect_publish(topic).payload)
    assert 150 <= first < 190
    for number in range(first + 1, 200):
        again.expect_publish(topic, b"%1024d" % number)
    again.expect_nothing()
    assert shutdown_count(broker, "message_queue_too_long") == 0


# --- the window


@pytest.mark.mqtt5("MQTT-3.3.4-9", "MQTT-4.4.0-1", "MQTT-4.6.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_resuming_with_a_smaller_receive_maximum_keeps_to_it(broker, topic, qos):
    name, count, had, window = unique(), 50, 20, 4
    session = {Prop.SESSION_EXPIRY_INTERVAL: 600}
    client = broker.connect(client_id=name, properties={**session, Prop.RECEIVE_MAXIMUM: had})
    client.subscribe(topic, qos=qos)
    publisher = broker.connect()
    for number in range(count):
        publisher.publish(topic, b"%d" % number, qos)
    for number in range(had):
        client.expect_publish(topic, b"%d" % number, ack=False)
    client.expect_nothing()
    client.drop()
    again = broker.connect(client_id=name, clean=False, properties={**session, Prop.RECEIVE_MAXIMUM: window})
    for start in range(0, count, window):
        batch = [again.expect_publish(topic, b"%d" % number, ack=False, qos=qos, dup=number < had)
                 for number in range(start, min(start + window, count))]  # fmt: skip
        again.expect_nothing()
        for message in batch:
            again.acknowledge(message) if qos == 1 else again.send(p.Pubrec(message.packet_id))
        if qos == 2:
            for message in batch:
                again.expect(p.Pubrel, packet_id=message.packet_id)
            again.expect_nothing()
            again.send(*(p.Pubcomp(message.packet_id) for message in batch))
    again.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.3.4-9", "MQTT-4.4.0-1")
def test_pubrels_that_are_resent_take_their_place_in_the_window(broker, topic):
    name, window = unique(), 3
    session = {Prop.SESSION_EXPIRY_INTERVAL: 600}
    client = broker.connect(client_id=name, properties={**session, Prop.RECEIVE_MAXIMUM: 10})
    client.subscribe(topic, qos=2)
    publisher = broker.connect()
    for number in range(15):
        publisher.publish(topic, b"%d" % number, 2)
    messages = [client.expect_publish(topic, ack=False) for _ in range(10)]
    for message in messages[:5]:
        client.send(p.Pubrec(message.packet_id))
        client.expect(p.Pubrel, packet_id=message.packet_id)
    client.drop()
    again = broker.connect(client_id=name, clean=False, properties={**session, Prop.RECEIVE_MAXIMUM: window})
    payloads, released, open_ids = [], [], set()
    while len(payloads) < 10 or open_ids:
        packet = again.receive()
        if isinstance(packet, p.Publish):
            payloads.append(int(packet.payload))
            open_ids.add(packet.packet_id)
            assert len(open_ids) <= window
            again.send(p.Pubrec(packet.packet_id))
        else:
            released.append(packet.packet_id)
            again.send(p.Pubcomp(packet.packet_id))
            open_ids.discard(packet.packet_id)
    assert payloads == list(range(5, 15))
    assert released[:5] == [message.packet_id for message in messages[:5]]
    again.expect_nothing()


@pytest.mark.parametrize("count", [1, 5])
def test_messages_too_large_for_the_resumed_connection_do_not_stop_it(broker, topic, count):
    name = unique()
    session = {Prop.SESSION_EXPIRY_INTERVAL: 600}
    client = broker.connect(client_id=name, properties=session)
    client.subscribe(topic, qos=1)
    publisher = broker.connect()
    for _ in range(count):
        publisher.publish(topic, bytes(2000), 1)
        client.expect_publish(topic, ack=False)
    client.drop()
    limits = {Prop.RECEIVE_MAXIMUM: count, Prop.MAXIMUM_PACKET_SIZE: 1000}
    again = broker.connect(client_id=name, clean=False, properties={**session, **limits})
    for number in range(3 * count):
        publisher.publish(topic, b"%d" % number, 1)
    for number in range(3 * count):
        again.expect_publish(topic, b"%d" % number, dup=False)
    again.expect_nothing()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("window", [8, 40])
def test_packet_ids_go_round_past_a_message_that_is_never_acknowledged(make_broker, topic, window):
    node = make_broker({"zone.external.max_inflight": "0"})
    subscriber = node.connect(properties={Prop.RECEIVE_MAXIMUM: window})
    subscriber.subscribe(topic, qos=1)
    publisher = node.connect(4)
    publisher.publish(topic, b"held", 1)
    held = subscriber.expect_publish(topic, b"held", ack=False).packet_id
    before = memory(node)
    done, last = 0, held
    while done < 67000:
        publisher.send(*(p.Publish(topic, b"%d" % n, 1, packet_id=n % 65535 + 1) for n in range(done, done + 500)))
        for number in range(done, done + 500):
            message = subscriber.expect_publish(topic, b"%d" % number)
            assert message.packet_id not in (held, last)
            last = message.packet_id
        done += 500
        for number in range(done - 500, done):
            publisher.expect(p.Puback, packet_id=number % 65535 + 1)
    grew(node, before, 4 * MIB)
    subscriber.send(p.Puback(held))
    publisher.publish(topic, b"end", 1)
    subscriber.expect_publish(topic, b"end")
    subscriber.expect_nothing()


@pytest.mark.slow
@pytest.mark.config({"zone.external.retry_interval": "1s", "zone.external.await_rel_timeout": "300s"})
def test_an_unfinished_qos_2_publish_does_not_delay_a_retry(broker, topic):
    client = broker.connect(4)
    client.subscribe(topic, qos=1)
    client.send(p.Publish(topic + "/2", b"", 2, packet_id=7))
    client.expect(p.Pubrec, packet_id=7)
    broker.connect().publish(topic, b"x", 1)
    first = client.expect_publish(topic, b"x", ack=False, dup=False)
    client.expect_publish(topic, b"x", dup=True, packet_id=first.packet_id)
    client.send(p.Pubrel(7))
    client.expect(p.Pubcomp, packet_id=7)


@pytest.mark.slow
def test_a_fan_out_of_large_payloads_costs_headers_only(make_broker, topic):
    node = make_broker()
    clients = [node.connect(4) for _ in range(1000)]
    for client in clients:
        client.subscribe(topic)
    publisher = node.connect(4)
    publisher.ping()
    before = memory(node)
    publisher.send(*(p.Publish(topic, bytes([number]) * 8192) for number in range(4)))
    for client in clients:
        for number in range(4):
            client.expect_publish(topic, bytes([number]) * 8192)
    grew(node, before, 12 * MIB)  # with a large buffer behind each payload it would be 100
    for client in clients:
        client.drop()


# --- time


SEND_TIMEOUT = {**SMALL, "listener.tcp.external.send_timeout": "1s", "listener.tcp.external.send_timeout_close": "on"}


@pytest.mark.slow
@pytest.mark.config({**SEND_TIMEOUT, "zone.external.high_watermark": "100KB", "zone.external.mqueue_store_qos0": "false"})
@pytest.mark.parametrize("flood", ["once", "all-the-time"])
def test_a_client_that_takes_nothing_is_closed_after_send_timeout(broker, topic, flood):
    name = unique()
    blocked, good = narrow(broker, client_id=name), broker.connect(4)
    for client in (blocked, good):
        client.subscribe(topic)
    publisher = broker.connect(4)
    start = time.monotonic()
    for _ in range(300):
        publisher.publish(topic, bytes(1024))
        good.expect_publish(topic)
    assert name in ctl(broker, "clients", "list")
    while not shutdown_count(broker, "etimedout"):
        assert time.monotonic() - start < DEADLINE_S
        if flood == "all-the-time":
            publisher.publish(topic, bytes(1024))
            good.expect_publish(topic)
        else:
            pace(0.05)
    assert time.monotonic() - start > 0.9
    assert name not in ctl(broker, "clients", "list")
    good.expect_nothing()


@pytest.mark.slow
@pytest.mark.config({**SEND_TIMEOUT, "zone.external.max_mqueue_len": "0"})
def test_a_client_that_reads_slowly_is_not_closed(broker, topic):
    slow = narrow(broker)
    slow.subscribe(topic, qos=0)
    publisher = broker.connect(4)
    size, count = 1024, 300
    publisher.send(*(p.Publish(topic, b"%*d" % (size, number)) for number in range(count)))
    publisher.ping()
    begin, data = time.monotonic(), b""
    whole = count * len(p.Publish(topic, bytes(size)).encode(4))
    while len(data) < whole:
        if time.monotonic() - begin < 3:
            pace(0.1)  # three times send_timeout
        piece = slow.socket.recv(8192 if time.monotonic() - begin < 3 else 1 << 16)
        assert piece, f"closed after {time.monotonic() - begin:.1f} s and {len(data)} of {whole} bytes"
        data += piece
    assert time.monotonic() - begin > 2.5
    assert data == b"".join(p.Publish(topic, b"%*d" % (size, number)).encode(4) for number in range(count))
    pace(2.2)  # all is sent: nothing of the time when it was blocked may count any more
    slow.expect_nothing()
    assert shutdown_count(broker, "etimedout") == 0


@pytest.mark.slow
@pytest.mark.parametrize("publish_limit, rate, most, size, count", [
    ("1,1s", 20000, 20000, 10500, 4),  # the packets are what it waits for, the bytes would let it go on earlier
    ("10,1s", 1000, 1000, 500, 8),  # the bytes
    ("4,1s", 2000, 2000, 500, 12),  # both
])  # fmt: skip
@pytest.mark.parametrize("pipelined", [False, True], ids=["one-by-one", "pipelined"])
def test_neither_of_two_limits_is_exceeded(make_broker, topic, publish_limit, rate, most, size, count, pipelined):
    node = make_broker({"zone.external.publish_limit": publish_limit,
                        "listener.tcp.external.rate_limit": f"{rate},{most}"})  # fmt: skip
    burst, period = re.fullmatch(r"(\d+),(\d+)s", publish_limit).groups()
    burst, per_s = int(burst), int(burst) / int(period)
    client = node.open(4)
    start = time.monotonic()  # both buckets are full at the CONNECT, that is later
    client.connect()
    publishes = []
    for number in range(1, count + 1):
        length = size - len(p.Publish(topic, b"", 1, packet_id=number).encode(4)) - 1  # one byte more for the length
        publishes.append(p.Publish(topic, bytes(length), 1, packet_id=number))
        assert abs(len(publishes[-1].encode(4)) - size) < 2
    if pipelined:
        client.send(*publishes)
    for number, publish in enumerate(publishes, 1):
        if not pipelined:
            client.send(publish)
        client.expect(p.Puback, packet_id=number, timeout=3 * DEADLINE_S)
        elapsed = time.monotonic() - start + 0.05
        # The packet that overdraws is still served; what comes after it waits.
        assert number - 1 <= burst + per_s * elapsed, f"packet {number} after {elapsed:.2f} s"
        if not pipelined:
            assert (number - 1) * (size - 2) <= most + rate * elapsed, f"{number * size} bytes after {elapsed:.2f} s"
    client.publish(topic, b"", 1)  # in a read of its own: all before it is paid for
    elapsed = time.monotonic() - start + 0.05
    assert count <= burst + per_s * elapsed
    assert count * (size - 2) <= most + rate * elapsed


@pytest.mark.slow
def test_keep_alive_counts_for_sessions_that_move_to_their_worker(broker):
    names = [unique() for _ in range(40)]
    for name in names:
        broker.connect(4, client_id=name, clean=False).disconnect()
    clients = [broker.connect(4, client_id=name, clean=False, keepalive=1) for name in names]
    for client in clients:
        client.expect_closed()
    for name in names:
        broker.connect(4, client_id=name, clean=True).disconnect()


# --- lists


@pytest.mark.slow
def test_the_list_of_clients_has_each_of_3000_once(make_broker):
    node = make_broker()
    stem = unique("listed")
    kept = [node.connect(4, client_id=f"{stem}-{number}", keepalive=0) for number in range(3000)]
    passing = [node.connect(4) for _ in range(300)]

    def check(text: str):
        found = Counter(re.findall(rf"Connection\({stem}-(\d+),", text))
        assert len(found) == 3000 and set(found.values()) == {1}
        assert text.count("\n") == text.count("Connection(")

    listed = ctl(node, "clients", "list")
    check(listed)
    assert listed.count("Connection(") == 3300
    with subprocess.Popen([emqc_broker.BINARY.with_name("emqx_ctl"), "clients", "list"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "EMQX_ROOT": str(node.directory)}) as process:  # fmt: skip
        for client in passing:  # those that come and go meanwhile move nobody else's place
            client.drop()
            node.connect(4).close()
        text = process.stdout.read()
    check(text)
    for client in kept:
        client.drop()
