"""Attacks by slowness: a byte at a time, so that a connection is always about to begin."""

from __future__ import annotations

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import CONNECTION, MIB, attack, client_hello
from .watch import await_true, pace

STEP_S = 0.1
# Per connection: the connection itself, and in TLS its state (about 10 KiB before the handshake is done).
SLOW_PEAK = 12 * MIB


def drip(sockets: list, data: bytes, timeout: float = 20.0):
    """One byte of `data` on each socket every step, round and round, until the broker has ended all of them."""
    left, at = list(sockets), 0

    def step() -> bool:
        nonlocal left, at
        for connection in left:
            try:
                connection.send(data[at % len(data) : at % len(data) + 1])
            except OSError:
                pass  # is_over() tells
        at += 1
        left = [connection for connection in left if not w.is_over(connection)]
        return not left

    await_true(step, timeout, STEP_S)
    for connection in sockets:
        connection.close()
    assert not left, f"{len(left)} of {len(sockets)} slow connections are still open"


def drip_inside(wires: list, data: bytes):
    """The same inside of the layers: each byte is a record and a frame of its own."""
    at = 0
    while wires:
        for wire in wires:
            wire.try_send(data[at : at + 1])
        at += 1
        assert at < 200, f"{len(wires)} slow connections are still open"
        pace(STEP_S)
        wires = [wire for wire in wires if not (wire.closed or w.is_over(wire.socket))]


def long_connect() -> bytes:
    return p.Connect(unique(), username="u" * 60000).encode(5)


@attack(settings=CONNECTION, peak_bytes=SLOW_PEAK, everywhere=True, light=True)
def slow_connect(target):
    """CONNECT, a byte every 100 ms"""
    wires = [target.open() for _ in range(target.times(300))]
    if target.transport == "tcp":
        drip([wire.socket for wire in wires], long_connect())
        return
    drip_inside(wires, long_connect())


@attack(settings={"listener.{transport}.external.handshake_timeout": "2s", **CONNECTION}, peak_bytes=SLOW_PEAK,
        transports=("ssl",), everywhere=True, light=True)  # fmt: skip
def slow_client_hello(target):
    """ClientHello of TLS, a byte every 100 ms"""
    drip([target.raw() for _ in range(target.times(300))], client_hello())


@attack(settings=CONNECTION, peak_bytes=SLOW_PEAK, transports=("ws",), everywhere=True, light=True)
def slow_upgrade(target):
    """HTTP upgrade of WebSocket, a byte every 100 ms"""
    drip([target.raw() for _ in range(target.times(300))], w.UPGRADE[:-4] + b"\r\nX-Long: " + b"x" * 2000)


@attack(settings={"listener.tcp.proxied": "{second}", "listener.tcp.proxied.zone": "external",
                  "listener.tcp.proxied.proxy_protocol": "on", "listener.tcp.proxied.proxy_protocol_timeout": "2s",
                  **CONNECTION},
        peak_bytes=SLOW_PEAK, transports=("tcp",), light=True)  # fmt: skip
def slow_proxy_header(target):
    """PROXY header, a byte every 100 ms"""
    drip([w.raw(target.second) for _ in range(target.times(300))], b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2")


@attack(peak_bytes=SLOW_PEAK, everywhere=True)
def slow_publish(target):
    """PUBLISH packets that declare 1 MB, a byte every 100 ms: keep alive counts whole packets, so they end"""
    wires = [target.connect(keepalive=1) for _ in range(target.times(300))]
    drip_inside(wires, b"\x30" + p.varint(900000) + b"\x00\x01a" + bytes(200))
