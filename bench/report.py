"""From the summaries of emqx_bench to tables: on the terminal and in docs/benchmarks.md."""

import datetime
import math
import os
import platform
import statistics

# Metrics of the JSON summary: how to take them out, how to write them, and whether more is better.
METRICS = {
    "delivered_per_s": ("messages/s delivered", lambda s: s["delivered_per_s"], "{:,.0f}", True),
    "broker_cpu_us": ("broker CPU per delivery, µs", lambda s: s["broker_cpu_us"], "{:.3f}", False),
    "p50": ("latency p50, µs", lambda s: s["latency_us"]["p50"], "{:,.0f}", False),
    "p99": ("latency p99, µs", lambda s: s["latency_us"]["p99"], "{:,.0f}", False),
    "logins_per_s": ("logins/s", lambda s: sum(one["connect_succ"] / one["connect_seconds"] for one in s["logins"]) if s["logins"] else math.nan, "{:,.0f}", True),
    "login_p50": ("from a client's connect to CONNACK, p50, µs", lambda s: _login(s, "p50"), "{:,.0f}", False),
    "login_p99": ("from a client's connect to CONNACK, p99, µs", lambda s: _login(s, "p99"), "{:,.0f}", False),
    "own_cpu_us": ("emqx_bench CPU per delivery, µs", lambda s: s["own_user_us"] + s["own_system_us"], "{:.3f}", False),
    "handshakes_per_s": ("handshakes/s", lambda s: _handshakes(s)["per_s"], "{:,.0f}", True),
    "resumed_percent": ("of these resumed, %", lambda s: 100 * s["tls"]["resumed"]["count"] / (
        s["tls"]["full"]["count"] + s["tls"]["resumed"]["count"]), "{:.1f}", True),
    "connect_cpu_us": ("broker CPU per connection, µs", lambda s: s["connect"]["broker_cpu_us"], "{:,.0f}", False),
    "own_connect_cpu_us": ("emqx_bench CPU per connection, µs", lambda s: s["connect"]["own_cpu_us"], "{:,.0f}", False),
    "connects_per_s": ("connections/s", lambda s: s["connect"]["per_s"], "{:,.0f}", True),
    "connection_bytes": ("bytes per connection with one subscription", lambda s: _bytes(s, "before", "subscribed",
                                                                                     "connect"), "{:,.0f}", False),
    "filter_bytes": ("bytes per further wildcard filter", lambda s: _bytes(s, "subscribed", "extra_filters",
                                                                         "extra_filters"), "{:,.0f}", False),
    "rss_mib": ("resident MiB", lambda s: s["memory"]["extra_filters"]["rss_bytes"] / 2**20, "{:,.1f}", False),
    "acknowledged_per_s": ("messages/s acknowledged", lambda s: s["publish"]["per_s"], "{:,.0f}", True),
    "publish_cpu_us": ("broker CPU per acknowledged message, µs", lambda s: s["publish"]["broker_cpu_us"], "{:.3f}", False),
    "acknowledge_p50": ("PUBLISH to PUBACK, p50, µs", lambda s: s["acknowledge_us"]["p50"], "{:,.0f}", False),
    "acknowledge_p99": ("PUBLISH to PUBACK, p99, µs", lambda s: s["acknowledge_us"]["p99"], "{:,.0f}", False),
    "added_us": ("p50 more than with none, µs", lambda s: s.get("added_us", math.nan), "{:,.0f}", False),
    "sync_us": ("fdatasync of this disk in the same run, p50, µs", lambda s: s["sync_us"], "{:,.0f}", False),
    "drained_per_s": ("messages/s drained", lambda s: s["drain"]["per_s"], "{:,.0f}", True),
    "drain_cpu_us": ("broker CPU per drained message, µs", lambda s: s["drain"]["broker_cpu_us"], "{:.3f}", False),
    "start_clean_s": ("s from the start to the listener, after a stop", lambda s: s["start_clean_s"], "{:,.2f}", False),
    "start_killed_s": ("s from the start to the listener, after kill -9", lambda s: s["start_killed_s"], "{:,.2f}", False),
    "all_s": ("s from the start until a subscriber to # has all", lambda s: s["all_s"], "{:,.2f}", False),
    "kept_percent": ("acknowledged messages that are there after kill -9, %", lambda s: s["kept_percent"], "{:,.1f}", True),
    "retain_per_s": ("messages/s retained", lambda s: s["retain_per_s"], "{:,.0f}", True),
    "absent_bytes": ("bytes of memory per absent session, after a start", lambda s: s["absent_bytes"], "{:,.0f}", False),
    "absent_live_bytes": ("the same right after they were filled, with the store's own buffers",
                          lambda s: s["absent_live_bytes"], "{:,.0f}", False),
    "retained_bytes": ("bytes of memory per retained message, after a start", lambda s: s["retained_bytes"], "{:,.0f}", False),
    "fill_peak_mib": ("most resident MiB while it grows", lambda s: s["fill_peak_mib"], "{:,.0f}", False),
    "drain_peak_mib": ("most resident MiB from the next start until it is drained", lambda s: s["drain_peak_mib"], "{:,.0f}",
                       False),
    "disk_mib": ("MiB on disk", lambda s: s["disk_mib"], "{:,.0f}", False),
}

