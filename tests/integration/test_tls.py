"""MQTT over TLS: with openssl s_client, mosquitto's clients and raw packets; who is let in, who is not and what the log says."""

import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

import pytest

from emqc import packets as p
from emqc.broker import REPOSITORY
from emqc.certs import SERVER_SAN, Authority, openssl
from emqc.client import DEADLINE_S, Client, Closed, unique
from emqc.tls import TlsClient, await_log, context, ctl, failed_start, listener_port, refusal, s_client, tls_listener

pytestmark = pytest.mark.emqc

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("tls_version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
needs_mosquitto = pytest.mark.skipif(not shutil.which("mosquitto_sub"), reason="mosquitto-clients is not installed")
MIB = 1 << 20


@pytest.fixture
def one_way(make_broker, certs):
    """A broker whose listener asks clients for nothing."""
    return make_broker(tls_listener(certs.server))


@pytest.fixture
def mutual(make_broker, certs):
    """A broker that lets in whom the authority vouches for and has not revoked."""
    return make_broker(tls_listener(certs.server, authority=certs.authority, crl_file=certs.crl, crl_check="leaf"))


def open_tls(node, certs, pair=None, version=5, tls_version=None, **more) -> TlsClient:
    return TlsClient(listener_port(node), context(certs.authority, pair, tls_version), version, **more)


# --- who is let in


@pytest.mark.quick
@VERSIONS
def test_a_client_speaks_mqtt_over_tls(one_way, certs, version, tls_version, topic):
    client = open_tls(one_way, certs, version=version, tls_version=tls_version).connect()
    assert client.socket.version() == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[tls_version]
    plain = one_way.connect(version)
    for reader, writer in ((client, plain), (plain, client)):
        for qos in (0, 1, 2):
            reader.subscribe(topic, qos=qos)
            writer.publish(topic, b"x" * qos, qos)
            reader.expect_publish(topic, b"x" * qos, qos=qos)
        reader.unsubscribe(topic)
    client.disconnect()


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_openssl_verifies_the_server_and_speaks_mqtt(one_way, certs, option):
    packets = b"".join(item.encode(4) for item in (p.Connect(client_id=unique()), p.Pingreq(), p.Disconnect()))
    shown = s_client(listener_port(one_way), option, "-CAfile", certs.authority.cert, "-verify_return_error", "-verify_hostname", "localhost",
                     "-ign_eof", data=packets)  # fmt: skip
    assert "Verify return code: 0 (ok)" in shown
    assert {"-tls1_2": "TLSv1.2, Cipher is ECDHE-ECDSA-", "-tls1_3": "TLSv1.3, Cipher is TLS_AES_"}[option] in shown
    assert "\x20\x02\x00\x00\xd0\x00" in shown  # CONNACK and PINGRESP


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(one_way, option):
    shown = s_client(listener_port(one_way), option, "-cipher", "DEFAULT@SECLEVEL=0", check=False)
    assert "alert protocol version" in shown
    await_log(one_way, r"127\.0\.0\.1:\d+", "unsupported protocol|version too low")


@pytest.mark.parametrize("words, works, fails", [("tlsv1.2", TLS_1_2, TLS_1_3), ("tlsv1.3", TLS_1_3, TLS_1_2)])
def test_tls_versions_says_which(make_broker, certs, words, works, fails):
    node = make_broker(tls_listener(certs.server, tls_versions=words))
    open_tls(node, certs, tls_version=works).connect().ping()
    error, _ = refusal(listener_port(node), context(certs.authority, version=fails))
    assert "alert protocol version" in error.lower()


def test_the_shipped_ciphers_work_with_either_kind_of_key(make_broker, certs):
    shipped = re.search(r"^listener\.ssl\.external\.ciphers = (\S+)$", (REPOSITORY / "etc" / "emqx.conf").read_text(), re.M).group(1)
    node = make_broker(tls_listener(certs.server, ciphers=shipped)
                       | tls_listener(certs.rsa_server, ciphers=shipped, name="rsa"))  # fmt: skip
    for name, kind in (("external", "ECDSA"), ("rsa", "RSA")):
        tls = context(certs.authority, version=TLS_1_2)
        client = TlsClient(listener_port(node, name), tls).connect()
        assert client.socket.cipher()[0].startswith(f"ECDHE-{kind}-AES")
    # Without forward secrecy, as old devices need it.
    assert "Cipher is AES128-GCM-SHA256" in s_client(listener_port(node, "rsa"), "-tls1_2", "-cipher", "AES128-GCM-SHA256")


@pytest.mark.parametrize("honor", ["on", "off"])
def test_honor_cipher_order_decides_whose_order_counts(make_broker, certs, honor):
    node = make_broker(tls_listener(certs.server, honor_cipher_order=honor))
    weak, strong = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
    shown = s_client(listener_port(node), "-tls1_2", "-cipher", f"{weak}:{strong}")
    assert f"Cipher is {strong if honor == 'on' else weak}" in shown


def test_the_chain_of_the_server_is_sent(make_broker, certs):
    below = certs.intermediate.issue("localhost", san=SERVER_SAN, usage="serverAuth")
    node = make_broker(tls_listener(below))
    open_tls(node, certs).connect().ping()


@needs_mosquitto
@pytest.mark.parametrize("mode", ["one-way", "mutual"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_s_clients_exchange_messages(request, certs, topic, mode, qos):
    node = request.getfixturevalue("one_way" if mode == "one-way" else "mutual")
    common = ["-h", "localhost", "-p", listener_port(node), "-t", topic, "-q", qos, "--cafile", certs.authority.cert, "-V", "mqttv5"]
    if mode == "mutual":
        common += ["--cert", certs.client.cert, "--key", certs.client.key]
    common = [str(word) for word in common]
    subprocess.run(["mosquitto_pub", *common, "-r", "-m", "over TLS"], check=True, timeout=3 * DEADLINE_S)
    subscriber = subprocess.run(["mosquitto_sub", *common, "-C", "1", "-F", "%q %p"], check=True, timeout=3 * DEADLINE_S,
                                stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert subscriber.stdout == f"{qos} over TLS\n"


# --- who is not

REFUSED = {
    "foreign_client": ("unknown ca", r"unable to get local issuer certificate"),
    "self_signed_client": ("unknown ca", r"self[- ]signed certificate"),
    "expired_client": ("certificate expired", r"certificate has expired"),
    "early_client": ("bad certificate|certificate expired", r"certificate is not yet valid"),
    "revoked_client": ("certificate revoked", r"certificate revoked"),
    "wrong_purpose_client": ("unsupported certificate", r"unsuitable certificate purpose|unsupported certificate purpose"),
    None: ("certificate required|handshake failure", r"peer did not return a certificate|no certificate"),
}


@VERSIONS
@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind or "no certificate")
def test_a_client_without_a_good_certificate_is_refused_and_the_log_says_why(mutual, certs, kind, tls_version):
    pair = getattr(certs, kind) if kind else None
    alert, reason = REFUSED[kind]
    error, address = refusal(listener_port(mutual), context(certs.authority, pair, tls_version))
    assert re.search(alert, error.lower().replace("_", " ")), error
    line = await_log(mutual, re.escape(address), reason)
    assert "[warning]" in line
    if kind and kind != "self_signed_client":
        assert "CN=" + openssl("x509", "-in", pair.cert, "-noout", "-subject").split("CN = ")[1].strip() in line
    # One bad client is not everybody's problem.
    open_tls(mutual, certs, certs.client, tls_version=tls_version).connect().ping()


@VERSIONS
def test_an_intermediate_s_client_is_let_in_with_its_chain(make_broker, certs, tls_version):
    node = make_broker(tls_listener(certs.server, authority=certs.authority))
    open_tls(node, certs, certs.intermediate_client, tls_version=tls_version).connect().ping()


@VERSIONS
def test_verify_peer_alone_lets_clients_without_a_certificate_in(make_broker, certs, tls_version):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, fail_if_no_peer_cert="false"))
    open_tls(node, certs, tls_version=tls_version).connect().ping()
    open_tls(node, certs, certs.client, tls_version=tls_version).connect().ping()
    error, address = refusal(listener_port(node), context(certs.authority, certs.foreign_client, tls_version))
    assert "unknown ca" in error.lower()
    await_log(node, re.escape(address), "unable to get local issuer certificate")


def test_a_one_way_listener_asks_for_no_certificate(one_way, certs):
    assert "Acceptable client certificate CA names" not in s_client(listener_port(one_way))
    open_tls(one_way, certs, certs.foreign_client).connect().ping()


def test_a_crl_that_is_out_of_date_lets_nobody_in_and_the_log_says_why(make_broker, certs):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, crl_file=certs.authority.crl(expired=True),
                                    crl_check="leaf"))  # fmt: skip
    _, address = refusal(listener_port(node), context(certs.authority, certs.client))
    await_log(node, re.escape(address), "CRL has expired")


