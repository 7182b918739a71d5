"""The plugins that are parts of the broker: emqx_retainer (limits, expiry, commands) and emqx_delayed_publish."""

from __future__ import annotations

import time

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S
from emqc.packets import Prop
from emqc.tls import ctl

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="emqc's plugins")

RETAINER, DELAYED = "emqx_retainer", "emqx_delayed_publish"
MANY = 3210  # topics: several slices of a command


def restart(node, kill: bool = False):
    if kill:
        node.kill()
    else:
        node.stop()
    node.start()


def settings(node, **values):
    """In effect when this returns."""
    node.plugin_conf(RETAINER, {f"retainer.{key}": value for key, value in values.items()})
    assert ctl(node, "plugins", "reload", RETAINER) == f"Plugin {RETAINER} reloaded successfully.\n"


def keep(node, *topics, payload: bytes = b"kept", **fields):
    publisher = node.connect()
    for topic in topics:
        publisher.publish(topic, payload, 1, retain=True, **fields)
    publisher.disconnect()


def retained(node, *filters) -> dict:
    """topic -> message: what a new subscription gets."""
    client = node.connect()
    client.subscribe(*filters, qos=1)
    client.subscribe("fence/here")
    client.publish("fence/here", b"live")  # comes behind all retained messages
    found = {}
    while (message := client.expect_publish()).topic != "fence/here":
        assert message.retain
        found[message.topic] = message
    client.close()
    return found


def topics(node) -> list:
    return sorted(ctl(node, "retainer", "topics").splitlines())


def total(node) -> int:
    text = ctl(node, "retainer", "info")
    assert text.startswith("retained/total: ")
    return int(text.split(": ")[1])


def cleaned(count: int) -> str:
    return f"Cleaned {count} retained messages\n"