KIND_METRICS = {
    "throughput": ["delivered_per_s", "broker_cpu_us", "own_cpu_us"],
    "latency": ["p50", "p99", "broker_cpu_us"],
    "login": ["p50", "p99", "logins_per_s", "login_p50", "login_p99"],
    "idle": ["connects_per_s", "connection_bytes", "filter_bytes", "rss_mib"],
    "tls-full": ["handshakes_per_s", "connect_cpu_us", "own_connect_cpu_us", "connection_bytes"],
    "tls-heavy": ["handshakes_per_s", "connect_cpu_us", "own_connect_cpu_us"],
    "tls-resumed": ["handshakes_per_s", "resumed_percent", "connect_cpu_us", "own_connect_cpu_us"],
    "ws-idle": ["connects_per_s", "connect_cpu_us", "own_connect_cpu_us", "connection_bytes"],
    "queue": ["acknowledged_per_s", "publish_cpu_us"],
    "light": ["acknowledge_p50", "acknowledge_p99", "added_us", "sync_us"],
    "drain": ["drained_per_s", "drain_cpu_us"],
    "start": ["start_clean_s", "start_killed_s", "kept_percent", "absent_bytes", "absent_live_bytes", "disk_mib"],
    "backlog": ["acknowledged_per_s", "drained_per_s", "start_clean_s", "fill_peak_mib", "drain_peak_mib", "disk_mib"],
    "retained": ["retain_per_s", "start_clean_s", "start_killed_s", "all_s", "retained_bytes", "disk_mib"],
}

DIFFERENCES = ("added_us", "sync_us", "kept_percent")  # whose ratios say nothing

TABLES = [
    ("Handshakes", "handshakes_per_s"),
    (None, "resumed_percent"),
    ("Throughput", "delivered_per_s"),
    ("Processor time", "broker_cpu_us"),
    (None, "connect_cpu_us"),
    ("Latency at a fixed rate", "p50"),
    (None, "p99"),
    ("Logins", "logins_per_s"),
    (None, "login_p50"),
    (None, "login_p99"),
    ("Idle connections", "connects_per_s"),
    (None, "connection_bytes"),
    (None, "filter_bytes"),
    (None, "rss_mib"),
    ("Queueing", "acknowledged_per_s"),
    (None, "publish_cpu_us"),
    (None, "retain_per_s"),
    ("One message at a time", "acknowledge_p50"),
    (None, "acknowledge_p99"),
    (None, "added_us"),
    (None, "sync_us"),
    ("Draining", "drained_per_s"),
    (None, "drain_cpu_us"),
    ("Starting again", "start_clean_s"),
    (None, "start_killed_s"),
    (None, "all_s"),
    (None, "kept_percent"),
    ("Memory and disk", "absent_bytes"),
    (None, "absent_live_bytes"),
    (None, "retained_bytes"),
    (None, "fill_peak_mib"),
    (None, "drain_peak_mib"),
    (None, "disk_mib"),
    ("What the tool itself used", "own_cpu_us"),
    (None, "own_connect_cpu_us"),
]


def _bytes(summary, before, after, step):
    count = summary[step]["count"]
    memory = summary["memory"]
    return (memory[after]["anonymous_bytes"] - memory[before]["anonymous_bytes"]) / count if count else 0


def _login(summary, percentile):
    """The largest of the tool's processes; NaN where nobody logs in."""
    return max((one["connect_us"][percentile] for one in summary["logins"]), default=math.nan)


def _handshakes(summary):
    """Those of the kind that the run was about."""
    full, resumed = summary["tls"]["full"], summary["tls"]["resumed"]
    return resumed if resumed["count"] > full["count"] else full


def median(summaries, metric):
    """The middle of the rounds; NaN without any."""
    if not summaries:
        return math.nan
    return statistics.median(METRICS[metric][1](summary) for summary in summaries)


def write_value(metric, value):
    """The value as text; empty when there is none."""
    return "" if math.isnan(value) else METRICS[metric][2].format(value)


def goal_text(metric, goal, limit):
    """'≥ 20', '≤ 1 / 14', '< 700 each', or empty."""
    if limit is not None:
        return f"< {limit:,g} each" if metric.endswith("_bytes") else f"< {limit:,g}"
    if goal is None:
        return ""
    if METRICS[metric][3]:
        return f"≥ {goal:g}"
    return f"≤ 1 / {1 / goal:g}" if goal < 1 else f"≤ {goal:g}"


