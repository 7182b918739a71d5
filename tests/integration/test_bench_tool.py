"""emqx_bench against mosquitto, and against a relay that loses, doubles, swaps and refuses on purpose.

EMQX_BENCH names the program (default: the one in build/release).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = Path(os.environ.get("EMQX_BENCH", REPOSITORY / "build" / "release" / "bench" / "emqx_bench" / "emqx_bench"))
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
TIMEOUT_S = 60


def bench(*arguments):
    """Runs the tool to its end."""
    command = [str(BENCH), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


class Target:
    """A broker to measure: where it listens and its process."""

    def __init__(self, port, pid=None):
        self.port = port
        self.pid = pid

    def load(self, tmp_path, *arguments, seconds=1):
        """Runs `load` and returns (exit code, summary or None, all it printed)."""
        summary = tmp_path / "summary.json"
        done = bench("load", "-p", self.port, "-h", "127.0.0.1", "--quiet", "--warm-up", 100, "--seconds", seconds,
                     "--json", summary, *(["--broker-pid", self.pid] if self.pid else []), *arguments)
        parsed = json.loads(summary.read_text()) if summary.exists() else None
        return done.returncode, parsed, done.stdout + done.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_listener(port, process):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("mosquitto does not listen")


@contextlib.contextmanager
def running_mosquitto(directory, **settings):
    port = free_port()
    config = directory / "mosquitto.conf"
    lines = {"listener": f"{port} 127.0.0.1", "allow_anonymous": "true", "persistence": "false",
             "max_inflight_messages": "100", "max_queued_messages": "0", "set_tcp_nodelay": "true", "log_type": "none"}
    if os.getuid() == 0:
        lines["user"] = "root"
    lines.update(settings)
    config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_listener(port, process)
        yield Target(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as target:
        yield target


class FaultyRelay:
    """Understands just enough of MQTT 3.1.1, QoS 0, to relay every PUBLISH to every subscriber, with one fault.

    fault: None, "lose", "double", "swap" (each on every tenth message), "foreign" (a payload of its own first),
    "refuse-connect", "refuse-subscribe" or "hang-up" (at the first PUBLISH).
    """

    def __init__(self, fault):
        self.fault = fault
        self.subscribers = []
        self.count = 0
        self.held = None
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return Target(self.port)

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _run(self):
        async def listen():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()

        self.loop.run_until_complete(listen())
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = (await reader.readexactly(1))[0]
                length = (await reader.readexactly(1))[0]
                assert length < 128
                body = await reader.readexactly(length)
                self._packet(first >> 4, bytes([first, length]) + body, writer)

    def _packet(self, kind, packet, writer):
        if kind == 1:
            writer.write(bytes([0x20, 2, 0, 5 if self.fault == "refuse-connect" else 0]))
        elif kind == 8:
            self.subscribers.append(writer)
            writer.write(bytes([0x90, 3, packet[2], packet[3], 0x80 if self.fault == "refuse-subscribe" else 0]))
        elif kind == 3:
            if self.fault == "hang-up":
                writer.close()
                return
            for relayed in self._after_fault(packet):
                for subscriber in self.subscribers:
                    subscriber.write(relayed)

    def _release(self):
        if self.held is not None:
            held, self.held = self.held, None
            for subscriber in self.subscribers:
                subscriber.write(held)

    def _after_fault(self, packet):
        self.count += 1
        if self.held is not None:
            held, self.held = self.held, None
            return [packet, held]
        if self.fault == "foreign" and self.count == 1:
            return [packet[:-24] + b"?" * 24, packet]
        if self.count % 10 == 0:
            if self.fault == "lose":
                return []
            if self.fault == "double":
                return [packet, packet]
            if self.fault == "swap":
                self.held = packet
                self.loop.call_later(0.1, self._release)  # it may be the last one
                return []
        return [packet]


def relay_load(target, tmp_path):
    return target.load(tmp_path, "-V", 4, "--pattern", "pair", "--publishers", 1, "--subscribers", 1, "--size", 24,
                       "--window", 8, "--stall", 1, "--topic-prefix", "t")


def faults(summary):
    names = ("lost", "duplicates", "out_of_order", "foreign", "refused")
    return {name: summary["check"][name] for name in names if summary["check"][name] > 0}


# ---- load


@pytest.mark.parametrize("qos, protocol", [(0, 5), (1, 4), (2, 3), (2, 5)])
@pytest.mark.parametrize("pattern, publishers, subscribers, copies", [
    ("fan-out", 1, 10, 10),
    ("fan-in", 10, 1, 1),
    ("pair", 10, 10, 1),
])
def test_every_message_arrives_once_and_in_order(mosquitto, tmp_path, pattern, publishers, subscribers, copies, qos,
                                                 protocol):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", pattern, "--publishers", publishers, "--subscribers",
                                         subscribers, "-q", qos, "-V", protocol, "-F", 20)
    assert code == 0, text
    check = summary["check"]
    assert check["ok"] and check["sent"] > 100
    assert check["delivered"] == check["sent"] * copies
    assert summary["delivered_per_s"] > 100
    latency = summary["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"]
    assert latency["count"] == pytest.approx(summary["delivered_per_s"] * summary["seconds"], rel=0.01)
    assert summary["broker_cpu_us"] > 0 and summary["own_user_us"] + summary["own_system_us"] > 0


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_members_of_a_shared_group_divide_the_messages(mosquitto, tmp_path, qos):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "shared", "--publishers", 5, "--subscribers", 3,
                                         "-q", qos)
    assert code == 0, text
    assert summary["check"]["delivered"] == summary["check"]["sent"] > 100


def test_each_topic_has_two_matching_wildcard_filters(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "wildcard", "--filters", 1000, "--subscribers", 10)
    assert code == 0, text
    assert summary["subscribe"]["count"] == 1000
    assert summary["check"]["delivered"] == 2 * summary["check"]["sent"] > 100


def test_a_rate_is_kept(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "pair", "--rate", 1000, "-q", 1, seconds=2)
    assert code == 0, text
    assert summary["sent_per_s"] == pytest.approx(1000, rel=0.05)


def test_a_large_payload_passes(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "pair", "--publishers", 1, "--subscribers", 1, "--size",
                                         3_000_000, "--window", 2, "-q", 1)
    assert code == 0, text
    assert summary["check"]["delivered"] >= 2


def test_idle_connections_are_made_and_their_memory_is_told(mosquitto, tmp_path):
    code, summary, text = mosquitto.load(tmp_path, "--pattern", "idle", "--subscribers", 500, "--filters", 1500)
    assert code == 0, text
    assert summary["connect"]["count"] == 500 and summary["connect"]["per_s"] > 0
    assert summary["subscribe"]["count"] == 500
    assert summary["extra_filters"]["count"] == 1500
    assert summary["memory"]["extra_filters"]["anonymous_bytes"] >= summary["memory"]["before"]["anonymous_bytes"] > 0


def test_messages_that_a_broker_drops_are_found(tmp_path):
    with running_mosquitto(tmp_path, max_inflight_messages="1", max_queued_messages="1") as small:
        code, summary, text = small.load(tmp_path, "--pattern", "fan-in", "--publishers", 5, "-q", 1, "-V", 4, "--window",
                                         20, "--stall", 1)
    assert code == 3, text
    check = summary["check"]
    assert not check["ok"] and check["lost"] > 0
    assert check["delivered"] + check["lost"] == check["sent"]


@pytest.mark.quick
def test_a_relay_without_a_fault_passes(tmp_path):
    with FaultyRelay(None) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 0, text
    assert summary["check"]["delivered"] == summary["check"]["sent"] > 10


@pytest.mark.parametrize("fault, counted", [
    ("lose", "lost"),
    ("double", "duplicates"),
    ("swap", "out_of_order"),
    ("foreign", "foreign"),
])
def test_a_fault_is_told_for_what_it_is(tmp_path, fault, counted):
    with FaultyRelay(fault) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 3, text
    assert list(faults(summary)) == [counted], text
    assert "FAILED" in text


@pytest.mark.parametrize("fault, why", [
    ("refuse-connect", "refused the connection"),
    ("refuse-subscribe", "refused a subscription"),
    ("hang-up", "closed the connection"),
])
def test_a_broker_that_refuses_ends_the_run_with_the_reason(tmp_path, fault, why):
    with FaultyRelay(fault) as relay:
        code, summary, text = relay_load(relay, tmp_path)
    assert code == 1 and summary is None
    assert why in text


def test_nobody_listening_is_said():
    done = bench("load", "-p", free_port(), "--quiet", "-h", "127.0.0.1")
    assert done.returncode == 1
    assert "subscriber 0" in done.stderr


# ---- conn, pub, sub


@pytest.mark.quick
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_conn_opens_all_connections(mosquitto, tmp_path, protocol):
    summary = tmp_path / "conn.json"
    done = bench("conn", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 50, "-i", 1, "-V", protocol, "--duration", 1,
                 "--json", summary)
    assert done.returncode == 0, done.stderr
    assert "50 made, 0 failed, 0 lost" in done.stdout
    assert "1s connect_succ total=50 rate=" in done.stdout
    assert json.loads(summary.read_text())["connect_us"]["count"] == 50


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_pub_and_sub_work_together(mosquitto, tmp_path, qos):
    sub_summary, pub_summary = tmp_path / "sub.json", tmp_path / "pub.json"
    common = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", str(qos)]
    sub = subprocess.Popen([str(BENCH), "sub", *common, "-c", "3", "-i", "0", "-t", f"both/{qos}/+", "-L", "600",
                            "--json", str(sub_summary)], stdout=subprocess.PIPE, text=True)
    try:
        for line in sub.stdout:
            if "s sub total=3 " in line:
                break
        done = bench("pub", *common, "-c", 10, "-i", 0, "-I", 1, "-t", f"both/{qos}/%i", "-s", 64, "-L", 200, "--json",
                     pub_summary)
        assert done.returncode == 0, done.stderr
        sub.communicate(timeout=TIMEOUT_S)
    finally:
        sub.kill()
    assert sub.returncode == 0
    published, received = json.loads(pub_summary.read_text()), json.loads(sub_summary.read_text())
    assert published["pub"] == 200
    assert published["pub_succ"] == (200 if qos > 0 else 0)
    assert received["recv"] == 600
    assert received["end_to_end_us"]["count"] == 600 and received["end_to_end_us"]["p50"] > 0


def test_topic_variables_are_replaced(mosquitto):
    done = bench("pub", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 2, "-n", 7, "-i", 0, "-I", 10, "-L", 4, "-t",
                 "vars/%i/%c/%u/%s", "-u", "joe", "--prefix", "me", "-m", "hello", "-r", "true", "-q", 1)
    assert done.returncode == 0, done.stderr
    got = subprocess.run(["mosquitto_sub", "-p", str(mosquitto.port), "-t", "vars/#", "-F", "%t %p", "-C", "4", "-W", "10"],
                         capture_output=True, text=True, check=False)
    assert sorted(got.stdout.splitlines()) == [f"vars/{i}/me_{i}/joe/{s} hello" for i in (7, 8) for s in (0, 1)]


def test_retained_messages_are_kept_by_the_broker(mosquitto):
    done = bench("pub", "-h", "127.0.0.1", "-p", mosquitto.port, "-c", 1, "-t", "kept/%i", "-r", "true", "-q", 1, "-m",
                 "stays", "-L", 1, "-I", 1)
    assert done.returncode == 0, done.stderr
    got = subprocess.run(["mosquitto_sub", "-p", str(mosquitto.port), "-t", "kept/0", "-C", "1", "-W", "10"],
                         capture_output=True, text=True, check=False)
    assert got.stdout == "stays\n"


def test_a_signal_ends_with_the_summary(mosquitto):
    process = subprocess.Popen([str(BENCH), "sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-c", "2", "-t", "none"],
                               stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=TIMEOUT_S)[0]
    assert first.startswith("1s ")
    assert process.returncode == 0
    assert "2 made, 0 failed" in rest


# ---- command line


def test_help_lists_the_options_of_emqtt_bench():
    done = bench("pub", "--help")
    assert done.returncode == 0
    for option in ("-h,", "-p,", "-V,", "-c,", "-n,", "-i,", "-I,", "-t,", "-s,", "-q,", "-r,", "-u,", "-P,", "-k,", "-C,",
                   "-x,", "-w,", "-L,"):
        assert option in done.stdout


@pytest.mark.parametrize("arguments, message", [
    ([], "Usage:"),
    (["fly"], "no command 'fly'"),
    (["pub"], "needs a topic"),
    (["conn", "--qos", "1"], "no option '--qos'"),
    (["conn", "-c", "none"], "--count must be a number"),
    (["conn", "-V", "6"], "from 3 to 5"),
    (["conn", "-c"], "--count needs a value"),
    (["load", "--pattern", "zigzag"], "--pattern must be"),
    (["load", "--size", "8"], "at least 24"),
    (["load", "--pattern", "pair", "--publishers", "3"], "as many --publishers"),
])
def test_a_bad_command_line_says_what_is_wrong(arguments, message):
    done = bench(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
