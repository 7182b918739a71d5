"""A client on a plain socket: sends packets or raw bytes, and says what it expects to get back.

Nothing here sleeps: each wait is for bytes or for the end of the connection, with a deadline. That a client gets
nothing is shown by a round trip: a PINGREQ is answered by PINGRESP and by nothing before it. That a message did not
go to another client is shown by fence(): a second message behind the first arrives alone.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import time
from collections import deque

from . import packets as p

# Generous, because a loaded machine or a sanitizer build is slow; a test that passes never waits this long.
DEADLINE_S = float(os.environ.get("EMQC_TEST_DEADLINE", "10"))

_serial = itertools.count(1)


def unique(stem: str = "c") -> str:
    """A name that no other test uses."""
    return f"{stem}{os.getpid()}x{next(_serial)}"


class Closed(AssertionError):
    """The broker closed the connection where a packet was expected."""


class Client:
    """One network connection, by TCP (from the address `source`) or (a path) a Unix socket. `version` is the protocol level: 3, 4 or 5."""

    def __init__(self, address: tuple[str, int] | str, version: int = 5, source: str | None = None):
        self.version = version
        self.client_id: str | bytes = ""
        self.connack: p.Connack | None = None
        self.raw_in = b""  # bytes of the packet received last
        self._buffer = bytearray()
        self._inbox: deque[p.Packet] = deque()
        self._packet_id = itertools.cycle(range(1, 65536))
        self._aliases: dict[int, str] = {}
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(DEADLINE_S)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=DEADLINE_S, source_address=source and (source, 0))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._readable = select.poll()
        self._readable.register(self.socket, select.POLLIN)

    # --- sending

    def send(self, *items: p.Packet | bytes):
        """Sends packets and raw bytes in one write."""
        data = b"".join(item if isinstance(item, bytes) else item.encode(self.version) for item in items)
        self.socket.settimeout(DEADLINE_S)
        self.socket.sendall(data)

    def next_id(self) -> int:
        return next(self._packet_id)

    # --- receiving

    def _wait_readable(self, seconds: float) -> bool:
        return bool(self._readable.poll(seconds * 1000))

    def _fill(self, deadline: float) -> bool:
        """Waits for more bytes; False at the end of the connection."""
        left = deadline - time.monotonic()
        if left <= 0 or not self._wait_readable(left):
            raise TimeoutError(f"nothing from the broker (buffered: {bytes(self._buffer).hex(' ')})")
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _take(self) -> p.Packet | None:
        """One whole packet off the buffer."""
        length = shift = 0
        for at in range(1, min(len(self._buffer), 5)):
            length |= (self._buffer[at] & 0x7F) << shift
            shift += 7
            if not self._buffer[at] & 0x80:
                end = at + 1 + length
                if len(self._buffer) < end:
                    return None
                self.raw_in = bytes(self._buffer[:end])
                del self._buffer[:end]
                return p.decode_bytes(self.version, self.raw_in)
        return None

    def receive(self, timeout: float = None) -> p.Packet:
        """The next packet. Raises Closed at the end of the connection, TimeoutError when nothing comes."""
        if self._inbox:
            return self._inbox.popleft()
        deadline = time.monotonic() + (DEADLINE_S if timeout is None else timeout)
        while True:
            packet = self._take()
            if packet is not None:
                return self._resolve(packet)
            if not self._fill(deadline):
                raise Closed(f"closed by the broker (left over: {bytes(self._buffer).hex(' ')})")

    def _resolve(self, packet: p.Packet) -> p.Packet:
        """Puts the topic of an alias into a PUBLISH."""
        if isinstance(packet, p.Publish) and self.version == 5:
            alias = packet.properties.get(p.Prop.TOPIC_ALIAS)
            if alias is not None and packet.topic:
                self._aliases[alias] = packet.topic
            elif alias is not None:
                assert alias in self._aliases, f"alias {alias} was never set up"
                packet.topic = self._aliases[alias]
        return packet

    def await_packet(self, kind: type, timeout: float = None, **fields) -> p.Packet:
        """The next packet of that kind; PUBLISH packets that come before it are kept for later calls."""
        kept = []
        while True:
            packet = self.receive(timeout)
            if isinstance(packet, p.Publish) and kind is not p.Publish:
                kept.append(packet)
                continue
            self._inbox.extendleft(reversed(kept))
            return self._check(packet, kind, fields)

    @staticmethod
    def _check(packet: p.Packet, kind: type, fields: dict) -> p.Packet:
        assert isinstance(packet, kind), f"{kind.__name__} expected, got {packet}"
        for name, value in fields.items():
            found = getattr(packet, name)
            if isinstance(value, (set, frozenset)):
                assert found in value, f"{name} in {value} expected: {packet}"
            else:
                assert found == value, f"{name} = {value!r} expected: {packet}"
        return packet

    def expect(self, kind: type, timeout: float = None, **fields) -> p.Packet:
        """The next packet must be of that kind with these fields (a set: one of these values)."""
        return self._check(self.receive(timeout), kind, fields)

    def expect_bytes(self, hexadecimal: str):
        """The next bytes must be exactly these."""
        want = bytes.fromhex(hexadecimal)
        deadline = time.monotonic() + DEADLINE_S
        while len(self._buffer) < len(want):
            if not self._fill(deadline):
                break
        got = bytes(self._buffer[: len(want)])
        assert got == want, f"{want.hex(' ')} expected, got {got.hex(' ')}"
        del self._buffer[: len(want)]

    def expect_closed(self, timeout: float = None):
        """The broker closes the connection and sends nothing before."""
        try:
            packet = self.receive(timeout)
        except Closed:
            assert not self._buffer, f"half a packet before the end: {bytes(self._buffer).hex(' ')}"
            self.socket.close()
            return
        raise AssertionError(f"the end of the connection expected, got {packet}")

    def expect_disconnect(self, *reasons: int, timeout: float = None) -> p.Disconnect | None:
        """The broker ends the connection: in version 5 with one of these reasons first, before that silently."""
        packet = None
        if self.version == 5:
            packet = self.expect(p.Disconnect, timeout, reason=set(reasons))
        self.expect_closed(timeout)
        return packet

    def expect_refused(self, *reasons: int, code: int = None) -> p.Connack | None:
        """CONNECT is refused: version 5 with one of these reasons, before that with `code` (None: no CONNACK)."""
        packet = None
        if self.version == 5:
            packet = self.expect(p.Connack, reason=set(reasons), session_present=False)
        elif code is not None:
            packet = self.expect(p.Connack, reason=code, session_present=False)
        self.expect_closed()
        return packet

    def expect_nothing(self):
        """Nothing is under way to this client: a PINGRESP comes before anything else."""
        self.send(p.Pingreq())
        self.expect(p.Pingresp)

    ping = expect_nothing

    # --- conversations

    def connect(self, expect: bool = True, **fields) -> Client:
        """Sends CONNECT (fields of packets.Connect; the client id is made up when absent) and awaits success."""
        fields.setdefault("client_id", unique())
        self.client_id = fields["client_id"]
        self.send(p.Connect(**fields))
        if expect:
            self.connack = self.expect(p.Connack, reason=0)
        return self

    def subscribe(self, *filters, qos: int = 0, codes: list[int] = None, properties=(), **options) -> p.Suback:
        """Subscribes to texts or packets.Filter objects. `codes` must come back; by default what was asked for."""
        items = [item if isinstance(item, p.Filter) else p.Filter(item, qos, **options) for item in filters]
        packet_id = self.next_id()
        self.send(p.Subscribe(packet_id, items, properties))
        wanted = [item.qos for item in items] if codes is None else codes
        return self.await_packet(p.Suback, packet_id=packet_id, codes=wanted)

    def unsubscribe(self, *filters, codes: list[int] = None) -> p.Unsuback:
        packet_id = self.next_id()
        self.send(p.Unsubscribe(packet_id, list(filters)))
        packet = self.await_packet(p.Unsuback, packet_id=packet_id)
        if self.version == 5:
            wanted = [0] * len(filters) if codes is None else codes
            assert packet.codes == wanted, f"codes {wanted} expected: {packet}"
        return packet

    def publish(self, topic, payload: bytes = b"", qos: int = 0, reason=None, **fields) -> p.Packet | None:
        """Publishes with the whole handshake. `reason` (v5): what the first acknowledgement must say; by default
        success or "no matching subscribers". Returns the first acknowledgement."""
        if not qos:
            self.send(p.Publish(topic, payload, **fields))
            return None
        packet_id = fields.pop("packet_id", None) or self.next_id()
        self.send(p.Publish(topic, payload, qos, packet_id=packet_id, **fields))
        wanted = {0, 0x10} if reason is None or self.version != 5 else reason
        kind = p.Puback if qos == 1 else p.Pubrec
        ack = self.await_packet(kind, packet_id=packet_id, reason=wanted)
        if qos == 2 and ack.reason < 0x80:
            self.send(p.Pubrel(packet_id))
            self.await_packet(p.Pubcomp, packet_id=packet_id, reason=0)
        return ack

    def expect_publish(self, topic=None, payload=None, ack: bool = True, timeout: float = None, **fields) -> p.Publish:
        """The next packet is this message; acknowledged in full unless `ack` is false."""
        if topic is not None:
            fields["topic"] = topic
        if payload is not None:
            fields["payload"] = payload
        message = self.expect(p.Publish, timeout, **fields)
        if ack:
            self.acknowledge(message)
        return message

    def acknowledge(self, message: p.Publish):
        if message.qos == 1:
            self.send(p.Puback(message.packet_id))
        elif message.qos == 2:
            self.send(p.Pubrec(message.packet_id))
            self.await_packet(p.Pubrel, packet_id=message.packet_id, reason=0)
            self.send(p.Pubcomp(message.packet_id))

    # --- ends

    def disconnect(self, reason: int = 0, properties=()):
        """Says goodbye and waits until the broker has closed, so that its side is done."""
        self.send(p.Disconnect(reason, properties))
        self.socket.shutdown(socket.SHUT_WR)
        self.drain()

    def drop(self):
        """Ends without a word, as a lost network does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self):
        """Ends our direction only; the broker's answer can still be read."""
        self.socket.shutdown(socket.SHUT_WR)

    def drain(self) -> list[p.Packet]:
        """All packets until the broker closes."""
        found = []
        while True:
            try:
                found.append(self.receive())
            except Closed:
                self.socket.close()
                return found

    def close(self):
        self.socket.close()


def fence(publisher: Client, subscriber: Client):
    """Whatever `publisher` sent before has by now reached `subscriber` or never will; nothing may be left to read."""
    topic = unique("fence/")
    subscriber.subscribe(topic)
    publisher.publish(topic, b"fence")
    subscriber.expect_publish(topic, b"fence")
    subscriber.unsubscribe(topic)
