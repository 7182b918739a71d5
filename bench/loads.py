"""The loads that are measured, one row each: what emqx_bench is told and what must be reached.

`goals` are what the project wants of emqc ÷ mosquitto, by metric. A throughput goal is a least, a CPU or latency goal a
most (÷ 14 is 1 / 14). `limits` are bounds of emqc's own figure.

emqx_bench chooses the windows so that at most 900 messages wait for one subscriber. Two loads have larger ones, or
publishers and subscribers would mostly wait for each other: at QoS 0 what is under way waits in the sockets, not in a
queue (50 x 100 messages are half a megabyte), and one publisher to a group may fill the 900.
"""

import resource
from dataclasses import dataclass, field

import brokers


@dataclass
class Load:
    """One row of the benchmark."""

    key: str  # for --only
    title: str
    arguments: list
    kind: str = "throughput"  # or latency, idle
    goals: dict = field(default_factory=dict)
    limits: dict = field(default_factory=dict)


def _load(key, title, pattern, qos, extra=(), kind="throughput", limits=None, **goals):
    arguments = ["--pattern", pattern, "--qos", str(qos), *extra]
    return Load(key, title, arguments, kind, goals, limits or {})


def idle_connections():
    """As many as one process may open here, less what it needs itself; ports of one address bound it too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1000, min(hard - 200, 25000))


def all_loads():
    """Every load, in the order of the report."""
    count = idle_connections()
    shared_many = ["--publishers", "100", "--subscribers", "4", "--window", "100"]
    shared_one = ["--publishers", "1", "--subscribers", "10", "--window", "900"]
    return [
        _load("fan-out-0", "fan-out 1:100, QoS 0", "fan-out", 0, delivered_per_s=20),
        _load("fan-out-1", "fan-out 1:100, QoS 1", "fan-out", 1, delivered_per_s=9),
        _load("fan-in-0", "fan-in 100:1, QoS 0", "fan-in", 0, ["--window", "50"], delivered_per_s=25),
        _load("fan-in-1", "fan-in 100:1, QoS 1", "fan-in", 1),
        _load("fan-in-2", "fan-in 100:1, QoS 2", "fan-in", 2),
        _load("pair-0", "100 pairs, QoS 0", "pair", 0, delivered_per_s=13),
        _load("pair-1", "100 pairs, QoS 1", "pair", 1, delivered_per_s=14, broker_cpu_us=1 / 14),
        _load("pair-2", "100 pairs, QoS 2", "pair", 2, delivered_per_s=19),
        _load("shared-1", "shared 100:4, QoS 1", "shared", 1, shared_many, delivered_per_s=14),
        _load("shared-0", "shared 1:10, QoS 0", "shared", 0, shared_one, delivered_per_s=14),
        _load("wildcard-0", "100,000 wildcard filters, 2 matches each, QoS 0", "wildcard", 0, delivered_per_s=6),
        _load("latency", "100 pairs, QoS 1, 5,000 messages/s", "pair", 1, ["--rate", "5000"], "latency",
              p50=1.0, p99=1.0),
        _load("idle", f"{count:,} idle connections", "idle", 0,
              ["--subscribers", str(count), "--filters", str(5 * count)], "idle",
              {"connection_bytes": 700, "filter_bytes": 400}, connects_per_s=1.0),
    ]


def common_arguments(version, size, seconds, warm_up_ms):
    """What all loads are run with."""
    return ["--version", str(version), "--size", str(size), "--seconds", str(seconds), "--warm-up", str(warm_up_ms),
            "--inflight", str(brokers.inflight), "--receive-maximum", str(brokers.inflight), "--quiet"]
