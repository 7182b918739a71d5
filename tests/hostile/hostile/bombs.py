"""Attacks by single packets: each around one limit, or with a length that lies."""

from __future__ import annotations

import struct

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import KIB, MIB, attack, expect, header, ping, publish

PACKET_MAX = 64 * KIB
SETTINGS = {"zone.external.max_packet_size": "64KB", "zone.external.max_topic_levels": "128",
            "zone.external.max_clientid_len": "1024", "zone.external.max_topic_alias": "16"}  # fmt: skip


def connect_body(level: int, properties: bytes = b"\x00", rest: bytes = b"\x00\x01c") -> bytes:
    return b"\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x3c" + (properties if level == 5 else b"") + rest


def packet(first: int, body: bytes) -> bytes:
    return header(first, len(body)) + body


def first_packets() -> dict[str, bytes]:
    """What a connection may begin with, and must not."""
    connect = p.Connect(unique()).encode(5)
    bombs = {
        "five-byte-length": b"\x10\xff\xff\xff\xff\x01",
        "five-byte-length-zero": b"\x10\x80\x80\x80\x80\x00",
        "largest-length": b"\x10\xff\xff\xff\x7f",
        "publish-first": publish("a"),
        "ping-first": b"\xc0\x00",
        "http": b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b"x" * 100 + b"\r\n\r\n",
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "flags": b"\x1f" + connect[1:],
        "empty-connect": b"\x10\x00",
        "name-length": packet(0x10, b"\xff\xffMQTT\x05\x02\x00\x3c\x00\x00\x01c"),
        "property-length-over-the-packet": packet(0x10, connect_body(5, b"\x7f")),
        "property-length-of-five-bytes": packet(0x10, connect_body(5, b"\xff\xff\xff\xff\x01")),
        "property-length-largest": packet(0x10, connect_body(5, b"\xff\xff\xff\x7f")),
        "client-id-length": packet(0x10, connect_body(5, rest=b"\xff\xffc")),
        "client-id-over-the-limit": p.Connect("c" * 1025).encode(4),
        "client-id-65535": p.Connect("c" * 65500).encode(4),
        "will-length": packet(0x10, b"\x00\x04MQTT\x04\x06\x00\x3c\x00\x01c\x00\x01w\xff\xffx"),
        "user-length": packet(0x10, b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\xff\xfeu"),
        "over-the-size": packet(0x10, connect_body(4, rest=b"\x00\x01c" + bytes(PACKET_MAX))),
        "twice": connect + connect,
    }
    for level in (0, 2, 6, 255):
        bombs[f"level-{level}"] = packet(0x10, connect_body(level))
    for number in (0, 15):
        bombs[f"type-{number}"] = bytes([number << 4, 0])
    return bombs


def later_packets(version: int) -> dict[str, bytes]:
    """What a connected client must not send."""
    no_properties = b"\x00" if version == 5 else b""
    bombs = {
        "five-byte-length": b"\x30\xff\xff\xff\xff\x7f",
        "size-plus-one": header(0x30, PACKET_MAX - 3) + b"\x00\x01a" + bytes(PACKET_MAX - 7),
        "largest-length": header(0x32, 268435455) + b"\x00\x01a",
        "topic-length": packet(0x30, b"\xff\xffa"),
        "topic-length-by-one": packet(0x30, b"\x00\x02a"),
        "empty-publish": b"\x30\x00",
        "qos-3": packet(0x36, b"\x00\x01a\x00\x01" + no_properties),
        "id-0": packet(0x32, b"\x00\x01a\x00\x00" + no_properties),
        "no-id": packet(0x32, b"\x00\x01a"),
        "wildcard-topic": packet(0x30, b"\x00\x03a/#" + no_properties),
        "zero-in-topic": packet(0x30, b"\x00\x03a\x00b" + no_properties),
        "not-utf-8": packet(0x30, b"\x00\x04a\xed\xa0\x80" + no_properties),
        "empty-subscribe": packet(0x82, b"\x00\x01" + no_properties),
        "subscribe-flags": packet(0x80, b"\x00\x01" + no_properties + b"\x00\x01a\x00"),
        "subscribe-qos-3": packet(0x82, b"\x00\x01" + no_properties + b"\x00\x01a\x03"),
        "subscribe-length": packet(0x82, b"\x00\x01" + no_properties + b"\xff\xffa\x00"),
        "subscribe-no-options": packet(0x82, b"\x00\x01" + no_properties + b"\x00\x01a"),
        "filter-wrong": packet(0x82, b"\x00\x01" + no_properties + b"\x00\x03a#b\x00"),
        "empty-unsubscribe": packet(0xA2, b"\x00\x01" + no_properties),
        "connack-from-client": b"\x20\x02\x00\x00",
        "suback-from-client": b"\x90\x03\x00\x01\x00",
        "pingresp-from-client": b"\xd0\x00",
        "long-pingreq": b"\xc0\x01\x00",
        "long-puback": packet(0x40, b"\x00\x01" + bytes(60000)),
        "type-0": b"\x00\x00",
    }
    if version == 5:
        many = b"\x01\x01" * 20000
        bombs |= {
            "property-length": packet(0x30, b"\x00\x01a\x7f"),
            "property-length-by-one": packet(0x30, b"\x00\x01a\x03\x01\x01"),
            "property-length-five": packet(0x30, b"\x00\x01a\xff\xff\xff\xff\x01"),
            "property-unknown": packet(0x30, b"\x00\x01a\x02\x7e\x00"),
            "property-twice": packet(0x30, b"\x00\x01a\x04\x01\x01\x01\x01"),
            "property-20000-times": packet(0x30, b"\x00\x01a" + p.varint(len(many)) + many),
            "property-cut": packet(0x30, b"\x00\x01a\x03\x26\xff\xff"),
            "alias-0": packet(0x30, b"\x00\x01a\x03\x23\x00\x00"),
            "alias-over": packet(0x30, b"\x00\x01a\x03\x23\x00\x11"),
            "alias-not-set": packet(0x30, b"\x00\x00\x03\x23\x00\x05"),
            "auth": b"\xf0\x00",
            "will-expiry": packet(0xE0, b"\x00\x05\x11\x00\x00\x00\x0a"),
        }
    return bombs


def await_end(wire: w.Wire, name: str):
    try:
        wire.await_end()
    except TimeoutError:
        raise AssertionError(f"{name}: the connection is not ended") from None


@attack(settings=SETTINGS, everywhere=True, light=True)
def packet_bombs_before_connect(target):
    """Beginnings that are not CONNECT, or a CONNECT that lies"""
    for turn in range(target.times(20 if target.transport == "tcp" else 4)):
        for name, bomb in first_packets().items():
            wire = target.open()
            if turn % 2 and len(bomb) < 1000:
                for at in range(len(bomb)):
                    wire.try_send(bomb[at : at + 1])
            else:
                wire.try_send(bomb)
            if not wire.closed and name not in ("largest-length", "name-length"):
                await_end(wire, name)
            wire.close()


@attack(settings=SETTINGS, everywhere=True, light=True)
def packet_bombs_after_connect(target):
    """Packets over every limit, or with lengths that lie"""
    for _ in range(target.times(10 if target.transport == "tcp" else 2)):
        for version in (4, 5):
            for name, bomb in later_packets(version).items():
                wire = target.connect(version)
                assert wire.try_send(bomb), name
                if not wire.closed:
                    await_end(wire, name)
                wire.close()


def subscribe_packet(topic: bytes) -> bytes:
    return p.Subscribe(7, [p.Filter(topic, 1)]).encode(4)


@attack(settings=SETTINGS, everywhere=True, light=True)
def packets_at_every_limit(target):
    """Packets that are just within every limit are served"""
    for _ in range(target.times(20)):
        wire = target.connect()
        size = PACKET_MAX - 1 - 3 - 2 - 1 - 2  # all of the packet counts
        largest = publish("a", bytes(size), 1, packet_id=9)
        assert len(largest) == PACKET_MAX
        wire.send(largest)
        expect(wire, b"\x40\x02\x00\x09")
        wire.send(publish("/" * (PACKET_MAX - 100), b"", 1, packet_id=3))  # as many levels as bytes
        expect(wire, b"\x40\x02\x00\x03")
        wire.send(subscribe_packet(b"/".join([b"l"] * 128)))
        expect(wire, b"\x90\x03\x00\x07\x01")
        wire.send(subscribe_packet(b"/".join([b"l"] * 129)))
        expect(wire, b"\x90\x03\x00\x07\x80")
        wire.send(subscribe_packet(b"/" * (PACKET_MAX - 100)))
        expect(wire, b"\x90\x03\x00\x07\x80")
        wire.send(p.Unsubscribe(8, ["/" * (PACKET_MAX - 100)]).encode(4))
        expect(wire, b"\xb0\x02\x00\x08")
        wire.reset()
        will = p.Will("w", bytes(20000), 1)
        wire = target.connect(client_id="c" * 1024, username="u" * 20000, password=bytes(20000), will=will)
        ping(wire)
        wire.reset()


@attack(settings={"zone.external.max_packet_size": "1MB"}, peak_bytes=24 * MIB, light=True)
def user_properties(target):
    """User properties up to the size of the packet, over and over"""
    pair = b"\x26\x00\x01k\x00\x01v"
    properties = pair * ((MIB - 64) // len(pair))
    bomb = packet(0x32, b"\x00\x01a\x00\x01" + p.varint(len(properties)) + properties)
    reader = target.connect(5)
    reader.send(p.Subscribe(1, [p.Filter("a", 0)]).encode(5))
    wire = target.connect(5)
    for _ in range(target.times(60)):
        wire.send(bomb)
        expect(wire, struct.pack("!BBH", 0x40, 2, 1))
        w.is_over(reader.socket)  # it reads
    reader.reset()
    wire.reset()
