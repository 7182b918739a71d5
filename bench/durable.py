"""The group `durable`: what it costs that sessions, queues and retained messages are on disk, and what it brings.

Publishers fill sessions whose clients are away (emqx_bench queue) or retain messages; then clients come back, or the broker is
stopped or killed and started again. mosquitto keeps everything in memory and acknowledges before anything is on disk: it writes its
file when it ends and every half hour, so it is compared with emqc's `async` and `fsync` in speed, not in what an acknowledgement means.

emqc has a column for each word that zone.$name.durability takes. The goals are for the strictest one.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import brokers
from loads import Column, Group, Load

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN_SECONDS_MAX = 1800
START_SECONDS_MAX = 300
SYNC_COUNT = 300
MESSAGES_EACH = 10  # of an absent session
DRAIN_SESSIONS = 200
DRAIN_MESSAGES = 5000
BACKLOG_SESSIONS = 200
BACKLOG_PAYLOAD = 1000
RETAINED_PAYLOAD = 64


def durabilities():
    """The words of zone.$name.durability, strictest first, as the generated reference has them."""
    with open(os.path.join(ROOT, "docs", "configuration.md"), encoding="utf-8") as text:
        row = re.search(r"^\| `zone\.\$name\.durability` \| ([a-z, ]+) \|", text.read(), re.M)
    return row[1].split(", ")


def group(long_runs):
    """The columns and loads. With `long_runs` as large as the goals say."""
    words = durabilities()
    strict = f"emqc {words[0]}"
    columns = [Column(f"emqc {word}", "emqc", durability=word) for word in words]
    columns.append(Column("mosquitto", "mosquitto", durability="persistence"))
    sessions = 200_000 if long_runs else 20_000
    backlog = 10_000 if long_runs else 1_000
    ends = [strict, "mosquitto"]
    absent = {"absent_bytes": 1024} if long_runs else {}  # with few sessions it is mostly what a broker has once

    def queue(key, title, arguments, goal):
        goals = {"acknowledged_per_s": goal} if goal else {}
        return Load(f"durable-{key}", title, ["--steps", "subscribe,publish", *arguments], "queue", goals, run="queue",
                    seconds_max=2, rounds_max=3)

    return Group(
        "durable", "Durable sessions and retained messages",
        "Persistent sessions whose clients are away, QoS 1, each with a subscription of its own. mosquitto has persistence on: it holds "
        "everything in memory, acknowledges before anything is on disk and writes its file when it is stopped.",
        columns, [(strict, "emqc none"), (strict, "mosquitto")],
        [
            queue("queue-100", "200 publishers, 100 bytes, window 32", ["--size", "100", "--inflight", "32"], [0.6]),
            queue("queue-1000", "200 publishers, 1,000 bytes, window 32", ["--size", "1000", "--inflight", "32"], [0.6]),
            queue("queue-1", "200 publishers, 100 bytes, one at a time each", ["--size", "100", "--inflight", "1"], [0.6]),
            Load("durable-light", "1 publisher, one message at a time",
                 ["--steps", "subscribe,publish", "--publishers", "1", "--inflight", "1", "--size", "100"], "light", run="light",
                 seconds_max=2, rounds_max=3),
            Load("durable-drain", f"{DRAIN_SESSIONS} sessions of {DRAIN_MESSAGES:,} messages",
                 ["--messages", str(DRAIN_MESSAGES), "--publishers", str(DRAIN_SESSIONS), "--size", "100"], "drain",
                 {"drained_per_s": [None, 5.0]}, run="queue", rounds_max=3),
            Load("durable-start", f"{sessions:,} absent sessions with {MESSAGES_EACH} messages each", [str(sessions)], "start",
                 limits={"start_clean_s": 15, "start_killed_s": 15, **absent}, run="restart", columns=ends, rounds_max=1),
            Load("durable-backlog", f"a backlog of {backlog:,} MB", [str(backlog)], "backlog",
                 limits={"fill_peak_mib": 1024, "drain_peak_mib": 1024}, run="backlog", columns=[strict], rounds_max=1),
            Load("durable-retained", "1,000,000 retained messages", ["1000000"], "retained",
                 limits={"start_clean_s": 10, "start_killed_s": 10}, run="retained", columns=[strict], rounds_max=1),
        ])


# ---- what is run


def run_tool(bench, broker, *arguments, clean=True):
    """A command of emqx_bench against the broker. Returns its summary."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [bench, arguments[0], "--host", "127.0.0.1", "--port", str(broker.port), "--quiet", "--json", file.name,
                   "--broker-pid", str(broker.pid), *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS_MAX)
        if done.returncode not in (0, 3):
            raise brokers.BrokerError(f"{broker.name}: {' '.join(command)}: {done.stderr.strip()}\n{broker.output()}")
        with open(file.name, encoding="utf-8") as text:
            summary = json.load(text)
    summary["ok"] = done.returncode == 0 or not clean
    return summary


def queue(bench, broker, common, load):
    """Fills, and drains when the load says so."""
    return run_tool(bench, broker, "queue", *common, *load.arguments)


def sync_us(directory):
    """The median of fdatasync behind an appended record, in microseconds."""
    times = []
    path = os.path.join(directory, "sync")
    with open(path, "ab", buffering=0) as file:
        for _ in range(SYNC_COUNT):
            file.write(b"x" * 200)
            begin = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter_ns() - begin) / 1e3)
    os.unlink(path)
    return statistics.median(times)


def light(bench, broker, common, load):
    """One message at a time; the disk's own time just before and after."""
    before = sync_us(broker.directory)
    summary = run_tool(bench, broker, "queue", *common, *load.arguments)
    summary["sync_us"] = (before + sync_us(broker.directory)) / 2
    return summary


