"""Those who watch the broker during an attack: the witness process, its memory and its log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from emqc import broker as emqc_broker

MIB = 1 << 20


def sanitized() -> bool:
    """Sanitizers take memory of their own and make everything slow."""
    data = emqc_broker.BINARY.read_bytes() if emqc_broker.BINARY.exists() else b""
    return b"__asan_init" in data or b"__tsan_init" in data


def memory(node, key: str = "VmRSS") -> int:
    """Bytes; VmHWM is the peak."""
    text = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1)) * 1024


def descriptors(node) -> int:
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def await_true(what, timeout: float, step: float = 0.05):
    """The last value of `what()`, as soon as it is true; the broker sends no event to wait for."""
    deadline = time.monotonic() + timeout
    while not (found := what()) and time.monotonic() < deadline:
        pace(step)
    return found


def pace(seconds: float):
    """Lets time pass: where the slowness of an attacker is the attack."""
    time.sleep(max(0.0, seconds))


def log_lines_per_second(text: str) -> int:
    """Most lines of one second."""
    return max(Counter(re.findall(r"^\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d)", text, re.M)).values(), default=0)


class Witness:
    """The well-behaved clients in a process of their own; see witness.py."""

    def __init__(self, transport: str, port: int, rate: float = 100.0, newcomers: bool = True):
        command = [sys.executable, str(Path(__file__).with_name("witness.py")), "--transport", transport,
                   "--port", str(port), "--rate", str(rate)]  # fmt: skip
        if newcomers:
            command.append("--newcomers")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line == "ready\n", f"the witness did not start: {line!r}"

    def mark(self) -> dict:
        """The figures since the last call, when all that was under way has arrived."""
        self.process.stdin.write("mark\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
