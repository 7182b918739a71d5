"""docs/plugins.md: its ten minutes, command by command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from emqc import broker as emqc_broker
from emqc.tls import ctl_program

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="emqc's plugins")

REPOSITORY = emqc_broker.REPOSITORY
BLOCK = re.compile(r"(?:`(?P<file>[\w.]+)`:\n\n)?```(?P<kind>\w*)\n(?P<text>.*?)```\n", re.DOTALL)


def section() -> str:
    text = (REPOSITORY / "docs" / "plugins.md").read_text()
    return text[text.index("## Ten minutes"):text.index("## What holds for every plugin")]


def steps(transcript: str):
    """(command, lines that follow) of "$ command" lines."""
    for part in re.split(r"^\$ ", transcript, flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield command, lines


def fits(lines: list[str], wanted: list[str]) -> bool:
    """`...` stands for anything in a line; alone, for any lines."""
    pattern = ""
    for line in wanted:
        pattern += "(?:.*\n)*?" if line == "..." else ".*".join(re.escape(part) for part in line.split("...")) + "\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in lines)) is not None


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto's clients")
def test_the_ten_minutes_of_the_plugin_guide(make_broker, tmp_path):
    node = make_broker()
    for name in ("include/emqc/plugin.h", "lib/emqc_plugin_template"):
        target = node.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = REPOSITORY / name.replace("lib/", "plugins/")
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("EMQX_", "MAKE", "MFLAGS"))}
    environment |= {"HOME": str(tmp_path), "EMQX_ROOT": str(node.directory), "LC_ALL": "C",
                    "PATH": f"{ctl_program().parent}:{environment['PATH']}"}  # fmt: skip
    directory = tmp_path
    count = 0
    for block in BLOCK.finditer(section()):
        if block["file"]:
            (directory / block["file"]).write_text(block["text"])
            continue
        assert block["kind"] == "console"
        for command, wanted in steps(block["text"]):
            if command.startswith("cd "):
                directory = tmp_path / command.removeprefix("cd ~/")
                continue
            done = subprocess.run(["sh", "-c", command.replace("-p 1883", f"-p {node.port}")], cwd=directory, env=environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)  # fmt: skip
            assert fits(done.stdout.splitlines(), wanted), f"$ {command}\n{done.stdout}\nwanted:\n" + "\n".join(wanted)
            count += 1
    assert count > 15
