"""emqx_auth_http: a real HTTP server, in this process, says who may come in and what for."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from urllib.parse import unquote_plus

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY, Broker, free_port
from emqc.client import DEADLINE_S, Client, unique
from emqc.http_server import Answer, HttpServer
from emqc.tls import TlsClient, await_log, context, ctl, listener_port, tls_listener
from test_tls_guide import Shell, blocks

pytestmark = pytest.mark.emqc

NAME = "emqx_auth_http"
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
SERVER_BUSY = 0x89
OLD_CODES = {NOT_AUTHORIZED: 5, SERVER_UNAVAILABLE: 3, SERVER_BUSY: 3}
DENIED_FILTER = 0x80  # in a SUBACK before version 5
AUTH_PARAMETERS = "clientid=%c,username=%u,password=%P"
ACL_PARAMETERS = "access=%A,username=%u,clientid=%c,ipaddr=%a,topic=%t,mountpoint=%m"


@pytest.fixture
def server():
    made = HttpServer()
    made.answers = {"/auth": 200, "/super": 403, "/acl": 200}
    yield made
    made.stop()


def settings_for(server: HttpServer) -> dict:
    return {
        "auth.http.auth_req": server.url("/auth"),
        "auth.http.auth_req.params": AUTH_PARAMETERS,
        "auth.http.request.retry_interval": "10ms",
    }


def super_settings(server: HttpServer) -> dict:
    return {"auth.http.super_req": server.url("/super"), "auth.http.super_req.params": "clientid=%c,username=%u"}


def acl_settings(server: HttpServer) -> dict:
    return {"auth.http.acl_req": server.url("/acl"), "auth.http.acl_req.method": "get", "auth.http.acl_req.params": ACL_PARAMETERS}


@pytest.fixture
def start(server, make_broker):
    """A broker whose plugin asks the server: start(settings of the plugin, settings of the broker)."""

    def run(more: dict | None = None, broker: dict | None = None):
        node = make_broker({"zone.external.enable_acl": "on", "acl_nomatch": "allow", "allow_anonymous": "false"} | (broker or {}))
        node.plugin_conf(NAME, settings_for(server) | (more or {}))
        ctl(node, "plugins", "load", NAME)
        return node

    return run


def log_in(node, version=5, **fields) -> Client:
    fields = {"username": "anna", "password": b"secret-9", "client_id": unique()} | fields
    return node.connect(version, **fields)


def expect_refused(node, version, reason, **fields):
    fields = {"username": "anna", "password": b"secret-9", "client_id": unique()} | fields
    node.open(version).connect(expect=False, **fields).expect_refused(reason, code=OLD_CODES[reason])


def metrics(node, kind: str) -> list[int]:
    """auth: success, failure, ignore; acl: allow, deny, ignore."""
    words = {"auth": ("success", "failure", "ignore"), "acl": ("allow", "deny", "ignore")}[kind]
    lines = [line.split(":") for line in ctl(node, "broker", "metrics").splitlines()]
    found = {name.strip(): int(value) for name, value in lines}
    return [found[f"{kind}.http.{word}"] for word in words]


class Gate:
    """Answers wait in it until it is opened."""

    def __init__(self, answer=200):
        self._opened = threading.Event()
        self._answer = answer

    def __call__(self, _request):
        assert self._opened.wait(60)
        return self._answer

    def open(self):
        self._opened.set()


# --- what is asked


@pytest.mark.quick
def test_post_byte_by_byte(start, server, version):
    node = start()
    log_in(node, version, client_id="c 1/ä", username="a&b=c~", password=b"\x00\xffp+%")
    (request,) = server.asked("/auth")
    body = b"clientid=c+1%2F%C3%A4&username=a%26b%3Dc%7E&password=%00%FFp%2B%25"
    assert request.raw == (
        b"POST /auth HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\nContent-Length: %d\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%b" % (server.port, len(body), body)
    )


def test_get_byte_by_byte(start, server, version):
    node = start({"auth.http.auth_req.method": "get"})
    log_in(node, version, client_id="c 1")
    (request,) = server.asked("/auth")
    assert request.raw == (
        b"GET /auth?clientid=c+1&username=anna&password=secret-9 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n\r\n" % server.port
    )


def test_a_query_in_the_url_stays(start, server):
    node = start({"auth.http.auth_req": server.url("/auth?key=x"), "auth.http.auth_req.method": "get",
                  "auth.http.auth_req.params": "user=%u"})  # fmt: skip
    log_in(node)
    assert server.asked("/auth")[0].query == "key=x&user=anna"


def test_every_placeholder_of_a_login(start, server, version):
    node = start({"auth.http.auth_req.params": "u=%u,c=%c,a=%a,P=%P,C=%C,d=%d,l=%l,m=%m,A=%A,t=%t,r=%r,mixed=x%u,fixed=1"},
                 {"zone.external.mountpoint": "m/%u/"})  # fmt: skip
    client = log_in(node, version, client_id="c1")
    assert server.asked("/auth")[0].parameters == {
        "u": "anna", "c": "c1", "a": client.socket.getsockname()[0], "P": "secret-9", "C": "", "d": "", "l": str(node.port),
        "m": server.asked("/auth")[0].parameters["m"], "A": "%A", "t": "%t", "r": "%r", "mixed": "x%u", "fixed": "1",
    }  # fmt: skip
    assert server.asked("/auth")[0].parameters["m"].startswith("m/")


def test_names_of_a_certificate(start, server, certs):
    node = start({"auth.http.auth_req.params": "C=%C,d=%d,l=%l"}, tls_listener(certs.server, authority=certs.authority))
    port = listener_port(node)
    TlsClient(port, context(certs.authority, certs.client)).connect()
    assert server.asked("/auth")[0].parameters == {"C": "c1", "d": "CN=c1,O=Acme,C=DE", "l": str(port)}


def test_what_a_client_has_not_is_empty(start, server, version):
    node = start()
    node.connect(version, client_id="c1")
    assert server.asked("/auth")[0].body == b"clientid=c1&username=&password="


def test_the_broker_s_own_client_id_is_asked_about(start, server):
    node = start({"auth.http.auth_req.params": "clientid=%c"})
    client = node.open(5).connect(client_id="")
    assert server.asked("/auth")[0].parameters == {"clientid": client.connack.properties.get(p.Prop.ASSIGNED_CLIENT_IDENTIFIER)}


def test_values_with_commas_and_equals_signs(start, server):
    node = start({"auth.http.auth_req.params": r"a=1\,2,b=x\=y,c=x=y,d=\%u,u=%u"})
    log_in(node)
    assert server.asked("/auth")[0].parameters == {"a": "1,2", "b": "x=y", "c": "x=y", "d": "%u", "u": "anna"}


def test_connections_are_used_again(start, server):
    node = start()
    for _ in range(10):
        log_in(node)
    assert len(server.asked("/auth")) == 10 and server.connections == 1


# --- what the answers mean


@pytest.mark.parametrize("body", [b"", b"ok", b"ignored", b"deny", b"ignore\n", b"{not json"])
def test_200_lets_in(start, server, body):
    server.answers["/auth"] = Answer(200, body)
    node = start()
    for version in (3, 4, 5):
        log_in(node, version)
    assert metrics(node, "auth") == [3, 0, 0]


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 500, 503])
def test_other_statuses_refuse(start, server, status):
    server.answers["/auth"] = Answer(status, b"ignore" if status != 204 else b"")
    node = start(broker={"allow_anonymous": "true"})
    for version in (3, 4, 5):
        expect_refused(node, version, NOT_AUTHORIZED)
    assert metrics(node, "auth") == [0, 3, 0] and len(server.requests) == 3  # an answer is not asked for again


@pytest.mark.parametrize("anonymous", ["true", "false"])
def test_ignore_leaves_it_to_the_next(start, server, version, anonymous):
    server.answers["/auth"] = Answer(200, b"ignore")
    node = start(super_settings(server), broker={"allow_anonymous": anonymous})
    if anonymous == "true":
        log_in(node, version).ping()
    else:
        expect_refused(node, version, NOT_AUTHORIZED)
    assert metrics(node, "auth") == [0, 0, 1] and not server.asked("/super")


DENY_ALL = "{deny, all}.\n"


@pytest.fixture
def deny_file(tmp_path):
    file = tmp_path / "acl.conf"
    file.write_text(DENY_ALL)
    return {"acl_file": str(file)}


def may_publish(client: Client) -> bool:
    ack = client.publish("some/topic", b"x", qos=1, reason={0, 0x10, NOT_AUTHORIZED})
    return ack.reason != NOT_AUTHORIZED


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_superusers_are_asked_about(start, server, deny_file, status):
    server.answers["/super"] = status
    node = start(super_settings(server), deny_file)
    client = log_in(node, client_id="c1")
    (request,) = server.asked("/super")
    assert request.method == "POST" and request.body == b"clientid=c1&username=anna"
    assert may_publish(client) == (status == 200)
    assert [one.path for one in server.requests] == ["/auth", "/super"]


def test_nobody_is_a_superuser_where_nobody_is_asked(start, server, deny_file):
    node = start(broker=deny_file)
    assert not may_publish(log_in(node))


def test_a_failing_superuser_request_lets_in_without(start, server, deny_file):
    server.answers["/super"] = lambda _: None
    node = start(super_settings(server), deny_file)
    client = log_in(node)
    assert not may_publish(client)
    assert len(server.asked("/super")) == 5  # on the kept connection, at once on a new one, three retries
    assert metrics(node, "auth") == [1, 0, 0]


def test_a_refused_client_is_not_asked_about_further(start, server):
    server.answers["/auth"] = 403
    node = start(super_settings(server))
    expect_refused(node, 5, NOT_AUTHORIZED)
    assert not server.asked("/super")


def test_the_answer_may_have_a_mountpoint(start, server, version):
    server.answers["/auth"] = lambda request: Answer(200, b'{"mountpoint": "devices/7/"}' if b"username=d" in request.body else b"")
    node = start()
    watcher = log_in(node, version)
    watcher.subscribe("devices/#")
    device = log_in(node, version, username="d")
    device.subscribe("a")
    device.publish("a", b"x")
    device.expect_publish("a", b"x")
    watcher.expect_publish("devices/7/a", b"x")


@pytest.mark.parametrize("mountpoint", ["+/", "a/#"])
def test_a_mountpoint_that_is_none_refuses(start, server, version, mountpoint):
    server.answers["/auth"] = Answer(200, b'{"mountpoint": "%b"}' % mountpoint.encode())
    expect_refused(start(), version, SERVER_UNAVAILABLE)


def test_redirects_are_followed(start, server):
    server.answers |= {"/auth": Answer(302, b"", ("Location: /there",)), "/there": 200}
    log_in(start(), client_id="c1")
    (request,) = server.asked("/there")
    assert request.method == "POST" and request.parameters["clientid"] == "c1"


def test_redirects_have_an_end(start, server):
    server.answers["/auth"] = Answer(302, b"", ("Location: /auth",))
    expect_refused(start(), 5, SERVER_UNAVAILABLE)
    assert len(server.requests) == 6


def test_a_redirect_to_a_file_is_not_followed(start, server):
    server.answers["/auth"] = Answer(302, b"", ("Location: file:///etc/hostname",))
    expect_refused(start(), 5, SERVER_UNAVAILABLE)


def test_a_long_answer_is_none(start, server):
    server.answers["/auth"] = Answer(200, b"x" * 65537)
    node = start()
    expect_refused(node, 5, SERVER_UNAVAILABLE)
    server.answers["/auth"] = Answer(200, b"x" * 65536)
    log_in(node)


# --- a server that fails


@pytest.mark.quick
def test_without_a_server_nobody_comes_in(start, server, version):
    node = start({"auth.http.request.retry_times": "0"}, {"allow_anonymous": "true"})
    server.stop()
    expect_refused(node, version, SERVER_UNAVAILABLE)
    assert metrics(node, "auth") == [0, 1, 0]
    await_log(node, "auth.http.auth_req has no answer", "refusing")


def test_a_failing_server_may_be_ignored(start, server, version):
    node = start({"auth.http.on_failure": "ignore", "auth.http.request.retry_times": "0"}, {"allow_anonymous": "true"})
    server.stop()
    log_in(node, version)
    assert metrics(node, "auth") == [0, 0, 1]


def test_a_server_that_comes_back_is_asked_again(start, server):
    node = start({"auth.http.request.retry_times": "0"})
    server.stop()
    expect_refused(node, 5, SERVER_UNAVAILABLE)
    again = HttpServer(port=server.port)
    again.answers["/auth"] = 200
    log_in(node)
    again.stop()


def test_errors_of_transport_are_tried_again(start, server, version):
    tries = iter([None, None, 200])
    server.answers["/auth"] = lambda _: next(tries)
    log_in(start(), version)
    first, *others = server.asked("/auth")
    assert len(others) == 2 and all(one.raw == first.raw for one in others)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_tries_end(start, server, times):
    server.answers["/auth"] = lambda _: None
    node = start({"auth.http.request.retry_times": str(times), "auth.http.request.retry_backoff": "1.5"})
    expect_refused(node, 5, SERVER_UNAVAILABLE)
    assert len(server.asked("/auth")) == times + 1


def test_a_silent_server_is_not_waited_for(start, server, version):
    gate = server.answers["/auth"] = Gate()
    node = start({"auth.http.request.timeout": "100ms"})
    expect_refused(node, version, SERVER_UNAVAILABLE)
    assert len(server.asked("/auth")) <= 1  # on a slow machine it has not even come
    gate.open()


def test_a_retry_after_the_timeout_is_not_waited_for(start, server):
    server.answers["/auth"] = lambda _: None
    node = start({"auth.http.request.retry_interval": "1h"})
    expect_refused(node, 5, SERVER_UNAVAILABLE)  # within the test's deadline
    assert len(server.asked("/auth")) == 1


@pytest.mark.parametrize("spelling", ["connect_timeout", "connect_timout"])
def test_connecting_has_a_timeout_of_its_own(start, spelling):
    # Connections wait in the backlog of a socket that nobody accepts from; TLS is never spoken.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/auth"
        node = start({"auth.http.auth_req": url, f"auth.http.request.{spelling}": "50ms", "auth.http.request.retry_times": "1",
                      "auth.http.request.timeout": "1h"}, {"hook.pending_timeout": "1h"})  # fmt: skip
        expect_refused(node, 5, SERVER_UNAVAILABLE)


def test_too_many_requests_are_refused_at_once(start, server, version):
    gate = server.answers["/auth"] = Gate()
    node = start({"auth.http.pool": "1", "auth.http.queue": "2"})
    clients = [node.open(version).connect(expect=False) for _ in range(3)]
    readable, _, _ = select.select([client.socket for client in clients], [], [], DEADLINE_S)
    (refused,) = [client for client in clients if client.socket in readable]
    refused.expect_refused(SERVER_BUSY, code=OLD_CODES[SERVER_BUSY])
    gate.open()
    for client in clients:
        if client is not refused:
            client.expect(p.Connack, reason=0)


# --- a slow server


def test_who_waits_holds_nobody(start, server, version):
    """The server takes its time for one client, until all others are in."""
    slow = Gate()
    server.answers["/auth"] = lambda request: slow(request) if b"username=slow" in request.body else 200
    node = start(broker={"node.workers": "1"})
    waiting = node.open(version).connect(expect=False, username="slow", password=b"x")
    server.await_requests("/auth")
    watcher = log_in(node, version)
    watcher.subscribe("t")
    for _ in range(50):
        client = log_in(node, version)
        client.publish("t", b"x")
        watcher.expect_publish("t", b"x")
    assert not waiting._wait_readable(0)  # all that happened before it was answered
    slow.open()
    waiting.expect(p.Connack, reason=0)
    waiting.ping()


def test_a_server_that_takes_3_seconds_for_one(start, server):
    over = threading.Event()
    done = []

    def three_seconds(request):
        if b"username=slow" in request.body:
            over.wait(3)
            done.append("slow")
        return 200

    server.answers["/auth"] = three_seconds
    node = start()
    waiting = node.open(5).connect(expect=False, username="slow", password=b"x")
    server.await_requests("/auth")
    for _ in range(20):
        log_in(node)
    done.append("others")
    waiting.expect(p.Connack, reason=0)
    assert done == ["others", "slow"]


def test_a_client_that_goes_away_while_it_waits(start, server):
    gate = server.answers["/auth"] = Gate()
    node = start()
    gone = node.open(5).connect(expect=False)
    server.await_requests("/auth")
    gone.drop()
    gate.open()
    log_in(node).ping()
    assert len(server.asked("/auth")) == 2


def test_unload_while_requests_are_under_way(start, server, version):
    gate = server.answers["/auth"] = Gate()
    node = start(super_settings(server) | {"auth.http.pool": "5"}, {"allow_anonymous": "true"})
    waiting = [node.open(version).connect(expect=False) for _ in range(20)]
    server.await_requests("/auth", 5)
    ctl(node, "plugins", "unload", NAME)
    for client in waiting:  # refused, or let in by what is left if it had not been asked about yet
        packet = client.expect(p.Connack)
        assert packet.reason in {0, SERVER_UNAVAILABLE if version == 5 else OLD_CODES[SERVER_UNAVAILABLE]}
    assert len(server.asked("/auth")) == 5
    node.connect(version).ping()
    assert len(server.asked("/auth")) == 5
    gate.open()
    ctl(node, "plugins", "load", NAME)
    log_in(node, version)
    assert len(server.asked("/auth")) == 6


def test_loading_again_and_again_under_logins(start, server):
    node = start(broker={"allow_anonymous": "true"})
    stop = threading.Event()
    errors = []

    def log_in_and_out():
        try:
            while not stop.is_set():
                client = node.open(5).connect(expect=False, client_id=unique())
                packet = client.expect(p.Connack)
                assert packet.reason in {0, SERVER_UNAVAILABLE}, packet
                client.close()
        except Exception as error:  # noqa: BLE001 for the main thread
            errors.append(error)

    threads = [threading.Thread(target=log_in_and_out) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        ctl(node, "plugins", "unload", NAME)
        ctl(node, "plugins", "load", NAME)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    log_in(node).ping()


# --- topics


def denied(version: int) -> int:
    return NOT_AUTHORIZED if version == 5 else DENIED_FILTER


@pytest.mark.quick
def test_topics_are_asked_about_byte_by_byte(start, server, version):
    node = start(acl_settings(server), {"zone.external.mountpoint": "m/"})
    client = log_in(node, version, client_id="c1")
    client.publish("a b/ä", b"x", qos=1)
    client.subscribe("a/+/#")
    address = client.socket.getsockname()[0]
    publish, subscribe = server.asked("/acl")
    for request, access, topic in ((publish, "2", "a+b%2F%C3%A4"), (subscribe, "1", "a%2F%2B%2F%23")):
        assert request.raw == (
            f"GET /acl?access={access}&username=anna&clientid=c1&ipaddr={address}&topic={topic}&mountpoint=m%2F HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\nAccept: */*\r\n\r\n"
        ).encode()


def test_shared_filters_are_asked_about_without_their_group(start, server):
    node = start(acl_settings(server))
    log_in(node).subscribe("$share/g/a/b", "$queue/c")
    assert [request.parameters["topic"] for request in server.asked("/acl")] == ["a/b", "c"]


def test_passwords_and_names_of_certificates_are_no_facts_of_topics(start, server):
    node = start(acl_settings(server) | {"auth.http.acl_req.params": "P=%P,C=%C,d=%d,u=%u,l=%l,A=%A"})
    log_in(node).subscribe("a")
    assert server.asked("/acl")[0].parameters == {"P": "", "C": "", "d": "", "u": "anna", "l": str(node.port), "A": "1"}


@pytest.mark.parametrize("body", [b"", b"ok", b"deny"])
def test_200_allows_a_topic(start, server, deny_file, version, body):
    server.answers["/acl"] = Answer(200, body)
    node = start(acl_settings(server), deny_file)
    client = log_in(node, version)
    client.subscribe("t", qos=1)
    client.publish("t", b"x", qos=1)
    client.expect_publish("t", b"x")
    assert metrics(node, "acl") == [2, 0, 0]


@pytest.mark.parametrize("status", [201, 403, 404, 500])
def test_other_statuses_deny_a_topic(start, server, version, status):
    server.answers["/acl"] = Answer(status, b"ignore")
    node = start(acl_settings(server))
    client = log_in(node, version)
    client.subscribe("t", codes=[denied(version)])
    client.publish("t", b"x", qos=1, reason=NOT_AUTHORIZED)
    assert metrics(node, "acl") == [0, 2, 0]


def test_ignore_leaves_a_topic_to_the_rules(start, server, tmp_path, version):
    file = tmp_path / "acl.conf"
    file.write_text('{allow, all, subscribe, ["good"]}.\n{deny, all}.\n')
    server.answers["/acl"] = Answer(200, b"ignore")
    node = start(acl_settings(server), {"acl_file": str(file)})
    log_in(node, version).subscribe("good", "bad", codes=[0, denied(version)])
    assert metrics(node, "acl") == [0, 0, 2]


def test_users_whose_names_begin_with_a_dollar_sign_are_not_asked_about(start, server, deny_file, version):
    node = start(acl_settings(server), deny_file)
    log_in(node, version, username="$system").subscribe("a", codes=[denied(version)])
    assert not server.asked("/acl") and len(server.asked("/auth")) == 1
    assert metrics(node, "acl") == [0, 0, 1]


def test_superusers_are_not_asked_about_topics(start, server, version):
    server.answers |= {"/super": 200, "/acl": 403}
    node = start(super_settings(server) | acl_settings(server))
    log_in(node, version).subscribe("a")
    assert not server.asked("/acl")


def test_each_filter_of_a_packet_is_judged_alone(start, server, version):
    server.answers["/acl"] = lambda request: 403 if request.parameters["topic"] == "b" else 200
    node = start(acl_settings(server))
    client = log_in(node, version)
    client.subscribe("a", "b", "c", codes=[0, denied(version), 0])
    for name in ("a", "b", "c"):
        log_in(node, version).publish(name, b"x") if name != "b" else None
    assert {client.expect_publish().topic for _ in range(2)} == {"a", "c"}


def test_a_failing_server_denies_topics_until_it_is_back(start, server, version):
    server.answers["/acl"] = lambda _: None
    node = start(acl_settings(server) | {"auth.http.request.retry_times": "0"})
    client = log_in(node, version)
    client.subscribe("a", codes=[denied(version)])
    assert metrics(node, "acl") == [0, 1, 0]
    server.answers["/acl"] = 200
    client.subscribe("b")
    client.subscribe("a")  # what was denied for want of an answer is not remembered


def test_a_failing_server_may_be_ignored_for_topics(start, server, tmp_path, version):
    file = tmp_path / "acl.conf"
    file.write_text('{allow, all, subscribe, ["good"]}.\n{deny, all}.\n')
    server.answers["/acl"] = lambda _: None
    node = start(acl_settings(server) | {"auth.http.request.retry_times": "0", "auth.http.on_failure": "ignore"},
                 {"acl_file": str(file)})  # fmt: skip
    log_in(node, version).subscribe("good", "bad", codes=[0, denied(version)])
    assert metrics(node, "acl") == [0, 0, 2]


def test_who_waits_for_a_topic_holds_nobody(start, server, version):
    gate = Gate()
    server.answers["/acl"] = lambda request: gate(request) if request.parameters["topic"] == "slow" else 200
    node = start(acl_settings(server), {"node.workers": "1"})
    slow, watcher = log_in(node, version), log_in(node, version)
    watcher.subscribe("#")
    slow.send(p.Publish("slow", b"1", 1, packet_id=7), p.Publish("fast", b"2", 1, packet_id=8))
    server.await_requests("/acl", 2)
    for _ in range(20):
        log_in(node, version).publish("t", b"x")
        watcher.expect_publish("t", b"x")
    assert not slow._wait_readable(0)
    gate.open()
    slow.expect(p.Puback, packet_id=7)
    slow.expect(p.Puback, packet_id=8)
    watcher.expect_publish("slow", b"1")
    watcher.expect_publish("fast", b"2")


# --- what is remembered


def test_answers_are_remembered_where_the_settings_say_so(start, server, version):
    server.answers["/auth"] = lambda request: 200 if b"secret-9" in request.body else 403
    node = start(super_settings(server) | {"auth.http.cache.ttl": "1h"})
    for _ in range(3):
        log_in(node, version, client_id="c1")
        expect_refused(node, version, NOT_AUTHORIZED, client_id="c1", password=b"wrong")
    assert len(server.asked("/auth")) == 2 and len(server.asked("/super")) == 1
    assert metrics(node, "auth") == [3, 3, 0]
    log_in(node, version, client_id="c2")
    assert len(server.asked("/auth")) == 3


def test_failures_are_not_remembered(start, server):
    server.answers["/auth"] = lambda _: None
    node = start({"auth.http.cache.ttl": "1h", "auth.http.request.retry_times": "0"})
    expect_refused(node, 5, SERVER_UNAVAILABLE, client_id="c1")
    server.answers["/auth"] = 200
    log_in(node, client_id="c1")


def test_nothing_is_remembered_by_default(start, server):
    node = start()
    for _ in range(2):
        log_in(node, client_id="c1")
    assert len(server.asked("/auth")) == 2


# --- TLS


def server_context(pair, authority=None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.chain, pair.key)
    if authority is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(authority.cert)
    return made


@pytest.fixture
def secure(certs):
    made = HttpServer(server_context(certs.server))
    made.answers["/auth"] = 200
    yield made
    made.stop()


def test_https_with_an_authority_of_its_own(start, secure, certs, version):
    node = start(settings_for(secure) | {"auth.http.ssl.cacertfile": str(certs.authority.cert)})
    for _ in range(3):
        log_in(node, version)
    assert secure.connections == 1


@pytest.mark.parametrize("wrong", ["system", "other", "name"])
def test_https_servers_that_are_not_who_they_should_be(start, certs, wrong):
    server = HttpServer(server_context(certs.sni_server if wrong == "name" else certs.server))
    server.answers["/auth"] = 200
    settings = settings_for(server)
    if wrong != "system":
        authority = certs.other_authority if wrong == "other" else certs.authority
        settings["auth.http.ssl.cacertfile"] = str(authority.cert)
    node = start(settings)
    expect_refused(node, 5, SERVER_UNAVAILABLE)
    assert not server.requests
    server.stop()


def test_https_without_looking_at_the_certificate(start, secure):
    log_in(start(settings_for(secure) | {"auth.http.ssl.verify": "off"}))


def test_https_servers_that_want_a_certificate(start, certs):
    server = HttpServer(server_context(certs.server, certs.authority))
    server.answers["/auth"] = 200
    settings = settings_for(server) | {"auth.http.ssl.cacertfile": str(certs.authority.cert)}
    expect_refused(start(settings | {"auth.http.request.retry_times": "0"}), 5, SERVER_UNAVAILABLE)
    pair = {"auth.http.ssl.certfile": str(certs.client.cert), "auth.http.ssl.keyfile": str(certs.client.key)}
    log_in(start(settings | pair))
    server.stop()


# --- settings


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("auth.http.auth_req", "127.0.0.1:8991/mqtt/auth", "not a whole URL|should begin with http"),
        ("auth.http.auth_req", "ftp://127.0.0.1/", "should begin with http"),
        ("auth.http.auth_req", None, "auth.http.auth_req"),
        ("auth.http.auth_req.params", None, "auth.http.auth_req.params"),
        ("auth.http.auth_req.params", "clientid", "should be NAME=VALUE"),
        ("auth.http.auth_req.method", "put", "auth.http.auth_req.method"),
        ("auth.http.acl_req", "http://127.0.0.1/acl", "auth.http.acl_req.params should be set"),
        ("auth.http.ssl.cacertfile", "/nowhere/ca.pem", "No such file"),
        ("auth.http.request.retry_times", "11", "auth.http.request.retry_times"),
    ],
)
def test_wrong_settings_are_named_and_nothing_is_loaded(server, make_broker, key, value, said):
    node = make_broker({"allow_anonymous": "true"})
    settings = settings_for(server) | {key: value}
    node.plugin_conf(NAME, {name: text for name, text in settings.items() if text is not None})
    text = ctl(node, "plugins", "load", NAME, status=1)
    assert re.search(said, text), text
    node.connect().ping()
    assert not server.requests


def test_passwords_never_reach_a_log(start, server):
    secrets = ["Sesam-open-1", "Sesam-open-2", "Sesam-open-3", "Sesam-open-4"]
    node = start({"auth.http.auth_req.method": "get", "auth.http.request.retry_times": "0"} | super_settings(server),
                 {"log.level": "debug"})  # fmt: skip
    log_in(node, password=secrets[0].encode())
    server.answers["/auth"] = 403
    expect_refused(node, 5, NOT_AUTHORIZED, password=secrets[1].encode())
    server.answers["/auth"] = lambda _: None
    expect_refused(node, 5, SERVER_UNAVAILABLE, password=secrets[2].encode())
    server.answers["/auth"] = Answer(302, b"", ("Location: nothing://here",))
    expect_refused(node, 5, SERVER_UNAVAILABLE, password=secrets[3].encode())
    assert [unquote_plus(one.parameters["password"]) for one in server.asked("/auth")][:3] == secrets[:3]
    await_log(node, "auth.http.auth_req has no answer")
    text = node.log() + node.output()
    assert not any(secret in text for secret in secrets)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed")
def test_the_guide_does_what_it_says(tmp_path):
    text = (REPOSITORY / "docs" / "auth-http.md").read_text()
    port = free_port()
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    (tmp_path / "server.py").write_text(program.replace("8991", str(port)))
    found = blocks(text.split("\n## ")[0])
    node = Broker({"zone.external.enable_acl": "on"}, tmp_path).start()
    server = subprocess.Popen([sys.executable, tmp_path / "server.py"])
    try:
        shell = Shell(tmp_path, {"8991": str(port)})
        while True:  # until it listens
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            assert server.poll() is None
        for kind, block in found:
            if kind == "console":
                shell.run(block.replace("mosquitto_pub ", f"mosquitto_pub -p {node.port} "))
            else:
                node.plugin_conf(NAME, dict(line.split(" = ", 1) for line in shell.map(block).splitlines()))
    finally:
        server.kill()
        server.wait()
        node.stop()
