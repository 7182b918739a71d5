"""The broker of a run: it is killed and started again in the same directory, on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from emqc.broker import READY, Broker, free_port
from emqc.client import DEADLINE_S

# Nothing is dropped, forgotten or repeated by time: what is missing or repeated then is a fault.
SETTINGS = {
    "node.workers": os.environ.get("EMQC_CRASH_WORKERS", "2"),
    "zone.external.max_mqueue_len": "0",
    "zone.external.max_awaiting_rel": "0",
    "zone.external.await_rel_timeout": "0",
    "zone.external.retry_interval": "0",
    "zone.external.force_shutdown_policy": "0 | 0",  # who acknowledges slowly has a long queue
    "delayed.max_messages": "0",
}


class StartFailed(AssertionError):
    """The broker ended, or did not get ready in time."""


class Node(Broker):
    """`environment` is added to that of the process (LD_PRELOAD of a shim). It makes its own store, so that the making is crashed too."""

    def __init__(self, settings: dict | None = None, directory: Path | None = None, environment: dict | None = None):
        super().__init__({**SETTINGS, **(settings or {})}, directory, from_template=False)
        self.environment = environment or {}
        self.port = free_port()
        self.starts = 0
        self.slowest_start_s = 0.0

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def spawn(self):
        """Starts the process; does not wait until it serves."""
        command, environment = self._prepare_emqc()
        environment.update(self.environment)
        with open(self.stdout, "ab") as out, open(self.stderr, "ab") as err:
            self.said_before = out.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=self.directory
            )
        self.spawned, self.has_served = time.monotonic(), False
        self.starts += 1

    def serves(self) -> bool:
        """It says that it runs, and its port answers. StartFailed: it has ended."""
        code = self.process.poll()
        if code is not None:
            raise StartFailed(f"the broker ended with {code} while it was starting\n{self.output()}")
        if READY.encode() not in self.stdout.read_bytes()[self.said_before :]:
            return False
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
            return True
        return False

    async def up(self):
        """Waits until it serves."""
        while not self.serves():
            if time.monotonic() - self.spawned > 6 * DEADLINE_S:
                raise StartFailed(f"the broker did not get ready\n{self.output()}")
            await asyncio.sleep(0.01)
        if not self.has_served:
            self.slowest_start_s = max(self.slowest_start_s, time.monotonic() - self.spawned)
        self.has_served = True

    def start(self) -> Node:
        """Starts it and waits, without an event loop."""
        self.spawn()
        asyncio.run(self.up())
        return self

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    async def killed(self):
        """SIGKILL, and waits for the end of the process without holding up the clients."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.gone()

    async def gone(self, timeout_s: float = 3 * DEADLINE_S) -> int:
        """Waits for the end of the process: its exit code."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"the broker does not end\n{self.output()}")
            await asyncio.sleep(0.005)
        code, self.process = self.process.returncode, None
        return code

    async def shut_down(self):
        """SIGTERM; it must end with 0."""
        self.process.send_signal(signal.SIGTERM)
        code = await self.gone()
        assert code == 0, f"the broker ended with {code} on SIGTERM\n{self.output()}"

    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def control(self, *arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess:
        """Runs emqx_ctl or, with a name in `arguments`, what that says."""
        program = Path(os.environ.get("EMQX_CTL", str(self.binary_directory() / "emqx_ctl")))
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "EMQX_ROOT": str(self.directory)},
            check=False,
        )

    @staticmethod
    def binary_directory() -> Path:
        from emqc.broker import BINARY

        return BINARY.parent
