"""What the disk is used for and what not, and that using it changes nothing a client may rely on: order, bounds, completeness.

What comes back after a restart stands in test_restart.py and test_retained_durable.py. Tests that need what an acknowledgement alone promises
run with each value of zone.$name.durability that has it.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
import time

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc import tls
from emqc.client import DEADLINE_S, unique
from emqc.packets import Prop
from test_memory import sanitized

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="the store is emqc's")

WORDS = re.search(
    r"^\| `zone\.\$name\.durability` \| ([a-z, ]+) \|",
    (emqc_broker.REPOSITORY / "docs" / "configuration.md").read_text(),
    re.M,
)[1].split(", ")
STORED = [word for word in WORDS if word != "none"]
STORED = [os.environ["EMQC_TEST_DURABILITY"]] if "EMQC_TEST_DURABILITY" in os.environ else STORED
ON_DISK = [word for word in WORDS if word == "fsync"]  # an acknowledgement alone says that it is there


@pytest.fixture(params=[4, 5], ids=["v3.1.1", "v5"])
def version(request):
    return request.param


@pytest.fixture(params=STORED)
def durable(request, make_broker):
    """A broker for each value that stores sessions."""
    marker = request.node.get_closest_marker("settings")
    return make_broker({"zone.external.durability": request.param, **(marker.args[0] if marker else {})})


def persistent(broker, version, name, clean=False, expiry=3600, **fields):
    """A client whose session outlives its connection."""
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: expiry, **dict(fields.get("properties", {}))}
    return broker.connect(version, client_id=name, clean=clean, **fields)


def absent(broker, version, topic, qos=2, name=None):
    """The name of a client that has subscribed and gone."""
    client = persistent(broker, version, name := name or unique())
    client.subscribe(topic, qos=qos)
    client.disconnect()
    return name


def back(broker, version, name):
    client = persistent(broker, version, name)
    assert client.connack.session_present
    return client


def environment(broker):
    return {**{key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}, "EMQX_ROOT": str(broker.directory)}


def run(broker, program, *words):
    return subprocess.run(
        [str(program), *words], env=environment(broker), capture_output=True, text=True, timeout=6 * DEADLINE_S
    )


def written(broker):
    """(batches, bytes) that were written to the store since the start."""
    broker.await_store()
    text = run(broker, tls.ctl_program(), "store", "stats").stdout
    found = re.search(r"^commits +\d+ of (\d+) batches with (\d+) bytes", text, re.M)
    return int(found[1]), int(found[2])


def rows(broker, table):
    """How many rows a table has."""
    broker.await_store()
    text = run(broker, tls.ctl_program(), "store", "check").stdout
    return int(re.search(rf"^{table} +ok +(\d+) rows", text, re.M)[1])


def resident(broker, field="VmRSS"):
    text = open(f"/proc/{broker.process.pid}/status", encoding="ascii").read()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) * 1024


def assert_peak(broker, before, most):
    """The broker's memory was never `most` bytes more than before. Sanitizers take memory of their own, so figures say nothing there."""
    if not sanitized():
        assert resident(broker, "VmHWM") - before < most


# --- what is written


def test_qos_0_and_clean_sessions_never_touch_the_disk(durable, version, topic):
    subscriber = durable.connect(version, clean=True)
    subscriber.subscribe(topic, qos=2)
    stored = absent(durable, version, topic + "/zero")  # may keep QoS 0 messages, but in memory only
    publisher = durable.connect(version, clean=True, will=p.Will(topic + "/will", b"gone", qos=2))
    before = written(durable)
    for qos in (0, 1, 2):
        publisher.publish(topic, b"%d" % qos, qos)
        subscriber.expect_publish(topic, b"%d" % qos, qos=qos)
    publisher.publish(topic + "/zero", b"zero", 0)
    publisher.publish(topic + "/nobody", b"nobody", 2)
    subscriber.subscribe(topic + "/will", qos=1)
    publisher.drop()
    subscriber.expect_publish(topic + "/will", b"gone", qos=1)
    subscriber.unsubscribe(topic)
    subscriber.disconnect()
    assert written(durable) == before
    assert rows(durable, "queue") == rows(durable, "message") == 0
    back(durable, version, stored).expect_publish(topic + "/zero", b"zero", qos=0)


def test_without_durability_nothing_is_written(make_broker, version, topic):
    broker = make_broker({"zone.external.durability": "none"})
    before = written(broker)
    name = absent(broker, version, topic)
    broker.connect().publish(topic, b"kept in memory", 1)
    back(broker, version, name).expect_publish(topic, b"kept in memory", qos=1)
    assert written(broker) == before
    assert rows(broker, "session") == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("word", STORED)
