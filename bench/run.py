#!/usr/bin/env python3
"""Measures emqc against Debian's mosquitto, alternately in one run, and writes docs/benchmarks.md.

For each load the brokers take turns (A B A B ...), each start from nothing; the medians of the rounds are compared.
Exit code 1 when messages were lost, doubled or out of order, or something could not be run.
"""

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile

import brokers
import durable
import loads as load_table
import login
import report

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUMMARY_SECONDS_MAX = 300


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of one second each, nothing is written")
    parser.add_argument("--only", metavar="LOAD,...", help="only these loads, or all that begin so; see --list")
    parser.add_argument("--long", action="store_true",
                        help="the loads of durable with 200,000 sessions and a backlog of 10 GB: half an hour, 25 GB of disk")
    parser.add_argument("--list", action="store_true", help="name the loads and end")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each load [%(default)s]")
    parser.add_argument("--seconds", type=int, default=5, help="measured in each round [%(default)s]")
    parser.add_argument("--version", type=int, default=5, choices=(3, 4, 5), help="MQTT version [%(default)s]")
    parser.add_argument("--size", type=int, default=64, help="bytes of payload [%(default)s]")
    parser.add_argument("--inflight", type=int, default=brokers.inflight,
                        help="send window of the brokers and Receive Maximum of the clients [%(default)s]")
    parser.add_argument("--brokers", default="emqc,mosquitto",
                        help="who takes part; ratios are the first ÷ the last [%(default)s]")
    parser.add_argument("--against", metavar="NAME=COMMAND",
                        help="one more broker, by its command line with {port} and {dir}")
    parser.add_argument("--bench", default=None, help="the emqx_bench to use")
    parser.add_argument("--release", default=os.path.join(ROOT, "_rel", "emqx"), help="emqc's release tree")
    parser.add_argument("--out", help="[docs/benchmarks.md; with --only nothing is written unless this is given, for a section is written whole]")
    parser.add_argument("--json", metavar="FILE", help="all summaries, for further use")
    return parser.parse_args()


def find_bench(given):
    """emqx_bench: as given, or from the build directory of make."""
    candidates = [given] if given else [os.path.join(ROOT, "build", "release", "bench", "emqx_bench", "emqx_bench"),
                                        os.path.join(ROOT, "_rel", "emqx", "bin", "emqx_bench")]
    for path in candidates:
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    sys.exit("run.py: there is no emqx_bench; build it first (make), or give it with --bench")


def main_columns(arguments):
    """A column for each broker that was asked for, over plain TCP."""
    columns = []
    for name in arguments.brokers.split(","):
        if name not in ("emqc", "mosquitto"):
            sys.exit(f"run.py: no broker is called {name}; there are: emqc mosquitto")
        columns.append(load_table.Column(name, name))
    if arguments.against:
        columns.insert(1 if len(columns) > 1 else 0, load_table.Column(arguments.against.partition("=")[0], "other"))
    for number, column in enumerate(columns):  # the same one twice: for trying the benchmark itself
        if any(other.name == column.name for other in columns[:number]):
            column.name += f"-{number + 1}"
    return columns


def restrict(group, wanted_loads, wanted_brokers):
    """The group with only the loads and columns that were asked for."""
    loads = [load for load in group.loads if wanted_loads is None or
             any(load.key.startswith(prefix) for prefix in wanted_loads)]
    columns = [column for column in group.columns if group.key == "main" or column.broker in wanted_brokers]
    names = [column.name for column in columns]
    ratios = [ratio for ratio in group.ratios if all(name in names for name in ratio)]
    return dataclasses.replace(group, loads=loads, columns=columns, ratios=ratios)


def choose_groups(arguments):
    groups = [*load_table.all_groups(main_columns(arguments)), login.group(), durable.group(arguments.long)]
    wanted = arguments.only.split(",") if arguments.only is not None else None
    chosen = [restrict(group, wanted, arguments.brokers.split(",")) for group in groups]
    if not any(group.loads for group in chosen):
        keys = " ".join(load.key for group in groups for load in group.loads)
        sys.exit(f"run.py: no load is called {arguments.only}; there are: {keys}")
    return chosen


def make_broker(column, arguments, rsa_bits=2048):
    if column.broker == "mosquitto":
        broker = brokers.Mosquitto(column.transport, column.durability)
    elif column.broker == "emqc":
        broker = brokers.Emqc(arguments.release, column.transport, column.workers, column.durability, column.rules)
    else:
        broker = brokers.Other(column.name, arguments.against.partition("=")[2])
    broker.rsa_bits = rsa_bits
    broker.logins = column.logins
    return broker