def test_a_chain_check_looks_at_the_intermediate_too(make_broker, tmp_path):
    root = Authority(tmp_path / "root", "Root")
    middle = Authority(tmp_path / "middle", "Middle", root)
    server, client = root.issue("localhost", san=SERVER_SAN, usage="serverAuth"), middle.issue("below")
    openssl("ca", "-batch", "-config", root.directory / "openssl.cnf", "-revoke", middle.cert)
    lists = tmp_path / "crls.pem"
    lists.write_text(root.crl().read_text() + middle.crl().read_text())
    common = {"authority": root, "crl_file": lists}
    node = make_broker(tls_listener(server, crl_check="leaf", **common) | tls_listener(server, crl_check="chain", name="strict", **common))
    TlsClient(listener_port(node), context(root, client)).connect().ping()
    error, address = refusal(listener_port(node, "strict"), context(root, client))
    assert "revoked" in error.lower()
    await_log(node, re.escape(address), "certificate revoked")


# --- who it is


def username_of(node, client: Client) -> str:
    return re.search(r"username=(.*), peername=", ctl(node, "clients", "show", client.client_id)).group(1)


@VERSIONS
@pytest.mark.parametrize("kind, name", [("cn", "c1"), ("dn", "CN=c1,O=Acme,C=DE")])
def test_the_certificate_s_name_becomes_the_user_name(make_broker, certs, kind, name, tls_version):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, peer_cert_as_username=kind))
    client = open_tls(node, certs, certs.client, tls_version=tls_version).connect(username="somebody", password=b"x")
    assert username_of(node, client) == name
    assert f"username={name}," in ctl(node, "clients", "list")


