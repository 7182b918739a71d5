#!/usr/bin/env python3
"""Writes docs/conformance.md: each normative statement a server must obey and the tests that show it.

The statements stand in statements/*.tsv, the tests name them in their markers mqtt5(...) and mqtt311(...). Run it after
adding a test; test_conformance.py fails while the document is out of date.

    conformance.py           writes the document
    conformance.py --check   tells by its exit code whether the document is up to date
"""

from __future__ import annotations

import argparse
import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "conformance.md"
STANDARDS = [("mqtt5", "MQTT 5.0"), ("mqtt311", "MQTT 3.1.1")]


@dataclass
class Statement:
    number: str
    who: str
    text: str
    why_not: str = ""
    tests: list[str] = field(default_factory=list)


def read_statements(name: str) -> dict[str, Statement]:
    found = {}
    for line in (HERE / "statements" / f"{name}.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            statement = Statement(*line.split("\t"))
            assert statement.who in ("server", "client", "both"), line
            assert statement.number not in found, f"{statement.number} twice"
            found[statement.number] = statement
    return found


def read_markers(name: str):
    """(statement number, file::test) of each marker, in the order of the files."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{name}":
                    for argument in decorator.args:
                        yield ast.literal_eval(argument), f"{path.name}::{node.name}"


def collect(name: str) -> dict[str, Statement]:
    statements = read_statements(name)
    for number, test in read_markers(name):
        if number not in statements:
            raise SystemExit(f"{test} names {number}, which is not in statements/{name}.tsv")
        if test not in statements[number].tests:
            statements[number].tests.append(test)
    return statements


def render_standard(title: str, statements: dict[str, Statement]) -> list[str]:
    server = [item for item in statements.values() if item.who != "client"]
    client = [item for item in statements.values() if item.who == "client"]
    shown = [item for item in server if item.tests]
    missing = [item for item in server if not item.tests]
    lines = [f"## {title}", "", f"{len(shown)} of {len(server)} statements for servers are shown by tests.", ""]
    if missing:
        lines += ["### Without a test", "", "| Statement | Says | Why |", "|---|---|---|"]
        lines += [f"| {item.number} | {item.text} | {item.why_not or 'No test yet.'} |" for item in missing]
        lines += [""]
    lines += ["### Statements and tests", "", "| Statement | Says | Tests |", "|---|---|---|"]
    lines += [f"| {item.number} | {item.text} | {'<br>'.join(f'`{test}`' for test in item.tests)} |" for item in shown]
    lines += ["", "### For clients only", ""]
    lines += ["What the broker does when a client breaks one of these is tested where a test is named.", ""]
    lines += ["| Statement | Says | Tests |", "|---|---|---|"]
    lines += [f"| {item.number} | {item.text} | {'<br>'.join(f'`{test}`' for test in item.tests)} |" for item in client]
    return lines + [""]


def render() -> str:
    lines = [
        "# Conformance",
        "",
        "<!-- Written by tests/integration/conformance.py; do not edit. -->",
        "",
        "Which test shows which normative statement of the standards. The tests are in `tests/integration`, start the real",
        "broker and speak raw packets to it; `make test` runs them. The statements are shortened; the standards have the words",
        "that count. Every packet that a test receives is checked in full besides (reserved bits, lengths, UTF-8, properties",
        "and reason codes allowed in it), which shows the format statements in every test.",
        "",
    ]
    for name, title in STANDARDS:
        lines += render_standard(title, collect(name))
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when the document is out of date")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        return 0 if DOCUMENT.exists() and DOCUMENT.read_text() == text else 1
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
