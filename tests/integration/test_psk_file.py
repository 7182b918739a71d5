"""emqx_psk_file: pre-shared keys of TLS clients from a file that is read again when it changes."""

from __future__ import annotations

import secrets
import select
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY, Broker, free_port
from emqc.client import DEADLINE_S, unique
from emqc.tls import await_log, ctl, listener_port, s_client
from test_tls_guide import Shell, blocks

pytestmark = pytest.mark.emqc

NAME = "emqx_psk_file"
PSK_CIPHERS = "PSK-AES128-CBC-SHA,PSK-AES256-CBC-SHA,PSK-3DES-EDE-CBC-SHA,PSK-RC4-SHA"
KEY = secrets.token_hex(32)
CONVERSATION = b"".join(item.encode(4) for item in (p.Connect(client_id=unique()), p.Pingreq(), p.Disconnect()))
ANSWER = "\x20\x02\x00\x00\xd0\x00"
VERSIONS = ["-tls1_2", "-tls1_3"]
needs_mosquitto = pytest.mark.skipif(not shutil.which("mosquitto_sub"), reason="mosquitto-clients is not installed")


@pytest.fixture
def psk_file(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(f"# a comment\n\nsensor1:hex:{KEY}\nsensor2:1234\r\n")
    return path


@pytest.fixture
def node(make_broker):
    return make_broker(listener())


def listener(**more) -> dict:
    keys = {"psk_ciphers": PSK_CIPHERS, "zone": "external", **more}
    return {"listener.ssl.external": f"127.0.0.1:{free_port()}"} | {f"listener.ssl.external.{key}": value for key, value in keys.items()}


def load(node, path, delimiter: str = ":"):
    node.plugin_conf(NAME, {"psk.file.path": path, "psk.file.delimiter": delimiter})
    assert f"Plugin {NAME} loaded successfully." in ctl(node, "plugins", "load", NAME)


def answered(node, identity: str, key: str, version: str = "-tls1_2") -> bool:
    cipher = ["-cipher", "PSK"] if version == "-tls1_2" else []
    options = [version, *cipher, "-psk_identity", identity, "-psk", key]
    return ANSWER in s_client(listener_port(node), *options, "-ign_eof", data=CONVERSATION, check=None)


def becomes(node, identity: str, key: str, wanted: bool):
    """Whether the key fits, once a change of the file was noticed."""
    deadline = time.monotonic() + DEADLINE_S
    while answered(node, identity, key) != wanted:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)