def test_the_whole_certificate_becomes_the_user_name(make_broker, certs):
    """The name is the DER form. The access rules see it: %u in a topic would not do, so the client list must name it."""
    node = make_broker(tls_listener(certs.server, authority=certs.authority, peer_cert_as_username="crt"))
    client = open_tls(node, certs, certs.client).connect(username="somebody", password=b"x")
    shown = ctl_bytes(node, "clients", "show", client.client_id)
    assert b"username=somebody" not in shown and b"username=undefined" not in shown
    assert b"Acme" in shown  # a text inside of the DER form


def ctl_bytes(node, *words) -> bytes:
    from emqc.tls import ctl_program

    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(node.directory)
    return subprocess.run([ctl_program(), *words], env=environment, capture_output=True, check=True, timeout=3 * DEADLINE_S).stdout


@pytest.mark.parametrize(
    "subject, kind, name",
    [
        ("/O=Acme/CN=first/CN=second", "cn", "first,second"),
        ("/C=DE/O=Acme, Inc.+OU=x/CN=a\\\\b", "cn", "a\\b"),
        ("/C=DE/O=Acme, Inc./CN=a;b", "dn", "CN=a\\;b,O=Acme\\, Inc.,C=DE"),
        ("/O=Acme/CN=Größe", "cn", "Größe"),
    ],
)
def test_unusual_names_are_taken_as_the_rules_say(make_broker, certs, subject, kind, name):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, peer_cert_as_username=kind))
    client = open_tls(node, certs, certs.authority.issue(subject)).connect()
    assert username_of(node, client) == name


def test_without_a_certificate_the_user_name_of_connect_counts(make_broker, certs):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, fail_if_no_peer_cert="false", peer_cert_as_username="cn"))
    client = open_tls(node, certs).connect(username="somebody", password=b"x")
    assert username_of(node, client) == "somebody"


# --- sessions, SNI, OCSP


@VERSIONS
def test_a_session_is_resumed(one_way, certs, tls_version, topic):
    tls = context(certs.authority, version=tls_version)
    session = session_after_a_conversation(one_way, tls)
    client = TlsClient(listener_port(one_way), tls, session=session).connect()
    assert client.socket.session_reused
    client.ping()


def session_after_a_conversation(node, tls, name="external"):
    """The tickets of 1.3 come after the handshake, so something must be read first."""
    client = TlsClient(listener_port(node, name), tls).connect()
    client.ping()
    session = client.socket.session
    client.disconnect()
    return session


@VERSIONS
def test_a_session_is_not_resumed_when_reuse_sessions_is_off(make_broker, certs, tls_version):
    node = make_broker(tls_listener(certs.server, reuse_sessions="off"))
    tls = context(certs.authority, version=tls_version)
    client = TlsClient(listener_port(node), tls, session=session_after_a_conversation(node, tls)).connect()
    assert not client.socket.session_reused


def test_openssl_resumes_what_it_saved(one_way, certs, tmp_path):
    saved = tmp_path / "session"
    packets = b"".join(item.encode(4) for item in (p.Connect(client_id=unique()), p.Disconnect()))
    s_client(listener_port(one_way), "-tls1_3", "-CAfile", certs.authority.cert, "-sess_out", saved, "-ign_eof", data=packets)
    shown = s_client(listener_port(one_way), "-tls1_3", "-CAfile", certs.authority.cert, "-sess_in", saved, "-ign_eof", data=packets)
    assert "Reused, TLSv1.3" in shown
    shown = s_client(listener_port(one_way), "-tls1_2", "-CAfile", certs.authority.cert, "-reconnect", check=None)
    assert shown.count("Reused, TLSv1.2") == 5


@VERSIONS
def test_a_resumed_session_keeps_the_certificate_s_name(make_broker, certs, tls_version):
    node = make_broker(tls_listener(certs.server, authority=certs.authority, peer_cert_as_username="cn"))
    tls = context(certs.authority, certs.client, tls_version)
    client = TlsClient(listener_port(node), tls, session=session_after_a_conversation(node, tls)).connect()
    assert client.socket.session_reused
    assert username_of(node, client) == "c1"


