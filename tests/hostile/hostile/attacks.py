"""The list of attacks. Each is a function that attacks a Target and says, by its assertions, what the broker must do.

A module of attacks adds its own with @attack; what the broker may cost meanwhile stands there with its reason. Attacks are
amounts of work, not times: they end when the work is done. The same list serves the tests and bench/hostile.py.
"""

from __future__ import annotations

import inspect
import struct
from dataclasses import dataclass, field
from typing import Callable

from emqc import packets as p
from emqc.client import unique

from . import wire as w

KIB, MIB = 1 << 10, 1 << 20

# What the allocator and the pools of a worker keep after any burst: output chunks (1.3 MiB a worker), jemalloc's thread
# caches and the pages that a few long-lived objects hold. It does not grow with the length of an attack.
KEPT_BYTES = 6 * MIB

CONNECTION = {"zone.external.idle_timeout": "2s"}


@dataclass
class Attack:
    name: str
    run: Callable
    title: str
    settings: dict = field(default_factory=dict)
    peak_bytes: int = 16 * MIB  # more than at the start, at any time
    kept_bytes: int = KEPT_BYTES  # more than at the start, afterwards
    lines_per_second: int = 60  # log lines: each place says at most 10 a second, and one that it left some out
    transports: tuple[str, ...] = ("tcp", "ssl", "ws", "wss")
    everywhere: bool = False  # part of the usual run over each transport, not over TCP only
    light: bool = False  # also against a sanitizer build
    newcomers: bool = True  # somebody else can connect meanwhile


ATTACKS: dict[str, Attack] = {}


def attack(**more):
    """Puts the function into the list under its name; its comment is the title."""

    def add(function):
        title = " ".join(inspect.getdoc(function).split())
        assert function.__name__ not in ATTACKS
        ATTACKS[function.__name__] = Attack(function.__name__, function, title, **more)
        return function

    return add


class Target:
    """The broker under attack, by one of its listeners. `scale` is the share of the usual amount of work."""

    def __init__(self, node, transport: str, address, second, scale: float):
        self.node, self.transport, self.address, self.second, self.scale = node, transport, address, second, scale

    def times(self, count: int) -> int:
        return max(1, int(count * self.scale))

    def raw(self, receive_buffer: int = 0):
        """A bare TCP connection to the listener."""
        return w.raw(self.address, receive_buffer)

    def open(self, receive_buffer: int = 0) -> w.Wire:
        """A wire on which no MQTT was spoken yet."""
        return w.open_wire(self.transport, self.address, receive_buffer)

    def connect(self, version: int = 4, receive_buffer: int = 0, **fields) -> w.Wire:
        """A wire whose CONNECT was accepted."""
        wire = self.open(receive_buffer)
        connect(wire, version, **fields)
        return wire

    def half_open(self, share: float):
        """A connection with only the first part of what its transport and MQTT begin with."""
        connection = self.raw()
        if self.transport in w.TLS:
            begin = client_hello()
        elif self.transport in w.WEB:
            begin = w.UPGRADE
        else:
            begin = p.Connect(unique()).encode(5)
        connection.sendall(begin[: int(len(begin) * share)])
        return connection


def connect(wire: w.Wire, version: int = 4, **fields):
    fields.setdefault("client_id", unique())
    wire.send(p.Connect(**fields).encode(version))
    answer = wire.receive()
    assert answer[:1] == b"\x20" and answer[3] == 0, f"CONNACK expected, got {answer[:64].hex(' ')}"


def expect(wire: w.Wire, begin: bytes):
    """The next bytes must begin so; waits for as many."""
    got = b""
    while len(got) < len(begin):
        data = wire.receive()
        assert data, f"{begin.hex(' ')} expected, got {got.hex(' ')} and the end"
        got += data
    assert got.startswith(begin), f"{begin.hex(' ')} expected, got {got[:64].hex(' ')}"


def ping(wire: w.Wire):
    """A round trip behind all that was sent before; what else comes is dropped."""
    wire.send(p.Pingreq().encode(4))
    got = b""
    while not got.endswith(b"\xd0\x00"):
        data = wire.receive()
        assert data, "closed by the broker"
        got = (got + data)[-64:]


def publish(topic, payload: bytes = b"", qos: int = 0, version: int = 4, packet_id: int = 1, **fields) -> bytes:
    return p.Publish(topic, payload, qos, packet_id=packet_id, **fields).encode(version)


def subscribe(*filters, qos: int = 0, version: int = 4, packet_id: int = 1) -> bytes:
    return p.Subscribe(packet_id, [p.Filter(item, qos) for item in filters]).encode(version)


def client_hello() -> bytes:
    """A ClientHello of this machine's TLS library."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        w.tls_context().wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def header(first: int, length: int) -> bytes:
    """A fixed header that may lie about the length."""
    return struct.pack("!B", first) + p.varint(length)
