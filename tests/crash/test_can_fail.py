"""The suite sees a loss when there is one: settings that promise less lose what they do not promise."""

import random

from crash.load import Load
from crash.powercut import Left
from crash.rounds import CallKills, RandomKills, rounds


def kinds(load: Load) -> set[str]:
    return {fault.kind for fault in load.faults()}


def test_durability_none_loses_sessions_by_a_kill(make_node, seed):
    node = make_node({"zone.external.durability": "none"})
    load = Load(node.address, seed)
    load.shape.stall_s = 2
    rounds(node, load, RandomKills(node, random.Random(seed), life_s=(0.5, 1)), 2)
    assert {"session", "lost"} <= kinds(load)


def test_durability_async_loses_the_last_moment_by_a_power_cut(make_shimmed, seed):
    node, shim, power = make_shimmed({"zone.external.durability": "async", "store.sync_interval": "1h"}, power=True)
    load = Load(node.address, seed)
    load.shape.stall_s = 2
    rounds(node, load, CallKills(node, shim, random.Random(seed), power, (Left.STRICT,), in_start=0, ahead_max=200), 3)
    assert "lost" in kinds(load) or "session" in kinds(load)
