"""Files of a stopped broker with flipped bytes: it starts and says what is missing, or refuses and says what is damaged and what to do. It never
dies of it, and it is never silently without what was acknowledged."""

from __future__ import annotations

import random
import re

import pytest

from crash.node import StartFailed
from emqc.client import Closed
from emqc.packets import Prop

DURABLE = {Prop.SESSION_EXPIRY_INTERVAL: 0xFFFFFFFF}
MESSAGES = 300
FLIPS = 5  # damaged files of each kind that are tried
FATAL = re.compile(r"Segmentation|SIGSEGV|SIGABRT|terminate called|assert", re.IGNORECASE)


def fill(node, compacted: bool) -> list[bytes]:
    """Sessions with subscriptions and queues, retained messages; all in tables, or still in the log."""
    node.start()
    keeper = node.connect(5, client_id="keeper", clean=False, properties=DURABLE)
    keeper.subscribe("kept/#", qos=2)
    keeper.disconnect()
    publisher = node.connect(5)
    payloads = [b"%d " % number + b"x" * 500 for number in range(MESSAGES)]
    for number, payload in enumerate(payloads):
        publisher.publish("kept/t", payload, 1 + number % 2)
        publisher.publish(f"retained/{number}", payload, 1, retain=True)
    if compacted:
        done = node.control("store", "compact")
        assert done.returncode == 0, done
        node.stop()
    else:
        node.kill()
    return payloads


def files(node, pattern: str):
    found = sorted(path for path in node.data.rglob(pattern) if path.is_file() and path.stat().st_size > 0)
    assert found, f"no {pattern} below {node.data}: {sorted(path.name for path in node.data.rglob('*'))}"
    return found


def damage(path, chance: random.Random, flips: int):
    """Flips bits; returns where."""
    data = bytearray(path.read_bytes())
    places = sorted(chance.randrange(len(data)) for _ in range(flips))
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return places


def missing_after_start(node, payloads) -> list[str]:
    """What does not come back."""
    missing = []
    keeper = node.connect(5, client_id="keeper", clean=False, properties=DURABLE)
    if not keeper.connack.session_present:
        missing.append("session")
        keeper.subscribe("kept/#", qos=2)
    publisher = node.connect(5)
    publisher.publish("kept/end", b"end", 1)
    found = set()
    while b"end" not in found:
        found.add(keeper.expect_publish(timeout=5).payload)
    missing += [f"message {number}" for number, payload in enumerate(payloads) if payload not in found]
    looker = node.connect(5)
    looker.subscribe("retained/#")
    looker.publish("retained/end", b"end")
    retained = set()
    while b"end" not in retained:
        retained.add(looker.expect_publish().payload)
    missing += [f"retained {number}" for number, payload in enumerate(payloads) if payload not in retained]
    return missing


def judge(node, path, payloads):
    """Starts it with a damaged file."""
    told_before = len(node.output())
    try:
        node.start()
    except StartFailed as error:
        code = node.process.returncode
        said = str(error)
        assert code is not None and code > 0, f"ended by signal {code}\n{said}"
        named = re.search(r"table '\w+'|its log is damaged|MANIFEST|CURRENT|\d{6}\.(sst|log)", said)
        assert named and str(path.parent) in said, f"does not say what is damaged\n{said}"
        assert "can be done" in said or "emqx_ctl store" in said, f"does not say what to do\n{said}"
        return "refused"
    try:
        missing = missing_after_start(node, payloads)
    except (Closed, TimeoutError) as error:
        missing = [repr(error)]
    said = node.output()[told_before:]
    assert node.alive(), f"the broker died of it\n{node.output()}"
    if not missing:
        return "intact"
    assert re.search(r"(?i)corrupt|damage|checksum|cannot read", node.log()), (
        f"{path.name}: without a word {len(missing)} are missing: {missing[:10]}\n{said}"
    )
    return "told"


@pytest.mark.parametrize(
    ("pattern", "compacted"),
    [("*.sst", True), ("*.log", False), ("MANIFEST-*", True), ("MANIFEST-*", False), ("CURRENT", True)],
    ids=["table", "log", "manifest", "manifest-after-kill", "current"],
)
def test_a_damaged_file_is_told(make_node, seed, pattern, compacted):
    chance = random.Random(seed)
    node = make_node({"log.level": "info"})
    payloads = fill(node, compacted)
    pristine = {path: path.read_bytes() for path in node.data.rglob("*") if path.is_file()}
    outcomes = []
    for attempt in range(FLIPS):
        for path in [path for path in node.data.rglob("*") if path.is_file() and path not in pristine]:
            path.unlink()
        for path, data in pristine.items():
            path.write_bytes(data)
        for path in (node.directory / "log").glob("*"):
            path.unlink()
        path = chance.choice(files(node, pattern))
        places = damage(path, chance, 1 + attempt * 3)
        print(f"{path.name}, {path.stat().st_size} bytes, damaged at {places}")
        outcomes.append(judge(node, path, payloads))
        node.kill()
    print(outcomes)


@pytest.mark.parametrize("pattern", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_a_missing_file_is_told(make_node, seed, pattern):
    node = make_node({"log.level": "info"})
    payloads = fill(node, True)
    path = random.Random(seed).choice(files(node, pattern))
    path.unlink()
    assert judge(node, path, payloads) in ("refused", "told")


def test_a_log_cut_in_the_middle_is_told(make_node, seed):
    """What a power cut never does to what was synced, a broken disk may."""
    node = make_node({"log.level": "info"})
    payloads = fill(node, False)
    path = max(files(node, "*.log"), key=lambda path: path.stat().st_size)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert judge(node, path, payloads) in ("refused", "told")


@pytest.mark.parametrize("compacted", [False, True], ids=["log", "tables"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_manifest_cut_short_is_told(make_node, share, compacted):
    """The tables that are named behind the cut must not be taken for new ones, nor the files that are for none of ours."""
    node = make_node({"log.level": "info"})
    payloads = fill(node, compacted)
    path = files(node, "MANIFEST-*")[0]
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    assert judge(node, path, payloads) in ("refused", "told")