def test_each_zone_has_its_own_durability(make_broker, version, topic, word, end):
    other = emqc_broker.free_port()
    broker = make_broker(
        {
            "zone.external.durability": word,
            "zone.internal.allow_anonymous": "true",
            "zone.internal.durability": "none",
            "listener.tcp.internal": f"127.0.0.1:{other}",
            "listener.tcp.internal.zone": "internal",
        }
    )
    stored, port = absent(broker, version, topic), broker.port
    broker.port = other
    forgotten = absent(broker, version, topic)
    broker.port = port
    broker.connect().publish(topic, b"for both", 1)
    broker.await_store()
    getattr(broker, end)()
    broker.start()
    back(broker, version, stored).expect_publish(topic, b"for both", qos=1)
    broker.port = other
    assert not persistent(broker, version, forgotten).connack.session_present
    broker.port = port


def test_a_message_for_a_thousand_sessions_is_stored_once(durable, topic):
    payload = os.urandom(100_000)
    count, messages = 1000, 3
    names = [unique() for _ in range(count)]
    for name in names:
        absent(durable, 5, topic, name=name)
    publisher = durable.connect()
    before = written(durable)
    for _ in range(messages):
        publisher.publish(topic, payload, 1)
    after = written(durable)
    assert after[1] - before[1] < messages * (2 * len(payload) + count * 150)
    assert (rows(durable, "message"), rows(durable, "queue")) == (messages, count * messages)
    for name in names[1:]:
        client = back(durable, 5, name)
        for _ in range(messages):
            client.expect_publish(topic, payload, qos=1)
        client.ping()  # what it acknowledged has been read
        client.disconnect()
    assert (rows(durable, "message"), rows(durable, "queue")) == (messages, messages)
    client = back(durable, 5, names[0])
    for _ in range(messages):
        client.expect_publish(topic, payload, qos=1)
    client.ping()
    assert (rows(durable, "message"), rows(durable, "queue")) == (0, 0)


def test_what_is_acknowledged_or_ends_leaves_nothing_behind(durable, version, topic):
    name = absent(durable, version, topic)
    publisher = durable.connect(version)
    for number in range(30):
        publisher.publish(topic, b"%d" % number, 1 + number % 2)
    assert rows(durable, "queue") == 30
    client = back(durable, version, name)
    for number in range(30):
        client.expect_publish(topic, b"%d" % number)
    client.ping()
    assert [rows(durable, table) for table in ("queue", "inflight", "awaiting_rel", "message")] == [0, 0, 0, 0]
    assert (rows(durable, "session"), rows(durable, "subscription")) == (1, 1)
    client.disconnect()
    persistent(durable, version, name, clean=True, expiry=0).disconnect()
    assert (rows(durable, "session"), rows(durable, "subscription")) == (0, 0)


# --- order of what a client is answered


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize("word", STORED)
def test_acknowledgements_keep_their_order_when_some_wait_for_the_disk(make_broker, version, topic, word, workers, qos):
    broker = make_broker({"zone.external.durability": word, "node.workers": workers, "zone.external.max_inflight": "1000",
                          "zone.external.max_awaiting_rel": "0"})  # fmt: skip
    for number in range(4):  # sessions of several workers
        absent(broker, version, f"{topic}/stored/{number}")
    listener = broker.connect(version)
    listener.subscribe(f"{topic}/live", qos=2)
    publisher = broker.connect(version)
    topics = [f"{topic}/nobody", f"{topic}/stored/0", f"{topic}/live", f"{topic}/stored/1", f"{topic}/stored/2", f"{topic}/stored/3"]
    count = 300
    publisher.send(*[p.Publish(topics[i % len(topics)], b"x", qos, packet_id=i + 1) for i in range(count)])
    kind = p.Puback if qos == 1 else p.Pubrec
    for number in range(count):
        publisher.expect(kind, packet_id=number + 1, reason={0, 0x10})
    if qos == 2:
        publisher.send(*[p.Pubrel(number + 1) for number in range(count)])
        for number in range(count):
            publisher.expect(p.Pubcomp, packet_id=number + 1, reason=0)
    publisher.expect_nothing()
    listener.close()


