"""Attacks by the ways a connection can end: RST and half-closed sockets in every state of it."""

from __future__ import annotations

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import CONNECTION, MIB, attack, connect, expect, publish, subscribe
from .watch import await_true, descriptors

# A second listener on which a client soon has to wait.
LIMITED = {"listener.tcp.limited": "{second}", "listener.tcp.limited.zone": "external",
           "listener.tcp.limited.rate_limit": "1000,1000", "zone.external.high_watermark": "64KB",
           "zone.external.retry_interval": "1s", **CONNECTION}  # fmt: skip


def fresh(target):
    return target.open()


def mid_transport(target):
    """In the middle of the transport's handshake."""
    return w.Wire(target.half_open(0.5))


def mid_connect(target):
    wire = target.open()
    wire.send(p.Connect(unique()).encode(5)[:9])
    return wire


def sent_connect(target):
    wire = target.open()
    wire.send(p.Connect(unique()).encode(5))
    return wire


def connected(target):
    return target.connect()


def subscribed(target):
    wire = target.connect(clean=False)
    wire.send(subscribe("other/#", qos=1))
    return wire


def mid_publish(target):
    wire = target.connect()
    wire.send(publish("ends/a", bytes(3000))[:1000])
    return wire


def mid_large_publish(target):
    wire = target.connect()
    wire.send(publish("ends/a", bytes(300000))[:200000])
    return wire


def mid_header(target):
    wire = target.connect()
    wire.send(b"\x30\xff\xff")
    return wire


def qos_2_begun(target):
    wire = target.connect(5)
    wire.send(publish("ends/a", b"", 2, 5, packet_id=2))
    expect(wire, b"\x50")
    return wire


def being_delivered_to(target):
    """More is under way to it than the socket takes."""
    wire = target.connect(receive_buffer=8192)
    wire.send(subscribe("ends/flood", qos=1))
    wire.send(b"".join(publish("ends/flood", bytes(20000), 1, packet_id=n) for n in range(1, 30)))
    return wire


def taken_over(target):
    name = unique()
    first = target.connect(client_id=name)
    second = target.open()
    second.send(p.Connect(name).encode(4))
    first.reset()
    return second


def refused(target):
    """The broker has sent its DISCONNECT and waits for the end."""
    wire = target.connect(5)
    wire.send(b"\x00\x00")
    return wire


def said_goodbye(target):
    wire = target.connect()
    wire.send(p.Disconnect().encode(4))
    return wire


def limited(target):
    """It has to wait for its rate limit, for half a minute."""
    wire = w.open_wire("tcp", target.second)
    connect(wire)
    wire.send(publish("ends/a", bytes(30000)))
    return wire


STATES = [fresh, mid_transport, mid_connect, sent_connect, connected, subscribed, mid_publish, mid_large_publish, mid_header,
          qos_2_begun, being_delivered_to, taken_over, refused, said_goodbye]  # fmt: skip


def end_all(target, end, states):
    """Brings connections into each state and ends them so; the broker must let go of all."""
    before = descriptors(target.node)
    for _ in range(target.times(40 if target.transport == "tcp" else 10)):
        for state in states:
            end(state(target))
    most = before + 8  # the newcomer of the witness comes and goes
    assert await_true(lambda: descriptors(target.node) <= most, 20), "the broker keeps connections that have ended"


@attack(settings=LIMITED, peak_bytes=32 * MIB, everywhere=True, light=True)
def reset_in_every_state(target):
    """RST in every state of a connection"""
    end_all(target, w.Wire.reset, [*STATES, limited])


@attack(settings={**LIMITED, "zone.external.keepalive_backoff": "0.51"}, peak_bytes=32 * MIB, everywhere=True, light=True)
def half_close_in_every_state(target):
    """Half-closed sockets in every state of a connection"""
    kept = []

    def half_close(wire):
        try:
            wire.half_close()
        except OSError:
            pass
        kept.append(wire)

    try:
        end_all(target, half_close, STATES)
    finally:
        for wire in kept:
            wire.close()


@attack(settings=LIMITED, peak_bytes=32 * MIB, everywhere=True, light=True)
def close_in_every_state(target):
    """Connections closed without a word, with answers unread, in every state"""
    end_all(target, w.Wire.close, STATES)
