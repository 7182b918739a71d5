"""The crash suite shares the helpers of the integration tests.

    seed       of this run: EMQC_CRASH_SEED, or drawn; printed, so that a run can be repeated
    kills      how often to kill: EMQC_CRASH_KILLS (20)
    thorough   many kills were asked for: a nightly run, in which long tests do all they can
    make_node  makes brokers that are killed and started again; their directories stay when the test fails
    make_shimmed  the same with a shim, and with the power cut model if asked for
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

from crash.node import Node  # noqa: E402
from crash.powercut import PowerCut  # noqa: E402
from crash.shim import Shim  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


@pytest.fixture
def seed(request):
    value = int(os.environ.get("EMQC_CRASH_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"EMQC_CRASH_SEED={value} pytest '{request.node.nodeid}'")
    return value


@pytest.fixture
def kills():
    return int(os.environ.get("EMQC_CRASH_KILLS", "20"))


@pytest.fixture
def thorough(kills):
    return kills >= 100


@pytest.fixture
def make_shimmed(make_node):
    """Makes (broker, its shim, a power cut or None); the shim's files lie beside the data."""

    def make(settings=None, power: bool = False):
        node = make_node(settings)
        node.data.mkdir()
        shim = Shim(node.directory / "shim", node.data)
        node.environment = shim.environment(log=power)
        return node, shim, PowerCut(node.data, shim.trash, shim.log) if power else None

    return make


@pytest.fixture
def make_node(request):
    nodes = []

    def make(settings=None, **options):
        directory = Path(tempfile.mkdtemp(prefix="emqc-crash-"))
        nodes.append(Node(settings, directory, **options))
        return nodes[-1]

    yield make
    failed = getattr(request.node, "report_call", None) is not None and request.node.report_call.failed
    for node in nodes:
        node.kill()
        if failed:
            print(f"the broker's directory: {node.directory}\n{node.output()}")
        else:
            shutil.rmtree(node.directory, ignore_errors=True)