@pytest.mark.quick
@needs_mosquitto
@pytest.mark.parametrize("identity, key", [("sensor1", KEY), ("sensor2", b"1234".hex())], ids=["hex", "text"])
def test_mosquitto_s_clients_exchange_messages(node, psk_file, topic, identity, key):
    load(node, psk_file)
    common = ["-h", "127.0.0.1", "-p", str(listener_port(node)), "-t", topic, "-q", "1", "--psk-identity", identity, "--psk", key]
    subprocess.run(["mosquitto_pub", *common, "-r", "-m", "over PSK"], check=True, timeout=3 * DEADLINE_S)
    done = subprocess.run(["mosquitto_sub", *common, "-C", "1"], check=True, timeout=3 * DEADLINE_S, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "over PSK\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_identities_and_wrong_keys_are_refused(node, psk_file, version):
    load(node, psk_file)
    assert answered(node, "sensor1", KEY, version)
    assert answered(node, "sensor2", b"1234".hex(), version)
    for identity, key in (("sensor3", KEY), ("sensor", KEY), ("sensor11", KEY), ("# a comment", KEY), ("sensor2", KEY), ("sensor1", b"1234".hex()),
                          ("sensor2", b"1234\r".hex()), ("x" * 128, KEY)):  # fmt: skip
        assert not answered(node, identity, key, version)
    await_log(node, "(?i)psk", "sensor3")


def test_keys_count_while_the_plugin_is_loaded(node, psk_file):
    assert not answered(node, "sensor1", KEY)
    load(node, psk_file)
    assert answered(node, "sensor1", KEY)
    ctl(node, "plugins", "unload", NAME)
    assert not answered(node, "sensor1", KEY)
    load(node, psk_file)
    assert answered(node, "sensor1", KEY)


def test_the_listener_s_own_file_is_asked_first(make_broker, psk_file, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text(f"sensor1:abcd\nsensor9:hex:{KEY}\n")
    node = make_broker(listener(psk_file=own))
    load(node, psk_file)
    assert answered(node, "sensor1", b"abcd".hex()) and not answered(node, "sensor1", KEY)
    assert answered(node, "sensor9", KEY)
    assert answered(node, "sensor2", b"1234".hex())


def test_a_changed_file_counts_and_nobody_is_dropped(node, psk_file):
    load(node, psk_file)
    command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{listener_port(node)}", "-tls1_2", "-cipher", "PSK", "-psk_identity", "sensor1",
               "-psk", KEY]  # fmt: skip
    stays = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        stays.stdin.write(p.Connect(client_id=unique()).encode(4))
        stays.stdin.flush()
        assert stays.stdout.read(4) == b"\x20\x02\x00\x00"
        fresh = secrets.token_hex(16)
        psk_file.write_text(f"sensor1:hex:{fresh}\nsensor3:hex:{fresh}\n")
        becomes(node, "sensor3", fresh, True)
        assert answered(node, "sensor1", fresh)
        assert not answered(node, "sensor1", KEY)
        assert not answered(node, "sensor2", b"1234".hex())
        stays.stdin.write(p.Pingreq().encode(4))
        stays.stdin.flush()
        assert stays.stdout.read(2) == b"\xd0\x00"
    finally:
        stays.kill()
        stays.communicate()


def test_a_file_that_is_put_in_the_place_of_the_old_one_counts(node, psk_file, tmp_path):
    load(node, psk_file)
    fresh = secrets.token_hex(16)
    beside = tmp_path / "new.txt"
    beside.write_text(f"sensor3:hex:{fresh}\n")
    beside.rename(psk_file)
    becomes(node, "sensor3", fresh, True)
    assert not answered(node, "sensor1", KEY)


def test_a_file_that_is_gone_keeps_the_keys_until_it_is_back(node, psk_file):
    load(node, psk_file)
    psk_file.unlink()
    await_log(node, "warning", str(psk_file), "No such file", "stay in use")
    assert answered(node, "sensor1", KEY)
    psk_file.write_text("sensor4:abcd\n")
    becomes(node, "sensor4", b"abcd".hex(), True)
    assert not answered(node, "sensor1", KEY)


def test_wrong_lines_are_left_out_and_named_without_what_is_in_them(node, psk_file):
    """The original stopped reading there."""
    psk_file.write_text(f"sensor1:hex:{KEY}\nno delimiter secret1\n:secret2\nsensor2:\nsensor3:hex:secret3\nsensor5:1234\n" + "secret4\n" * 20)
    load(node, psk_file)
    for line, says in ((2, "delimiter is not in it"), (3, "identity is empty"), (4, "key is empty"), (5, "hexadecimal")):
        await_log(node, "warning", f"{psk_file}, line {line}: .*{says}")
    await_log(node, "warning", str(psk_file), "14 more lines")
    assert node.log().count("it is left out") == 10
    assert "secret" not in node.log()
    assert answered(node, "sensor1", KEY) and answered(node, "sensor5", b"1234".hex())
    assert not answered(node, "sensor3", b"hex:secret3".hex())


def test_the_last_of_several_lines_counts_and_another_delimiter(node, psk_file):
    psk_file.write_text("a:b=1234\nsensor1=abcd\na:b=5678\n")
    load(node, psk_file, "=")
    assert answered(node, "a:b", b"5678".hex()) and not answered(node, "a:b", b"1234".hex())
    assert answered(node, "sensor1", b"abcd".hex())


def test_settings_that_do_not_fit_are_not_loaded(node, psk_file, tmp_path):
    for settings, says in (({"psk.file.path": tmp_path / "absent", "psk.file.delimiter": ":"}, "No such file"),
                           ({"psk.file.path": tmp_path, "psk.file.delimiter": ":"}, "psk.file.path"),
                           ({"psk.file.path": psk_file}, "psk.file.delimiter"), ({"psk.file.delimiter": ":"}, "psk.file.path")):  # fmt: skip
        node.plugin_conf(NAME, settings)
        assert says in ctl(node, "plugins", "load", NAME, status=1)
    assert not answered(node, "sensor1", KEY)


def test_many_identities(node, psk_file):
    psk_file.write_text("".join(f"device{i}:key{i:06}\n" for i in range(100000)))
    load(node, psk_file)
    for i in (0, 1, 49999, 99999):
        assert answered(node, f"device{i}", f"key{i:06}".encode().hex())
    assert not answered(node, "device100000", b"key100000".hex())


@pytest.mark.slow
@pytest.mark.threads
def test_keys_change_under_load(node, psk_file):
    """Handshakes of several threads while tables are exchanged."""
    load(node, psk_file)
    for turn in range(5):
        psk_file.write_text(f"sensor1:hex:{KEY}\n" + f"turn{turn}:1234\n" * 1000)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda _: answered(node, "sensor1", KEY), range(20)))
    becomes(node, "turn4", b"1234".hex(), True)


@needs_mosquitto
def test_the_guide_does_what_it_says(tmp_path):
    settings = listener()
    first, *rest = blocks((REPOSITORY / "docs" / "psk.md").read_text())
    settings["listener.ssl.external.psk_ciphers"] = first[1].splitlines()[1].split(" = ")[1]
    settings["log.level"] = "notice"
    (tmp_path / "etc").mkdir()
    shutil.copy(REPOSITORY / "etc" / "psk.txt", tmp_path / "etc")
    node = Broker(settings, tmp_path).start()
    try:
        shell = Shell(tmp_path, {"8883": str(listener_port(node))})
        for kind, block in rest:
            if kind == "console":
                shell.run(block)
            else:
                node.plugin_conf(NAME, dict(line.split(" = ", 1) for line in block.splitlines()))
    finally:
        node.stop()