def reached(metric, ratio, goal):
    """Does the ratio meet the goal? One that is not there does not."""
    return ratio >= goal if METRICS[metric][3] else ratio <= goal


def verdict_text(metric, ratio, goal, value, limit):
    """'yes', 'no', or empty without goal and limit."""
    if limit is not None:
        return "yes" if value < limit else "no"
    if goal is not None:
        return "yes" if reached(metric, ratio, goal) else "no"
    return ""


def compare(group, load, results, metric):
    """One row: title, a value a column, then for each of the group's ratios: ratio, goal, verdict."""
    values = {column.name: median(results[load.key].get(column.name, []), metric) for column in group.columns}
    row = [load.title, *(write_value(metric, value) for value in values.values())]
    goals = load.goals.get(metric, [])
    for number, (of, to) in enumerate(group.ratios):
        ratio = values[of] / values[to] if values[to] else 0
        is_ratio = not math.isnan(ratio) and metric not in DIFFERENCES
        goal = goals[number] if number < len(goals) and is_ratio else None
        limit = load.limits.get(metric) if number == 0 else None
        row += [(f"{ratio:.3f}" if ratio < 0.1 else f"{ratio:.2f}") if is_ratio else "", goal_text(metric, goal, limit),
                verdict_text(metric, ratio, goal, values[of], limit)]
    return row


def make_table(group, results, metric):
    """Header and rows, without columns that no row has anything in."""
    rows = [compare(group, load, results, metric) for load in group.loads
            if load.key in results and metric in KIND_METRICS[load.kind]]
    header = ["load", *(column.name for column in group.columns)]
    for of, to in group.ratios:
        header += [f"{of} ÷ {to}", "must reach", "reached"]
    used = [number for number in range(len(header)) if any(row[number] for row in rows)]
    return [header[number] for number in used], [[row[number] for number in used] for row in rows]


def tables(group, results):
    """[(heading or None, what is measured, header, rows)] for the group's loads that were run."""
    found = []
    for heading, metric in TABLES:
        header, rows = make_table(group, results, metric)
        if rows:
            found.append((heading, METRICS[metric][0], header, rows))
    return found


def plain_table(header, rows):
    """Columns lined up for a terminal."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(header, rows):
    """The same as Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines.extend("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(lines)


def machine():
    """Processor, memory and system, in one line."""
    model, memory, system = platform.processor() or platform.machine(), "", platform.system()
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory = f"{int(next(lines).split()[1]) / 2**20:.0f} GiB"
    if os.path.exists("/etc/os-release"):
        with open("/etc/os-release", encoding="utf-8") as lines:
            names = dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)
        system = names.get("PRETTY_NAME", system).strip('"')
    return f"{os.cpu_count()} × {model}, {memory} of memory, {system}, Linux {platform.release()}"


def marks(group):
    """The lines that a group's section stands between."""
    name = "" if group.key == "main" else f", {group.key}"
    return f"<!-- generated by bench/run.py{name}: begin -->", f"<!-- generated by bench/run.py{name}: end -->"


def markdown(group, results, versions, command, settings):
    """The group's generated section, with its marks."""
    begin, end = marks(group)
    parts = [begin, ""]
    if group.title:
        parts += [f"## {group.title}", "", group.text, ""]
    parts += [f"Measured on {datetime.date.today().isoformat()} with `{command}`.", "",
              f"- Machine: {machine()}", f"- Brokers: {'; '.join(versions)}", f"- {settings}"]
    for heading, what, header, rows in tables(group, results):
        if heading is not None:
            parts += ["", f"### {heading}"]
        parts += ["", f"*{what}*", "", markdown_table(header, rows)]
    return "\n".join([*parts, "", end])


def place_section(text, groups, group, section):
    """The text with the group's section in place of the old one; a new one comes behind the group before it, or before the one behind."""
    begin, end = marks(group)
    if begin in text and end in text:
        return text.split(begin, 1)[0] + section + text.split(end, 1)[1]
    for before in reversed(groups[:groups.index(group)]):
        head, mark, tail = text.partition(marks(before)[1])
        if mark:
            return head + mark + "\n\n" + section + tail
    for after in groups[groups.index(group) + 1:]:
        head, mark, tail = text.partition(marks(after)[0])
        if mark:
            return head + section + "\n\n" + mark + tail
    return text.rstrip("\n") + "\n\n" + section + "\n"


def write_document(path, groups, sections):
    """Puts the sections ({group's key: text}) into the document, each between its marks, or makes the document."""
    text = "# Benchmarks\n"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as document:
            text = document.read()
    for group in groups:
        if group.key in sections:
            text = place_section(text, groups, group, sections[group.key])
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as document:
        document.write(text)
