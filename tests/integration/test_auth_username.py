"""emqx_auth_username and emqx_auth_clientid: passwords in a table of the broker's own; `emqx_ctl users` and `emqx_ctl clientid`."""

from __future__ import annotations

import base64
import hashlib
import re
import select
import shutil
from dataclasses import dataclass

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY, Broker
from emqc.client import DEADLINE_S, Client
from emqc.tls import ctl
from test_tls_guide import Shell, blocks

pytestmark = pytest.mark.emqc

BAD_PASSWORD, BAD_PASSWORD_OLD = 0x86, 4
NOT_AUTHORIZED, NOT_AUTHORIZED_OLD = 0x87, 5
SERVER_UNAVAILABLE, SERVER_BUSY = 0x88, 0x89

QUICK = {"password_hash": "pbkdf2-sha256", "password_hash.iterations": "10"}


PATIENT = {"hook.pending_timeout": "60s", "zone.external.idle_timeout": "60s"}  # also on a machine that is busy with other tests


def entry(iterations: int, password: bytes | None = None) -> str:
    """An entry that a job checks; without `password` nobody knows it."""
    salt, made = b"saltsalt", bytes(64)
    if password is not None:
        made = hashlib.pbkdf2_hmac("sha512", password, salt, iterations)
    return "$pbkdf2-sha512$i={}${}${}".format(iterations, *(base64.b64encode(item).decode().rstrip("=") for item in (salt, made)))


# Ten seconds of hashing: nobody waits for that, the broker is killed.
ENDLESS = entry(10_000_000)


@dataclass
class Plugin:
    name: str
    command: str
    prefix: str
    name_word: str
    metric: str
    existed: str
    noexisted: str

    def key(self, word: str) -> str:
        return f"{self.prefix}.{word}"

    def fields(self, name: str, password: bytes | None) -> dict:
        """Of a CONNECT with this name and password."""
        password = {} if password is None else {"password": password}
        if self.command == "users":
            return {"username": name, **password}
        return {"client_id": name, **({"username": "anybody"} if password else {}), **password}


PLUGINS = [
    Plugin("emqx_auth_username", "users", "auth.user", "username", "auth.username", "{error,existed}", "{error,noexisted}"),
    Plugin("emqx_auth_clientid", "clientid", "auth.client", "clientid", "auth.clientid", "{error,exitsted}", "{error,noexitsted}"),
]


@pytest.fixture(params=PLUGINS, ids=lambda plugin: plugin.command)
def plugin(request):
    return request.param


def load(node, plugin, settings=None):
    node.plugin_conf(plugin.name, {plugin.key(word): value for word, value in (settings or QUICK).items()})
    assert f"Plugin {plugin.name} loaded successfully." in ctl(node, "plugins", "load", plugin.name)


def add(node, plugin, name, password):
    assert ctl(node, plugin.command, "add", name, password) == "ok\n"


def add_entry(node, plugin, name, entry):
    assert ctl(node, plugin.command, "add", name, "--hash", entry) == "ok\n"


def let_in(node, plugin, name, password, version=5):
    client = Client(node.address, version).connect(**plugin.fields(name, password))
    client.ping()
    client.disconnect()


def refused(node, plugin, name, password, version=5, reason=BAD_PASSWORD, code=BAD_PASSWORD_OLD):
    client = Client(node.address, version).connect(expect=False, **plugin.fields(name, password))
    client.expect_refused(reason, code=code)


def metric(node, name: str) -> int:
    (line,) = [line for line in ctl(node, "broker", "metrics").splitlines() if line.split(":")[0].strip() == name]
    return int(line.split(":")[1])


@pytest.fixture
def node(make_broker):
    return make_broker()


@pytest.mark.quick
def test_only_the_right_password_lets_in(node, plugin, version):
    load(node, plugin)
    add(node, plugin, "ada", "secret")
    let_in(node, plugin, "ada", b"secret", version)
    refused(node, plugin, "ada", b"Secret", version)
    refused(node, plugin, "ada", b"", version)
    refused(node, plugin, "ada", b"sec\0ret", version)
    refused(node, plugin, "ada", b"x" * 65535, version)
    let_in(node, plugin, "ada", b"secret", version)
    assert metric(node, f"{plugin.metric}.success") == 2
    assert metric(node, f"{plugin.metric}.failure") == 4
    assert metric(node, f"{plugin.metric}.ignore") == 0


def test_no_password_is_a_wrong_one(node, plugin, version):
    """The original let such a client in when allow_anonymous was on."""
    load(node, plugin)
    add(node, plugin, "ada", "secret")
    refused(node, plugin, "ada", None, version)


