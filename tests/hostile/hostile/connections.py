"""Attacks by connections: very many of them, or the same again and again."""

from __future__ import annotations

from emqc import packets as p
from emqc.client import unique

from . import wire as w
from .attacks import CONNECTION, KIB, MIB, attack, connect, subscribe
from .watch import await_true


def await_all_over(sockets: list, timeout: float = 30.0):
    left = list(sockets)

    def step() -> bool:
        nonlocal left
        left = [connection for connection in left if not w.is_over(connection)]
        return not left

    await_true(step, timeout, 0.1)
    for connection in sockets:
        connection.close()
    assert not left, f"{len(left)} of {len(sockets)} connections are still open"


# Under 2 KiB for each connection, and the tables that grow with their number.
@attack(settings={"zone.external.idle_timeout": "4s"}, peak_bytes=10000 * 2 * KIB + 4 * MIB, everywhere=True)
def silent_connections(target):
    """10,000 connections that never send a byte"""
    await_all_over([target.raw() for _ in range(target.times(10000))])


# In TLS about 30 KiB each until the handshake is done or given up.
@attack(settings=CONNECTION, peak_bytes=2000 * 32 * KIB + 4 * MIB, everywhere=True, light=True)
def half_begun_connections(target):
    """2,000 connections that stop in the middle of their handshake or CONNECT"""
    await_all_over([target.half_open((number % 10 + 0.5) / 10) for number in range(target.times(2000))])


@attack(everywhere=True, light=True)
def connect_storm(target):
    """Clients that connect and disconnect at once, without reading"""
    for number in range(target.times(4000 if target.transport == "tcp" else 400)):
        wire = target.open()
        wire.send(p.Connect(unique()).encode(4) + (p.Disconnect().encode(4) if number % 2 else b""))
        wire.close()


@attack()
def reset_storm(target):
    """Connections that are reset as soon as they are there"""
    for _ in range(target.times(8000)):
        w.reset(target.raw())


@attack(settings={"listener.{transport}.external.max_conn_rate": "200"}, newcomers=False, light=True)
def connections_over_the_rate(target):
    """Connections over max_conn_rate wait in the system"""
    sockets = [target.raw() for _ in range(target.times(900))]
    for connection in sockets:
        w.reset(connection)


@attack(settings={"listener.{transport}.external.max_connections": "100", **CONNECTION}, newcomers=False, light=True)
def connections_over_the_limit(target):
    """Connections over max_connections"""
    sockets = [target.raw() for _ in range(target.times(3000))]
    await_all_over(sockets)


@attack(everywhere=True, light=True)
def takeover_storm(target):
    """Connections that take one client's session from each other"""
    name, wires = unique(), []
    for number in range(target.times(1500 if target.transport == "tcp" else 200)):
        wire = target.open()
        if number % 4 == 3:  # without waiting for an answer: the next comes in the middle of the takeover
            wire.send(p.Connect(name, clean=number % 8 == 3).encode(4) + subscribe(f"{name}/#", qos=1))
        else:
            connect(wire, client_id=name, clean=number % 2 == 0)
        wires.append(wire)
        if len(wires) > 50:
            wires.pop(0).reset()
    for wire in wires:
        wire.reset()


@attack(peak_bytes=24 * MIB, light=True)
def session_storm(target):
    """Sessions that outlive their connections by a second"""
    expiry = {p.Prop.SESSION_EXPIRY_INTERVAL: 1}
    for _ in range(target.times(4000)):
        wire = target.open()
        name = unique()
        wire.send(p.Connect(name, properties=expiry, clean=False).encode(5) + subscribe(f"{name}/+", qos=1, version=5))
        wire.receive()
        wire.close()


@attack(light=True)
def will_storm(target):
    """Connections with large wills that are reset, so that the wills go out"""
    reader = target.connect()
    reader.send(subscribe("wills/#"))
    will = p.Will("wills/" + "w" * 2000, bytes(60000), 1)
    for _ in range(target.times(300)):
        wire = target.connect(will=will)
        wire.reset()
    reader.reset()