@VERSIONS
def test_a_session_of_an_open_listener_opens_no_other(make_broker, certs, tls_version):
    node = make_broker(tls_listener(certs.server) | tls_listener(certs.server, authority=certs.authority, name="mutual"))
    tls = context(certs.authority, version=tls_version)
    session = session_after_a_conversation(node, tls)
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, Closed)):
        client = TlsClient(listener_port(node, "mutual"), tls, session=session)
        assert not client.socket.session_reused
        client.connect()


@VERSIONS
def test_the_host_asked_for_decides_the_certificate(make_broker, certs, tls_version):
    wildcard = certs.authority.issue("wildcard", san="DNS:*.example.com", usage="serverAuth")
    sni = {}
    for number, (host, pair) in enumerate((("*.example.com", wildcard), ("mqtt.example.com", certs.sni_server)), 1):
        sni |= {f"sni.{number}.host": host, f"sni.{number}.certfile": pair.cert, f"sni.{number}.keyfile": pair.key}
    node = make_broker(tls_listener(certs.server, **sni))
    for asked, name in (("mqtt.example.com", "mqtt.example.com"), ("MQTT.example.com", "mqtt.example.com"), ("other.example.com", "wildcard"),
                        ("localhost", "localhost")):  # fmt: skip
        client = open_tls(node, certs, tls_version=tls_version, server_name=asked).connect()
        assert client.server_common_name() == name
        client.ping()
    for asked in ("-noservername", "-servername=a.b.example.com"):
        shown = s_client(listener_port(node), *asked.split("="), {TLS_1_2: "-tls1_2", TLS_1_3: "-tls1_3"}[tls_version])
        assert "subject=O = Acme, CN = localhost" in shown


@VERSIONS
def test_a_host_s_certificate_lets_nobody_in_without_one_of_his_own(make_broker, certs, tls_version):
    """What the listener asks of clients holds whatever host they name."""
    sni = {"sni.1.host": "mqtt.example.com", "sni.1.certfile": certs.sni_server.cert, "sni.1.keyfile": certs.sni_server.key}
    node = make_broker(tls_listener(certs.server, authority=certs.authority, **sni))
    open_tls(node, certs, certs.client, tls_version=tls_version, server_name="mqtt.example.com").connect().ping()
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, Closed)):
        open_tls(node, certs, tls_version=tls_version, server_name="mqtt.example.com").connect()


def test_a_staple_is_sent_to_who_asks(make_broker, certs):
    node = make_broker(tls_listener(certs.server, ocsp_file=certs.authority.ocsp_response(certs.server),
                                    cacertfile=certs.authority.cert))
    for option in ("-tls1_2", "-tls1_3"):
        shown = s_client(listener_port(node), option, "-status", "-CAfile", certs.authority.cert)
        assert "OCSP Response Status: successful (0x0)" in shown and "Cert Status: good" in shown
    assert "OCSP response:" not in s_client(listener_port(node))


def test_no_staple_without_a_file(one_way):
    assert "OCSP response: no response sent" in s_client(listener_port(one_way), "-status")


# --- reload


class Files:
    """The server's files as a listener knows them, to be exchanged under it."""

    def __init__(self, folder: Path, pair):
        self.cert, self.key, self.chain = folder / "cert.pem", folder / "key.pem", folder / "cert.pem"
        self.use(pair)

    def use(self, pair):
        for source, target in ((pair.chain, self.cert), (pair.key, self.key)):
            fresh = target.with_suffix(".new")
            shutil.copy(source, fresh)
            os.replace(fresh, target)


def test_a_reload_serves_new_clients_the_new_certificate_and_keeps_the_old_ones(make_broker, certs, tmp_path, topic):
    files = Files(tmp_path, certs.server)
    node = make_broker(tls_listener(files))
    old = open_tls(node, certs).connect()
    old.subscribe(topic)
    files.use(certs.other_server)
    ctl(node, "listeners", "reload")
    new = open_tls(node, certs).connect()
    assert (old.server_common_name(), new.server_common_name()) == ("localhost", "renewed")
    new.publish(topic, b"still there")
    old.expect_publish(topic, b"still there")


def test_changed_files_are_taken_over_by_themselves(make_broker, certs, tmp_path):
    files = Files(tmp_path, certs.server)
    node = make_broker({**tls_listener(files), "node.tls_check_interval": "100ms"})
    old = open_tls(node, certs).connect()
    files.use(certs.other_server)
    deadline = time.monotonic() + DEADLINE_S
    while (client := open_tls(node, certs).connect()).server_common_name() != "renewed":
        client.disconnect()
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)  # no client gets an event of this
    old.ping()


