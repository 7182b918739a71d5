"""Attacks on WebSocket: its upgrade, its frames and its compression."""

from __future__ import annotations

import zlib

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import CONNECTION, KIB, MIB, attack, ping, publish
from .bombs import await_end

WEB = {"transports": ("ws",), "light": True}


def below(target) -> w.Wire:
    """A wire under the frames, before the upgrade."""
    wire = w.Wire(target.raw())
    return w.TlsWire(wire.socket) if target.transport in w.TLS else wire


def deflating(target) -> w.WebWire:
    """A wire whose frames may be compressed."""
    wire = below(target)
    wire.send(w.UPGRADE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += wire.receive()
    assert b"permessage-deflate" in head, head
    return wire


def compressed(data: bytes) -> bytes:
    """A frame of a compressed message."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return w.frame(body[:-4], extra_bits=0x40)


def upgrades() -> dict[str, bytes]:
    """Requests that must be refused."""
    line = b"GET /mqtt HTTP/1.1\r\n"
    rest = w.UPGRADE[len(line) :]
    return {
        "method": w.UPGRADE.replace(b"GET", b"POST"),
        "path": w.UPGRADE.replace(b"/mqtt", b"/other"),
        "long-path": w.UPGRADE.replace(b"/mqtt", b"/" + b"x" * 100000),
        "version": w.UPGRADE.replace(b"Version: 13", b"Version: 12"),
        "no-key": w.UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        "short-key": w.UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"),
        "no-upgrade": w.UPGRADE.replace(b"Upgrade: websocket\r\n", b""),
        "protocol": w.UPGRADE.replace(b"Protocol: mqtt", b"Protocol: chat"),
        "long-header": line + b"X-Long: " + b"x" * 200000 + b"\r\n" + rest,
        "many-headers": line + b"X: y\r\n" * 20000 + rest,
        "header-without-end": line + b"x" * 200000,
        "rubbish": bytes(range(256)) * 10,
        "mqtt": p.Connect(unique()).encode(4) + publish("a", bytes(1000)),
        "body": w.UPGRADE.replace(b"Host:", b"Content-Length: 1000000000\r\nHost:") .replace(b"GET", b"PUT"),
    }


def frames() -> dict[str, bytes]:
    """Frames that end the connection."""
    return {
        "unmasked": b"\x82\x02\xc0\x00",
        "reserved-bit": w.frame(b"\xc0\x00", extra_bits=0x10),
        "compressed-without-asking": w.frame(b"\xc0\x00", extra_bits=0x40),
        "text": w.frame(b"hello", 1),
        "opcode-3": w.frame(b"", 3),
        "opcode-11": w.frame(b"", 11),
        "continuation-first": w.frame(b"", 0),
        "fragmented-ping": w.frame(b"", 9, fin=False),
        "long-ping": w.frame(bytes(126), 9),
        "ping-of-64-kib": w.frame(bytes(65536), 9),
        "length-not-minimal": b"\x82\xfe\x00\x02" + bytes(4) + b"\xc0\x00",
        "length-negative": b"\x82\xff" + b"\xff" * 8 + bytes(4),
        "close": w.frame(b"\x03\xe8", 8),
        "close-of-one-byte": w.frame(b"\x03", 8),
        "close-code-0": w.frame(b"\x00\x00", 8),
        "binary-in-binary": w.frame(b"\xc0", 2, fin=False) + w.frame(b"\x00", 2),
    }


@attack(settings=CONNECTION, **WEB)
def upgrade_bombs(target):
    """Upgrade requests that are wrong, too long or none at all"""
    for _ in range(target.times(10)):
        for name, request in upgrades().items():
            wire = below(target)
            wire.try_send(request)
            if not wire.closed:
                await_end(wire, name)
            wire.close()


@attack(settings={"listener.{transport}.external.max_frame_size": "100000", **CONNECTION}, **WEB)
def frame_bombs(target):
    """Frames that break the protocol, and frames over max_frame_size"""
    bombs = {**frames(), "over-the-size": b"\x82\xff" + (100001).to_bytes(8, "big") + bytes(4 + 1000)}
    for _ in range(target.times(10)):
        for name, bomb in bombs.items():
            wire = target.connect()
            wire.below.try_send(bomb)
            if not wire.below.closed:
                await_end(wire.below, name)
            wire.close()


@attack(**WEB)
def endless_frames(target):
    """Empty fragments, frames of one byte and unfinished messages, as many as there are"""
    for flood in (w.frame(b"", 0, fin=False) * 20000, w.frame(b"", 0) + w.frame(b"", 2) * 20000):
        wire = target.connect()
        wire.below.send(w.frame(b"", 2, fin=False))
        for _ in range(target.times(20)):
            if wire.below.try_send(flood) and wire.below.closed:
                break  # the broker may have enough of it
        wire.reset()
    wire = target.connect()
    single = b"".join(w.frame(bytes([byte])) for byte in publish("frames/a", bytes(50)))
    for _ in range(target.times(20)):
        wire.below.send(single * 500)
    ping(wire)
    wire.reset()


@attack(**WEB)
def frame_ping_flood(target):
    """WebSocket pings without reading an answer"""
    wires = [target.connect(receive_buffer=8192) for _ in range(4)]
    flood = w.frame(bytes(125), 9) * 2000
    for wire in wires:
        for _ in range(target.times(40)):
            if not wire.below.try_send(flood):
                break
    for wire in wires:
        wire.reset()


# Compression takes up to 300 KiB for each connection that uses it.
@attack(settings={"listener.{transport}.external.compress": "true"}, peak_bytes=32 * MIB, **WEB)
def decompression_bombs(target):
    """Messages that grow a thousandfold when they are decompressed"""
    zeros = compressed(bytes(100 * MIB))
    pings = compressed(b"\xc0\x00" * (4 * MIB))
    large = compressed(b"\x30" + p.varint(200 * MIB) + b"\x00\x01a" + bytes(50 * MIB))
    packets = compressed(publish("bomb", bytes(60 * KIB)) * 500)
    assert max(map(len, (zeros, pings, large, packets))) < MIB
    for _ in range(target.times(3)):
        for bomb in (zeros, large, pings, packets):
            wire = deflating(target)
            wire.send(compressed(p.Connect(unique()).encode(4)))
            assert wire.receive()
            wire.try_send(bomb)
            if bomb in (zeros, large) and not wire.closed:
                wire.await_end()
            if not wire.closed:
                wire.reset()


@attack(settings={"listener.{transport}.external.compress": "true"}, peak_bytes=140 * MIB, **WEB)
def compressing_connections(target):
    """200 connections that each want a dictionary of their own"""
    wires = []
    for _ in range(target.times(200)):
        wires.append(deflating(target))
        wires[-1].send(compressed(p.Connect(unique()).encode(4)))
        assert wires[-1].receive()
    for wire in wires:
        wire.send(compressed(publish("a", bytes(1000))))
    for wire in wires:
        wire.reset()
