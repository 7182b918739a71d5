"""Says what was broken in a History after everybody has drained.

    lost         acknowledged to the publisher, and a subscriber whose subscription was acknowledged before never got it
    twice        delivered at QoS 2 more than once
    order        first deliveries of one stream to one subscriber out of order
    repeated     QoS 1: more often on one connection than its publisher sent it
    foreign      a message that nobody sent, or that the subscriber had not asked for
    retained     older than the last one acknowledged, or gone
    unanswered   a publisher never got its acknowledgement, although everybody waited for it
and what clients noted themselves: session (not present), packet ID, damaged, protocol.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from .history import Fault, History, Interval, Message, matches


def required(history: History) -> dict[str, set[Message]]:
    """What each subscriber, or `$share/NAME` all members of a group together, must get."""
    topics = defaultdict(list)
    for stream in history.streams.values():
        topics[stream.topic].append(stream)
    wanted = defaultdict(set)
    for subscriber, intervals in history.subscriptions.items():
        for interval in intervals:
            if interval.group is None:
                wanted[subscriber] |= _of_interval(interval, topics)
    for group, members in _groups(history).items():
        # Messages from before the last member joined are left out: who was in the group then does not matter here.
        sets = [_of_interval(interval, topics) for _, interval in members]
        wanted[f"$share/{group}"] = set.intersection(*sets)
    return wanted


def _groups(history: History) -> dict[str, list[tuple[str, Interval]]]:
    groups = defaultdict(list)
    for subscriber, intervals in history.subscriptions.items():
        for interval in intervals:
            if interval.group is not None:
                groups[interval.group].append((subscriber, interval))
    return groups


def _of_interval(interval: Interval, topics) -> set[Message]:
    found = set()
    for topic, streams in topics.items():
        if matches(interval.filter, topic):
            for stream in streams:
                found.update(message for message in stream.messages if interval.must_get(message) and not message.cleared)
    return found


def got(history: History) -> dict[str, set[Message]]:
    """What each subscriber and each group has got, under the names of required()."""
    sets = {}
    for subscriber, deliveries in history.deliveries.items():
        sets[subscriber] = {
            item.stream.messages[item.number] for item in deliveries if item.number < len(item.stream.messages)
        }
    for group, members in _groups(history).items():
        sets[f"$share/{group}"] = set().union(*(sets.get(subscriber, set()) for subscriber, _ in members))
    return sets


def check(history: History) -> list[Fault]:
    """Everything that is wrong; empty: nothing."""
    found = list(history.faults)
    found += _lost(history)
    found += _unanswered(history)
    for subscriber, deliveries in history.deliveries.items():
        found += _foreign(history, subscriber, deliveries)
        found += _order(history, subscriber, deliveries)
        found += _repeated(subscriber, deliveries)
    found += _twice(history)
    found += _retained(history)
    return found


def _lost(history: History) -> list[Fault]:
    have = got(history)
    return [
        Fault("lost", f"{message}, acknowledged, never came to {subscriber}")
        for subscriber, messages in required(history).items()
        for message in sorted(messages - have.get(subscriber, set()), key=lambda message: message.sent)
    ]


def _unanswered(history: History) -> list[Fault]:
    found = []
    for stream in history.streams.values():
        for message in stream.messages:
            if message.refused is None and message.completed is None:
                found.append(Fault("unanswered", f"{message}, sent {message.sends} times, was never acknowledged in full"))
    return found


def _foreign(history: History, subscriber: str, deliveries) -> list[Fault]:
    found = []
    intervals = history.subscriptions.get(subscriber, [])
    for item in deliveries:
        if item.number >= len(item.stream.messages):
            found.append(Fault("foreign", f"{subscriber} got {item.stream}#{item.number}, which was never sent"))
            continue
        message = item.stream.messages[item.number]
        if not any(
            matches(interval.filter, item.stream.topic) and interval.may_get(message, item.tick) for interval in intervals
        ):
            found.append(Fault("foreign", f"{subscriber} got {message} without having subscribed then"))
    return found


def _order(history: History, subscriber: str, deliveries) -> list[Fault]:
    """A QoS 1 message that is sent again may go to another member of a group the second time, so members have no order there. And
    who subscribed when it had been sent once may get it when it is sent again, behind later ones that came before."""
    found = []
    intervals = history.subscriptions.get(subscriber, [])
    shared = any(interval.group for interval in intervals)
    last = {}
    seen = set()
    for item in deliveries:
        if not item.stream.ordered or (shared and item.stream.qos == 1) or (item.stream, item.number) in seen:
            continue
        seen.add((item.stream, item.number))
        before = last.get(item.stream, -1)
        if item.number < before and not _came_late(item, intervals):
            found.append(Fault("order", f"{subscriber} got {item.stream}#{item.number} after #{before}"))
        last[item.stream] = max(before, item.number)
    return found


def _came_late(item, intervals) -> bool:
    """First sent before the subscription through which it came was acknowledged, and sent again."""
    if item.stream.qos != 1 or item.number >= len(item.stream.messages):
        return False
    message = item.stream.messages[item.number]
    since = [interval for interval in intervals if interval.asked < item.tick and matches(interval.filter, item.stream.topic)]
    return message.sends > 1 and bool(since) and (since[-1].acked is None or message.sent < since[-1].acked)


def _repeated(subscriber: str, deliveries) -> list[Fault]:
    """A repetition at QoS 1 needs a cause: the publisher sent it again, or the subscriber came back (another connection). A crash may
    have one that was delayed go out again."""
    counts = Counter((item.stream, item.number, item.connection) for item in deliveries if item.qos == 1)
    found = []
    for (stream, number, connection), count in counts.items():
        if stream.ordered and number < len(stream.messages) and count > max(1, stream.messages[number].sends):
            text = f"{subscriber} got {stream}#{number} {count} times on connection {connection}"
            found.append(Fault("repeated", f"{text}, sent {stream.messages[number].sends} times"))
    return found


def _twice(history: History) -> list[Fault]:
    found = []
    groups = _groups(history)
    shared = {subscriber for members in groups.values() for subscriber, _ in members}
    takers = {subscriber: [subscriber] for subscriber in history.deliveries if subscriber not in shared}
    takers |= {f"$share/{group}": sorted({subscriber for subscriber, _ in members}) for group, members in groups.items()}
    for name, members in takers.items():
        by_message = defaultdict(list)
        for member in members:
            for item in history.deliveries.get(member, []):
                if item.qos == 2:
                    by_message[item.stream, item.number].append((member, item.connection))
        for (stream, number), places in by_message.items():
            if len(places) > 1:
                where = ", ".join(f"{member} on connection {connection}" for member, connection in places)
                found.append(Fault("twice", f"{stream}#{number} came {len(places)} times to {name}: {where}"))
    return found


def _retained(history: History) -> list[Fault]:
    found = []
    for look in history.looks:
        messages = look.stream.messages
        acked = [message.number for message in messages if message.acked is not None and message.acked < look.asked]
        last = max(acked, default=-1)
        if look.number is None:
            cleared = any(message.cleared for message in messages[max(last, 0) :] if message.sends)
            if last >= 0 and not cleared:
                found.append(Fault("retained", f"{messages[last]}, acknowledged, is gone (asked at tick {look.asked})"))
        elif look.number >= len(messages):
            found.append(Fault("retained", f"{look.stream}#{look.number} was never sent"))
        elif look.number < last:
            text = f"{look.stream}#{look.number} is there, but {messages[last]} was acknowledged before"
            found.append(Fault("retained", f"{text} (asked at tick {look.asked})"))
    return found


def describe(faults: list[Fault], each: int = 10) -> str:
    """How many of each kind, and the first few."""
    kinds = Counter(fault.kind for fault in faults)
    lines = [", ".join(f"{kind}: {count}" for kind, count in kinds.items()) or "nothing is wrong"]
    for kind in kinds:
        of_kind = [fault for fault in faults if fault.kind == kind]
        lines += [f"  {fault}" for fault in of_kind[:each]]
        if len(of_kind) > each:
            lines.append(f"  {kind}: {len(of_kind) - each} more")
    return "\n".join(lines)