@pytest.mark.parametrize("together", [True, False], ids=["one write", "a write each"])
def test_every_kind_of_answer_comes_in_the_order_of_the_questions(durable, version, topic, together):
    stored = f"{topic}/stored"
    absent(durable, version, stored)
    client = durable.open(version)
    properties = {Prop.SESSION_EXPIRY_INTERVAL: 3600} if version == 5 else ()
    questions = [p.Connect(unique(), clean=False, properties=properties)]
    answers = [(p.Connack, {})]
    for round_ in range(10):
        ids = range(1 + 5 * round_, 6 + 5 * round_)
        questions += [
            p.Subscribe(ids[0], [p.Filter(f"{topic}/own/{round_}", 2)]),
            p.Publish(stored, b"1", 1, packet_id=ids[1]),
            p.Publish(stored, b"2", 2, packet_id=ids[2]),
            p.Publish(f"{topic}/nobody", b"1", 1, packet_id=ids[3]),
            p.Pubrel(ids[2]),
            p.Unsubscribe(ids[4], [f"{topic}/own/{round_}"]),
        ]
        kinds = (p.Suback, p.Puback, p.Pubrec, p.Puback, p.Pubcomp, p.Unsuback)
        answers += [(kind, {"packet_id": i}) for kind, i in zip(kinds, (ids[0], ids[1], ids[2], ids[3], ids[2], ids[4]))]
    if together:
        client.send(*questions)
    else:
        for question in questions:
            client.send(question)
    for kind, fields in answers:
        client.expect(kind, **fields)
    client.expect_nothing()


# --- many, much, and at once


@pytest.mark.parametrize("qos", [1, 2])
def test_many_publishers_at_once_lose_nothing(durable, version, topic, qos):
    publishers, count = 40, 100
    names = [absent(durable, version, f"{topic}/{i}") for i in range(publishers)]
    clients = [durable.connect(version) for _ in range(publishers)]
    window = 20  # below Receive Maximum
    for start in range(0, count, window):
        for i, client in enumerate(clients):
            client.send(*[p.Publish(f"{topic}/{i}", b"%d" % n, qos, packet_id=n + 1) for n in range(start, start + window)])
        for client in clients:
            for n in range(start, start + window):
                client.expect(p.Puback if qos == 1 else p.Pubrec, packet_id=n + 1)
        if qos == 2:
            for client in clients:
                client.send(*[p.Pubrel(n + 1) for n in range(start, start + window)])
                for n in range(start, start + window):
                    client.expect(p.Pubcomp, packet_id=n + 1)
    durable.stop()
    durable.start()
    for i, name in enumerate(names):
        client = back(durable, version, name)
        for n in range(count):
            client.expect_publish(f"{topic}/{i}", b"%d" % n, qos=qos)
        client.expect_nothing()


SMALL = {"broker.mailbox_bytes": "4MB", "store.queue_size": "1MB", "store.write_buffer_size": "4MB", "store.cache_size": "1MB", "store.session_memory": "1MB"}


