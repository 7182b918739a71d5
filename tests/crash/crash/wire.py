"""The few packets of which there are many, fast; emqc.packets does the rest."""

from __future__ import annotations

import struct

from emqc import packets as p

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 3, 4, 5, 6, 7

_U16 = struct.Struct("!H")
_ACK = struct.Struct("!BBH")


def publish(version: int, topic: bytes, payload: bytes, qos: int, packet_id: int, dup: bool, retain: bool) -> bytes:
    """A PUBLISH of QoS 1 or 2 without properties."""
    body = _U16.pack(len(topic)) + topic + _U16.pack(packet_id) + (b"\0" if version == 5 else b"") + payload
    return bytes((0x30 | dup << 3 | qos << 1 | retain,)) + p.varint(len(body)) + body


def ack(kind: int, packet_id: int, reason: int = 0) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP; a reason other than 0 is for version 5."""
    first = kind << 4 | (2 if kind == PUBREL else 0)
    if reason:
        return _ACK.pack(first, 3, packet_id) + bytes((reason,))
    return _ACK.pack(first, 2, packet_id)


def parse_publish(version: int, first: int, body: bytes) -> tuple[str, bytes, int, int, bool, bool]:
    """(topic, payload, QoS, packet ID, DUP, RETAIN). Checked in full when there are properties."""
    qos = first >> 1 & 3
    end = 2 + _U16.unpack_from(body)[0]
    after = end + (2 if qos else 0)
    if version == 5 and body[after] or qos == 3:
        item = p.decode(version, first, body)
        return item.topic, item.payload, item.qos, item.packet_id or 0, item.dup, item.retain
    packet_id = _U16.unpack_from(body, end)[0] if qos else 0
    if qos and not packet_id:
        raise p.Malformed("packet identifier 0 in PUBLISH")
    return body[2:end].decode(), body[after + (version == 5) :], qos, packet_id, bool(first & 8), bool(first & 1)


class Splitter:
    """Bytes as they come to (first byte, body) of whole packets."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data: bytes):
        buffer = self.buffer + data if self.buffer else data
        at, size = 0, len(buffer)
        while True:
            length = shift = 0
            head = at + 1
            while head < size:
                length |= (buffer[head] & 0x7F) << shift
                shift += 7
                head += 1
                if not buffer[head - 1] & 0x80:
                    break
                if shift == 28:
                    raise p.Malformed("remaining length with more than 4 bytes")
            else:
                break
            if size - head < length:
                break
            yield buffer[at], buffer[head : head + length]
            at = head + length
        self.buffer = buffer[at:]