@pytest.mark.parametrize("what", ["no key", "not PEM", "another's key", "missing"])
def test_a_reload_with_bad_files_keeps_the_old_ones_and_says_why(make_broker, certs, tmp_path, what):
    files = Files(tmp_path, certs.server)
    node = make_broker(tls_listener(files))
    reason = spoil(files, what, certs)
    said = ctl(node, "listeners", "reload", status=1)
    assert str(files.key if what != "not PEM" else files.cert) in said and re.search(reason, said), said
    assert open_tls(node, certs).connect().server_common_name() == "localhost"
    files.use(certs.other_server)
    ctl(node, "listeners", "reload")
    assert open_tls(node, certs).connect().server_common_name() == "renewed"


def spoil(files, what: str, certs) -> str:
    """Makes a file of the listener useless; the pattern that its message must show."""
    if what == "no key":
        files.key.write_text("")
        return r"(?i)no private key|no .*key|PEM"
    if what == "not PEM":
        files.cert.write_text("this is not a certificate\n")
        return r"(?i)PEM|no certificate"
    if what == "another's key":
        shutil.copy(certs.client.key, files.key)
        return r"(?i)does not (match|belong)|mismatch|not the key"
    files.key.unlink()
    return r"(?i)no such file"


def test_a_reload_with_a_new_crl_refuses_whom_it_names_even_with_an_old_session(make_broker, tmp_path):
    authority = Authority(tmp_path / "ca", "CA")
    server, client = authority.issue("localhost", san=SERVER_SAN, usage="serverAuth"), authority.issue("c1")
    crl = tmp_path / "crl.pem"
    shutil.copy(authority.crl(), crl)
    node = make_broker(tls_listener(server, authority=authority, crl_file=crl, crl_check="leaf"))
    contexts = [context(authority, client, version) for version in (TLS_1_2, TLS_1_3)]
    sessions = [session_after_a_conversation(node, tls) for tls in contexts]
    authority.revoke(client)
    shutil.copy(authority.crl(), crl)
    ctl(node, "listeners", "reload")
    for tls, session in zip(contexts, sessions, strict=True):
        with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, Closed)):
            TlsClient(listener_port(node), tls, session=session).connect()
    await_log(node, "certificate revoked")


# --- starts that must fail


@pytest.mark.parametrize("what", ["no key", "not PEM", "another's key", "missing"])
def test_a_start_with_bad_files_fails_and_says_which_and_why(certs, tmp_path, what):
    files = Files(tmp_path, certs.server)
    reason = spoil(files, what, certs)
    status, text = failed_start(tls_listener(files))
    assert status == 1, text
    bad, key = (files.cert, "certfile") if what == "not PEM" else (files.key, "keyfile")
    assert str(bad) in text and f"listener.ssl.external.{key}" in text and re.search(reason, text), text
    assert (what == "missing") == bool(re.search(r"\nSet the right path in .*/etc/emqx\.conf\. make-certs\.sh", text)), text


def test_a_file_that_may_not_be_read_stops_the_start(certs, tmp_path):
    status, text = failed_start(tls_listener(certs.server, keyfile=tmp_path))  # a folder: not even root reads it
    assert status == 1 and "listener.ssl.external.keyfile" in text and str(tmp_path) in text
    assert re.search("(?i)is a directory|not a (regular )?file", text), text


@pytest.mark.parametrize(
    "key, text, pattern",
    [
        ("cacertfile", "nonsense", r"(?i)no certificate|PEM"),
        ("crl_file", "nonsense", r"(?i)no .*(crl|revocation)|PEM"),
        ("ocsp_file", "nonsense", r"(?i)OCSP"),
        ("dhfile", "nonsense", r"(?i)DH|PEM"),
    ],
)
def test_other_bad_files_stop_the_start_too(certs, tmp_path, key, text, pattern):
    path = tmp_path / "bad"
    path.write_text(text)
    settings = tls_listener(certs.server, authority=certs.authority, **({"crl_check": "leaf"} if key == "crl_file" else {}), **{key: path})
    status, text = failed_start(settings)
    assert status == 1 and f"listener.ssl.external.{key}" in text and str(path) in text and re.search(pattern, text), text


@pytest.mark.parametrize(
    "more, patterns",
    [
        ({"ciphers": "NO-SUCH-CIPHER,NOR-THIS"}, ("listener.ssl.external.ciphers",)),
        ({"ciphers": None}, ("listener.ssl.external.ciphers or listener.ssl.external.psk_ciphers is absent",)),
        ({"psk_ciphers": "PSK-AES128-CBC-SHA"}, ("cannot be configured at the same time",)),
        ({"tls_versions": "tlsv9"}, ("listener.ssl.external.tls_versions", "tlsv9")),
        ({"keyfile": None}, ("listener.ssl.external.keyfile",)),
        ({"certfile": None}, ("listener.ssl.external.certfile",)),
        ({"verify": "verify_peer"}, ("listener.ssl.external.cacertfile",)),
    ],
    ids=["no cipher", "no ciphers", "both", "version", "no key", "no certificate", "no authority"],
)
def test_settings_that_cannot_work_stop_the_start(certs, more, patterns):
    status, text = failed_start(tls_listener(certs.server, **more))
    assert status == 1, text
    for pattern in patterns:
        assert pattern in text


