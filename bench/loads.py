"""The loads that are measured, one row each: what emqx_bench is told and what must be reached.

Loads come in groups: `main` over plain TCP, `tls`, `ws` and `access`. A group has a column for each broker as it is set up there,
and the ratios of columns that its tables show.

`goals` are what the project wants of the group's ratios in their order, by metric; in `main` that is emqc ÷ mosquitto. A
throughput goal is a least, a CPU or latency goal a most (÷ 14 is 1 / 14). `limits` are bounds of the first column's figure.

emqx_bench chooses the windows so that at most 900 messages wait for one subscriber. Three loads have larger ones, or
publishers and subscribers would mostly wait for each other: at QoS 0 what is under way waits in the sockets, not in a
queue (50 x 100 messages are half a megabyte), one publisher to a group may fill the 900, and the 10 publishers to 100
subscribers with wildcards have 900 each (two subscribers get a message, so about 180 wait for one).
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
    kind: str = "throughput"  # or another one of report.KIND_METRICS
    goals: dict = field(default_factory=dict)
    limits: dict = field(default_factory=dict)
    rsa_bits: int = 2048  # of the key behind TLS
    run: str = ""  # how, if not as run.py does: login.py, or a function of durable.py
    columns: list = None  # only these of the group
    seconds_max: int = 0  # measured in a round; 0: as long as run.py is told
    rounds_max: int = 0  # the same


@dataclass
class Column:
    """One broker, as it is set up in a group."""

    name: str
    broker: str
    transport: str = "tcp"  # or tls, ws
    workers: int = 0  # emqc's; 0: a processor each
    durability: str = ""  # see brokers.py
    rules: int = None  # of acl_file; 0: enable_acl is off; None: as shipped
    logins: str = ""  # see login.py


@dataclass
class Group:
    """Loads that are measured with the same columns, and the section they have in the report."""

    key: str
    title: str
    text: str
    columns: list
    ratios: list  # pairs of columns' names
    loads: list


# What the tool is told for each transport. One cipher for all brokers.
TRANSPORT_ARGUMENTS = {
    "tcp": [],
    "tls": ["--ssl", "--tls-version", "1.3", "--ciphers", "TLS_AES_256_GCM_SHA384"],
    "ws": ["--ws", "--ws-path", "/mqtt"],
}

TRANSPORT_CONNECTIONS = 5000  # idle ones, over TLS and WebSocket


def _load(key, title, pattern, qos, extra=(), kind="throughput", limits=None, **goals):
    arguments = ["--pattern", pattern, "--qos", str(qos), *extra]
    lists = {metric: goal if isinstance(goal, list) else [goal] for metric, goal in goals.items()}
    return Load(key, title, arguments, kind, lists, limits or {})


def idle_connections():
    """As many as one process may open here, less what it needs itself (emqc keeps up to 640 for its store's files and the rest); ports of one
    address bound it too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1000, min(hard - 700, 25000))


def main_loads():
    """Over plain TCP."""
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
        _load("wildcard-0", "100,000 wildcard filters, 2 matches each, QoS 0", "wildcard", 0, ["--window", "900"],
              delivered_per_s=6),
        _load("latency", "100 pairs, QoS 1, 5,000 messages/s", "pair", 1, ["--rate", "5000"], "latency",
              p50=1.0, p99=1.0),
        _load("idle", f"{count:,} idle connections", "idle", 0,
              ["--subscribers", str(count), "--filters", str(5 * count)], "idle",
              {"connection_bytes": 700, "filter_bytes": 400}, connects_per_s=1.0),
    ]