def wait_for(condition):
    """Asks until it is so: of what no client is told."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until(moment: float):
    """Lets time pass: an interval must run out while nobody looks."""
    while time.monotonic() < moment:
        time.sleep(0.01)


# ---- both


def test_they_are_loaded_unless_the_list_says_false(make_broker):
    node = make_broker()
    rows = ctl(node, "plugins", "list")
    for name, text in ((RETAINER, "EMQ X Retainer"), (DELAYED, "EMQ X Delayed Publish")):
        assert f"Plugin({name}, version=0.1.0, description={text}, active=true)\n" in rows
        assert ctl(node, "plugins", "load", name, status=1) == "load plugin error: already_started\n"
        assert ctl(node, "plugins", "unload", name) == f"Plugin {name} unloaded successfully.\n"
    assert (node.directory / "data" / "loaded_plugins").read_text() == f"{{{RETAINER}, false}}.\n{{{DELAYED}, false}}.\n"
    restart(node)
    assert ctl(node, "plugins", "list").count("active=false)\n") >= 2
    assert "no command" in ctl(node, "retainer", "info", status=1)
    for name in (RETAINER, DELAYED):
        assert ctl(node, "plugins", "load", name) == f"Start apps: [{name}]\nPlugin {name} loaded successfully.\n"
    restart(node)
    assert total(node) == 0
    assert f"{DELAYED}, version=0.1.0, description=EMQ X Delayed Publish, active=true" in ctl(node, "plugins", "list")


def test_wrong_settings_end_the_start_and_leave_a_running_one_alone(make_broker):
    node = make_broker()
    settings(node, max_payload_size="10")
    node.plugin_conf(RETAINER, {"retainer.storage_type": "floppy"})
    assert "retainer.storage_type" in ctl(node, "plugins", "reload", RETAINER, status=1)
    keep(node, "a", payload=b"over the limit")
    keep(node, "b")
    assert topics(node) == ["b"]
    node.stop()
    with pytest.raises(AssertionError, match=r"emqx_retainer cannot be loaded(?s:.)*retainer.storage_type(?s:.)*{emqx_retainer, false}"):
        node.start()
    (node.directory / "data" / "loaded_plugins").write_text("{emqx_retainer, false}.\n")
    node.start()


# ---- limits


def test_limits_come_into_effect_with_a_reload(make_broker):
    node = make_broker({"broker.max_retained_payload": "20"})
    settings(node, max_retained_messages=2, max_payload_size=10)
    keep(node, "a", "b", "c")
    assert topics(node) == ["a", "b"]
    keep(node, "b", payload=b"changed")  # updates go on at the limit
    keep(node, "a", payload=b"eleven long")
    assert {topic: message.payload for topic, message in retained(node, "#").items()} == {"a": b"kept", "b": b"changed"}
    settings(node, max_retained_messages=1, max_payload_size=11)
    keep(node, "a", payload=b"eleven long")
    keep(node, "c")
    assert topics(node) == ["a", "b"]  # what is there stays
    assert retained(node, "a")["a"].payload == b"eleven long"
    refused = [line for line in ctl(node, "broker", "metrics").splitlines() if line.startswith("messages.retained.refused")]
    assert refused[0].split(": ")[1] == "3"
    settings(node, max_retained_messages=0, max_payload_size=0)
    keep(node, "c", "d", payload=b"x" * 100_000)
    assert total(node) == 4


def test_keys_that_are_not_set_leave_the_limits_of_the_broker(make_broker):
    node = make_broker({"broker.max_retained_messages": "1", "broker.max_retained_payload": "5"})
    keep(node, "a", payload=b"too long")
    keep(node, "b", "c")
    assert topics(node) == ["b"]
    settings(node, max_retained_messages=0)
    keep(node, "c", payload=b"too long")
    keep(node, "d")
    assert topics(node) == ["b", "d"]
    settings(node)
    keep(node, "e")
    assert topics(node) == ["b", "d"]


# ---- expiry


def test_the_expiry_interval_holds_for_messages_without_their_own(make_broker):
    node = make_broker()
    keep(node, "before")
    settings(node, expiry_interval="1s")
    published = time.monotonic()
    keep(node, "after", "$SYS/of/mine")
    keep(node, "own", properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1000})
    found = retained(node, "after", "own")
    assert found["own"].properties.get(Prop.MESSAGE_EXPIRY_INTERVAL) >= 990
    if "after" in found:  # this machine was fast enough
        assert Prop.MESSAGE_EXPIRY_INTERVAL not in found["after"].properties
    wait_for(lambda: topics(node) == ["$SYS/of/mine", "own"])
    assert time.monotonic() - published >= 1
    assert total(node) == 2
    assert set(retained(node, "#", "before", "after")) == {"own"}
    settings(node, expiry_interval="0")
    keep(node, "for ever")
    assert topics(node) == ["$SYS/of/mine", "for ever", "own"]


def test_a_longer_interval_keeps_what_has_not_expired_yet(make_broker):
    node = make_broker()
    settings(node, expiry_interval="1s")
    keep(node, "a")
    published = time.monotonic()
    settings(node, expiry_interval="1h")
    wait_until(published + 1.2)
    assert topics(node) == ["a"]
    settings(node, expiry_interval="1s")  # it is over that now
    assert retained(node, "#") == {}


@pytest.mark.parametrize("size", [10, 20_000], ids=["small", "on disk only"])
def test_the_interval_counts_from_the_publishing_over_a_restart(make_broker, size):
    node = make_broker()
    settings(node, expiry_interval="2s")
    keep(node, "a", payload=b"x" * size)
    published = time.monotonic()
    node.stop()
    wait_until(published + 2.05)
    node.start()
    assert retained(node, "a", "#") == {}
    assert total(node) == 0


# ---- commands


def test_info_and_topics(make_broker):
    node = make_broker()
    assert ctl(node, "retainer", "info") == "retained/total: 0\n"
    assert ctl(node, "retainer", "topics") == ""
    keep(node, "a/1", "a", "b\u00fc", "$mine/x")
    assert ctl(node, "retainer", "info") == "retained/total: 4\n"
    assert topics(node) == ["$mine/x", "a", "a/1", "b\u00fc"]
    assert "retainer clean <Topic>" in ctl(node, "retainer", status=1)
    assert "retainer clean <Topic>" in ctl(node, "retainer", "--help")
    assert "see: emqx_ctl retainer --help" in ctl(node, "retainer", "info", "more", status=1)


@pytest.mark.parametrize("words, count, left", [
    (["a"], 1, ["$mine/x", "a/1", "a/2", "b"]),
    (["a/+"], 2, ["$mine/x", "a", "b"]),
    (["a/#"], 3, ["$mine/x", "b"]),
    (["#"], 4, ["$mine/x"]),
    (["nothing"], 0, ["$mine/x", "a", "a/1", "a/2", "b"]),
    ([], 5, []),
], ids=["topic", "plus", "hash", "all but $", "none", "all"])  # fmt: skip
@pytest.mark.parametrize("kill", [False, True], ids=["stop", "sigkill"])
def test_clean_removes_for_good(make_broker, words, count, left, kill):
    node = make_broker()
    keep(node, "a", "a/1", "b", "$mine/x")
    keep(node, "a/2", payload=b"x" * 20_000)  # on disk only
    assert ctl(node, "retainer", "clean", *words) == cleaned(count)
    if kill:
        restart(node, kill)  # at once: it was on disk when the command answered
    assert topics(node) == left
    restart(node)
    assert topics(node) == left
    assert set(retained(node, "#", "$mine/#")) == set(left)
    assert ctl(node, "retainer", "clean", *words) == cleaned(0)


def test_clean_wants_a_topic_filter(make_broker):
    node = make_broker()
    keep(node, "a")
    for word in ("a/#/b", "", "a+"):
        assert ctl(node, "retainer", "clean", word, status=1) == "Aborted this is no topic filter\n"
    assert topics(node) == ["a"]


def test_commands_go_over_many_topics(make_broker):
    node = make_broker()
    publisher = node.connect()
    names = [f"many/{number}" for number in range(MANY)]
    for name in names:
        publisher.publish(name, b"x", retain=True)
    publisher.publish("last", b"x", 1, retain=True)
    assert topics(node) == sorted([*names, "last"])
    restart(node)  # while they are loaded the commands wait
    assert total(node) == MANY + 1
    restart(node)
    assert topics(node) == sorted([*names, "last"])
    restart(node)
    assert ctl(node, "retainer", "clean", "many/+") == cleaned(MANY)
    restart(node, kill=True)
    assert topics(node) == ["last"]


# ---- storage


def test_in_ram_nothing_survives_but_what_was_stored_before(make_broker):
    node = make_broker()
    keep(node, "stored", "replaced")
    settings(node, storage_type="ram")
    keep(node, "replaced", "new")
    assert topics(node) == ["new", "replaced", "stored"]
    restart(node)
    assert topics(node) == ["stored"]
    settings(node, storage_type="disc_only")
    keep(node, "new")
    restart(node, kill=True)
    assert topics(node) == ["new", "stored"]


# ---- unloaded


def test_without_the_retainer_nothing_is_kept_or_sent(make_broker):
    node = make_broker()
    keep(node, "old", "cleared", "changed")
    reader = node.connect()
    reader.subscribe("live", qos=1)
    ctl(node, "plugins", "unload", RETAINER)
    assert retained(node, "#") == {}
    keep(node, "new", "live")
    keep(node, "changed", payload=b"not kept")
    keep(node, "cleared", payload=b"")  # still removes what was there
    reader.expect_publish("live", b"kept", retain=False)
    restart(node)
    assert retained(node, "#", "old") == {}
    ctl(node, "plugins", "load", RETAINER)
    assert {topic: message.payload for topic, message in retained(node, "#").items()} == {"old": b"kept", "changed": b"kept"}
    assert topics(node) == ["changed", "old"]
    keep(node, "new")
    restart(node)
    assert topics(node) == ["changed", "new", "old"]


def test_a_reload_loses_nothing_meanwhile(make_broker):
    node = make_broker()
    publisher = node.connect()
    names = []
    for round_number in range(20):
        batch = [f"r/{round_number}/{number}" for number in range(50)]
        for name in batch:
            publisher.publish(name, b"x", retain=True)  # some of them arrive during the reload
        names += batch
        settings(node, max_payload_size=round_number + 1)
    publisher.publish("last", b"x", 1, retain=True)
    assert topics(node) == sorted([*names, "last"])


# ---- delayed messages


def test_without_delayed_publish_messages_wait_and_topics_are_literal(make_broker):
    node = make_broker()
    reader = node.connect()
    reader.subscribe("inner", "$delayed/#", qos=1)
    publisher = node.connect()
    publisher.publish("$delayed/1/inner", b"first", 1, reason=0)
    ctl(node, "plugins", "unload", DELAYED)
    due = time.monotonic() + 1
    for topic in ("$delayed/0/inner", "$delayed/malformed"):
        publisher.publish(topic, b"literal", 1, reason=0)
        reader.expect_publish(topic, b"literal")
    publisher.publish("$delayed/0/inner", b"literal", 1, retain=True)
    reader.expect_publish("$delayed/0/inner", b"literal")
    wait_until(due + 0.2)
    reader.expect_nothing()
    assert "waiting   : 1\n" in ctl(node, "delayed", "info")
    ctl(node, "plugins", "load", DELAYED)
    reader.expect_publish("inner", b"first")
    publisher.publish("$delayed/0/inner", b"second", 1, reason=0)
    reader.expect_publish("inner", b"second")
    assert topics(node) == ["$delayed/0/inner"]


def test_a_start_without_delayed_publish_sends_nothing_that_waits(make_broker):
    node = make_broker()
    publisher = node.connect(client_id="absent", clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 1000})
    publisher.subscribe("inner", qos=1)
    publisher.publish("$delayed/1/inner", b"m", 1, reason=0)
    ctl(node, "plugins", "unload", DELAYED)
    node.stop()
    node.start()
    wait_until(time.monotonic() + 1.2)
    reader = node.connect(client_id="absent", clean=False, properties={Prop.SESSION_EXPIRY_INTERVAL: 1000})
    reader.expect_nothing()
    node.stop()
    (node.directory / "data" / "loaded_plugins").write_text("emqx_delayed_publish.\n")
    node.start()
    reader = node.connect(client_id="absent", clean=False)
    reader.expect_publish("inner", b"m")


def test_a_delayed_will_is_literal_without_delayed_publish(make_broker):
    node = make_broker()
    ctl(node, "plugins", "unload", DELAYED)
    reader = node.connect()
    reader.subscribe("$delayed/#", qos=1)
    for topic in ("$delayed/0/inner", "$delayed/malformed"):
        dying = node.connect(will=p.Will(topic, b"gone"))
        dying.drop()
        reader.expect_publish(topic, b"gone")
