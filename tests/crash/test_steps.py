"""One thing at a time, and the process ends at each step of it: at the first call that it makes to change a file, at the second, and so on
until the thing gets done; before the call, after it, and in the middle of a write. Without and with a power cut.

Each series has one broker directory and goes on in it; what was acknowledged in all its rounds is checked at the end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from crash.client import Manners
from crash.load import Load, Shape
from crash.powercut import Left
from crash.shim import When

STEPS_MAX = 60  # a thing that takes more calls than these is a fault of the test


@dataclass
class Stage:
    """A broker under a shim, and a load of which each client is moved by hand."""

    node: object
    shim: object
    power: object
    load: Load
    random: random.Random
    rounds: int = 0

    async def up(self):
        self.node.spawn()
        await self.node.up()

    async def again(self):
        """After the end of the process."""
        await self.node.gone()
        assert self.shim.killed_at(), f"the broker ended by itself\n{self.node.output()}"
        self.shim.disarm()
        if self.power:
            self.power.cut(Left.STRICT, self.random)
        self.rounds += 1
        await self.up()

    async def reached(self, condition, what: str):
        await self.load.until(condition, what, 30)

    async def series(self, begin, done, when: When):
        """begin() starts the thing anew, done() says whether it was answered. Each time the process ends one call later."""
        for step in range(1, STEPS_MAX):
            await self.reached(lambda: all(client.connected for client in self.load.present), "the clients to come back")
            self.shim.arm(step, when)
            begin()
            await self.reached(lambda: done() or self.node.ended(), "an answer")
            if not self.node.ended() and not self.shim.disarm():
                return
            await self.again()
            await self.reached(done, "an answer after the restart")
        raise AssertionError(f"not done after {STEPS_MAX} calls")


class Hands(Load):
    """Two subscribers, one of them away, and publishers of which none does anything by itself."""

    def __init__(self, address, seed):
        super().__init__(address, seed, Shape(publishers=0, subscribers=0, retained=0, shared=False))
        self.publisher = self._client("p", 5, Manners(window=1000))
        self.near = self._subscriber("near", 5, Manners())
        self.far = self._subscriber("far", 4, Manners())
        for client in (self.near, self.far):
            client.wish("t/#", 2)
        self.present = [self.publisher, self.near]


def things(load: Hands):
    """Name to (begin, done)."""
    history = load.history
    streams = {f"qos{qos}": history.stream("p", f"t/{qos}", qos) for qos in (1, 2)}
    streams |= {f"retained{qos}": history.stream("p", f"ret/p/{qos}", qos, retain=True) for qos in (1, 2)}

    def publishing(stream):
        def delivered():
            """Acknowledged in full; and by the near subscriber, too."""
            last = stream.messages[-1]
            mine = [item for item in history.deliveries.get("near", []) if item.stream is stream]
            arrived = stream.retain or (mine and mine[-1].number == last.number)
            return last.completed is not None and arrived and not load.near.incoming

        return (lambda: load.publisher.publish_now(stream)), delivered

    found = {name: publishing(stream) for name, stream in streams.items()}
    wishes = []

    def subscribe(leaving=False):
        load.near.wish(f"more/{len(wishes)}", 2)
        wishes.append(load.near.wishes[-1])
        load.near.settle()
        wishes[-1].subscribed = not leaving

    found["subscribe"] = subscribe, load.near.subscribed
    found["unsubscribe"] = (lambda: subscribe(True)), lambda: wishes[-1].interval is None
    return found


def use_subscriptions(load: Hands):
    """A message to each topic that was subscribed to: it comes, or if that was taken back, does not."""
    for wish in load.near.wishes:
        if wish.filter.startswith("more/"):
            load.publisher.publish_now(load.history.stream("p", wish.filter, 1))


async def _play(stage: Stage, thing: str, whens):
    load = stage.load
    await stage.up()
    await load.start()
    load.far.go()
    begin, done = things(load)[thing]
    for when in whens:
        await stage.series(begin, done, when)
    use_subscriptions(load)
    await stage.reached(lambda: not load.publisher.outgoing, "the last acknowledgements")
    load.far.come()
    load.look()
    await load.drain()
    await load.stop()


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power-cut"])
@pytest.mark.parametrize("thing", ["qos1", "qos2", "retained1", "retained2", "subscribe", "unsubscribe"])
def test_every_step_of(make_shimmed, seed, thorough, thing, power):
    if not thorough and thing not in ("qos1", "qos2", "subscribe"):
        pytest.skip("in the nightly run")
    node, shim, cut = make_shimmed(power=power)
    load = Hands(node.address, seed)
    stage = Stage(node, shim, cut, load, random.Random(seed))
    asyncio.run(_play(stage, thing, (When.BEFORE, When.HALF, When.AFTER)))
    print(f"{stage.rounds} ends; {load.summary()}")
    assert stage.rounds >= 3, "the thing makes no calls: nothing was tested"
    load.verdict()