@pytest.mark.slow
@pytest.mark.settings({**SMALL, "zone.external.max_mqueue_len": "0", "zone.external.force_shutdown_policy": "0|0MB"})
def test_publishers_that_do_not_wait_are_slowed_down_and_lose_nothing(durable, topic):
    count, publishers, payload = 30_000, 3, os.urandom(2000)
    names = [absent(durable, 4, f"{topic}/{i}", qos=1) for i in range(publishers)]
    clients = [durable.connect(4) for _ in range(publishers)]
    before = resident(durable)
    acknowledged = [0] * publishers

    def send(i):
        # An ID a message: version 3 has no Receive Maximum, and the broker remembers no ID of QoS 1.
        parts = [p.Publish(f"{topic}/{i}", b"%08d" % n + payload, 1, packet_id=n % 65535 + 1).encode(4) for n in range(count)]
        clients[i].socket.settimeout(12 * DEADLINE_S)
        clients[i].socket.sendall(b"".join(parts))

    def read(i):
        clients[i].socket.settimeout(12 * DEADLINE_S)
        data = b""
        while len(data) < 4 * count:
            part = clients[i].socket.recv(1 << 16)
            if not part:
                return
            data += part
        ids = [int.from_bytes(data[at + 2 : at + 4], "big") for at in range(0, len(data), 4)]
        assert ids == [n % 65535 + 1 for n in range(count)]
        acknowledged[i] = len(ids)

    threads = [threading.Thread(target=do, args=(i,)) for i in range(publishers) for do in (send, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert acknowledged == [count] * publishers
    # 180 MB went by; what waits, what is being written and 24 bytes a message stay.
    assert_peak(durable, before, 90 << 20)
    for i, name in enumerate(names):
        client = back(durable, 4, name)
        for n in range(count):
            message = client.expect_publish(f"{topic}/{i}", qos=1)
            assert message.payload[:8] == b"%08d" % n
        client.close()


@pytest.mark.slow
@pytest.mark.settings({**SMALL, "zone.external.max_mqueue_len": "0", "zone.external.force_shutdown_policy": "0|0MB"})
def test_messages_of_absent_sessions_leave_the_memory(durable, topic):
    names = [absent(durable, 5, f"{topic}/{i}", qos=1) for i in range(10)]
    publisher = durable.connect()
    before, payload = resident(durable), os.urandom(200_000)
    for number in range(40):
        for i in range(10):
            publisher.publish(f"{topic}/{i}", b"%04d" % number + payload, 1)
    assert_peak(durable, before, 50 << 20)  # of 80 MB
    for i, name in enumerate(names):
        client = back(durable, 5, name)
        for number in range(40):
            assert client.expect_publish(f"{topic}/{i}").payload == b"%04d" % number + payload
        client.expect_nothing()
    assert_peak(durable, before, 50 << 20)


@pytest.mark.parametrize("qos", [1, 2])
def test_large_payloads_are_kept(durable, version, topic, qos):
    name = absent(durable, version, topic)
    publisher = durable.connect(version)
    payloads = [bytes([number]) * ((1 << 20) - 1000) for number in range(1, 9)]  # max_packet_size is 1 MB
    for payload in payloads:
        publisher.publish(topic, payload, qos)
    durable.stop()
    durable.start()
    client = back(durable, version, name)
    for payload in payloads:
        assert client.expect_publish(topic, qos=qos).payload == payload
    client.expect_nothing()


# --- limits


@pytest.mark.settings({"zone.external.max_mqueue_len": "10"})
def test_the_limit_of_the_queue_counts_messages_on_disk(durable, version, topic):
    name = absent(durable, version, topic)
    publisher = durable.connect(version)
    for number in range(25):
        publisher.publish(topic, b"%d" % number, 1)
    assert rows(durable, "queue") == 10
    durable.stop()
    durable.start()
    publisher = durable.connect(version)
    publisher.publish(topic, b"25", 1)
    client = back(durable, version, name)
    for number in range(16, 26):  # the oldest went
        client.expect_publish(topic, b"%d" % number, qos=1)
    client.expect_nothing()
    assert rows(durable, "queue") == rows(durable, "message") == 0


@pytest.mark.slow
def test_messages_expire_on_disk(durable, topic):
    name = absent(durable, 5, topic)
    publisher = durable.connect()
    watcher = durable.connect()
    watcher.subscribe(topic + "/time")
    for number, expiry in enumerate((1, 3600, 1)):
        publisher.publish(topic, b"%d" % number, 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: expiry})
    # A will that is delayed tells that two seconds have passed.
    persistent(durable, 5, unique(), will=p.Will(topic + "/time", b"", properties={Prop.WILL_DELAY_INTERVAL: 2})).drop()
    watcher.expect_publish(topic + "/time")
    client = back(durable, 5, name)
    message = client.expect_publish(topic, b"1")
    assert 3590 < message.properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) <= 3598
    client.expect_nothing()
    assert rows(durable, "queue") == rows(durable, "message") == 0


# --- a disk that fails