def test_who_has_no_entry_is_left_to_allow_anonymous(make_broker, plugin, version):
    for allowed in ("true", "false"):
        node = make_broker({"allow_anonymous": allowed})
        load(node, plugin)
        add(node, plugin, "ada", "secret")
        if allowed == "true":
            let_in(node, plugin, "bob", b"secret", version)
            let_in(node, plugin, "bob", None, version)
        else:
            refused(node, plugin, "bob", b"secret", version, NOT_AUTHORIZED, NOT_AUTHORIZED_OLD)
            refused(node, plugin, "bob", None, version, NOT_AUTHORIZED, NOT_AUTHORIZED_OLD)
        let_in(node, plugin, "ada", b"secret", version)
        assert metric(node, f"{plugin.metric}.ignore") == 2


def test_the_commands_answer_as_the_original_does(node, plugin):
    load(node, plugin)
    command = plugin.command
    assert ctl(node, command, "list") == ""
    assert ctl(node, command, "add", "ada", "secret") == "ok\n"
    assert ctl(node, command, "add", "bob", "hidden") == "ok\n"
    assert sorted(ctl(node, command, "list").splitlines()) == ["ada", "bob"]
    assert ctl(node, command, "add", "ada", "other", status=1) == f"{plugin.existed}\n"
    assert ctl(node, command, "update", "eve", "other", status=1) == f"{plugin.noexisted}\n"
    assert ctl(node, command, "update", "ada", "other") == "ok\n"
    refused(node, plugin, "ada", b"secret")
    let_in(node, plugin, "ada", b"other")
    assert ctl(node, command, "del", "ada") == "ok\n"
    assert ctl(node, command, "del", "ada") == "ok\n"
    let_in(node, plugin, "ada", b"anything")  # nobody knows it any more
    assert ctl(node, command, "list") == "bob\n"
    usage = ctl(node, command, "add", "ada", status=1)
    for verb in ("list", "add", "update", "del"):
        assert re.search(rf"^{command} {verb}\b.*# \w+ \w+", usage, re.M), usage


def test_names_and_passwords_may_hold_anything(node, plugin):
    load(node, plugin)
    for name, password in (("Größe 1", "pass wort"), ("a/+/#", "$plain$"), ("-", "--hash"), ("x" * 1000, "y" * 1024)):
        add(node, plugin, name, password)
        let_in(node, plugin, name, password.encode())
        refused(node, plugin, name, b"other")
    assert len(ctl(node, plugin.command, "list").splitlines()) == 4
    assert "Too long" in ctl(node, plugin.command, "add", "eve", "y" * 1025, status=1)
    assert "empty" in ctl(node, plugin.command, "add", "", "y", status=1)
    assert "empty" in ctl(node, plugin.command, "add", "eve", "", status=1)


def test_a_long_list_is_complete(node, plugin):
    load(node, plugin, QUICK | {f"{i}.{plugin.name_word}": f"name{i}" for i in range(1000)} | {f"{i}.password": "x" for i in range(1000)})
    assert sorted(ctl(node, plugin.command, "list").splitlines()) == sorted(f"name{i}" for i in range(1000))


def test_entries_survive_the_broker(node, plugin):
    load(node, plugin)
    add(node, plugin, "ada", "secret")
    add(node, plugin, "bob", "hidden")
    assert ctl(node, plugin.command, "update", "bob", "changed") == "ok\n"
    add(node, plugin, "eve", "gone")
    assert ctl(node, plugin.command, "del", "eve") == "ok\n"
    node.kill()  # what was answered is on disk
    node.start()
    let_in(node, plugin, "ada", b"secret")
    let_in(node, plugin, "bob", b"changed")
    refused(node, plugin, "bob", b"hidden")
    let_in(node, plugin, "eve", b"anything")
    ctl(node, "plugins", "unload", plugin.name)
    let_in(node, plugin, "ada", b"anything")
    load(node, plugin)
    refused(node, plugin, "ada", b"anything")
    let_in(node, plugin, "ada", b"secret")


def test_entries_of_the_configuration_are_added_once(node, plugin):
    entries = {f"1.{plugin.name_word}": "ada", "1.password": "secret", f"x.{plugin.name_word}": "bob", "x.password": "hidden"}
    load(node, plugin, QUICK | entries)
    let_in(node, plugin, "ada", b"secret")
    let_in(node, plugin, "bob", b"hidden")
    assert ctl(node, plugin.command, "update", "ada", "changed") == "ok\n"
    ctl(node, "plugins", "unload", plugin.name)
    load(node, plugin, QUICK | entries | {"x.password": "other"})
    let_in(node, plugin, "ada", b"changed")
    refused(node, plugin, "ada", b"secret")
    let_in(node, plugin, "bob", b"hidden")


