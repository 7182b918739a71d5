"""Attacks on TLS: its handshake, its records, and what is no TLS at all."""

from __future__ import annotations

import subprocess

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import KIB, MIB, attack, client_hello, connect, ping, publish
from .bombs import await_end
from .connections import await_all_over

SECURE = {"transports": ("ssl",), "light": True}


@attack(**SECURE)
def handshake_flood(target):
    """Whole handshakes, one after the other, that lead to nothing"""
    for _ in range(target.times(400)):
        target.open().reset()


# An unfinished handshake holds about 60 KiB.
@attack(peak_bytes=300 * 64 * KIB + 4 * MIB, **SECURE)
def handshakes_left_open(target):
    """300 handshakes in which the client never answers the server"""
    hello = client_hello()
    sockets = [target.raw() for _ in range(target.times(300))]
    for connection in sockets:
        connection.sendall(hello)
    await_all_over(sockets)


@attack(settings={"listener.{transport}.external.max_handshakes": "50"}, newcomers=False, **SECURE)
def handshakes_over_the_limit(target):
    """Handshakes over max_handshakes"""
    await_all_over([target.raw() for _ in range(target.times(1000))])


def rubbish() -> dict[str, bytes]:
    hello = client_hello()
    return {
        "mqtt": p.Connect(unique()).encode(4) + bytes(100),
        "http": w.UPGRADE,
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "record-of-64-kib": b"\x16\x03\x01\xff\xff" + bytes(70000),
        "empty-records": b"\x16\x03\x01\x00\x00" * 1000,
        "hello-of-16-mib": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(16384),
        "hello-cut-in-records": b"".join(b"\x16\x03\x01\x00\x01" + hello[at : at + 1] for at in range(5, 60)) + b"\x17",
        "hello-twice": hello + hello,
        "hello-bent": hello[:60] + bytes(len(hello) - 60),
        "alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "alerts": b"\x15\x03\x01\x00\x02\x01\x00" * 1000,
        "data": b"\x17\x03\x03\x00\x05hello",
        "ssl-2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(64),
    }


@attack(**SECURE)
def handshake_rubbish(target):
    """What is no ClientHello, or one that lies"""
    for _ in range(target.times(2)):  # some are only ended by the time limit
        for name, data in rubbish().items():
            wire = w.Wire(target.raw())
            wire.try_send(data)
            if not wire.closed:
                await_end(wire, name)
            wire.close()


@attack(**SECURE)
def record_rubbish(target):
    """Rubbish in the place of records, after a good handshake"""
    for number in range(target.times(100)):
        wire = target.connect()
        data = (b"\x17\x03\x03\x00\x20" + bytes(32), b"\x14\x03\x03\x00\x01\x01" * 50, b"\xff" * 100)[number % 3]
        w.socket.socket.send(wire.socket, data)
        try:
            while w.socket.socket.recv(wire.socket, 65536):
                pass
        except OSError:
            pass
        wire.close()


@attack(**SECURE)
def tiny_records(target):
    """A record for each byte"""
    wire = target.connect()
    for byte in publish("tiny/a", bytes(200)) * target.times(100):
        wire.send(bytes([byte]))
    ping(wire)
    wire.reset()


@attack(**SECURE)
def renegotiation(target):
    """TLS 1.2 clients that want to negotiate again and again"""
    host, port = target.address
    for _ in range(target.times(10)):
        client = subprocess.Popen(
            ["openssl", "s_client", "-tls1_2", "-legacy_renegotiation", "-connect", f"{host}:{port}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = client.communicate(b"R\n" * 5, timeout=20)
        finally:
            client.kill()
            client.wait()
        assert b"RENEGOTIATING" in said
        assert said.count(b"read R BLOCK") == 0 and client.returncode != 0, said[-500:]


@attack(**SECURE)
def versions_and_ciphers(target):
    """Clients that offer only what is out of date"""
    import ssl

    for _ in range(target.times(50)):
        context = w.tls_context()
        context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        connection = target.raw()
        try:
            context.wrap_socket(connection)
            raise AssertionError("a cipher that encrypts nothing was accepted")
        except (ssl.SSLError, OSError):
            connection.close()
    connect(wire := target.open())
    wire.reset()