def test_unknown_ciphers_among_known_ones_are_left_out(make_broker, certs):
    node = make_broker(tls_listener(certs.server, ciphers="ECDH-RSA-AES128-SHA,ECDHE-ECDSA-AES128-GCM-SHA256"))
    open_tls(node, certs, tls_version=TLS_1_2).connect().ping()


@pytest.mark.parametrize(
    "more, said",
    [
        ({"psk_file": "etc/psk.txt"}, r"psk_file: is not looked at: psk_ciphers is not set"),
        ({"crl_file": "etc/crl.pem"}, r"crl_file: is not looked at: crl_check is off"),
        ({"tls_versions": "tlsv1.2,tlsv1"}, r"tls_versions: tlsv1 and tlsv1\.1 are out of date"),
    ],
    ids=["psk_file", "crl_file", "versions"],
)
def test_settings_that_do_nothing_or_weaken_are_warned_of(make_broker, certs, more, said):
    node = make_broker(tls_listener(certs.server, **more))
    await_log(node, r"\[warning\]", r"listener\.ssl\.external\." + said)
    lines = len(re.findall(said, node.log()))
    assert lines == 1


def test_an_expired_certificate_is_warned_of_at_a_reload(make_broker, certs, tmp_path):
    files = Files(tmp_path, certs.server)
    node = make_broker(tls_listener(files))
    files.use(certs.authority.issue("last year", san=SERVER_SAN, usage="serverAuth", expired=True))
    ctl(node, "listeners", "reload")
    await_log(node, r"\[warning\]", r"listener\.ssl\.external\.certfile", "has expired")


def test_a_start_with_certificates_for_trying_out_warns(make_broker, certs, tmp_path):
    subprocess.run([REPOSITORY / "tools" / "make-certs.sh", tmp_path], check=True)
    node = make_broker(tls_listener(certs.server) | {"listener.ssl.external.keyfile": tmp_path / "key.pem",
                                                     "listener.ssl.external.certfile": tmp_path / "cert.pem"})  # fmt: skip
    await_log(node, r"\[warning\]", r"ssl[.:]external", "(?i)trial|trying out")
    assert node.log().count("trying out") == 1
    s_client(listener_port(node), "-CAfile", tmp_path / "cacert.pem", "-verify_return_error", "-verify_hostname", "localhost")


def test_own_certificates_cause_no_warning(one_way):
    assert not re.search("(?i)trial|trying out", one_way.log())


# --- conversations that go wrong


def test_a_plain_client_on_the_tls_port_is_refused_and_the_log_says_why(one_way):
    client = Client(("127.0.0.1", listener_port(one_way)))
    client.send(p.Connect(client_id=unique()))
    address = "127.0.0.1:%d" % client.socket.getsockname()[1]
    assert not any(isinstance(packet, p.Connack) for packet in drained(client))
    await_log(one_way, re.escape(address), "(?i)TLS")


def drained(client: Client) -> bytes:
    """What came until the end: an alert of TLS, which is no packet."""
    data = b""
    try:
        while part := client.socket.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    assert len(data) < 100
    return data


def test_a_tls_client_on_the_plain_port_is_refused_and_the_log_says_why(one_way, certs):
    error, address = refusal(one_way.port, context(certs.authority))
    assert error
    await_log(one_way, re.escape(address), "(?i)TLS")


def test_an_http_client_on_the_tls_port_is_refused(one_way):
    with socket.create_connection(("127.0.0.1", listener_port(one_way)), timeout=DEADLINE_S) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        address = "127.0.0.1:%d" % raw.getsockname()[1]
        while raw.recv(65536):
            pass
    await_log(one_way, re.escape(address), "(?i)http")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"], ids=["nothing", "half a hello"])
def test_a_handshake_that_does_not_end_is_cut_off(make_broker, certs, sent):
    node = make_broker(tls_listener(certs.server, handshake_timeout="300ms"))
    with socket.create_connection(("127.0.0.1", listener_port(node)), timeout=DEADLINE_S) as raw:
        began = time.monotonic()
        raw.sendall(sent)
        try:
            while raw.recv(65536):
                pass
        except ConnectionResetError:
            pass
        assert 0.25 < time.monotonic() - began < 5
    assert "{handshake_timeout,1}" in ctl(node, "listeners")


def silent_sockets(node, count: int) -> list:
    return [socket.create_connection(("127.0.0.1", listener_port(node)), timeout=DEADLINE_S) for _ in range(count)]


