"""docs/tls.md does what it says: its settings start the broker, its commands run in order and print what stands there.

In the expected output `…` stands for anything within a line, and alone for any lines. EMQC_GUIDE_SHOW=1 prints what really came.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emqc.broker import REPOSITORY, Broker, free_port
from emqc.client import DEADLINE_S
from emqc.tls import ctl_program

HERE = Path(__file__).resolve().parent
GUIDE = REPOSITORY / "docs" / "tls.md"
PORTS = ("8883", "8884", "8084", "8083")

pytestmark = [
    pytest.mark.emqc,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed"),
    pytest.mark.skipif(not (HERE / "node_modules" / ".bin" / "mqtt").exists(), reason="run npm ci in tests/integration"),
]


def blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(properties|console)\n(.*?)^```$", text, re.M | re.S)


def shipped(names: tuple[str, ...]) -> dict:
    """The settings of these listeners as shipped."""
    lines = (REPOSITORY / "etc" / "emqx.conf").read_text().splitlines()
    pairs = (line.split(" = ", 1) for line in lines if line.startswith(names) and " = " in line)
    return {key: value for key, value in pairs if not re.search(r"\.(max_\w+|access\.\d+)$", key)}


def steps(block: str) -> list[tuple[str, list[str]]]:
    """Commands with the lines that they must print."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    parts = [r"(.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in lines]
    return "".join(parts)


class Shell:
    """Runs a block's commands; `cd` holds until the block ends."""

    def __init__(self, root: Path, ports: dict[str, str]):
        self.root, self.ports = root, ports
        programs = root / "programs"
        programs.mkdir()
        (programs / "emqx_ctl").symlink_to(ctl_program().resolve())
        (programs / "mqtt").symlink_to((HERE / "node_modules" / ".bin" / "mqtt").resolve())
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        self.environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "EMQX_ROOT": str(root), "LC_ALL": "C.UTF-8"}

    def map(self, text: str) -> str:
        for shown, real in self.ports.items():
            text = re.sub(rf"(?<!\d){shown}(?!\d)", real, text)
        return text

    def run(self, block: str):
        folder = self.root
        for command, lines in steps(block):
            if command.startswith("cd "):
                folder = (folder / command[3:]).resolve()
                continue
            wanted = self.map("\n".join(lines)).splitlines()
            deadline = time.monotonic() + DEADLINE_S
            text = self.output_of(command, folder)
            # The broker writes its log a moment after the fact.
            while " log/" in command and not re.fullmatch(pattern(wanted), text) and time.monotonic() < deadline:
                text = self.output_of(command, folder)
            if "EMQC_GUIDE_SHOW" in os.environ:
                print(f"$ {command}\n{text}", end="", file=sys.stderr)
            assert re.fullmatch(pattern(wanted), text), f"$ {command}\n{text}\n--- expected\n" + "\n".join(wanted)

    def output_of(self, command: str, folder: Path) -> str:
        done = subprocess.run(["bash", "-c", self.map(command)], cwd=folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3 * DEADLINE_S)  # fmt: skip
        return done.stdout.decode(errors="replace")


def test_the_guide_does_what_it_says(tmp_path):
    ports = {shown: str(free_port()) for shown in PORTS}
    shell = Shell(tmp_path, ports)
    (tmp_path / "etc").mkdir()
    subprocess.run([REPOSITORY / "tools" / "make-certs.sh", tmp_path / "etc" / "certs"], check=True)
    shutil.copy(REPOSITORY / "etc" / "psk.txt", tmp_path / "etc")
    node = None
    try:
        for kind, text in blocks(GUIDE.read_text()):
            if kind == "console":
                shell.run(text)
                continue
            settings = shipped(("listener.ssl.external", "listener.wss.external"))
            for line in text.splitlines():
                key, value = line.lstrip("# ").split(" = ", 1)
                settings[key] = None if line.startswith("#") else shell.map(value)
            settings["listener.ssl.external"], settings["listener.wss.external"] = ports["8883"], ports["8084"]
            if node is not None:
                node.stop()
            for old in (tmp_path / "log").glob("*"):
                old.unlink()
            node = Broker(settings, tmp_path).start()
    finally:
        if node is not None:
            node.stop()
