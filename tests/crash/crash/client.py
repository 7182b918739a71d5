"""A client with a session that outlives its connections, doing its side of the protocol exactly.

It keeps what MQTT 5, section 4.1 says a client keeps: the packet IDs and states of what it publishes, the packet IDs at QoS 2 of what it
received. So messages at QoS 2 arrive exactly once if, and only if, the broker does its part. After a reconnect it sends
again what was not acknowledged, in order, with DUP.

Its manners: it comes back at once; or it is often absent; or it connects while it is connected; or it holds acknowledgements back, in order [MQTT-4.6.0-2], some of
them until the connection is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field

from emqc import packets as p
from emqc.packets import Prop

from . import wire
from .history import History, Interval, Message, Stream

RETRY_S = 0.05  # between attempts to connect while there is no broker
NEVER = 0xFFFFFFFF


@dataclass
class Manners:
    """What a client is like. Chances are for each TICK_S."""

    absent: float = 0.0  # chance to leave
    absent_s: tuple[float, float] = (0.1, 1.0)  # for how long
    holding: float = 0.0  # chance to hold an acknowledgement back
    churning: float = 0.0  # chance to unsubscribe, and to subscribe again
    jumping: float = 0.0  # chance to connect once more, which takes the session over from the connection that is there
    resetting: float = 0.0  # chance to come back with a clean start, which gives the session up (version 5)
    window: int = 10  # of what it publishes, at most unacknowledged
    rate: float = 0.0  # messages a second that it publishes at most
    payload_bytes: tuple[int, int] = (40, 300)
    large: float = 0.0  # chance of a payload of LARGE_BYTES
    clearing: float = 0.0  # retained: chance of a message that clears


TICK_S = 0.02
LARGE_BYTES = 20_000


class Outgoing:
    """A message of ours from PUBLISH to PUBACK or PUBCOMP."""

    __slots__ = ("message", "payload", "released")

    def __init__(self, message: Message, payload: bytes):
        self.message, self.payload = message, payload
        self.released = False  # PUBREC came: PUBREL is what is sent


@dataclass
class Context:
    """What the clients of a run share."""

    history: History
    random: random.Random
    address: tuple[str, int]
    active: bool = True  # false: drain; nobody publishes, leaves or holds back
    closing: bool = False  # the run is over: nobody comes back
    may_be_refused: bool = False  # the disk is full at times
    acked: int = 0  # messages acknowledged so far
    delivered: int = 0
    connects: int = 0
    fenced: set[str] = field(default_factory=set)  # who got the last message of the run


@dataclass
class Wish:
    """A subscription that the client wants; `interval` once it was asked for."""

    filter: str
    qos: int
    interval: Interval | None = None
    subscribed: bool = True  # what the client wants
    packet_id: int = 0  # of a SUBSCRIBE or UNSUBSCRIBE under way


class Left(asyncio.Protocol):
    """The other end of a connection that the client has turned away from: whatever comes is not looked at."""


class Client(asyncio.Protocol):
    def __init__(self, context: Context, name: str, version: int, manners: Manners, expiry_s: int = NEVER):
        self.context, self.history, self.random = context, context.history, random.Random(context.random.random())
        self.name, self.version, self.manners, self.expiry_s = name, version, manners, expiry_s
        # The session.
        self.outgoing: dict[int, Outgoing] = {}  # by packet ID, in the order of sending
        self.incoming: dict[int, tuple] = {}  # QoS 2: received and not released; stream and number
        self.wishes: list[Wish] = []
        self.acknowledged_session = False  # CONNACK came once
        self.next_packet_id = 0
        self.clean = False  # connect with a clean start until that has succeeded
        # The connection.
        self.number = 0
        self.transport = None
        self.connected = False
        self.absent_until = 0.0
        self.held: deque[bytes] = deque()
        self.server_window = 65535
        # What it publishes.
        self.streams: list[Stream] = []
        self.budget = 0.0
        self.pings = 0
        self.task = None
        self.lost = asyncio.Event()
        self.left: list[asyncio.Transport] = []  # that are still open

    # --- life

    def start(self):
        self.task = asyncio.get_running_loop().create_task(self._live())

    async def _live(self):
        loop = asyncio.get_running_loop()
        while not self.context.closing:
            wait = self.absent_until - loop.time()
            if self.context.active and wait > 0:
                await asyncio.sleep(min(wait, TICK_S))
                continue
            self.lost.clear()
            try:
                await asyncio.wait_for(loop.create_connection(lambda: self, *self.context.address), 5)
            except (OSError, asyncio.TimeoutError):
                await asyncio.sleep(RETRY_S * (0.5 + self.random.random()))
                continue
            while not self.lost.is_set():
                await asyncio.sleep(TICK_S)
                if self.connected:
                    self._tick()
            self.left = [transport for transport in self.left if not transport.is_closing()]
            if not self.connected and not self.left:
                await asyncio.sleep(RETRY_S)

    async def end(self):
        """Ends the connection; the session stays with the broker."""
        for transport in (*self.left, self.transport):
            if transport:
                transport.abort()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def leave(self, politely: bool):
        if politely and self.connected:
            self.transport.write(p.Disconnect().encode(self.version))
            self.transport.close()
        else:
            self.transport.abort()
        self.connected = False

    def jump(self):
        """Connects anew, and what still comes on this connection is lost."""
        self.transport.set_protocol(Left())
        self.left.append(self.transport)
        self.connection_lost(None)

    def go(self):
        """Leaves and stays away until come()."""
        self.absent_until = float("inf")
        self.leave(True)

    def come(self):
        self.absent_until = 0.0

    def _tick(self):
        """What the client does of its own will."""
        if not self.context.active:
            self._release(len(self.held))
            self.settle()
            return
        manners = self.manners
        if manners.absent and self.random.random() < manners.absent:
            self.absent_until = asyncio.get_running_loop().time() + self.random.uniform(*manners.absent_s)
            self.leave(self.random.random() < 0.5)
            return
        if manners.resetting and self.random.random() < manners.resetting:
            self.clean = True
            self.leave(self.random.random() < 0.5)
            return
        if manners.jumping and self.random.random() < manners.jumping:
            self.jump()
            return
        if self.held and self.random.random() < 0.3:
            self._release(self.random.randint(0, len(self.held)))
        if manners.churning:
            for wish in self.wishes:
                if not wish.packet_id and self.random.random() < manners.churning:
                    wish.subscribed = not wish.subscribed
        self.settle()
        if self.streams:
            self.budget = min(self.budget + manners.rate * TICK_S, float(manners.window))
            self._publish()

    # --- connection

    def connection_made(self, transport):
        self.transport = transport
        self.number += 1
        self.connected = False
        self.held.clear()
        self.splitter = wire.Splitter()
        properties = {}
        if self.version == 5:
            properties = {Prop.SESSION_EXPIRY_INTERVAL: self.expiry_s, Prop.RECEIVE_MAXIMUM: 20}
        if self.clean:
            for interval in (wish.interval for wish in self.wishes if wish.interval):
                interval.void = True
                interval.leaving = self.history.tick()
        connect = p.Connect(self.name, clean=self.clean, keepalive=0, properties=properties)
        transport.write(connect.encode(self.version))

    def connection_lost(self, error):
        self.connected = False
        self.held.clear()
        for wish in self.wishes:
            wish.packet_id = 0
        self.lost.set()

    def data_received(self, data):
        try:
            for first, body in self.splitter.feed(data):
                if self.transport.is_closing():
                    return
                self._packet(first, body)
        except p.Malformed as error:
            self.history.fault("protocol", f"{self.name}: {error}")
            self.transport.abort()

    def _packet(self, first: int, body: bytes):
        kind = first >> 4
        if kind == wire.PUBLISH:
            self._on_publish(first, body)
        elif wire.PUBACK <= kind <= wire.PUBCOMP:
            packet_id = body[0] << 8 | body[1]
            self._on_ack(kind, packet_id, body[2] if len(body) > 2 else 0)
        else:
            self._on_rare(p.decode(self.version, first, body))

    def _on_rare(self, packet):
        if isinstance(packet, p.Connack):
            self._on_connack(packet)
        elif isinstance(packet, (p.Suback, p.Unsuback)):
            self._on_suback(packet)
        elif isinstance(packet, p.Pingresp):
            self.pings += 1
        elif isinstance(packet, p.Disconnect):
            # A broker that is shut down in order says so.
            if packet.reason not in (0x8B, 0x9C) and not self.context.may_be_refused:
                self.history.fault("protocol", f"{self.name}: DISCONNECT with reason 0x{packet.reason:02x}")
        else:
            self.history.fault("protocol", f"{self.name}: unexpected {packet}")

    def _on_connack(self, packet: p.Connack):
        if packet.reason:
            if not self.context.may_be_refused:
                self.history.fault("protocol", f"{self.name}: CONNACK with reason 0x{packet.reason:02x}")
            self.transport.abort()
            return
        if self.clean:
            self._begin_anew(packet)
        elif self.acknowledged_session and not packet.session_present:
            self.history.fault("session", f"{self.name}: not present any more on connection {self.number}")
            self._forget_session()
        self.acknowledged_session = True
        self.connected = True
        self.context.connects += 1
        if self.version == 5:
            self.server_window = p.Properties(packet.properties).get(Prop.RECEIVE_MAXIMUM, 65535)
        self.transport.write(b"".join(self._again(packet_id) for packet_id in self.outgoing))
        self.settle()
        self._publish()

    def _begin_anew(self, packet: p.Connack):
        """After a clean start."""
        self.clean = False
        if packet.session_present:
            self.history.fault("session", f"{self.name}: present after a clean start on connection {self.number}")
        for interval in (wish.interval for wish in self.wishes if wish.interval):
            interval.left = self.history.tick()
        self._forget_session()

    def _forget_session(self):
        """The broker has: go on with what a new session is, so that one loss does not look like many."""
        self.incoming.clear()
        for wish in self.wishes:
            wish.interval = None

    def _again(self, packet_id: int) -> bytes:
        item = self.outgoing[packet_id]
        if item.released:
            return wire.ack(wire.PUBREL, packet_id)
        return self._encode(packet_id, item, True)

    # --- publishing

    def _encode(self, packet_id: int, item: Outgoing, dup: bool) -> bytes:
        stream = item.message.stream
        item.message.sends += 1
        return wire.publish(self.version, stream.target.encode(), item.payload, stream.qos, packet_id, dup, stream.retain)

    def _publish(self):
        """As much as the budget and the window allow."""
        window = min(self.manners.window, self.server_window)
        out = []
        while self.context.active and self.streams and self.budget >= 1 and len(self.outgoing) < window:
            self.budget -= 1
            out.append(self._first(self.random.choice(self.streams)))
        if out:
            self.transport.write(b"".join(out))

    def _first(self, stream: Stream) -> bytes:
        cleared = stream.retain and self.random.random() < self.manners.clearing
        large = self.random.random() < self.manners.large
        message = stream.new(cleared)
        payload = stream.payload(message, LARGE_BYTES if large else self.random.randint(*self.manners.payload_bytes))
        item = Outgoing(message, payload)
        packet_id = self._free_packet_id()
        self.outgoing[packet_id] = item
        message.sent = self.history.tick()
        return self._encode(packet_id, item, False)

    def publish_now(self, stream: Stream):
        """One more message, window or not; sent when connected."""
        data = self._first(stream)
        if self.connected:
            self.transport.write(data)

    def _free_packet_id(self) -> int:
        while True:
            self.next_packet_id = self.next_packet_id % 65535 + 1
            if self.next_packet_id not in self.outgoing and not any(
                wish.packet_id == self.next_packet_id for wish in self.wishes
            ):
                return self.next_packet_id

    def _on_ack(self, kind: int, packet_id: int, reason: int):
        if kind == wire.PUBREL:
            self._on_pubrel(packet_id)
            return
        item = self.outgoing.get(packet_id)
        if item is None:
            self.history.fault("protocol", f"{self.name}: acknowledgement {kind} of packet ID {packet_id}, not in use")
            return
        message = item.message
        fits = {1: kind == wire.PUBACK, 2: kind == (wire.PUBCOMP if item.released else wire.PUBREC)}[message.stream.qos]
        if not fits and not (kind == wire.PUBREC and item.released):
            self.history.fault("protocol", f"{self.name}: acknowledgement {kind} for {message}")
            return
        if reason >= 0x80 and kind != wire.PUBCOMP:
            del self.outgoing[packet_id]
            message.refused = reason
            if not self.context.may_be_refused:
                self.history.fault("protocol", f"{message} was refused with 0x{reason:02x}")
        elif kind == wire.PUBREC:
            self._acked(message)
            item.released = True
            self.transport.write(wire.ack(wire.PUBREL, packet_id))
        else:
            del self.outgoing[packet_id]
            self._acked(message)
            message.completed = self.history.tick()
        if self.connected:
            self._publish()

    def _acked(self, message: Message):
        if message.acked is None:
            message.acked = self.history.tick()
            self.context.acked += 1

    # --- receiving

    def _on_publish(self, first: int, body: bytes):
        topic, payload, qos, packet_id, _, _ = wire.parse_publish(self.version, first, body)
        # One that clears a retained message has no payload, so it does not say which it is.
        found = self.history.identify(topic, payload) if payload else (topic, None)
        held = self.incoming.get(packet_id)
        if held is not None and found is not None and held != found:
            text = f"{self.name}: {found[0]}#{found[1]} under ID {packet_id}, still in use for {held[0]}#{held[1]}"
            self.history.fault("packet ID", text)
        if held is None and found is not None and payload:
            self.history.seen(self.name, *found, qos, self.number)
            self.context.delivered += 1
            if found[0].publisher == "fence":
                self.context.fenced.add(self.name)
        if qos == 2:
            self.incoming[packet_id] = found or (topic, None)
        if qos:
            self._answer(wire.ack(wire.PUBACK if qos == 1 else wire.PUBREC, packet_id))

    def _on_pubrel(self, packet_id: int):
        known = self.incoming.pop(packet_id, None) is not None
        self._answer(wire.ack(wire.PUBCOMP, packet_id, 0 if known or self.version != 5 else 0x92))

    def _answer(self, data: bytes):
        """Behind what is held back already, so that the order stays."""
        holding = self.context.active and self.manners.holding
        if self.held or (holding and self.random.random() < self.manners.holding):
            self.held.append(data)
        else:
            self.transport.write(data)

    def _release(self, count: int):
        if count:
            self.transport.write(b"".join(self.held.popleft() for _ in range(count)))

    # --- subscriptions

    def wish(self, topic_filter: str, qos: int):
        self.wishes.append(Wish(topic_filter, qos))

    def subscribed(self) -> bool:
        return all(wish.interval and wish.interval.acked and not wish.interval.leaving for wish in self.wishes)

    def settle(self):
        """Asks for what is wanted and not yet so."""
        if not self.context.active:
            for wish in self.wishes:
                wish.subscribed = True
        for wish in self.wishes:
            interval = wish.interval
            if wish.packet_id:
                continue
            if interval is not None and (interval.leaving or not wish.subscribed):
                self._unsubscribe(wish)  # one that was not answered is finished first
            elif wish.subscribed and (interval is None or not interval.acked):
                self._subscribe(wish)

    def _subscribe(self, wish: Wish):
        wish.packet_id = self._free_packet_id()
        if wish.interval is None:
            wish.interval = self.history.subscribing(self.name, wish.filter, wish.qos)
        # Retained messages sent for a subscription that was not answered and is asked for again would look like repetitions.
        asked = p.Filter(wish.filter, wish.qos, retain_handling=2)
        self.transport.write(p.Subscribe(wish.packet_id, [asked]).encode(self.version))

    def _unsubscribe(self, wish: Wish):
        wish.packet_id = self._free_packet_id()
        wish.interval.leaving = wish.interval.leaving or self.history.tick()
        self.transport.write(p.Unsubscribe(wish.packet_id, [wish.filter]).encode(self.version))

    def _on_suback(self, packet):
        wish = next((wish for wish in self.wishes if wish.packet_id == packet.packet_id), None)
        if wish is None:
            self.history.fault("protocol", f"{self.name}: {packet} answers nothing")
            return
        wish.packet_id = 0
        if any(code >= 0x80 for code in packet.codes):
            if not self.context.may_be_refused:
                self.history.fault("protocol", f"{self.name}: {packet}")
        elif isinstance(packet, p.Suback):
            wish.interval.acked = wish.interval.acked or self.history.tick()
        else:
            wish.interval.left = self.history.tick()
            wish.interval = None

    # --- for the end of a run

    def idle(self) -> bool:
        """Connected, and nothing of what it publishes or subscribes is under way."""
        return self.connected and not self.outgoing and not self.held and self.subscribed()

    def state(self) -> str:
        """For somebody who looks for the cause of a stall."""
        place = self.transport.get_extra_info("sockname") if self.transport else None
        return (
            f"{self.name}: connection {self.number} from {place}, connected {self.connected}, subscribed {self.subscribed()}, "
            f"{len(self.outgoing)} out, {len(self.incoming)} in, {len(self.held)} held back"
        )

    def ping(self):
        self.transport.write(p.Pingreq().encode(self.version))
