"""The clients of a run, and how it ends: everybody drains.

    publishers   QoS 1 and 2, of 3.1.1 and 5, to a topic of their own and to fan-out topics; some retained, some delayed
    steady       come back at once
    absent       often away, so that their queue grows
    holding      acknowledge half of it, much later
    jumping      connect while they are connected, as some publishers do
    churning     unsubscribe and subscribe again
    resetting    come back with a clean start at times, and are away at others
    group        members of a shared subscription
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from emqc import packets as p
from emqc.client import Client as PlainClient
from emqc.client import unique

from .checker import check, describe, got, required
from .client import Client, Context, Manners
from .history import Fault, History, Look

FAN_TOPICS = 3


@dataclass
class Shape:
    """How much of what."""

    publishers: int = 6  # of each QoS
    rate: float = 60.0  # messages a second of each
    subscribers: int = 3  # of each manner
    retained: int = 2  # publishers of retained messages for each QoS
    retained_topics: int = 5  # of each of them
    delayed: bool = True
    shared: bool = True
    payload_bytes: tuple[int, int] = (40, 300)
    large: float = 0.003
    stall_s: float = 20.0  # drain: nothing has moved for so long


@dataclass
class Load:
    address: tuple[str, int]
    seed: int
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self):
        self.history = History()
        self.context = Context(self.history, random.Random(self.seed), self.address)
        self.clients: list[Client] = []
        self.stalls: list[str] = []
        self.subscribers: list[Client] = []
        self.fences: Client = self._client("fence", 4, Manners(window=1000))
        self._make_publishers()
        self._make_subscribers()

    # --- who there is

    def _client(self, name: str, version: int, manners: Manners) -> Client:
        client = Client(self.context, name, version, manners)
        self.clients.append(client)
        return client

    def _version(self, number: int) -> int:
        return (5, 4, 5, 4, 3)[number % 5]

    def _make_publishers(self):
        shape, stream = self.shape, self.history.stream
        for qos in (1, 2):
            for number in range(shape.publishers):
                name = f"p{qos}-{number}"
                manners = self._publishing(window=(5, 20)[number % 2], jumping=(0.0, 0.0, 0.03)[number % 3])
                client = self._client(name, self._version(number), manners)
                client.streams = [stream(name, f"own/{name}", qos), stream(name, f"fan/{number % FAN_TOPICS}", qos)]
                if shape.delayed and number == 0:
                    topic = f"later/{name}"
                    client.streams.append(stream(name, topic, qos, ordered=False, target=f"$delayed/1/{topic}"))
            for number in range(shape.retained):
                name = f"r{qos}-{number}"
                client = self._client(name, self._version(number), self._publishing(rate=shape.rate / 4, clearing=0.1))
                topics = [f"ret/{name}/{index}" for index in range(shape.retained_topics)]
                client.streams = [stream(name, topic, qos, retain=True) for topic in topics]

    def _publishing(self, **fields) -> Manners:
        fields = {"rate": self.shape.rate, **fields}
        return Manners(payload_bytes=self.shape.payload_bytes, large=self.shape.large, **fields)

    def _make_subscribers(self):
        kinds = {
            "steady": Manners(),
            "absent": Manners(absent=0.05),
            "holding": Manners(holding=0.5),
            "jumping": Manners(jumping=0.05, holding=0.2),
            "churning": Manners(churning=0.03),
            "resetting": Manners(resetting=0.02, absent=0.02),
        }
        for kind, manners in kinds.items():
            for number in range(self.shape.subscribers):
                version = 5 if kind == "resetting" else self._version(number)
                client = self._subscriber(f"{kind}-{number}", version, manners)
                self._subscribe(client, number)
        if self.shape.shared:
            for number in range(2):
                member = self._subscriber(f"group-{number}", 5 - number, Manners(absent=0.02 * number))
                member.wish("$share/group/fan/#", 2)

    def _subscriber(self, name: str, version: int, manners: Manners) -> Client:
        client = self._client(name, version, manners)
        self.subscribers.append(client)
        client.wish(f"fence/{name}", 1)
        return client

    def _subscribe(self, client: Client, number: int):
        """No two filters of one client overlap: the broker may deliver twice then [MQTT-3.3.5-1]."""
        client.wish("fan/+" if number % 2 else "fan/#", 1 if number == 2 else 2)
        for qos in (1, 2):
            for publisher in range(number, self.shape.publishers, self.shape.subscribers):
                client.wish(f"own/p{qos}-{publisher}", 2)
        if number == 0:
            client.wish("later/#", 2)
        if number == 1 and client.version == 5:
            client.wish("ret/+/+", 2)

    # --- life

    async def start(self):
        """Connects everybody and waits until all subscriptions stand."""
        self.context.active = False
        for client in self.clients:
            client.start()
        await self.until(lambda: all(client.idle() for client in self.clients), "everybody to connect and subscribe")
        self.context.active = True

    async def until(self, reached, what: str, timeout_s: float = 60):
        for _ in range(int(timeout_s * 50)):
            if reached():
                return
            await asyncio.sleep(0.02)
        states = [client.state() for client in self.clients if not client.idle()]
        raise AssertionError(f"waited {timeout_s} s for {what}; {self.summary()}\n" + "\n".join(states[:20]))

    async def drain(self):
        """Everybody comes back, finishes what it publishes, and gets what it must get. What is missing after nothing has moved
        for stall_s is for the checker."""
        self.context.active = False
        await self._while_moving(lambda: all(client.idle() for client in self.clients))
        for client in self.subscribers:
            stream = self.history.stream("fence", f"fence/{client.name}", 1)
            self.fences.publish_now(stream)
        await self._while_moving(lambda: self.fences.idle())
        # What _complete() needs grows with the run: it is asked when the queues are empty.
        names = {client.name for client in self.subscribers}
        await self._while_moving(lambda: names <= self.context.fenced and not any(c.incoming for c in self.clients))
        await self._while_moving(self._complete)

    async def _while_moving(self, reached):
        """Until `reached`, or nothing has moved for stall_s: then who was in the middle of something is noted. Only time in which clients
        could do something counts."""
        moved, still_s = None, 0.0
        while True:
            asked = time.monotonic()
            if reached():
                return
            now = (self.context.acked, self.context.delivered, sum(len(c.outgoing) + len(c.incoming) for c in self.clients))
            if now != moved:
                moved, still_s = now, 0.0
            elif still_s >= self.shape.stall_s:
                break
            pause_s = max(0.05, time.monotonic() - asked)
            await asyncio.sleep(pause_s)
            still_s += pause_s
        self.stalls += [client.state() for client in self.clients if not client.idle() or client.incoming]

    def _complete(self) -> bool:
        """All that is required has come; or what has not is behind a fence (delayed ones apart), so it never will."""
        have, wanted = got(self.history), required(self.history)
        for name, messages in wanted.items():
            missing = messages - have.get(name, set())
            fences = {m for m in have.get(name, set()) if m.stream.publisher == "fence"}
            waits = {message for message in missing if not message.stream.ordered}
            if missing and (waits or not fences):
                return False
        return all(not client.incoming for client in self.clients)

    async def stop(self):
        self.context.closing = True
        for client in self.clients:
            await client.end()

    # --- retained messages

    def look(self):
        """Asks for the retained messages as a new client; blocks for as long as that takes."""
        looker = PlainClient(self.address, 5).connect(client_id=unique("look"))
        asked = self.history.tick()
        streams = {s.topic: s for s in self.history.streams.values() if s.retain}
        looker.subscribe("ret/#", codes=[0])
        # Messages of now wait behind the retained ones of a subscription.
        looker.publish("ret/end", looker.client_id.encode())
        found = {}
        while True:
            packet = looker.await_packet(p.Publish)
            if packet.payload == looker.client_id.encode():
                break
            if packet.retain:
                known = self.history.identify(packet.topic, packet.payload)
                found[packet.topic] = known[1] if known else None
        looker.disconnect()
        for topic, stream in streams.items():
            self.history.looks.append(Look(stream, asked, found.get(topic)))

    # --- what came out

    def summary(self) -> str:
        sent = sum(len(stream.messages) for stream in self.history.streams.values())
        repeats = sum(m.sends - 1 for s in self.history.streams.values() for m in s.messages)
        context = self.context
        return (
            f"seed {self.seed}: {sent} messages sent ({repeats} sent again), {context.acked} acknowledged, "
            f"{context.delivered} delivered, {context.connects} connections, {len(self.history.looks)} retained looked at"
        )

    def faults(self) -> list[Fault]:
        return check(self.history)

    def verdict(self):
        """Fails with all that is wrong."""
        faults = self.faults()
        stalls = "".join(f"\n  stalled: {state}" for state in self.stalls[:30])
        assert not faults, f"{self.summary()}\n{describe(faults)}{stalls}"
