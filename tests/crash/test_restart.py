"""`emqx restart` under load: everybody finds their session, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

from emqc.broker import BINARY, NODE_NAME

from crash.load import Load

RESTARTS = 3


class Installation:
    """The broker as a service: `emqx start` and so on."""

    def __init__(self, node):
        self.node = node
        node._prepare_emqc()  # writes the configuration

    def run(self, word: str) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        environment["EMQX_ROOT"] = str(self.node.directory)
        done = subprocess.run(
            [str(BINARY), word], env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"emqx {word}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.node.output()}"
        return done

    def pid(self) -> int:
        return int(self.run("pid").stdout)


async def _restarts(installation: Installation, load: Load):
    loop = asyncio.get_running_loop()
    await load.start()
    for _ in range(RESTARTS):
        before = load.context.acked
        await load.until(lambda before=before: load.context.acked > before + 200, "the load to run")
        connects = load.context.connects
        await loop.run_in_executor(None, installation.run, "restart")
        back = connects + len(load.clients)
        await load.until(lambda back=back: load.context.connects >= back, "everybody to come back")
    load.look()
    await load.drain()
    await load.stop()


def test_restart_under_load(make_node, seed):
    node = make_node({"node.name": NODE_NAME})
    installation = Installation(node)
    installation.run("start")
    try:
        load = Load(node.address, seed)
        asyncio.run(_restarts(installation, load))
        print(load.summary())
        load.verdict()
        # And what it left is what a kill finds, too.
        os.kill(installation.pid(), signal.SIGKILL)
    finally:
        with contextlib.suppress(AssertionError, ProcessLookupError, ValueError):
            os.kill(installation.pid(), signal.SIGKILL)
