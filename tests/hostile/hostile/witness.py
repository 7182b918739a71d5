"""The well-behaved clients: a process of its own that shows what the others notice of an attack.

Clients in a ring publish to each other with QoS 1, so many messages a second, and each measures from its PUBLISH to the
arrival at its neighbour. A newcomer connects, subscribes, pings and disconnects a few times a second. On standard
input each line `mark` asks for the figures since the last one as a line of JSON; the end of input ends the process.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import struct
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "integration")]

from emqc import packets as p  # noqa: E402
from hostile import wire as w  # noqa: E402

DRAIN_S = 15.0  # to wait for what is still under way at a mark
NEWCOMER_PACE_S = 0.2
ROUND_TRIPS_MIN = 20  # that a mark waits for, however short the attack was


class Packets:
    """Cuts a stream of bytes into packets; only as much as the witness needs, so that it is quick."""

    def __init__(self):
        self.buffer = bytearray()

    def take(self):
        """(first byte, body) or None."""
        length = shift = 0
        for at in range(1, min(len(self.buffer), 5)):
            length |= (self.buffer[at] & 0x7F) << shift
            shift += 7
            if not self.buffer[at] & 0x80:
                if len(self.buffer) < at + 1 + length:
                    return None
                first, body = self.buffer[0], bytes(self.buffer[at + 1 : at + 1 + length])
                del self.buffer[: at + 1 + length]
                return first, body
        return None


class Peer:
    """One client of the ring."""

    def __init__(self, ring, number: int):
        self.ring, self.number = ring, number
        self.packets = Packets()
        self.wire = w.open_wire(ring.transport, ring.address)
        self.wire.send(p.Connect(f"witness-{os.getpid()}-{number}", keepalive=60).encode(4))
        self.await_packet(0x20, 1)
        self.wire.send(p.Subscribe(1, [p.Filter(f"witness/{os.getpid()}/{number}", 1)]).encode(4))
        self.await_packet(0x90, 2)

    def await_packet(self, first: int, good: int):
        while (packet := self.packets.take()) is None:
            data = self.wire.receive()
            if not data:
                raise ConnectionError("closed by the broker")
            self.packets.buffer += data
        if packet[0] != first or packet[1][-1] >= good:
            raise ConnectionError(f"unexpected {packet}")

    def publish(self, serial: int):
        packet_id = serial % 65535 + 1
        to = (self.number + 1) % len(self.ring.peers)
        payload = struct.pack("!QQ", serial, time.monotonic_ns())
        self.wire.send(p.Publish(f"witness/{os.getpid()}/{to}", payload, 1, packet_id=packet_id).encode(4))

    def on_readable(self):
        data = self.wire.receive()
        if not data:
            raise ConnectionError(f"client {self.number} was closed by the broker")
        self.packets.buffer += data
        acks = []
        while (packet := self.packets.take()) is not None:
            first, body = packet
            if first >> 4 == 4:
                self.ring.acked += 1
                continue
            if first >> 4 != 3:
                raise ConnectionError(f"client {self.number} got {packet}")
            at = 2 + struct.unpack_from("!H", body)[0]
            serial, sent_ns = struct.unpack_from("!QQ", body, at + 2)
            self.ring.arrived(serial, time.monotonic_ns() - sent_ns)
            acks.append(b"\x40\x02" + body[at : at + 2])
        if acks:
            self.wire.send(b"".join(acks))


class Ring:
    def __init__(self, transport: str, address, count: int, rate: float, newcomers: bool):
        self.transport, self.address, self.newcomers = transport, address, newcomers
        self.serial = self.acked = 0
        self.under_way: set[int] = set()
        self.latencies_ns: list[int] = []
        self.newcomers_ns: list[int] = []
        self.doubles = 0
        self.error = None
        self.asked = False  # for figures, and not answered yet
        self.marked = 0  # the first serial since the last mark
        self.interval = 1.0 / rate
        self.peers: list[Peer] = []
        self.peers.extend(Peer(self, number) for number in range(count))
        self.poll = select.epoll()
        for number, peer in enumerate(self.peers):
            self.poll.register(peer.wire.fileno(), select.EPOLLIN)
        self.by_fd = {peer.wire.fileno(): peer for peer in self.peers}

    def arrived(self, serial: int, latency_ns: int):
        if serial in self.under_way:
            self.under_way.discard(serial)
        else:
            self.doubles += 1
        self.latencies_ns.append(latency_ns)

    def serve(self, timeout: float):
        """Handles what has come; whether standard input has something."""
        asked = False
        for fd, _ in self.poll.poll(max(timeout, 0)):
            if fd == 0:
                asked = True
                continue
            peer = self.by_fd[fd]
            peer.on_readable()
            while peer.wire.pending():
                peer.on_readable()
        return asked

    def greet_on(self):
        """One newcomer after the other, in a thread of its own: the ring does not wait for them."""
        while self.error is None:
            try:
                self.greet()
            except Exception as error:  # noqa: BLE001
                self.error = f"newcomer: {type(error).__name__}: {error}"
            time.sleep(NEWCOMER_PACE_S)

    def greet(self):
        """A newcomer's whole conversation."""
        start = time.monotonic_ns()
        packets = Packets()
        wire = w.open_wire(self.transport, self.address)
        wire.send(p.Connect(f"newcomer-{os.getpid()}").encode(4) + p.Pingreq().encode(4))
        seen = []
        while len(seen) < 2:
            data = wire.receive()
            if not data:
                raise ConnectionError(f"a newcomer was closed by the broker after {seen}")
            packets.buffer += data
            while (packet := packets.take()) is not None:
                seen.append(packet[0])
        if seen != [0x20, 0xD0]:
            raise ConnectionError(f"a newcomer got {seen}")
        wire.send(p.Disconnect().encode(4))
        wire.close()
        self.newcomers_ns.append(time.monotonic_ns() - start)

    def publish_next(self):
        self.under_way.add(self.serial)
        self.peers[self.serial % len(self.peers)].publish(self.serial)
        self.serial += 1

    def drain(self):
        """Until all that was sent has arrived and is acknowledged; what has not by then is lost."""
        deadline = time.monotonic() + DRAIN_S
        while (self.under_way or self.acked < self.serial) and time.monotonic() < deadline:
            self.serve(0.1)

    def figures(self) -> dict:
        ordered = sorted(self.latencies_ns)
        found = {
            "count": len(ordered),
            "lost": len(self.under_way),
            "unacknowledged": self.serial - self.acked,
            "doubles": self.doubles,
            "newcomers": len(self.newcomers_ns),
            "newcomer_max_ms": max(self.newcomers_ns, default=0) / 1e6,
            "error": self.error,
        }
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            at = min(len(ordered) - 1, int(share * len(ordered)))
            found[f"{name}_ms"] = ordered[at] / 1e6 if ordered else 0.0
        self.latencies_ns, self.newcomers_ns, self.doubles = [], [], 0
        return found

    def answer(self):
        self.asked, self.marked = False, self.serial
        print(json.dumps(self.figures()), flush=True)

    def run(self):
        """Until standard input ends."""
        self.poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        print("ready", flush=True)
        if self.newcomers:
            threading.Thread(target=self.greet_on, daemon=True).start()
        due = time.monotonic()
        while True:
            if self.serve(due - time.monotonic()):
                if not os.read(0, 4096):
                    return
                self.asked = True
            if self.asked and self.serial >= self.marked + ROUND_TRIPS_MIN:
                self.drain()
                self.answer()
            if time.monotonic() < due:
                continue
            self.publish_next()
            due = max(due + self.interval, time.monotonic() - 1.0)  # what is late catches up, but for more than a second

    def confess(self, error: Exception):
        """An error is a figure too; the ring then only answers."""
        self.error = f"{type(error).__name__}: {error}"
        if self.asked:
            self.answer()
        while os.read(0, 4096):
            self.answer()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transport", default="tcp", choices=("tcp", "ssl", "ws", "wss"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--newcomers", action="store_true")
    options = parser.parse_args()
    ring = Ring(options.transport, ("127.0.0.1", options.port), options.clients, options.rate, options.newcomers)
    try:
        ring.run()
    except Exception as error:  # noqa: BLE001
        ring.confess(error)


if __name__ == "__main__":
    main()
