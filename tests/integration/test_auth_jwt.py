"""emqx_auth_jwt: clients that show a JSON Web Token; secrets, key files and key servers, claims, and what must not be let in."""

from __future__ import annotations

import base64
import json
import secrets
import select
import shutil
import time

import pytest

from emqc.broker import REPOSITORY, Broker, free_port
from emqc.client import DEADLINE_S, Client, unique
from emqc.tls import await_log, ctl
from emqc.tokens import Key, KeyServer, base64url, token
from test_tls_guide import Shell, blocks

pytestmark = pytest.mark.emqc

NAME = "emqx_auth_jwt"
SECRET = "a secret of more than thirty-two bytes"
NOT_AUTHORIZED, NOT_AUTHORIZED_OLD = 0x87, 5
SERVER_UNAVAILABLE, SERVER_UNAVAILABLE_OLD = 0x88, 3
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A key for each kind of algorithm, and another RSA key."""
    directory = tmp_path_factory.mktemp("jwt")
    made = {name: Key(directory, name, kind) for name, kind in (("ES256", "P-256"), ("ES384", "P-384"), ("ES512", "P-521"), ("RS", "rsa"), ("other", "rsa"))}
    return made | dict.fromkeys(("RS256", "RS384", "RS512"), made["RS"])


@pytest.fixture
def node(make_broker):
    return make_broker()


@pytest.fixture
def key_server():
    server = KeyServer()
    yield server
    server.close()


def settings_of(settings: dict) -> dict:
    return {f"auth.jwt.{key}": value for key, value in settings.items()}


def load(node, **settings):
    """Keyword words are keys below auth.jwt, with __ for a dot."""
    node.plugin_conf(NAME, settings_of({key.replace("__", "."): value for key, value in settings.items()}))
    assert f"Plugin {NAME} loaded successfully." in ctl(node, "plugins", "load", NAME)


def load_fails(node, **settings) -> str:
    node.plugin_conf(NAME, settings_of({key.replace("__", "."): value for key, value in settings.items()}))
    return ctl(node, "plugins", "load", NAME, status=1)


def connect(node, password, version=5, **fields) -> Client:
    fields = {"username": "ada", **fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    if password is not None:
        fields["password"] = password if isinstance(password, bytes) else password.encode()
    return Client(node.address, version).connect(expect=False, **fields)


def connack(client) -> int:
    packet = client.receive()
    client.close()
    return packet.reason


def let_in(node, password, version=5, **fields):
    assert connack(connect(node, password, version, **fields)) == 0


def refused(node, password, version=5, reason=NOT_AUTHORIZED, code=NOT_AUTHORIZED_OLD, **fields):
    connect(node, password, version, **fields).expect_refused(reason, code=code)


def becomes(node, password, wanted: int, **fields):
    """What CONNECT is answered, once something that gives no event has happened."""
    deadline = time.monotonic() + DEADLINE_S
    while connack(connect(node, password, **fields)) != wanted:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)


def metric(node, name: str) -> int:
    (line,) = [line for line in ctl(node, "broker", "metrics").splitlines() if line.split(":")[0].strip() == name]
    return int(line.split(":")[1])


def now() -> int:
    return int(time.time())


# ---- Secrets


@pytest.mark.quick
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_who_knows_the_secret_makes_tokens(node, version, algorithm):
    load(node, secret=SECRET)
    let_in(node, token({"sub": "x", "exp": now() + 60}, SECRET, algorithm), version)
    refused(node, token({"sub": "x", "exp": now() + 60}, SECRET + ".", algorithm), version)
    refused(node, token({}, "", algorithm), version)
    let_in(node, token({}, SECRET, algorithm), version)


def test_clients_without_a_token_are_left_to_allow_anonymous(make_broker, version):
    for allowed in ("true", "false"):
        node = make_broker({"allow_anonymous": allowed})
        load(node, secret=SECRET)
        for password in (None, b"", b"public", b"a.b.c", b"\xff.\x00.", b"x" * 65535):
            if allowed == "true":
                let_in(node, password, version)
            else:
                refused(node, password, version)
        let_in(node, token({}, SECRET), version)
        assert metric(node, "auth.jwt.ignore") == 6
        assert metric(node, "auth.jwt.success") == 1
        assert metric(node, "auth.jwt.failure") == 0


def test_the_token_may_be_the_user_name(node, version):
    load(node, secret=SECRET, **{"from": "username"})
    let_in(node, None, version, username=token({}, SECRET))
    let_in(node, b"whatever", version, username=token({}, SECRET))
    refused(node, None, version, username=token({}, "wrong"))
    refused(node, token({}, SECRET), version, username=token({}, "wrong"))
    let_in(node, token({}, "wrong"), version, username="ada")
    assert metric(node, "auth.jwt.ignore") == 1


def test_a_secret_may_be_written_in_base64(make_broker):
    secret = bytes(range(0xC0, 0x100))
    for text in (base64.b64encode(secret).decode(), base64url(secret)):
        node = make_broker()
        load(node, secret=text, secret_base64="on")
        let_in(node, token({}, secret))
        refused(node, token({}, text))


def test_a_secret_that_is_not_base64_is_not_loaded_and_not_shown(node):
    said = load_fails(node, secret="not base64!", secret_base64="on")
    assert "auth.jwt.secret" in said and "base64" in said and "not base64!" not in said
    let_in(node, token({}, "anything"))  # the plugin is not there


def test_without_a_secret_no_token_of_that_kind_is_good(node):
    load(node)
    refused(node, token({}, ""))
    refused(node, token({}, "emqxsecret"))


@pytest.mark.parametrize("secret, says", [("emqxsecret", "is the one that is shipped"), ("short", "has 5 bytes")])
def test_a_weak_secret_is_warned_of(node, secret, says):
    load(node, secret=secret)
    line = await_log(node, "warning", "auth.jwt.secret", says)
    assert secret not in line.replace("auth.jwt.secret", "") or secret == "short"
    let_in(node, token({}, secret))


# ---- What must not be let in


def test_unsigned_and_unknown_algorithms_are_refused_whoever_is_let_in_else(node, version):
    load(node, secret=SECRET)
    for algorithm in ("none", "None", "", "hs256", "PS256", "EdDSA", "HS1"):
        head = base64url(json.dumps({"alg": algorithm}).encode())
        refused(node, f"{head}.{base64url(b'{}')}.", version)
        refused(node, f"{head}.{base64url(b'{}')}.{base64url(b'x' * 32)}", version)
    let_in(node, token({}, SECRET), version)


def test_a_public_key_is_no_secret(node, keys):
    """The classic confusion: the token says HS256, and the public key, which everybody has, is taken for the secret."""
    load(node, pubkey=keys["RS"].public)
    pem = keys["RS"].public.read_bytes()
    for secret in (pem, pem.strip(), pem.decode().replace("\n", "\r\n").encode()):
        refused(node, token({}, secret))
    let_in(node, token({}, keys["RS"], "RS256"))


def test_a_secret_is_no_public_key(node, keys):
    load(node, secret=keys["RS"].public.read_text().replace("\n", ""))
    for algorithm in ALGORITHMS:
        refused(node, token({}, keys[algorithm], algorithm))


def test_changed_and_cut_tokens_are_refused(node):
    load(node, secret=SECRET)
    good = token({"sub": "x"}, SECRET)
    head, body, signature = good.split(".")
    let_in(node, good)
    for wrong in (f"{head}.{body}", f"{head}.{body}.", f"{head}..{signature}", f"{head}.{body}.{signature[:-2]}", f"{head}.{body}.{signature}.",
                  f"{head}.{base64url(b'{}')}.{signature}", f"{head}.{body}.{signature[:-1]}!", f"{head}.", f"{good}.x.y", good + "\n"):  # fmt: skip
        refused(node, wrong)


def test_payloads_that_are_no_objects_are_refused(node):
    load(node, secret=SECRET)
    deep = '{"a":' + "[" * 10000 + "]" * 10000 + "}"
    for payload in ("", "[]", "1", "null", "{", '{"exp":1} ', '{"a":1,"a":2}', '{"exp":9999999999,"exp":1}', '{"exp":1e999}', deep):
        refused(node, token(payload, SECRET))


def test_critical_extensions_are_refused(node):
    load(node, secret=SECRET)
    refused(node, token({}, SECRET, header={"crit": ["b64"], "b64": False}))


def test_keys_that_a_token_brings_along_are_not_used(node, keys, key_server):
    load(node, pubkey=keys["RS"].public)
    key_server.serve(keys["other"].jwk(kid="evil"))
    for header in ({"jwk": keys["other"].jwk()}, {"jku": key_server.url, "kid": "evil"}, {"x5u": key_server.url}, {"kid": "../../etc/passwd"}):
        refused(node, token({}, keys["other"], "RS256", header))
    assert key_server.count == 0


def test_the_longest_tokens(node):
    load(node, secret=SECRET)
    let_in(node, token({"x": "y" * 11000}, SECRET))
    refused(node, token({"x": "y" * 13000}, SECRET))
    refused(node, token({"x": "y" * 48000}, SECRET))


def test_nothing_of_a_token_is_logged(make_broker, keys, key_server):
    node = make_broker({"log.level": "debug"})
    load(node, secret=SECRET, jwks=key_server.url, pubkey=keys["RS"].public, jwks__retry_interval="100ms")
    sent = [token({"sub": "x"}, SECRET), token({}, "wrong"), token({}, keys["other"], "RS256", {"kid": "k"}), token({"exp": 1}, SECRET),
            token({}, keys["ES512"], "ES512"), token("{", SECRET)]  # fmt: skip
    for item in sent:
        connack(connect(node, item, client_id="jwt-client"))
    await_log(node, "jwt-client", "token_expired")
    log = node.log()
    assert not [part for item in sent for part in item.split(".")[1:] if len(part) > 8 and part in log]
    assert SECRET not in log and SECRET not in ctl(node, "plugins", "list")


# ---- Times


def test_times_count_to_the_second(node, version):
    load(node, secret=SECRET)
    for claims in ({"exp": now() + 30}, {"exp": now() + 30.5}, {"nbf": now() - 1}, {"iat": now() - 1}, {"exp": 1e20}, {"exp": now() + 30, "nbf": now(), "iat": now()}):
        let_in(node, token(claims, SECRET), version)
    for claims in ({"exp": now()}, {"exp": now() - 0.5}, {"exp": 0}, {"exp": -1}, {"nbf": now() + 30}, {"iat": now() + 30}):
        refused(node, token(claims, SECRET), version)


def test_times_must_be_numbers(node):
    """The original took a text in exp for "never"."""
    load(node, secret=SECRET)
    for name in ("exp", "nbf", "iat"):
        for value in (str(now() + 60), "never", None, True, [], {}):
            refused(node, token({name: value}, SECRET))


def test_leeway_is_for_clocks_that_differ(node):
    load(node, secret=SECRET, leeway="60s")
    for claims in ({"exp": now() - 30}, {"nbf": now() + 30}, {"iat": now() + 30}):
        let_in(node, token(claims, SECRET))
    for claims in ({"exp": now() - 90}, {"nbf": now() + 90}, {"iat": now() + 90}):
        refused(node, token(claims, SECRET))


# ---- Claims


def test_claims_are_compared_with_the_client(node, version):
    load(node, secret=SECRET, verify_claims="on", verify_claims__username="%u", verify_claims__device="%c", verify_claims__role="sensor")
    good = {"username": "ada", "device": "c-7", "role": "sensor"}

    def client(**more):
        return {"client_id": unique() if more.pop("other", False) else "c-7", **more}

    let_in(node, token(good, SECRET), version, **client())
    refused(node, token(good, SECRET), version, **client(username="bob"))
    refused(node, token(good, SECRET), version, **client(other=True))
    for change in ({"role": "admin"}, {"role": 5}, {"username": ["ada"]}, {"device": None}):
        refused(node, token(good | change, SECRET), version, **client())
    for name in good:
        refused(node, token({key: value for key, value in good.items() if key != name}, SECRET), version, **client())


def test_without_a_user_name_the_token_must_not_have_one(node):
    load(node, secret=SECRET, verify_claims="on", verify_claims__username="%u")
    let_in(node, token({}, SECRET), username=None)
    refused(node, token({"username": "ada"}, SECRET), username=None)
    refused(node, token({"username": ""}, SECRET), username=None)
    refused(node, token({}, SECRET))


def test_literals_may_be_numbers_truth_values_and_one_of_an_audience(node):
    load(node, secret=SECRET, verify_claims="on", verify_claims__tenant="42", verify_claims__active="true", verify_claims__aud="mqtt")
    good = {"tenant": 42, "active": True, "aud": ["web", "mqtt"]}
    let_in(node, token(good, SECRET))
    let_in(node, token(good | {"tenant": "42", "active": "true", "aud": "mqtt"}, SECRET))
    for change in ({"tenant": 43}, {"tenant": 42.0}, {"active": False}, {"active": 1}, {"aud": ["web"]}, {"aud": []}, {"tenant": ["42"]}):
        refused(node, token(good | change, SECRET))


def test_claims_are_not_compared_unless_asked(node):
    load(node, secret=SECRET, verify_claims="off", verify_claims__username="%u")
    let_in(node, token({"username": "bob"}, SECRET))


# ---- Public keys from a file


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_public_key_decides(node, keys, algorithm, version):
    load(node, pubkey=keys[algorithm].public)
    let_in(node, token({"exp": now() + 60}, keys[algorithm], algorithm), version)
    refused(node, token({"exp": now() - 60}, keys[algorithm], algorithm), version)
    wrong = keys["other"] if algorithm.startswith("RS") else keys["ES384" if algorithm != "ES384" else "ES256"]
    if algorithm.startswith("RS"):
        refused(node, token({}, wrong, algorithm), version)
    for other in ALGORITHMS:
        if keys[other] is not keys[algorithm]:
            refused(node, token({}, keys[other], other), version)


def test_a_file_may_hold_several_keys_and_certificates(node, keys, certs, tmp_path):
    path = tmp_path / "keys.pem"
    path.write_text(keys["RS"].public.read_text() + certs.authority.cert.read_text() + keys["other"].public.read_text())
    load(node, pubkey=path)
    let_in(node, token({}, keys["RS"], "RS256"))
    let_in(node, token({}, keys["other"], "RS512"))
    refused(node, token({}, keys["ES256"], "ES256"))


def test_a_file_that_does_not_fit_is_not_loaded(node, keys, tmp_path):
    small = Key(tmp_path, "small", "rsa:1024")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for path, says in ((tmp_path / "absent", "No such file"), (keys["RS"].private, "private key"), (small.public, "2048"), (empty, "no key"), (tmp_path, "nvalid")):
        said = load_fails(node, pubkey=path)
        assert "auth.jwt.pubkey" in said and str(path) in said and says in said, said


def test_a_new_key_counts_without_anything_being_loaded_again(node, keys, tmp_path):
    path = tmp_path / "key.pem"
    path.write_text(keys["RS"].public.read_text())
    load(node, pubkey=path)
    stays = connect(node, token({}, keys["RS"], "RS256"))
    assert stays.receive().reason == 0
    path.write_text(keys["other"].public.read_text())
    becomes(node, token({}, keys["other"], "RS256"), 0)
    refused(node, token({}, keys["RS"], "RS256"))
    path.write_text("broken")
    await_log(node, "warning", str(path), "the keys read before stay in use")
    let_in(node, token({}, keys["other"], "RS256"))
    path.write_text(keys["RS"].public.read_text())
    becomes(node, token({}, keys["RS"], "RS256"), 0)
    stays.ping()


# ---- Keys from a server


def test_keys_come_from_a_server(node, keys, key_server, version):
    key_server.serve(keys["RS"].jwk(kid="a", use="sig"), keys["other"].jwk(kid="b", alg="RS256"), keys["ES256"].jwk(kid="c"), keys["ES512"].jwk(kid="d"),
                     {"kty": "oct", "k": base64url(b"known to all" * 3), "kid": "e"}, {"kty": "new", "kid": "f"})  # fmt: skip
    load(node, jwks=key_server.url, jwks__retry_interval="1h")
    let_in(node, token({}, keys["RS"], "RS384", {"kid": "a"}), version)
    let_in(node, token({}, keys["other"], "RS256", {"kid": "b"}), version)
    let_in(node, token({}, keys["ES256"], "ES256", {"kid": "c"}), version)
    let_in(node, token({}, keys["ES512"], "ES512", {"kid": "d"}), version)
    let_in(node, token({}, keys["RS"], "RS256"), version)
    refused(node, token({}, keys["RS"], "RS256", {"kid": "b"}), version)
    refused(node, token({}, keys["other"], "RS512", {"kid": "b"}), version)
    refused(node, token({}, b"known to all" * 3, "HS256", {"kid": "e"}), version)
    refused(node, token({}, keys["RS"], "RS256", {"kid": "unknown"}), version)
    assert key_server.count == 1


def test_an_unknown_key_is_fetched_and_its_clients_wait(node, keys, key_server):
    key_server.serve(keys["RS"].jwk(kid="a"))
    load(node, jwks=key_server.url, secret=SECRET, jwks__retry_interval="100ms")
    let_in(node, token({}, keys["RS"], "RS256", {"kid": "a"}))
    key_server.serve(keys["other"].jwk(kid="b"))
    becomes(node, token({}, keys["other"], "RS256", {"kid": "b"}), 0)
    becomes(node, token({}, keys["RS"], "RS256", {"kid": "a"}), NOT_AUTHORIZED)


def test_while_the_server_takes_its_time_only_those_wait_who_need_it(make_broker, keys, key_server):
    node = make_broker({"hook.pending_timeout": "60s"})
    key_server.serve(keys["RS"].jwk(kid="a"), keys["ES384"].jwk(kid="b"))
    key_server.gate.clear()
    load(node, jwks=key_server.url, secret=SECRET, jwks__timeout="60s")
    waiting = [connect(node, token({}, keys["RS"], "RS256", {"kid": "a"})) for _ in range(20)]
    wrong = connect(node, token({}, keys["other"], "RS256", {"kid": "a"}))
    in_job = connect(node, token({}, keys["ES384"], "ES384", {"kid": "b"}))
    assert key_server.arrived.acquire(timeout=DEADLINE_S)
    for _ in range(5):
        let_in(node, token({}, SECRET))
        let_in(node, None)
        refused(node, token({}, "wrong"))
    gone = waiting.pop()
    gone.close()
    key_server.gate.set()
    assert [connack(client) for client in waiting] == [0] * 19
    assert connack(in_job) == 0
    wrong.expect_refused(NOT_AUTHORIZED)
    assert key_server.count == 1


def test_a_server_that_does_not_answer_does_not_stop_the_plugin(node, keys, version):
    port = free_port()
    load(node, jwks=f"http://localhost:{port}/", secret=SECRET, jwks__retry_interval="100ms")
    await_log(node, "warning", "auth.jwt.jwks", "onnect")
    wanted = token({}, keys["RS"], "RS256", {"kid": "a"})
    refused(node, wanted, version, SERVER_UNAVAILABLE, SERVER_UNAVAILABLE_OLD)
    let_in(node, token({}, SECRET), version)
    server = KeyServer(port=port)
    server.serve(keys["RS"].jwk(kid="a"))
    becomes(node, wanted, 0)
    server.close()
    let_in(node, wanted, version)  # what is there stays in use


@pytest.mark.parametrize(
    "answer, says",
    [
        ((500, b"", {}), "status 500"),
        ((404, b"{}", {}), "status 404"),
        ((200, b"<html>", {}), "not a JSON object"),
        ((200, b'{"keys":5}', {}), "no array"),
        ((200, b'{"keys":[' + b" " * 300000 + b"]}", {}), "more than 262144 bytes"),
        ((302, b"", {"Location": "file:///etc/passwd"}), "rotocol"),
        ((302, b"", {"Location": "/again"}), "edirect"),
    ],
    ids=["500", "404", "html", "no-array", "long", "file", "loop"],
)
def test_an_answer_that_does_not_fit_changes_nothing(node, keys, key_server, answer, says):
    key_server.serve(keys["RS"].jwk(kid="a"))
    load(node, jwks=key_server.url, jwks__retry_interval="100ms", jwks__refresh_interval="1s")
    let_in(node, token({}, keys["RS"], "RS256", {"kid": "a"}))
    key_server.answer = answer
    await_log(node, "warning", "auth.jwt.jwks", says)
    let_in(node, token({}, keys["RS"], "RS256", {"kid": "a"}))
    refused(node, token({}, keys["other"], "RS256", {"kid": "b"}), reason=SERVER_UNAVAILABLE)
    key_server.serve(keys["other"].jwk(kid="b"))
    becomes(node, token({}, keys["other"], "RS256", {"kid": "b"}), 0)


def test_a_server_that_is_too_slow_is_given_up(node, keys, key_server):
    key_server.gate.clear()
    load(node, jwks=key_server.url, jwks__timeout="200ms", jwks__retry_interval="10s")
    refused(node, token({}, keys["RS"], "RS256"), reason=SERVER_UNAVAILABLE)
    await_log(node, "warning", "auth.jwt.jwks", "imed? ?out")


def test_the_server_must_be_the_one_that_it_says_it_is(make_broker, keys, certs):
    server = KeyServer(certificate=certs.server)
    server.serve(keys["RS"].jwk())
    try:
        for authority, reason in ((certs.authority, 0), (certs.other_authority, SERVER_UNAVAILABLE)):
            node = make_broker()
            load(node, jwks=server.url, jwks__cacertfile=authority.cert)
            assert connack(connect(node, token({}, keys["RS"], "RS256"))) == reason
        await_log(node, "warning", "auth.jwt.jwks", "certificate")
    finally:
        server.close()


def test_wrong_urls_are_not_loaded(node):
    for url in ("file:///etc/passwd", "ftp://localhost/", "localhost"):
        said = load_fails(node, jwks=url)
        assert "auth.jwt.jwks" in said and "https://" in said


# ---- Loading


def test_unloading_and_reloading_with_clients_that_wait(node, keys, key_server):
    key_server.gate.clear()
    load(node, jwks=key_server.url, jwks__timeout="1s", secret=SECRET)
    stays = connect(node, token({}, SECRET))
    assert stays.receive().reason == 0
    waiting = [connect(node, token({}, keys["RS"], "RS256")) for _ in range(5)]
    assert key_server.arrived.acquire(timeout=DEADLINE_S)
    assert "unloaded successfully" in ctl(node, "plugins", "unload", NAME)
    for client in waiting:
        client.expect_refused(SERVER_UNAVAILABLE)
    let_in(node, token({}, "anything"))
    key_server.gate.set()
    load(node, secret=SECRET)
    refused(node, token({}, "anything"))
    fresh = secrets.token_hex(32)
    node.plugin_conf(NAME, {"auth.jwt.secret": fresh})
    ctl(node, "plugins", "reload", NAME)
    let_in(node, token({}, fresh))
    refused(node, token({}, SECRET))
    stays.ping()


@pytest.mark.slow
@pytest.mark.threads
def test_many_clients_while_keys_change(node, keys, key_server, tmp_path):
    """Workers, jobs and the control thread use and exchange keys at the same time."""
    path = tmp_path / "key.pem"
    path.write_text(keys["RS"].public.read_text())
    key_server.serve(keys["ES512"].jwk(kid="a"))
    load(node, secret=SECRET, pubkey=path, jwks=key_server.url, jwks__retry_interval="100ms", jwks__refresh_interval="1s")
    let_in(node, token({}, keys["ES512"], "ES512", {"kid": "a"}))
    good = [token({}, SECRET), token({}, keys["RS"], "RS256"), token({}, keys["ES512"], "ES512", {"kid": "a"})]
    unknown = token({}, keys["other"], "RS256", {"kid": "nobody"})
    for turn in range(20):
        path.write_text(keys["RS"].public.read_text() + "\n" * turn)
        clients = [connect(node, item) for item in good * 10]
        lost = [connect(node, unknown) for _ in range(5)]
        assert [connack(client) for client in clients] == [0] * 30
        for client in lost:
            client.expect_refused(NOT_AUTHORIZED)
    assert metric(node, "auth.jwt.failure") == 100


# ---- docs/auth-jwt.md


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed")
def test_the_guide_does_what_it_says(tmp_path, certs):
    node = Broker({"log.level": "notice"}, tmp_path).start()
    try:
        shell = Shell(tmp_path, {})
        for kind, block in blocks((REPOSITORY / "docs" / "auth-jwt.md").read_text()):
            if kind == "console":
                shell.run(block.replace("mosquitto_pub ", f"mosquitto_pub -p {node.port} "))
            else:
                node.plugin_conf(NAME, dict(line.split(" = ", 1) for line in block.splitlines()))
        shutil.copy(certs.authority.cert, tmp_path / "etc" / "certs" / "cacert.pem")
        ctl(node, "plugins", "reload", NAME)  # the settings of the last section
    finally:
        node.stop()
