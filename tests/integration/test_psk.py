"""TLS with pre-shared keys: mosquitto's clients and openssl s_client; unknown identities and wrong keys."""

import re
import secrets
import shutil
import subprocess
import time

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY, free_port
from emqc.client import DEADLINE_S, unique
from emqc.tls import await_log, ctl, failed_start, listener_port, s_client

pytestmark = pytest.mark.emqc

PSK_CIPHERS = "PSK-AES128-CBC-SHA,PSK-AES256-CBC-SHA,PSK-3DES-EDE-CBC-SHA,PSK-RC4-SHA"  # as shipped, commented
KEY = secrets.token_hex(32)
needs_mosquitto = pytest.mark.skipif(not shutil.which("mosquitto_sub"), reason="mosquitto-clients is not installed")
CONVERSATION = b"".join(item.encode(4) for item in (p.Connect(client_id=unique()), p.Pingreq(), p.Disconnect()))
ANSWER = "\x20\x02\x00\x00\xd0\x00"


def psk_listener(path, **more) -> dict:
    keys = {"psk_ciphers": PSK_CIPHERS, "psk_file": path, "zone": "external", **more}
    return {"listener.ssl.external": f"127.0.0.1:{free_port()}"} | {f"listener.ssl.external.{key}": value for key, value in keys.items()}


@pytest.fixture
def psk_file(tmp_path):
    path = tmp_path / "psk.txt"
    path.write_text(f"# a comment\n\nsensor1:hex:{KEY}\nsensor2:1234\r\n")
    return path


@pytest.fixture
def node(make_broker, psk_file):
    return make_broker(psk_listener(psk_file))


def psk_options(identity: str = "sensor1", key: str = KEY, version: str = "-tls1_2") -> list[str]:
    cipher = ["-cipher", "PSK"] if version == "-tls1_2" else []
    return [version, *cipher, "-psk_identity", identity, "-psk", key]


@pytest.mark.quick
@needs_mosquitto
@pytest.mark.parametrize("identity, key", [("sensor1", KEY), ("sensor2", b"1234".hex())], ids=["hex", "text"])
def test_mosquitto_s_clients_exchange_messages(node, topic, identity, key):
    common = ["-h", "127.0.0.1", "-p", str(listener_port(node)), "-t", topic, "-q", "1", "--psk-identity", identity, "--psk", key]
    subprocess.run(["mosquitto_pub", *common, "-r", "-m", "over PSK"], check=True, timeout=3 * DEADLINE_S)
    done = subprocess.run(["mosquitto_sub", *common, "-C", "1"], check=True, timeout=3 * DEADLINE_S, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "over PSK\n"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_speaks_mqtt(node, version):
    shown = s_client(listener_port(node), *psk_options(version=version), "-ign_eof", data=CONVERSATION)
    assert ANSWER in shown
    assert {"-tls1_2": "Cipher is PSK-AES", "-tls1_3": "TLSv1.3, Cipher is TLS_"}[version] in shown
    assert "no peer certificate available" in shown


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_an_unknown_identity_is_refused_and_the_log_names_it(node, version):
    shown = s_client(listener_port(node), *psk_options("nobody", KEY, version), "-ign_eof", data=CONVERSATION, check=False)
    assert ANSWER not in shown and "alert" in shown
    await_log(node, r"127\.0\.0\.1:\d+", "(?i)psk", "nobody")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_wrong_key_is_refused_and_the_log_says_so(node, version):
    shown = s_client(listener_port(node), *psk_options(key=secrets.token_hex(32), version=version), "-ign_eof", data=CONVERSATION, check=False)
    assert ANSWER not in shown and "alert" in shown
    await_log(node, r"127\.0\.0\.1:\d+", "(?i)psk|pre-shared", "(?i)wrong key|decryption failed|bad record mac|binder")


def test_an_identity_with_control_characters_cannot_forge_a_log_line(node):
    s_client(listener_port(node), *psk_options("x\n2026-01-01 00:00:00.000 [emergency] forged"), check=False)
    line = await_log(node, "forged")
    assert "\\n" in line and "[emergency]" not in line.split(" ")[2]


def test_a_client_without_a_pre_shared_key_is_refused(node):
    for version in ("-tls1_2", "-tls1_3"):
        shown = s_client(listener_port(node), version, check=False)
        assert "alert" in shown
    await_log(node, r"127\.0\.0\.1:\d+", "(?i)no shared cipher|psk|no suitable")


def test_the_identity_is_not_the_user_name(node):
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(listener_port(node)), "-i", "psk-client", "-t", "x", "--psk-identity", "sensor1",
               "--psk", KEY]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while (shown := ctl(node, "clients", "list")) == "":
            assert time.monotonic() < deadline and process.poll() is None
        assert "username=undefined" in shown
    finally:
        process.kill()
        process.wait()


def test_a_reload_reads_the_file_again(node, psk_file):
    fresh = secrets.token_hex(16)
    psk_file.write_text(f"sensor3:hex:{fresh}\n")
    ctl(node, "listeners", "reload")
    assert ANSWER in s_client(listener_port(node), *psk_options("sensor3", fresh), "-ign_eof", data=CONVERSATION)
    assert ANSWER not in s_client(listener_port(node), *psk_options(), "-ign_eof", data=CONVERSATION, check=False)


def test_a_reload_of_a_file_that_is_gone_keeps_the_keys(node, psk_file):
    psk_file.unlink()
    said = ctl(node, "listeners", "reload", status=1)
    assert str(psk_file) in said and re.search("(?i)no such file", said)
    assert ANSWER in s_client(listener_port(node), *psk_options(), "-ign_eof", data=CONVERSATION)


def test_a_missing_file_stops_the_start(tmp_path):
    status, text = failed_start(psk_listener(tmp_path / "absent"))
    assert status == 1 and "listener.ssl.external.psk_file" in text and str(tmp_path / "absent") in text
    assert re.search("(?i)no such file", text)


def test_unknown_psk_ciphers_stop_the_start(psk_file):
    status, text = failed_start(psk_listener(psk_file, psk_ciphers="PSK-NO-SUCH"))
    assert status == 1 and "listener.ssl.external.psk_ciphers" in text and "PSK-NO-SUCH" in text


def test_the_shipped_file_holds_no_key():
    lines = (REPOSITORY / "etc" / "psk.txt").read_text().splitlines()
    assert lines and all(line.startswith("#") for line in lines)