def test_half_an_entry_in_the_configuration_is_an_error(node, plugin):
    for settings, key in (
        ({f"1.{plugin.name_word}": "ada"}, "1.password"),
        ({"1.password": "secret"}, f"1.{plugin.name_word}"),
        ({f"1.{plugin.name_word}": "ada", "1.password": "x" * 1025}, "1.password"),
    ):
        node.plugin_conf(plugin.name, {plugin.key(word): value for word, value in settings.items()})
        said = ctl(node, "plugins", "load", plugin.name, status=1)
        assert f"{plugin.prefix}.{key}" in said
        assert "secret" not in said
    assert f"\n{plugin.command} list" not in ctl(node, "help")
    load(node, plugin)
    assert f"\n{plugin.command} list" in ctl(node, "help")


@pytest.mark.parametrize("kind", ["plain", "md5", "sha", "sha256", "pbkdf2-sha256", "pbkdf2-sha512", "argon2id"])
def test_each_kind_of_hash(make_broker, plugin, kind):
    node = make_broker(PATIENT)
    load(node, plugin, {"password_hash": kind, "password_hash.iterations": "1000"})
    add(node, plugin, "ada", "secret")
    for _ in range(2):
        let_in(node, plugin, "ada", b"secret")
        refused(node, plugin, "ada", b"Secret")
        refused(node, plugin, "ada", None)
    weak = kind in ("plain", "md5", "sha", "sha256")
    assert (f"{plugin.prefix}.password_hash = {kind}: whoever gets hold" in node.log()) == weak


def test_entries_outlive_a_change_of_the_hash(node, plugin):
    kinds = ["sha256", "argon2id", "pbkdf2-sha256", "plain"]
    for kind in kinds:
        load(node, plugin, {"password_hash": kind, "password_hash.iterations": "10"})
        add(node, plugin, kind, f"of {kind}")
        for known in kinds[: kinds.index(kind) + 1]:
            let_in(node, plugin, known, f"of {known}".encode())
            refused(node, plugin, known, b"other")
        ctl(node, "plugins", "unload", plugin.name)


def test_entries_of_the_original_are_good(node, plugin):
    """Its rows are four bytes of salt and the hash of salt and password in hexadecimal."""
    load(node, plugin)
    salt = bytes([1, 2, 3, 4])
    for kind, digest in (("md5", hashlib.md5), ("sha", hashlib.sha1), ("sha256", hashlib.sha256)):
        entry = f"${kind}${salt.hex()}${digest(salt + b'public').hexdigest()}"
        assert ctl(node, plugin.command, "add", kind, "--hash", entry) == "ok\n"
        let_in(node, plugin, kind, b"public")
        refused(node, plugin, kind, entry.encode())
    said = ctl(node, plugin.command, "add", "eve", "--hash", "$sha256$0102$short", status=1)
    assert "that is no entry" in said
    assert ctl(node, plugin.command, "update", "md5", "--hash", "$plain$open") == "ok\n"
    let_in(node, plugin, "md5", b"open")


def test_the_number_of_entries_is_bounded(node, plugin):
    load(node, plugin, QUICK | {"max_entries": "2"})
    add(node, plugin, "ada", "secret")
    add(node, plugin, "bob", "hidden")
    assert f"{plugin.prefix}.max_entries" in ctl(node, plugin.command, "add", "eve", "x", status=1)
    assert ctl(node, plugin.command, "update", "bob", "changed") == "ok\n"
    assert ctl(node, plugin.command, "del", "bob") == "ok\n"
    add(node, plugin, "eve", "x")


def readable(client) -> bool:
    return bool(select.select([client.socket], [], [], 0)[0])


def connect_soon(node, plugin, name, password):
    """CONNECT is sent; the answer comes when its hash is made."""
    return Client(node.address).connect(expect=False, **plugin.fields(name, password))


def answered(node, client) -> bool:
    """Has the broker's only worker answered by now, if it does so without waiting?"""
    other = node.connect()
    other.ping()
    other.ping()
    return readable(client)