def memory(pid):
    """{'VmRSS': bytes, 'VmHWM': bytes, 'RssAnon': bytes} of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon")}


def disk_bytes(directory):
    """What the files below take."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:  # files of the store come and go
                continue
    return total


def need_space(directory, count):
    """Refuses a run that would fill the disk."""
    if shutil.disk_usage(directory).free < 2 * count:
        raise brokers.BrokerError(f"this needs {2 * count >> 20} MiB free in {directory}")


def restart(bench, broker, _, load):
    """Absent sessions with messages, through kill -9 and then through a stop; each time their clients come and take them."""
    sessions = int(load.arguments[0])
    ours = ["queue", "--prefix", "absent", "--topic-prefix", "absent", "--sessions", sessions, "--publishers", 100, "--messages",
            MESSAGES_EACH, "--size", 100, "--inflight", 100, "--receive-maximum", brokers.inflight]
    fill, drain = [*ours, "--steps", "subscribe,publish"], [*ours, "--steps", "drain", "--stall", 2]
    empty = memory(broker.pid)["RssAnon"]
    filled = [run_tool(bench, broker, *fill)]
    live = memory(broker.pid)["RssAnon"]
    on_disk = disk_bytes(broker.directory)
    broker.end(signal.SIGKILL)
    start_killed_s = broker.launch(START_SECONDS_MAX)
    # Who promised nothing may have lost some: a client without messages then waits in vain.
    kept = run_tool(bench, broker, *drain, clean=broker.durability == "fsync")
    filled.append(run_tool(bench, broker, *fill))
    stop_s = broker.end()
    start_clean_s = broker.launch(START_SECONDS_MAX)
    after = memory(broker.pid)["RssAnon"]
    drained = run_tool(bench, broker, *drain)
    return {"ok": all(summary["ok"] for summary in (*filled, kept, drained)), "check": drained["check"], "stop_s": stop_s,
            "start_clean_s": start_clean_s, "start_killed_s": start_killed_s, "absent_bytes": (after - empty) / sessions,
            "absent_live_bytes": (live - empty) / sessions, "disk_mib": on_disk / 2**20,
            "kept_percent": 100 * kept["check"]["received"] / (sessions * MESSAGES_EACH)}


def backlog(bench, broker, _, load):
    """Many messages for absent sessions: memory while they come, over a start, and while they go."""
    each = int(load.arguments[0]) * 1_000_000 // BACKLOG_PAYLOAD // BACKLOG_SESSIONS
    need_space(broker.directory, BACKLOG_SESSIONS * each * BACKLOG_PAYLOAD)
    ours = ["queue", "--prefix", "backlog", "--topic-prefix", "backlog", "--publishers", BACKLOG_SESSIONS, "--messages", each,
            "--size", BACKLOG_PAYLOAD, "--inflight", 32, "--receive-maximum", brokers.inflight, "--stall", 60]
    filled = run_tool(bench, broker, *ours, "--steps", "subscribe,publish")
    fill_peak = memory(broker.pid)["VmHWM"]
    on_disk = disk_bytes(broker.directory)
    broker.end()
    start_s = broker.launch(START_SECONDS_MAX)
    drained = run_tool(bench, broker, *ours, "--steps", "drain")
    return {"ok": filled["ok"] and drained["ok"], "check": drained["check"], "fill_peak_mib": fill_peak / 2**20,
            "drain_peak_mib": memory(broker.pid)["VmHWM"] / 2**20, "start_clean_s": start_s, "disk_mib": on_disk / 2**20,
            "publish": filled["publish"], "drain": drained["drain"]}


def retained(bench, broker, _, load):
    """Retained messages: until the broker listens, and until a subscriber to all of them has got them."""
    count = int(load.arguments[0])
    empty = memory(broker.pid)["RssAnon"]
    filled = run_tool(bench, broker, "pub", "--count", 10, "--interval", 0, "--interval_of_msg", 0, "--topic", "retained/%i/%s",
                      "--retain", "true", "--qos", 1, "--limit", count, "--size", RETAINED_PAYLOAD, "--inflight", 100)
    broker.end()
    start_clean_s = broker.launch(START_SECONDS_MAX)
    begin = time.monotonic()
    got = run_tool(bench, broker, "sub", "--count", 1, "--topic", "retained/#", "--qos", 1, "--limit", count, "--duration", 120)
    all_s = start_clean_s + time.monotonic() - begin
    after = memory(broker.pid)["RssAnon"]
    broker.end(signal.SIGKILL)
    start_killed_s = broker.launch(START_SECONDS_MAX)
    again = run_tool(bench, broker, "sub", "--count", 1, "--topic", "retained/#", "--qos", 1, "--limit", count, "--duration", 120)
    lost = max(count - got["recv"], count - again["recv"])
    return {"ok": lost == 0, "check": {"lost": lost, "duplicates": 0, "out_of_order": 0, "foreign": 0, "refused": 0},
            "retain_per_s": filled["pub_succ"] / filled["message_seconds"],
            "start_clean_s": start_clean_s, "start_killed_s": start_killed_s, "all_s": all_s, "retained_bytes": (after - empty) / count,
            "disk_mib": disk_bytes(broker.directory) / 2**20}


def measure(bench, broker, common, load):
    """One run of a load from nothing. Returns its summary."""
    broker.start()
    try:
        return globals()[load.run](bench, broker, common, load)
    finally:
        broker.discard()


def add_differences(results):
    """The light load: how much longer the median acknowledgement takes than with `none` in the same round."""
    runs = results.get("durable-light")
    if runs is None or "emqc none" not in runs:
        return
    for summaries in runs.values():
        for summary, none in zip(summaries, runs["emqc none"]):
            summary["added_us"] = summary["acknowledge_us"]["p50"] - none["acknowledge_us"]["p50"]
