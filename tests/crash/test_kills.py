"""The broker is killed again and again while clients with sessions publish and receive; then everybody drains.

Acknowledged and lost: 0; QoS 2 delivered twice: 0; order kept; retained messages, subscriptions and sessions are there.
"""

import random

import pytest

from crash.load import Load, Shape
from crash.powercut import Left
from crash.rounds import CallKills, RandomKills, run


def test_sigkill_at_random_moments(make_node, seed, kills):
    node = make_node()
    run(node, Load(node.address, seed), RandomKills(node, random.Random(seed)), kills)


def test_sigkill_and_orderly_ends_in_turn(make_node, seed, kills):
    """What one start leaves to the next is the same whether the broker was killed or shut down."""
    node = make_node()
    run(node, Load(node.address, seed), RandomKills(node, random.Random(seed), orderly=0.6), max(3, kills // 4))


def test_sigkill_at_the_steps_of_commits(make_shimmed, seed, kills):
    node, shim, _ = make_shimmed()
    run(node, Load(node.address, seed), CallKills(node, shim, random.Random(seed)), kills)


@pytest.mark.parametrize("left", Left, ids=lambda left: left.value)
def test_power_cuts_at_the_steps_of_commits(make_shimmed, seed, kills, left):
    node, shim, power = make_shimmed(power=True)
    ends = CallKills(node, shim, random.Random(seed), power, (left,))
    run(node, Load(node.address, seed), ends, max(5, kills // 2))


def test_power_cuts_with_small_files(make_shimmed, seed, kills):
    """Memtables are flushed and files compacted all the time, so kills hit these as well."""
    node, shim, power = make_shimmed({"store.write_buffer_size": "4MB"}, power=True)
    load = Load(node.address, seed, Shape(large=0.05))
    run(node, load, CallKills(node, shim, random.Random(seed), power, tuple(Left), ahead_max=300), max(5, kills // 4))


def test_power_cuts_with_threads_that_fall_apart(make_shimmed, seed, kills):
    """What one thread hands to another in two steps is often cut between them."""
    node, shim, power = make_shimmed(power=True)
    shim.pause_wakers(0.02)
    ends = CallKills(node, shim, random.Random(seed), power, tuple(Left))
    run(node, Load(node.address, seed), ends, max(10, kills))
