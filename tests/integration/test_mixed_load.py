"""Many clients at once that come, go, take over from each other and subscribe in storms, while messages flow.

Steady subscribers must get every message at QoS 1 and 2, at QoS 2 once, and per publisher in order; a client with a
persistent session that is cut again and again must lose nothing either. Runs with several workers, also against a
ThreadSanitizer build named by EMQX_BIN. EMQC_TEST_LOAD_S stretches it.
"""

import os
import random
import threading
import time
from collections import defaultdict

import pytest

from emqc import packets as p
from emqc.client import Closed, unique
from emqc.packets import Prop

SECONDS = float(os.environ.get("EMQC_TEST_LOAD_S", "4"))
PUBLISHERS_PER_QOS = 3
STEADY = 4


class Crowd:
    """Threads that run until the end, and the first error of each."""

    def __init__(self):
        self.stop = threading.Event()
        self.errors = []
        self.threads = []

    def add(self, function, *arguments):
        def run():
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
                self.errors.append(f"{function.__name__}{arguments[1:]}: {error!r}")
                self.stop.set()

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self, threads=None):
        for thread in threads or self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a client of the crowd hangs"


def publish_in_sequence(broker, crowd, root, name, qos, version, sent):
    """Publishes "name:number" with one message after the other until the end; QoS 2 in full."""
    client = broker.connect(version)
    number = 0
    while not crowd.stop.is_set():
        client.publish(f"{root}/q{qos}/{name}", b"%s:%d" % (name.encode(), number), qos)
        number += 1
        sent[qos, name] = number
        if not qos and number % 20 == 0:
            client.ping()
    client.publish(f"{root}/q{qos}/{name}", b"%s:end" % name.encode(), qos)
    client.ping()
    client.disconnect()


class Receiver:
    """A subscriber to everything under `root` that notes the numbers it got, until each of `publishers` said "end"."""

    def __init__(self, publishers):
        self.waited_for = set(publishers)
        self.got = defaultdict(list)
        self.finished = threading.Event()
        self.half_done = {}  # QoS 2 packet identifiers between PUBREC and PUBCOMP

    def handle(self, client, packet):
        if isinstance(packet, p.Publish):
            if packet.qos != 2 or packet.packet_id not in self.half_done:
                name, number = packet.payload.decode().split(":")
                if number == "end":
                    self.waited_for.discard((packet.qos, name))
                else:
                    self.got[packet.qos, name].append(int(number))
            if packet.qos == 1:
                client.send(p.Puback(packet.packet_id))
            elif packet.qos == 2:
                self.half_done[packet.packet_id] = True
                client.send(p.Pubrec(packet.packet_id))
        elif isinstance(packet, p.Pubrel):
            self.half_done.pop(packet.packet_id, None)
            client.send(p.Pubcomp(packet.packet_id))
        if not self.waited_for and not self.half_done:
            self.finished.set()


def receive_all(broker, crowd, root, version, receiver, ready):
    client = broker.connect(version)
    client.subscribe(f"{root}/#", qos=2)
    ready.release()
    while not receiver.finished.is_set():
        receiver.handle(client, client.receive(timeout=60))
    client.disconnect()


def receive_with_cuts(broker, crowd, root, version, receiver, ready):
    """The same with a session that stays, on connections that are lost or taken over every now and then."""
    name = unique("cut")
    fields = {"properties": {Prop.SESSION_EXPIRY_INTERVAL: 300}} if version == 5 else {}
    generator = random.Random(version)
    client = broker.connect(version, client_id=name, clean=False, **fields)
    client.subscribe(f"{root}/#", qos=2)
    ready.release()
    while not receiver.finished.is_set():
        lifetime = generator.randint(20, 400)
        try:
            for _ in range(lifetime):
                receiver.handle(client, client.receive(timeout=60))
                if receiver.finished.is_set():
                    break
        except TimeoutError:
            raise
        except (Closed, OSError):
            pass
        old = client
        client = broker.connect(version, client_id=name, clean=False, **fields)
        assert client.connack.session_present
        old.close()
    client.disconnect()


def fight_for_one_id(broker, crowd, root, seed):
    """Takeovers: connects under the same few ids as the other fighters, with wills and without."""
    generator = random.Random(seed)
    while not crowd.stop.is_set():
        version = generator.choice([3, 4, 5])
        client = broker.open(version)
        will = p.Will(f"{root}-wills/{seed}", b"w", generator.randint(0, 2)) if generator.random() < 0.5 else None
        try:
            client.connect(client_id=f"{root}fighter{generator.randint(0, 2)}", clean=generator.random() < 0.5, will=will)
            client.subscribe(f"{root}-wills/#", qos=generator.randint(0, 2))
            for _ in range(generator.randint(0, 5)):
                client.send(p.Publish(f"{root}-wills/x", b"x", 0))
            if generator.random() < 0.5:
                client.drop()
            else:
                client.disconnect()
        except TimeoutError:
            raise
        except (Closed, OSError, AssertionError):
            client.close()  # taken over in the middle: a DISCONNECT or the end where something else was expected