def test_a_slow_hash_keeps_nobody_else_waiting(make_broker, plugin, topic):
    node = make_broker({"node.workers": "1"})
    load(node, plugin)
    add_entry(node, plugin, "ada", ENDLESS)
    others = [node.connect() for _ in range(2)]
    others[0].subscribe(topic)
    waiting = connect_soon(node, plugin, "ada", b"secret")
    for _ in range(20):
        others[1].publish(topic, b"x")
        others[0].expect(p.Publish)
    assert not answered(node, waiting)
    node.kill()


def test_who_was_let_in_lately_needs_no_hash(make_broker, plugin):
    """One thread and one place in the queue, both taken: only who needs no job is served."""
    node = make_broker(PATIENT | {"node.workers": "1", "plugins.job_threads": "1", "plugins.job_queue": "1"})
    load(node, plugin)
    add_entry(node, plugin, "ada", entry(1000, b"secret"))
    add_entry(node, plugin, "bob", ENDLESS)
    let_in(node, plugin, "ada", b"secret")
    waiting = []
    while len(waiting) < 2:
        client = connect_soon(node, plugin, "bob", b"secret")
        if answered(node, client):  # the first one was still in the queue
            client.expect_refused(SERVER_BUSY)
        else:
            waiting.append(client)
    refused(node, plugin, "bob", b"secret", reason=SERVER_BUSY)
    refused(node, plugin, "ada", b"wrong", reason=SERVER_BUSY)
    let_in(node, plugin, "ada", b"secret")
    # Another entry, and what was remembered is worth nothing.
    assert ctl(node, plugin.command, "update", "ada", "--hash", entry(1001, b"secret")) == "ok\n"
    refused(node, plugin, "ada", b"secret", reason=SERVER_BUSY)
    assert "too much waits" in ctl(node, plugin.command, "add", "eve", "x", status=1)
    node.kill()


def test_unloading_answers_those_that_wait(make_broker, plugin):
    node = make_broker(PATIENT | {"plugins.job_threads": "1"})
    load(node, plugin)
    add_entry(node, plugin, "ada", entry(100_000))
    waiting = connect_soon(node, plugin, "ada", b"secret")
    node.connect().ping()
    ctl(node, "plugins", "unload", plugin.name)
    assert waiting.expect(p.Connack).reason in (BAD_PASSWORD, SERVER_UNAVAILABLE)
    let_in(node, plugin, "ada", b"anything")


def test_passwords_are_in_no_log(make_broker, plugin):
    node = make_broker({"log.level": "debug"})
    load(node, plugin, QUICK | {f"1.{plugin.name_word}": "bob", "1.password": "hidden-in-conf"})
    add(node, plugin, "ada", "hidden-in-command")
    let_in(node, plugin, "ada", b"hidden-in-command")
    refused(node, plugin, "ada", b"hidden-and-wrong")
    assert "hidden" not in node.output()
    assert b"hidden" not in b"".join(path.read_bytes() for path in (node.directory / "data").rglob("*") if path.is_file())


def test_both_plugins_together(node):
    """In the order of loading; the first that knows the client decides."""
    users, clients = PLUGINS
    load(node, users)
    load(node, clients)
    add(node, users, "ada", "secret")
    add(node, clients, "sensor", "hidden")
    for fields, reason in (
        ({"username": "ada", "password": b"secret", "client_id": "sensor"}, 0),
        ({"username": "ada", "password": b"hidden", "client_id": "sensor"}, BAD_PASSWORD),
        ({"username": "bob", "password": b"hidden", "client_id": "sensor"}, 0),
        ({"username": "bob", "password": b"secret", "client_id": "sensor"}, BAD_PASSWORD),
        ({"username": "bob", "password": b"secret", "client_id": "other"}, 0),
    ):
        client = Client(node.address).connect(expect=False, **fields)
        client.expect(p.Connack, reason=reason)
        client.close()


# --- docs/authentication.md


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed")
def test_the_guide_does_what_it_says(tmp_path):
    text = (REPOSITORY / "docs" / "authentication.md").read_text()
    section = re.search(r"^## User names and client ids\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
    node = Broker({"allow_anonymous": "false"}, tmp_path).start()
    try:
        shell = Shell(tmp_path, {})
        for kind, block in blocks(section):
            if kind == "console":
                shell.run(block.replace("mosquitto_pub ", f"mosquitto_pub -p {node.port} "))
                continue
            settings = dict(line.split(" = ", 1) for line in block.splitlines())
            name = "emqx_auth_username" if any(key.startswith("auth.user.") for key in settings) else "emqx_auth_clientid"
            node.plugin_conf(name, settings)
    finally:
        node.stop()
