#!/usr/bin/env python3
"""Measures emqc against Debian's mosquitto, alternately in one run, and writes docs/benchmarks.md.

For each load the brokers take turns (A B A B ...), each start from nothing; the medians of the rounds are compared.
Exit code 1 when messages were lost, doubled or out of order, or something could not be run.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile

import brokers
import loads as load_table
import report

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUMMARY_SECONDS_MAX = 300


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of one second each, nothing is written")
    parser.add_argument("--only", metavar="LOAD,...", help="only these loads, or all that begin so; see --list")
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
    parser.add_argument("--out", default=os.path.join(ROOT, "docs", "benchmarks.md"), help="[docs/benchmarks.md]")
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


def choose_loads(only):
    rows = load_table.all_loads()
    if only is None:
        return rows
    wanted = only.split(",")
    chosen = [row for row in rows if any(row.key.startswith(prefix) for prefix in wanted)]
    if not chosen:
        sys.exit(f"run.py: no load is called {only}; there are: {' '.join(row.key for row in rows)}")
    return chosen


def make_brokers(arguments):
    makers = {"mosquitto": brokers.Mosquitto, "emqc": lambda: brokers.Emqc(arguments.release)}
    chosen = []
    for name in arguments.brokers.split(","):
        if name not in makers:
            sys.exit(f"run.py: no broker is called {name}; there are: {' '.join(makers)}")
        chosen.append(makers[name]())
    if arguments.against:
        name, _, template = arguments.against.partition("=")
        chosen.insert(1 if len(chosen) > 1 else 0, brokers.Other(name, template))
    for number, broker in enumerate(chosen):  # the same one twice: for trying the benchmark itself
        if any(other.name == broker.name for other in chosen[:number]):
            broker.name += f"-{number + 1}"
    return chosen


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


def run_all(chosen, contestants, bench, arguments):
    """All rounds of all loads. Returns {load: {broker: [summary]}}."""
    rounds, seconds, warm_up_ms = (1, 1, 500) if arguments.quick else (arguments.rounds, arguments.seconds, 1000)
    common = load_table.common_arguments(arguments.version, arguments.size, seconds, warm_up_ms)
    results = {}
    for number, load in enumerate(chosen, 1):
        results[load.key] = {broker.name: [] for broker in contestants}
        for turn in range(rounds):
            for broker in contestants:
                print(f"[{number}/{len(chosen)}] {load.key} round {turn + 1}/{rounds} {broker.name}: ", end="",
                      file=sys.stderr, flush=True)
                summary = measure(bench, broker, [*common, *load.arguments])
                results[load.key][broker.name].append(summary)
                print(progress_text(load, summary), file=sys.stderr, flush=True)
    return results


def print_tables(chosen, results, names):
    for heading, what, header, rows in report.tables(chosen, results, names):
        if heading is not None:
            print(f"\n== {heading}")
        print(f"\n{what}")
        print(report.plain_table(header, rows))


def write_document(arguments, chosen, contestants, results):
    settings = (f"{arguments.rounds} rounds of {arguments.seconds} s, the medians; MQTT version {arguments.version}, "
                f"{arguments.size}-byte payloads, send window and Receive Maximum {brokers.inflight}")
    # The paths of this machine are nobody else's business.
    parser = argparse.ArgumentParser(add_help=False)
    for option in ("--out", "--json", "--bench", "--release"):
        parser.add_argument(option)
    shown = parser.parse_known_args()[1]
    command = shlex.join(["bench/run.py", *shown])
    section = report.markdown(chosen, results, [broker.name for broker in contestants],
                              [broker.version() for broker in contestants], command, settings)
    report.write_document(arguments.out, section)


def main():
    arguments = parse_arguments()
    brokers.inflight = arguments.inflight
    chosen = choose_loads(arguments.only)
    if arguments.list:
        for load in chosen:
            print(f"{load.key:12} {load.title}")
        return 0
    try:
        contestants = make_brokers(arguments)
        results = run_all(chosen, contestants, find_bench(arguments.bench), arguments)
    except (brokers.BrokerError, subprocess.TimeoutExpired) as error:
        print(f"\nrun.py: {error}", file=sys.stderr)
        return 1
    names = [broker.name for broker in contestants]
    print_tables(chosen, results, names)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    if not arguments.quick:
        write_document(arguments, chosen, contestants, results)
    clean = all(summary["ok"] for by_broker in results.values() for runs in by_broker.values() for summary in runs)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
