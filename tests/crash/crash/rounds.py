"""Kills the broker again and again while a load runs, then lets everybody drain and checks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from .load import Load
from .node import Node, StartFailed
from .powercut import Left, PowerCut
from .shim import Shim, When


@dataclass
class RandomKills:
    """SIGKILL at random moments of the load, and now and then while the broker starts."""

    node: Node
    random: random.Random
    life_s: tuple[float, float] = (0.02, 1.0)
    in_start: float = 0.15  # chance to be killed while it starts
    in_start_s: tuple[float, float] = (0.0, 0.3)
    orderly: float = 0.0  # chance of SIGTERM instead

    async def end(self):
        """Lets the broker live for a moment, then ends it."""
        await asyncio.sleep(self.random.uniform(*self.life_s))
        if self.random.random() < self.orderly:
            await self.node.shut_down()
        else:
            await self.node.killed()

    async def begin(self):
        """Starts it, perhaps not at the first attempt."""
        while self.random.random() < self.in_start:
            self.node.spawn()
            await asyncio.sleep(self.random.uniform(*self.in_start_s))
            await self.node.killed()
        self.node.spawn()


@dataclass
class CallKills:
    """The process ends before, after or in the middle of a call that changes a file, some calls from now; by the shim. With `power`, what
    was not synced then is lost as well, `lefts` says how."""

    node: Node
    shim: Shim
    random: random.Random
    power: PowerCut | None = None
    lefts: tuple[Left, ...] = (Left.STRICT,)
    ahead_max: int = 60
    in_start: float = 0.2
    ends: Counter = field(default_factory=Counter)  # by call

    async def end(self):
        self._arm()
        await self.node.gone()
        self._ended()

    def _arm(self):
        # Mostly near: there every step of one commit has its turn.
        ahead = min(self.random.randint(1, self.ahead_max), self.random.randint(1, self.ahead_max))
        self.shim.arm(ahead, self.random.choice((When.BEFORE, When.AFTER, When.HALF)))

    def _ended(self):
        self.ends[self.shim.killed_at()] += 1
        assert self.shim.killed_at(), f"the broker ended by itself\n{self.node.output()}"
        self.shim.disarm()
        if self.power:
            self.power.cut(self.random.choice(self.lefts), self.random)

    async def begin(self):
        while self.random.random() < self.in_start:
            self._arm()
            self.node.spawn()
            if not await self._dies():
                return  # it got through its start: that is the start of this round
            self._ended()
        self.node.spawn()

    async def _dies(self) -> bool:
        """False: it serves, and is not going to end."""
        try:
            await self.node.up()
        except StartFailed:
            if not self.shim.killed_at():
                raise
        else:
            if not self.shim.disarm():
                return False
        await self.node.gone()
        return True


async def _rounds(node: Node, load: Load, ends, count: int):
    chance = random.Random(load.seed)
    node.spawn()
    await node.up()
    await load.start()
    for number in range(count):
        await ends.end()
        await ends.begin()
        await node.up()
        if number % 3 == 0:
            load.look()
        if chance.random() < 0.7:
            before = load.context.acked
            await load.until(lambda before=before: load.context.acked > before, "an acknowledgement after the restart")
    await load.drain()
    load.look()
    await _once_more(node, load)
    await load.stop()


async def _once_more(node: Node, load: Load):
    """What was acknowledged by subscribers does not come back, and nothing that they did not get is left."""
    if load.faults():
        return  # a further restart would only blur what is known
    await node.killed()
    node.spawn()
    await node.up()
    await load.until(lambda: all(client.idle() for client in load.clients), "everybody to come back")
    load.look()


def rounds(node: Node, load: Load, ends, count: int):
    """Runs `count` rounds; load.faults() says what is wrong then."""
    asyncio.run(_rounds(node, load, ends, count))
    print(load.summary(), f"slowest start {node.slowest_start_s:.2f} s")


def run(node: Node, load: Load, ends, count: int):
    """Runs `count` rounds and fails with all that is wrong."""
    rounds(node, load, ends, count)
    load.verdict()