def tls_group():
    """TLS: one worker against mosquitto's one thread, and what a second worker adds."""
    columns = [Column("emqc 1 worker", "emqc", "tls", 1), Column("emqc 2 workers", "emqc", "tls", 2),
               Column("mosquitto", "mosquitto", "tls")]
    count = ["--subscribers", str(TRANSPORT_CONNECTIONS), "--filters", "0"]
    both = [1.0, 1.0]
    # A client's handshake costs the tool nearly what it costs the broker, and they share the processors: with the usual
    # key a second worker has little left to work with. A larger key weighs on the broker alone.
    heavy = _load("tls-heavy", "1,000 connections, full handshakes, RSA 4096", "idle", 0,
                  ["--subscribers", "1000", "--filters", "0"], "tls-heavy", handshakes_per_s=both)
    heavy.rsa_bits = 4096
    return Group(
        "tls", "TLS",
        "TLS 1.3, TLS_AES_256_GCM_SHA384, the same certificate (RSA, 2048 bits where nothing else is said) for all; 100 "
        "connections being opened at a time.",
        columns, [("emqc 1 worker", "mosquitto"), ("emqc 2 workers", "emqc 1 worker")],
        [
            _load("tls-full", f"{TRANSPORT_CONNECTIONS:,} connections, full handshakes", "idle", 0, count, "tls-full",
                  {"connection_bytes": 12 * 1024}, handshakes_per_s=[1.0]),
            heavy,
            _load("tls-resumed", f"{TRANSPORT_CONNECTIONS:,} connections, resumed handshakes", "idle", 0,
                  [*count, "--reuse-sessions", "true"], "tls-resumed", handshakes_per_s=[1.0]),
            _load("tls-fan-out-0", "fan-out 1:100, QoS 0", "fan-out", 0, delivered_per_s=both),
            _load("tls-pair-0", "100 pairs, QoS 0", "pair", 0, delivered_per_s=both),
            _load("tls-pair-1", "100 pairs, QoS 1", "pair", 1, delivered_per_s=both),
        ])


def websocket_group():
    """WebSocket against emqc's own plain TCP."""
    columns = [Column("emqc ws", "emqc", "ws"), Column("emqc tcp", "emqc"), Column("mosquitto ws", "mosquitto", "ws")]
    share = [0.7]
    return Group(
        "ws", "WebSocket", "Without TLS and without compression.", columns,
        [("emqc ws", "emqc tcp"), ("emqc ws", "mosquitto ws")],
        [
            _load("ws-fan-out-0", "fan-out 1:100, QoS 0", "fan-out", 0, delivered_per_s=share),
            _load("ws-pair-0", "100 pairs, QoS 0", "pair", 0, delivered_per_s=share),
            _load("ws-pair-1", "100 pairs, QoS 1", "pair", 1, delivered_per_s=share),
            _load("ws-idle", f"{TRANSPORT_CONNECTIONS:,} idle connections", "idle", 0,
                  ["--subscribers", str(TRANSPORT_CONNECTIONS), "--filters", "0"], "ws-idle"),
        ])


def access_group():
    """What access rules cost: each client publishes to one topic, so its verdict is remembered."""
    columns = [Column("emqc 1,000 rules", "emqc", rules=1000), Column("emqc without", "emqc", rules=0)]
    share = [0.95]
    return Group(
        "access", "Access rules",
        "A thousand rules, half of them for single users and half for everybody, none of which fits before the last; the cache is on.",
        columns, [("emqc 1,000 rules", "emqc without")],
        [
            _load("access-pair-0", "100 pairs, QoS 0", "pair", 0, delivered_per_s=share),
            _load("access-pair-1", "100 pairs, QoS 1", "pair", 1, delivered_per_s=share),
            _load("access-fan-in-0", "fan-in 100:1, QoS 0", "fan-in", 0, ["--window", "50"], delivered_per_s=share),
        ])


def all_groups(main_columns):
    """The groups of loads without state, in the order of the report. `main` compares the first of its columns with the last."""
    ratios = [(main_columns[0].name, main_columns[-1].name)] if len(main_columns) > 1 else []
    return [Group("main", "", "", main_columns, ratios, main_loads()), tls_group(), websocket_group(), access_group()]


def common_arguments(version, size, seconds, warm_up_ms):
    """What all loads are run with."""
    return ["--version", str(version), "--size", str(size), "--seconds", str(seconds), "--warm-up", str(warm_up_ms),
            "--inflight", str(brokers.inflight), "--receive-maximum", str(brokers.inflight), "--quiet"]