def is_closed(connection, timeout: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def test_silent_handshakes_make_room_for_new_ones(make_broker, certs, topic):
    node = make_broker({**tls_listener(certs.server, max_handshakes=20), "node.workers": "1"})
    stays = open_tls(node, certs).connect()
    silent = silent_sockets(node, 50)
    assert all(is_closed(connection, DEADLINE_S) for connection in silent[:30])  # the oldest ones
    assert not any(is_closed(connection, 0) for connection in silent[30:])
    client = open_tls(node, certs).connect()
    client.publish(topic, b"in", 1)
    assert is_closed(silent[30], DEADLINE_S) and not is_closed(silent[31], 0)
    stays.publish(topic, b"in too", 1)
    await_log(node, "closing the oldest one that has not begun")


def test_a_handshake_that_has_begun_is_not_ended_for_a_new_one(make_broker, certs):
    node = make_broker({**tls_listener(certs.server, max_handshakes=5), "node.workers": "1"})
    begun = silent_sockets(node, 5)
    for connection in begun:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context(certs.authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        connection.sendall(outgoing.read())
        assert connection.recv(5)[:1] == b"\x16"  # it is answered
    late = silent_sockets(node, 1)[0]
    assert late.recv(1) == b""
    begun[0].close()
    deadline = time.monotonic() + DEADLINE_S
    while is_closed(silent_sockets(node, 1)[0], 0.2):
        assert time.monotonic() < deadline, "the handshake that ended counts still"


def test_after_the_handshake_the_zone_s_idle_timeout_counts(make_broker, certs):
    node = make_broker({**tls_listener(certs.server), "zone.external.idle_timeout": "300ms"})
    client = open_tls(node, certs)
    with pytest.raises(Closed):
        client.receive()


def test_a_half_open_handshake_disturbs_nobody(one_way, certs):
    with socket.create_connection(("127.0.0.1", listener_port(one_way)), timeout=DEADLINE_S) as raw:
        raw.sendall(b"\x16\x03\x01")
        open_tls(one_way, certs).connect().ping()


def hello_bytes(certs) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context(certs.authority).wrap_bio(into, out, server_hostname="localhost"), into, out


def test_a_handshake_in_single_bytes_succeeds(one_way, certs):
    tls, into, out = hello_bytes(certs)
    with socket.create_connection(("127.0.0.1", listener_port(one_way)), timeout=DEADLINE_S) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def exchange(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    for byte in out.read():
                        raw.send(bytes([byte]))
                    into.write(raw.recv(65536))

        exchange(tls.do_handshake)
        for item in (p.Connect(client_id=unique()), p.Pingreq()):
            for byte in item.encode(4):
                tls.write(bytes([byte]))  # a record each
        got = b""
        while len(got) < 6:
            got += exchange(lambda: tls.read(6))
        assert got == b"\x20\x02\x00\x00\xd0\x00"


@pytest.mark.parametrize("where", ["hello", "finished"])
def test_a_client_that_vanishes_in_the_handshake_does_no_harm(one_way, certs, where):
    for _ in range(20):
        tls, into, out = hello_bytes(certs)
        raw = socket.create_connection(("127.0.0.1", listener_port(one_way)), timeout=DEADLINE_S)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        raw.sendall(out.read())
        if where == "finished":
            while True:
                into.write(raw.recv(65536))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pass
            raw.sendall(out.read())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
    deadline = time.monotonic() + DEADLINE_S
    while "current_conn    : 0" not in ctl(one_way, "listeners").split("mqtt:ssl")[1]:
        assert time.monotonic() < deadline
    open_tls(one_way, certs).connect().ping()


def test_renegotiation_by_the_client_is_refused(one_way, certs):
    """s_client sends it for a line "R"; it would let a client make the server work at will."""
    shown = s_client(listener_port(one_way), "-tls1_2", "-CAfile", certs.authority.cert, data=b"R\n", check=None)
    assert "RENEGOTIATING" in shown
    assert re.search("no renegotiation|no_renegotiation", shown), shown
    open_tls(one_way, certs).connect().ping()


def test_key_updates_of_the_client_are_followed(one_way, certs):
    """s_client sends one for a line "K", then the packets go on with the new keys."""
    packets = b"".join(item.encode(4) for item in (p.Connect(client_id=unique()), p.Pingreq(), p.Disconnect()))
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener_port(one_way)}", "-tls1_3", "-CAfile", str(certs.authority.cert)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        shown = await_output(process, b"Verify return code: 0 (ok)", b"")
        os.write(process.stdin.fileno(), b"K\n")
        shown = await_output(process, b"KEYUPDATE", shown)
        os.write(process.stdin.fileno(), packets)
        shown = await_output(process, b"\xd0\x00", shown)
        assert b"\x20\x02\x00\x00\xd0\x00" in shown
        process.stdin.close()


def await_output(process, wanted: bytes, so_far: bytes) -> bytes:
    deadline = time.monotonic() + DEADLINE_S
    while wanted not in so_far:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([process.stdout], [], [], left)[0], so_far
        part = os.read(process.stdout.fileno(), 65536)
        assert part, so_far
        so_far += part
    return so_far


# --- large and half-closed conversations, takeover


@VERSIONS
def test_large_messages_pass_both_ways(make_broker, certs, tls_version, topic):
    node = make_broker({**tls_listener(certs.server), "mqtt.max_packet_size": "16MB"})
    sender, receiver = (open_tls(node, certs, tls_version=tls_version).connect() for _ in range(2))
    receiver.subscribe(topic, qos=2)
    payload = os.urandom(5 * MIB)
    for _ in range(3):
        sender.publish(topic, payload, 2)
        receiver.expect_publish(topic, payload, qos=2)
    sender.ping()


def test_a_reader_slower_than_its_messages_gets_all_of_them(make_broker, certs, topic):
    """The broker's socket to it fills up again and again: what TLS has made and not sent yet must not be lost or made twice."""
    node = make_broker({**tls_listener(certs.server, sndbuf="16KB"), "zone.external.max_inflight": "0", "zone.external.max_mqueue_len": "0",
                        "zone.external.high_watermark": "256KB"})  # fmt: skip
    receiver = open_tls(node, certs).connect()
    receiver.subscribe(topic, qos=1)
    sender = node.connect()
    payloads = [bytes([number]) * 100_000 for number in range(100)]
    for payload in payloads:
        sender.publish(topic, payload, 1)
    for payload in payloads:
        receiver.expect_publish(topic, payload, qos=1)


@VERSIONS
def test_a_client_that_closes_its_direction_still_gets_its_answers(one_way, certs, tls_version, topic):
    watcher = one_way.connect()
    watcher.subscribe(topic, qos=1)
    client = open_tls(one_way, certs, version=4, tls_version=tls_version).connect()
    client.send(p.Publish(topic, b"last words", 1, packet_id=1), p.Disconnect())
    client.half_close()
    client.expect(p.Puback, packet_id=1)
    client.expect_closed()
    watcher.expect_publish(topic, b"last words", qos=1)


def test_an_end_without_a_word_publishes_the_will(one_way, certs, topic):
    watcher = one_way.connect()
    watcher.subscribe(topic)
    for end in (Client.half_close, Client.drop, lambda client: client.socket.unwrap()):
        client = open_tls(one_way, certs).connect(will=p.Will(topic, b"gone"))
        end(client)
        watcher.expect_publish(topic, b"gone")


def test_the_broker_says_goodbye_in_tls_too(one_way, certs):
    """close_notify: else a client could not tell the end from an attack."""
    tls = context(certs.authority)
    tls.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

    def strict_client():
        client = TlsClient(listener_port(one_way), tls)
        client.socket.suppress_ragged_eofs = False
        return client.connect()

    client = strict_client()
    client.send(p.Disconnect())
    assert client.socket.recv(1) == b""
    client = strict_client()
    one_way.kill()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # as it is without one
        client.socket.recv(1)


@pytest.mark.parametrize("first, second", [("tls", "tcp"), ("tcp", "tls"), ("tls", "tls")])
def test_a_session_is_taken_over_between_tls_and_tcp(one_way, certs, topic, first, second):
    def open_on(kind):
        return open_tls(one_way, certs) if kind == "tls" else one_way.open()

    client_id = unique()
    fields = {"client_id": client_id, "clean": False, "properties": {p.Prop.SESSION_EXPIRY_INTERVAL: 60}}
    old = open_on(first).connect(**fields)
    old.subscribe(topic, qos=2)
    sender = one_way.connect()
    sender.publish(topic, b"one", 2)
    old.expect_publish(topic, b"one", ack=False)
    new = open_on(second).connect(**fields)
    assert new.connack.session_present
    old.expect_disconnect(0x8E)
    new.expect_publish(topic, b"one", qos=2, dup=True)
    sender.publish(topic, b"two", 2)
    new.expect_publish(topic, b"two", qos=2)


def test_many_clients_at_once_are_all_served(one_way, certs, topic):
    tls = context(certs.authority)
    clients = [TlsClient(listener_port(one_way), tls).connect() for _ in range(100)]
    for client in clients:
        client.subscribe(topic)
    one_way.connect().publish(topic, b"all")
    for client in clients:
        client.expect_publish(topic, b"all")


def test_max_connections_holds_for_tls(make_broker, certs):
    node = make_broker(tls_listener(certs.server, max_connections="2"))
    clients = [open_tls(node, certs).connect() for _ in range(2)]
    with pytest.raises((ssl.SSLError, ConnectionResetError, OSError)):
        open_tls(node, certs)
    for client in clients:
        client.ping()
