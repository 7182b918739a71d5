"""Attacks by quantity: connected clients that send as much as they can, within the limits and over them."""

from __future__ import annotations

import itertools
import struct

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import KIB, MIB, attack, connect, expect, ping, publish, subscribe
from .watch import pace


def deep(number: int, levels: int = 128) -> str:
    """A filter of so many levels that shares no level with that of another number."""
    return "/".join(f"{number:x}" if at % 8 else "+" for at in range(1, levels + 1))


# A node of the topic tree takes about 70 bytes: 20 clients with 100 filters of 128 levels make 18 MiB.
@attack(settings={"zone.external.max_topic_levels": "128", "zone.external.max_subscriptions": "100"},
        peak_bytes=40 * MIB, kept_bytes=10 * MIB, everywhere=True, light=True)  # fmt: skip
def deep_filters(target):
    """SUBSCRIBE with 128 levels and wildcards, up to max_subscriptions and over it"""
    wires = [target.connect() for _ in range(target.times(20))]
    for turn in range(4):
        for number, wire in enumerate(wires):
            filters = [deep(1000 * number + 50 * turn + n) for n in range(50)]
            wire.send(subscribe(*filters, qos=1))
            expect(wire, b"\x90" + p.varint(52) + b"\x00\x01" + (b"\x01" if turn < 2 else b"\x80") * 50)
    for wire in wires:
        wire.send(publish("/".join("x" for _ in range(128))) * 200)
        wire.send(subscribe(*(deep(n, 129) for n in range(50))))
        expect(wire, b"\x90" + p.varint(52) + b"\x00\x01" + b"\x80" * 50)
        wire.reset()


# More than 1,024 have to be allowed.
@attack(settings={"zone.external.max_packet_size": "64KB", "zone.external.max_topic_levels": "65535"},
        peak_bytes=64 * MIB, kept_bytes=10 * MIB)  # fmt: skip
def filters_of_32767_levels(target):
    """SUBSCRIBE and UNSUBSCRIBE with as many levels as a filter can have"""
    wire, publisher = target.connect(), target.connect()
    for number in range(target.times(10)):
        name = f"{number}/" + "+/" * 31000 + "#"
        wire.send(subscribe(name))
        expect(wire, b"\x90\x03\x00\x01\x00")
        publisher.send(publish(f"{number}/" + "a/" * 31000 + "a"))
        ping(publisher)
        wire.send(p.Unsubscribe(1, [name]).encode(4))
        ping(wire)
    publisher.reset()
    wire.reset()


# 65,536 filters with a node and a subscription each.
@attack(settings={"zone.external.max_subscriptions": "0"}, peak_bytes=80 * MIB, kept_bytes=16 * MIB)
def many_matches(target):
    """One topic that 4,096 filters of one client match, published again and again"""
    subscriber, publisher = target.connect(), target.connect()
    stem = unique()
    filters = ["/".join((stem, *levels)) for levels in itertools.product("+a", repeat=12)]
    for start in range(0, len(filters), 512):
        subscriber.send(subscribe(*filters[start : start + 512]))
        expect(subscriber, b"\x90")
    topic = "/".join((stem, *("a" * 12)))
    for _ in range(target.times(3)):
        if not publisher.try_send(publish(topic) * 2000):
            break
    publisher.reset()
    subscriber.reset()


@attack(settings={"zone.external.max_subscriptions": "0"}, peak_bytes=120 * MIB, kept_bytes=16 * MIB)
def one_packet_of_filters(target):
    """One SUBSCRIBE of 1 MB with 100,000 filters, and the end of its session"""
    wire = target.connect()
    stem = unique()[-4:]
    bomb = subscribe(*(f"{stem}{n:x}" for n in range(target.times(80000))))
    wire.send(bomb)
    expect(wire, b"\x90")
    wire.reset()


@attack(settings={"zone.external.publish_limit": "2000,1s"}, light=True, everywhere=True)
def publish_flood_over_the_limit(target):
    """PUBLISH over publish_limit: the client is not read meanwhile"""
    wires = [target.connect() for _ in range(target.times(8))]
    flood = publish("flood", bytes(1000)) * 16000
    stuck = [not wire.try_send(flood) for wire in wires]
    for wire in wires:
        wire.reset()
    assert all(stuck), "a client over its limit is still read"


@attack(settings={"listener.tcp.limited": "{second}", "listener.tcp.limited.zone": "external",
                  "listener.tcp.limited.rate_limit": "10000,100000"}, transports=("tcp",), light=True)  # fmt: skip
def bytes_over_the_rate(target):
    """Bytes over rate_limit: the client is not read meanwhile"""
    wires = [w.open_wire("tcp", target.second) for _ in range(target.times(8))]
    for wire in wires:
        connect(wire)
    flood = publish("flood", bytes(1000)) * 8000
    stuck = [not wire.try_send(flood) for wire in wires]
    for wire in wires:
        wire.reset()
    assert all(stuck), "a client over its limit is still read"


@attack(everywhere=True, light=True)
def publish_flood(target):
    """PUBLISH at QoS 0 without a subscriber, as fast as it goes"""
    wire = target.connect()
    flood = publish("flood/a", bytes(100)) * 5000
    for _ in range(target.times(60)):
        wire.send(flood)
    ping(wire)
    wire.reset()


@attack(settings={"zone.external.max_awaiting_rel": "100"}, light=True)
def qos_2_without_pubrel(target):
    """QoS 2 that is never released, up to max_awaiting_rel and over it"""
    for version in (4, 5):
        bomb = b"".join(publish("qos2", bytes(100), 2, version, number) for number in range(1, 102))
        for _ in range(target.times(100)):
            wire = target.connect(version)
            wire.send(bomb)
            wire.await_end()