@pytest.fixture
def failing(durable):
    """Makes the broker's writes to files fail, and has them work again."""

    def fail(yes):
        hard = resource.prlimit(durable.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(durable.process.pid, resource.RLIMIT_FSIZE, (1 if yes else hard, hard))

    yield fail
    if durable.process is not None:
        fail(False)


def stats(broker, pattern):
    """What is found in the answer of `store stats`; waits for it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        text = run(broker, tls.ctl_program(), "store", "stats").stdout
        if found := re.search(pattern, text, re.M):
            return found[1]
        assert time.monotonic() < deadline, text


def test_what_waits_does_not_grow_while_the_disk_fails_and_then_all_goes_on(durable, failing, topic):
    name = absent(durable, 5, topic)
    publisher, anybody, trigger = persistent(durable, 5, unique()), durable.connect(), durable.connect()
    anybody.subscribe(topic + "/live", qos=2)
    durable.await_store()
    failing(True)
    trigger.send(p.Publish(topic, b"accepted", 1, packet_id=1))
    stats(durable, r"^state +(failed)")
    waiting = stats(durable, r"^waiting +(\d+) bytes")
    for number in range(50):
        publisher.publish(topic, b"refused", 1 + number % 2, reason={0x83})
        publisher.publish(topic + "/nobody", b"its packet ID cannot be stored", 2, reason={0x83})
        anybody.publish(topic, b"refused", 2, reason={0x83})
        anybody.publish(topic + "/live", b"%d" % number, 2)  # needs no disk
        anybody.expect_publish(topic + "/live", b"%d" % number, qos=2)
    assert stats(durable, r"^waiting +(\d+) bytes") == waiting
    failing(False)
    stats(durable, r"^state +(open)")
    accepted = trigger.expect(p.Puback, packet_id=1).reason == 0  # else the store had found out by itself
    publisher.publish(topic, b"after", 2)
    client = back(durable, 5, name)
    if accepted:
        client.expect_publish(topic, b"accepted", qos=1)
    client.expect_publish(topic, b"after", qos=2)
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.parametrize("durable", ["fsync"], indirect=True)
def test_who_waits_for_a_disk_that_fails_is_told_so(durable, failing, topic):
    name = absent(durable, 5, topic)
    newer, older, anybody = durable.connect(5), durable.connect(4), durable.connect(5)
    durable.await_store()
    failing(True)
    newer.send(p.Publish(topic, b"newer", 1, packet_id=1))
    stats(durable, r"^state +(failed)")
    older.send(p.Publish(topic, b"older", 1, packet_id=1))  # refused at once
    older.expect_closed(timeout=DEADLINE_S)
    newer.send(p.Pingreq())  # the answer is held behind the acknowledgement
    answer = newer.receive(4 * DEADLINE_S)
    assert answer.reason == 0x83
    # Now and then the store finds out by itself, just before the message.
    waited = isinstance(answer, p.Disconnect)
    anybody.ping()
    failing(False)
    stats(durable, r"^state +(open)")
    client = back(durable, 5, name)
    if waited:
        client.expect_publish(topic, b"newer", qos=1)
    client.expect_nothing()


def test_an_older_client_with_a_stored_session_is_closed_while_the_disk_fails(durable, failing, topic):
    stored, trigger = persistent(durable, 4, name := unique()), durable.connect(4)
    absent(durable, 4, topic)
    durable.await_store()
    failing(True)
    trigger.send(p.Publish(topic, b"accepted", 1, packet_id=1))
    stats(durable, r"^state +(failed)")
    stored.send(p.Publish(topic + "/nobody", b"its packet ID cannot be stored", 2, packet_id=1))
    stored.expect_closed()
    failing(False)
    stats(durable, r"^state +(open)")
    again = back(durable, 4, name)
    again.publish(topic + "/nobody", b"now", 2)


# --- the process


@pytest.mark.parametrize("command", ["stop", "restart"])
def test_the_commands_keep_everything(durable, version, topic, command):
    name = absent(durable, version, topic)
    publisher = durable.connect(version)
    for number in range(50):
        publisher.publish(topic, b"%d" % number, 1)
    done = run(durable, emqc_broker.BINARY, command)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    if command == "stop":
        assert durable.wait() == 0
        durable.start()
    client = back(durable, version, name)
    for number in range(50):
        client.expect_publish(topic, b"%d" % number, qos=1)
    client.expect_nothing()


def test_a_second_process_on_the_same_data_is_refused(make_broker, tmp_path):
    broker = make_broker()
    second = emqc_broker.Broker({"node.data_dir": str(broker.directory / "data")}, directory=tmp_path)
    second.port = emqc_broker.free_port()
    command, environment_ = second._prepare_emqc()
    done = subprocess.run(command, env=environment_, cwd=tmp_path, capture_output=True, text=True, timeout=6 * DEADLINE_S)
    assert done.returncode != 0
    assert "already running" in done.stdout + done.stderr or "in use" in done.stdout + done.stderr, done.stdout + done.stderr
    broker.connect().ping()


# --- what only an acknowledgement that waits for the disk promises


@pytest.mark.skipif(not ON_DISK, reason="acknowledgements do not wait for the disk in this version")
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_what_was_acknowledged_survives_kill_9(make_broker, version, topic, workers, qos):
    broker = make_broker({"zone.external.durability": "fsync", "node.workers": workers})
    publishers, count = 20, 30
    names = [absent(broker, version, f"{topic}/{i}") for i in range(publishers)]
    clients = [broker.connect(version) for _ in range(publishers)]
    for i, client in enumerate(clients):
        client.send(*[p.Publish(f"{topic}/{i}", b"%d" % n, qos, packet_id=n + 1) for n in range(count)])
    for client in clients:
        for n in range(count):
            client.expect(p.Puback if qos == 1 else p.Pubrec, packet_id=n + 1)
    broker.kill()  # at once
    broker.start()
    for i, name in enumerate(names):
        client = back(broker, version, name)
        for n in range(count):
            client.expect_publish(f"{topic}/{i}", b"%d" % n, qos=qos)
        client.expect_nothing()
