"""What the clients of a run did and saw: the checker's only source.

One thread writes it, so a counter (`tick`) puts everything into one order. A *stream* is what one publisher sends to one topic at
one QoS; its messages are numbered from 0 and say in their payload which they are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field


class Message:
    """One message of a stream. Ticks: `sent` first handed to a socket, `acked` PUBACK or PUBREC came, None: not yet."""

    __slots__ = ("stream", "number", "cleared", "sent", "acked", "completed", "refused", "sends")

    def __init__(self, stream: Stream, number: int, cleared: bool):
        self.stream = stream
        self.number = number
        self.cleared = cleared  # an empty payload with RETAIN: the retained message is to go
        self.sent = 0
        self.acked = None
        self.completed = None
        self.refused = None
        self.sends = 0

    def __repr__(self):
        return f"{self.stream}#{self.number}"


class Stream:
    """What one publisher sends to one topic at one QoS."""

    def __init__(self, publisher: str, topic: str, qos: int, retain: bool = False, ordered: bool = True, target: str = ""):
        self.publisher, self.topic, self.qos = publisher, topic, qos
        self.retain = retain
        self.ordered = ordered  # false: no order is promised (delayed messages)
        self.target = target or topic  # where PUBLISH says it goes: $delayed/1/TOPIC for one
        self.messages: list[Message] = []
        self.head = f"{publisher}|{topic}|{qos}".encode()

    def __repr__(self):
        return f"{self.publisher}>{self.topic}@{self.qos}"

    def new(self, cleared: bool = False) -> Message:
        self.messages.append(Message(self, len(self.messages), cleared))
        return self.messages[-1]

    def payload(self, message: Message, length: int) -> bytes:
        """HEAD|number|checksum|padding; empty for one that clears."""
        if message.cleared:
            return b""
        text = b"%s|%d" % (self.head, message.number)
        padding = (b"%08x" % (message.number * 2654435761 & 0xFFFFFFFF)) * (length // 8 + 1)
        padding = padding[: max(0, length - len(text) - 10)]
        return b"%s|%08x|%s" % (text, zlib.crc32(text + padding), padding)


@dataclass(slots=True)
class Delivery:
    """One message that a subscriber took over: a QoS 2 PUBLISH repeated under a packet ID in use is not another one."""

    stream: Stream
    number: int
    qos: int
    connection: int  # number of the subscriber's connection
    tick: int


@dataclass
class Interval:
    """One time of being subscribed. Ticks; None: not (yet)."""

    filter: str
    qos: int
    asked: int
    acked: int | None = None
    leaving: int | None = None
    left: int | None = None
    group: str | None = None  # the share name of $share/NAME/FILTER
    void: bool = False  # its session was given up by a clean start, with all that was queued

    def must_get(self, message: Message) -> bool:
        """A delayed one goes to those who are subscribed when its time has come, which nobody here knows."""
        if not message.stream.ordered and self.leaving is not None:
            return False
        return (
            not self.void
            and message.acked is not None
            and self.acked is not None
            and message.sent > self.acked
            and (self.leaving is None or message.acked < self.leaving)
        )

    def may_get(self, message: Message, seen: int) -> bool:
        """It was sent before the subscription was gone for sure, and seen after it was asked for. A message acknowledged before
        that belongs to an earlier subscription, unless it was delayed."""
        if not message.sends or seen < self.asked:
            return False
        if self.left is not None and (seen if self.void else message.sent) > self.left:
            return False
        return message.acked is None or message.acked > self.asked or not message.stream.ordered


@dataclass
class Look:
    """The retained message of a topic as a new subscription, asked for at tick `asked`, saw it: its number, None: none."""

    stream: Stream
    asked: int
    number: int | None


@dataclass
class Fault:
    """What a client saw that must not be, whatever follows."""

    kind: str
    text: str

    def __str__(self):
        return f"{self.kind}: {self.text}"


@dataclass
class History:
    streams: dict[bytes, Stream] = field(default_factory=dict)
    deliveries: dict[str, list[Delivery]] = field(default_factory=dict)
    subscriptions: dict[str, list[Interval]] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ticks: int = 0

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def stream(self, publisher: str, topic: str, qos: int, **options) -> Stream:
        stream = Stream(publisher, topic, qos, **options)
        assert stream.head not in self.streams, f"two streams {stream}"
        self.streams[stream.head] = stream
        return stream

    def fault(self, kind: str, text: str):
        self.faults.append(Fault(kind, text))

    def identify(self, topic: str, payload: bytes) -> tuple[Stream, int] | None:
        """Which message is it? None: not one of ours, or not as it was sent; that is a fault already noted."""
        parts = payload.split(b"|", 5)
        if len(parts) == 6:
            text = b"|".join(parts[:4])
            stream = self.streams.get(b"|".join(parts[:3]))
            if stream and b"%08x" % zlib.crc32(text + parts[5]) == parts[4] and stream.topic == topic:
                return stream, int(parts[3])
        self.fault("damaged", f"on {topic}: {payload[:100]!r}, {len(payload)} bytes, is not what anybody sent")
        return None

    def seen(self, subscriber: str, stream: Stream, number: int, qos: int, connection: int):
        self.deliveries.setdefault(subscriber, []).append(Delivery(stream, number, qos, connection, self.tick()))

    def subscribing(self, subscriber: str, topic_filter: str, qos: int) -> Interval:
        group = None
        name = topic_filter
        if topic_filter.startswith("$share/"):
            _, group, name = topic_filter.split("/", 2)
        interval = Interval(name, qos, self.tick(), group=group)
        self.subscriptions.setdefault(subscriber, []).append(interval)
        return interval


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5, section 4.7, without topics that begin with $."""
    levels = topic.split("/")
    names = topic_filter.split("/")
    for at, name in enumerate(names):
        if name == "#":
            return True
        if at >= len(levels) or name not in ("+", levels[at]):
            return False
    return len(names) == len(levels)