def storm_of_subscriptions(broker, crowd, root, seed):
    generator = random.Random(seed)
    while not crowd.stop.is_set():
        client = broker.connect(generator.choice([3, 4, 5]))
        for _ in range(5):
            names = [f"{root}-storm/{generator.randint(0, 50)}/{generator.choice('+#ab')}" for _ in range(20)]
            names += [f"$share/g{seed}/{root}-storm/{generator.randint(0, 50)}/#" for _ in range(5)]
            client.subscribe(*names, qos=1)
            client.send(p.Publish(f"{root}-storm/{generator.randint(0, 50)}/a", b"x"))
            client.send(p.Unsubscribe(client.next_id(), names))
            client.await_packet(p.Unsuback)
        client.drop()


def misbehave(broker, crowd, root, seed):
    """Garbage, halves of packets, connections that are dropped at once."""
    generator = random.Random(seed)
    while not crowd.stop.is_set():
        client = broker.open(generator.choice([3, 4, 5]))
        try:
            if generator.random() < 0.5:
                client.connect()
            client.send(generator.randbytes(generator.randint(1, 60)))
        except TimeoutError:
            raise
        except (Closed, OSError):
            pass
        client.drop()


@pytest.mark.slow
@pytest.mark.threads
@pytest.mark.timeout(300)
@pytest.mark.mqtt5("MQTT-4.5.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.3.3-10", "MQTT-4.4.0-1")
@pytest.mark.mqtt311("MQTT-4.5.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.3.3-2", "MQTT-4.4.0-1")
def test_steady_clients_lose_nothing_in_a_mixed_load(make_broker):
    node = make_broker({
        "node.workers": "4", "zone.external.max_mqueue_len": "0", "zone.external.max_inflight": "200",
        "zone.external.max_awaiting_rel": "0",
    })  # fmt: skip
    root = unique("load")
    crowd = Crowd()
    ready = threading.Semaphore(0)
    publishers = [(qos, f"p{number}") for qos in (0, 1, 2) for number in range(PUBLISHERS_PER_QOS)]
    steady = [Receiver(publishers) for _ in range(STEADY)]
    for number, receiver in enumerate(steady):
        crowd.add(receive_all, node, crowd, root, 3 + number % 3, receiver, ready)
    cut = [Receiver(item for item in publishers if item[0]) for _ in range(2)]
    for number, receiver in enumerate(cut):
        crowd.add(receive_with_cuts, node, crowd, root, 4 + number, receiver, ready)
    for _ in range(STEADY + len(cut)):
        assert ready.acquire(timeout=30) or crowd.errors == []

    receivers = list(crowd.threads)
    sent = {}
    for qos, name in publishers:
        crowd.add(publish_in_sequence, node, crowd, root, name, qos, 3 + int(name[1:]) % 3, sent)
    for seed in range(3):
        crowd.add(fight_for_one_id, node, crowd, root, seed)
        crowd.add(storm_of_subscriptions, node, crowd, root, seed)
    crowd.add(misbehave, node, crowd, root, 1)

    crowd.stop.wait(SECONDS)
    crowd.stop.set()
    crowd.join([thread for thread in crowd.threads if thread not in receivers])
    assert not crowd.errors, crowd.errors
    deadline = time.monotonic() + 60
    for receiver in steady + cut:
        receiver.finished.wait(max(0.0, deadline - time.monotonic()))
        assert receiver.finished.is_set(), f"{receiver.waited_for} did not end; errors: {crowd.errors}"
    crowd.join(receivers)
    assert not crowd.errors, crowd.errors

    for receiver in steady:
        for (qos, name), count in sent.items():
            got = receiver.got[qos, name]
            assert got == list(range(count)), f"QoS {qos} {name}: {len(got)} of {count}, {first_fault(got, count)}"
    for receiver in cut:
        for (qos, name), count in sent.items():
            got = receiver.got[qos, name]
            if qos == 0:
                assert got == sorted(set(got))  # what was under way when the connection went may be gone
            elif qos == 1:
                assert list(dict.fromkeys(got)) == list(range(count)), f"QoS 1 {name}: {first_fault(got, count)}"
            else:
                assert got == list(range(count)), f"QoS 2 {name}: {first_fault(got, count)}"


def first_fault(got: list[int], count: int) -> str:
    """Where a list of numbers first differs from 0, 1, 2 ..."""
    for position, number in enumerate(got):
        if number != position:
            return f"at {position} stands {got[position : position + 5]}"
    return f"missing from {len(got)} to {count}"