def measure(bench, broker, arguments):
    """Starts the broker, runs the load once, stops it. Returns the summary, with the tool's exit code."""
    broker.start()
    try:
        with tempfile.NamedTemporaryFile(suffix=".json") as summary_file:
            command = [bench, "load", "--host", "127.0.0.1", "--port", str(broker.port), "--broker-pid",
                       str(broker.pid), "--json", summary_file.name, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SUMMARY_SECONDS_MAX)
            if done.returncode not in (0, 3):
                raise brokers.BrokerError(f"{broker.name}: {done.stderr.strip()}\n{broker.output()}")
            with open(summary_file.name, encoding="utf-8") as text:
                summary = json.load(text)
    finally:
        broker.stop()
    summary["ok"] = done.returncode == 0
    return summary


def progress_text(load, summary):
    parts = []
    for metric in report.KIND_METRICS[load.kind]:
        parts.append(f"{report.METRICS[metric][0]} {report.write_value(metric, report.METRICS[metric][1](summary))}")
    if not summary["ok"]:
        check = summary["check"]
        parts.append("FAILED: " + ", ".join(f"{check[name]} {name}" for name in
                                            ("lost", "duplicates", "out_of_order", "foreign", "refused")))
    return "; ".join(parts)


def round_settings(load, arguments):
    """How many rounds of a load there are, and what all its runs are told."""
    rounds, seconds, warm_up_ms = (1, 1, 500) if arguments.quick else (arguments.rounds, arguments.seconds, 1000)
    seconds = min(seconds, load.seconds_max or seconds)
    return min(rounds, load.rounds_max or rounds), load_table.common_arguments(arguments.version, arguments.size, seconds,
                                                                               warm_up_ms)


def run_all(groups, bench, arguments):
    """All rounds of all loads. Returns {load: {column: [summary]}}."""
    results = {}
    total = sum(len(group.loads) for group in groups)
    for group, load in ((group, load) for group in groups for load in group.loads):
        columns = [column for column in group.columns if load.columns is None or column.name in load.columns]
        results[load.key] = {column.name: [] for column in columns}
        rounds, common = round_settings(load, arguments)
        for turn, column in itertools.product(range(rounds), columns):
            print(f"[{len(results)}/{total}] {load.key} round {turn + 1}/{rounds} {column.name}: ", end="",
                  file=sys.stderr, flush=True)
            broker = make_broker(column, arguments, load.rsa_bits)
            if load.run:
                summary = (login if load.run == "login" else durable).measure(bench, broker, common, load)
            else:
                summary = measure(bench, broker, [*common, *load_table.TRANSPORT_ARGUMENTS[column.transport], *load.arguments])
            results[load.key][column.name].append(summary)
            durable.add_differences(results)
            print(progress_text(load, summary), file=sys.stderr, flush=True)
    return results


def print_tables(groups, results):
    for group in groups:
        for heading, what, header, rows in report.tables(group, results):
            if heading is not None:
                print(f"\n== {group.title + ': ' if group.title else ''}{heading}")
            print(f"\n{what}")
            print(report.plain_table(header, rows))


def group_versions(group, arguments):
    """What each broker of the group says it is, once."""
    by_broker = {column.broker: make_broker(column, arguments).version() for column in group.columns}
    return list(by_broker.values())


def write_document(arguments, groups, results):
    settings = (f"{arguments.rounds} rounds of {arguments.seconds} s, the medians; MQTT version {arguments.version}, "
                f"{arguments.size}-byte payloads, send window and Receive Maximum {brokers.inflight}")
    # The paths of this machine are nobody else's business.
    parser = argparse.ArgumentParser(add_help=False)
    for option in ("--out", "--json", "--bench", "--release"):
        parser.add_argument(option)
    shown = parser.parse_known_args()[1]
    command = shlex.join(["bench/run.py", *shown])
    sections = {group.key: report.markdown(group, results, group_versions(group, arguments), command, settings)
                for group in groups if group.loads}
    report.write_document(arguments.out, groups, sections)


def main():
    arguments = parse_arguments()
    brokers.inflight = arguments.inflight
    groups = choose_groups(arguments)
    if arguments.list:
        for group in groups:
            for load in group.loads:
                print(f"{load.key:13} {group.title + ': ' if group.title else ''}{load.title}")
        return 0
    try:
        results = run_all(groups, find_bench(arguments.bench), arguments)
    except (brokers.BrokerError, subprocess.TimeoutExpired) as error:
        print(f"\nrun.py: {error}", file=sys.stderr)
        return 1
    print_tables(groups, results)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    if arguments.out is None and arguments.only is None and not arguments.quick:
        arguments.out = os.path.join(ROOT, "docs", "benchmarks.md")
    if arguments.out is not None:
        write_document(arguments, groups, results)
    clean = all(summary["ok"] for by_broker in results.values() for runs in by_broker.values() for summary in runs)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
