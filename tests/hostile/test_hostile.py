"""Each attack of hostile/ on each transport; see README.md for what must hold meanwhile.

EMQC_HOSTILE_ALL=1 runs every attack on every transport, also those where the transport makes no difference.
"""

import os
import resource

import pytest

from hostile import scenario, wire
from hostile.attacks import ATTACKS
from hostile.watch import sanitized

EVERYTHING = os.environ.get("EMQC_HOSTILE_ALL") == "1"
DESCRIPTORS = 11000  # 10,000 connections, and what else there is
SCALE = 0.1 if sanitized() else 1.0


def cases():
    for attack in ATTACKS.values():
        for transport in wire.TRANSPORTS:
            if transport not in attack.transports:
                continue
            first = transport == "tcp" or len(attack.transports) == 1
            if not (first or attack.everywhere or EVERYTHING):
                continue
            marks = [pytest.mark.light] if attack.light else []
            yield pytest.param(attack, transport, id=f"{attack.name}-{transport}", marks=marks)


@pytest.mark.parametrize("attack, transport", cases())
def test_the_others_are_served_during(attack, transport):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < DESCRIPTORS:
        pytest.skip("too few open files are allowed")
    scenario.run(attack, transport, SCALE)