# Each client may keep 1 MiB of topics; what is over that ends it.
@attack(settings={"zone.external.max_topic_alias": "65535", "zone.external.max_packet_size": "64KB"},
        peak_bytes=40 * MIB, light=True)  # fmt: skip
def endless_aliases(target):
    """Topic aliases with the longest topics, until the broker has enough of it"""
    topic = "t" * 60000
    for _ in range(target.times(10)):
        wire = target.connect(5)
        for alias in range(1, 60):
            if wire.try_send(publish(topic, b"", 0, 5, properties={p.Prop.TOPIC_ALIAS: alias})) and wire.closed:
                break
        if not wire.closed:
            wire.await_end()  # a client may not keep as many topics as it likes


@attack(light=True)
def alias_round(target):
    """All aliases set anew over and over, within the limits"""
    # The default allows none: each is refused.
    for _ in range(target.times(300)):
        wire = target.connect(5)
        wire.send(publish("a", b"", 0, 5, properties={p.Prop.TOPIC_ALIAS: 1}) * 50)
        wire.await_end()


# What is retained stays: 1,000 messages of 1 KiB.
@attack(settings={"broker.max_retained_messages": "1000", "broker.max_retained_payload": "2KB"}, light=True)
def retained_flood(target):
    """Retained messages over max_retained_messages and max_retained_payload"""
    wire = target.connect()
    payload = bytes(1000)
    for start in range(0, target.times(40000), 1000):
        wire.send(b"".join(publish(f"r/{n}", payload, retain=True) for n in range(start, start + 1000)))
        wire.send(publish("large", bytes(4000), retain=True))
    ping(wire)
    wire.send(b"".join(publish(f"r/{n}", b"", retain=True) for n in range(target.times(40000))))
    ping(wire)
    wire.reset()


@attack(light=True)
def shared_churn(target):
    """Clients that join and leave a shared subscription that is published to"""
    publisher = target.connect()
    wires = [target.connect() for _ in range(10)]
    join, leave = subscribe("$share/g/churn", qos=1), p.Unsubscribe(1, ["$share/g/churn"]).encode(4)
    for _ in range(target.times(60)):
        publisher.send(publish("churn", b"x", 1) * 50)
        for wire in wires:
            wire.send((join + leave) * 20 + join)
        for wire in wires:
            w.is_over(wire.socket)
        w.is_over(publisher.socket)
    for wire in (publisher, *wires):
        wire.reset()


@attack(everywhere=True, light=True)
def ping_flood(target):
    """PINGREQ without reading an answer"""
    wires = [target.connect() for _ in range(target.times(4))]
    flood = b"\xc0\x00" * 20000
    for wire in wires:
        for _ in range(40):
            if not wire.try_send(flood):
                break
    for wire in wires:
        wire.reset()


SLOW = {"zone.external.high_watermark": "256KB", "listener.{transport}.external.sndbuf": "64KB",
        "zone.external.max_mqueue_len": "100"}  # fmt: skip


# A reader that is behind holds its high watermark and its queue: 20 times (256 KiB + 100 KiB), and messages are shared.
@attack(settings=SLOW, peak_bytes=32 * MIB, everywhere=True, light=True)
def readers_that_do_not_read(target):
    """Subscribers of a flood that never read"""
    readers = [target.connect(receive_buffer=8192) for _ in range(20)]
    for number, reader in enumerate(readers):
        reader.send(subscribe("flood/#", qos=number % 2))
    publisher = target.connect()
    for qos in (0, 1):
        burst = b"".join(publish("flood/a", bytes(1000), qos, packet_id=n) for n in range(1, 201))
        for _ in range(target.times(30)):
            publisher.send(burst)
            w.is_over(publisher.socket)
    ping(publisher)
    for wire in (publisher, *readers):
        wire.reset()


# Each may hold 1,000 messages at 100 KiB, but they are the same ones; at most max_mqueue_len of them are alive.
@attack(settings=SLOW, peak_bytes=64 * MIB)
def readers_of_large_messages(target):
    """Subscribers of 100 KiB messages that never read"""
    readers = [target.connect(receive_buffer=8192) for _ in range(20)]
    for reader in readers:
        reader.send(subscribe("flood/#", qos=1))
    publisher = target.connect()
    for number in range(target.times(500)):
        publisher.send(publish("flood/a", bytes(100 * KIB), 1, packet_id=number + 1))
        w.is_over(publisher.socket)
    ping(publisher)
    for wire in (publisher, *readers):
        wire.reset()


@attack(light=True)
def acknowledgements_of_nothing(target):
    """PUBACK, PUBREC, PUBREL and PUBCOMP for packets that never were"""
    wire = target.connect()
    for first in (0x40, 0x50, 0x62, 0x70):
        flood = b"".join(struct.pack("!BBH", first, 2, n % 65535 + 1) for n in range(5000))
        for _ in range(target.times(20)):
            wire.send(flood)
            w.is_over(wire.socket)
            pace(0.005)
    wire.reset()


@attack(light=True)
def subscribe_churn(target):
    """One filter subscribed and unsubscribed as fast as it goes"""
    wire = target.connect()
    flood = (subscribe("churn/+") + p.Unsubscribe(1, ["churn/+"]).encode(4)) * 500
    for _ in range(target.times(60)):
        wire.try_send(flood)
        w.is_over(wire.socket)
    wire.reset()
