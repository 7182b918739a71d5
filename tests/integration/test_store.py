"""The durable store as an administrator sees it: emqx_ctl store, damage at the start, a disk that is full."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc import tls

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="the store is emqc's")

TABLES = ["meta", "session", "subscription", "queue", "inflight", "awaiting_rel", "message", "retained", "delayed"]


def run(broker, program, *words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(broker.directory)
    return subprocess.run([str(program), *words], env=environment, capture_output=True, text=True, timeout=60)


def store(broker, *words):
    return run(broker, tls.ctl_program(), "store", *words)


def largest_table_file(broker):
    return max((broker.directory / "data" / "store").glob("*.sst"), key=lambda path: path.stat().st_size)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


@pytest.fixture
def stopped(make_broker):
    """A broker that has run and whose tables are in files of their own."""
    broker = make_broker()
    assert store(broker, "compact").returncode == 0
    broker.stop()
    return broker


def test_stats_show_state_commits_and_tables(make_broker):
    answer = store(make_broker(), "stats")
    assert answer.returncode == 0 and answer.stderr == ""
    assert re.search(r"^state +open$", answer.stdout, re.M)
    for table in TABLES:
        assert re.search(rf"^{table} +\d+ +\d+ +\d+$", answer.stdout, re.M), table


def test_check_of_a_running_broker(make_broker):
    answer = store(make_broker(), "check")
    assert (answer.returncode, answer.stderr) == (0, "")
    for table in TABLES:
        assert re.search(rf"^{table} +ok +\d+ rows", answer.stdout, re.M), table
    assert answer.stdout.endswith("No damage was found.\n")


def test_compact_names_each_table_with_its_size(make_broker):
    answer = store(make_broker(), "compact")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert [line.split()[0] for line in answer.stdout.splitlines()][: len(TABLES)] == TABLES


def test_help_and_wrong_words(make_broker):
    broker = make_broker()
    answer = store(broker, "--help")
    assert answer.returncode == 0 and "emqx_ctl store check && echo whole" in answer.stdout
    assert store(broker, "repair").returncode == 1


def test_check_without_a_broker(stopped):
    answer = run(stopped, emqc_broker.BINARY, "check_store")
    assert answer.returncode == 0 and re.search(r"^meta +ok", answer.stdout, re.M)
    damage(largest_table_file(stopped))
    answer = run(stopped, emqc_broker.BINARY, "check_store")
    assert answer.returncode == 1 and "backup" in answer.stderr
    assert "DAMAGED" in answer.stdout or "cannot be opened" in answer.stdout


def test_emqx_ctl_checks_without_a_broker_too(stopped, tmp_path):
    for program in (emqc_broker.BINARY, tls.ctl_program()):
        shutil.copy(program, tmp_path / program.name)
    answer = run(stopped, tmp_path / "emqx_ctl", "store", "check")
    assert answer.returncode == 0 and answer.stdout.endswith("No damage was found.\n")
    answer = run(stopped, tmp_path / "emqx_ctl", "store", "stats")
    assert answer.returncode == 1 and "not responding" in answer.stderr


def test_a_missing_table_file_stops_the_start_and_is_named(stopped):
    missing = largest_table_file(stopped)
    missing.unlink()
    answer = run(stopped, emqc_broker.BINARY, "foreground")
    assert answer.returncode == 1
    assert "is damaged" in answer.stderr and missing.stem in answer.stderr
    assert str(stopped.directory / "data" / "store") in answer.stderr
    assert "backup" in answer.stderr and "emqx_ctl store check" in answer.stderr


def test_a_new_store_can_begin_where_a_damaged_one_was_moved_away(stopped):
    largest_table_file(stopped).unlink()
    (stopped.directory / "data" / "store").rename(stopped.directory / "data" / "store.damaged")
    stopped.start()
    stopped.connect(client_id="after").close()
    assert store(stopped, "check").returncode == 0


@pytest.mark.config({"store.min_free_space": "1000000GB"})
def test_too_little_free_space_is_an_alert_in_the_log(broker):
    emqc_broker_log = broker.directory / "log"
    assert emqc_broker_log.is_dir()
    answer = store(broker, "stats")
    while "full" not in answer.stdout:  # looked at once a second; bounded by the test's own limit
        answer = store(broker, "stats")
    assert re.search(r"^state +full: less than \d+ MB are free on the disk of ", answer.stdout, re.M)
    broker.connect(client_id="goes-on").close()
    broker.stop()
    assert "[alert]" in broker.log() and "[Store] No space: less than" in broker.log()


def test_who_needs_the_disk_is_refused_while_it_is_full_and_the_others_go_on(make_broker):
    broker = make_broker({"store.min_free_space": "1000000GB"})
    client = broker.connect()
    client.subscribe("t", qos=2)
    client.publish("t", b"not stored", 2)
    client.expect_publish("t", b"not stored")
    for qos in (1, 2):
        client.publish("t", b"to be retained", qos, retain=True, reason={0x97})
    durable = broker.open()
    durable.send(p.Connect(client_id="durable", properties={p.Prop.SESSION_EXPIRY_INTERVAL: 60}))
    assert durable.expect(p.Connack).reason == 0x97
    older = broker.open(4)
    older.send(p.Connect(client_id="durable", clean=False))
    assert older.expect(p.Connack).reason == 3
    older = broker.connect(4)
    older.send(p.Publish("t", b"to be retained", 1, retain=True, packet_id=1))
    older.expect_closed()
    client.publish("t", b"still", 1)
    client.expect_publish("t", b"still")


def test_stored_sessions_that_cannot_be_read_stop_the_start_with_table_and_advice(make_broker):
    broker = make_broker()
    client = broker.connect(client_id="absent", properties={p.Prop.SESSION_EXPIRY_INTERVAL: 600})
    client.subscribe("t", qos=1)
    client.disconnect()
    publisher = broker.connect()
    for number in range(300):
        publisher.publish("t", b"%1000d" % number, 1)
    broker.await_store()
    assert store(broker, "compact").returncode == 0
    broker.stop()
    damage(largest_table_file(broker))
    answer = run(broker, emqc_broker.BINARY, "foreground")
    assert answer.returncode != 0
    assert re.search(r"The stored sessions cannot be read: table 'queue': .*", answer.stderr), answer.stderr
    assert "What can be done: restore the directory from a backup" in answer.stderr


def test_stored_delayed_messages_that_cannot_be_read_stop_the_start_with_table_and_advice(make_broker):
    broker = make_broker()
    publisher = broker.connect()
    for number in range(300):
        publisher.publish("$delayed/3600/t", b"%1000d" % number, 1, reason=0)
    assert store(broker, "compact").returncode == 0
    broker.stop()
    damage(largest_table_file(broker))
    answer = run(broker, emqc_broker.BINARY, "foreground")
    assert answer.returncode != 0
    assert re.search(r"The stored delayed messages cannot be read: table 'delayed': .*", answer.stderr), answer.stderr
    assert "What can be done: restore the directory from a backup" in answer.stderr
