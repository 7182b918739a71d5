"""The checker with made-up histories: it finds what is wrong, and nothing where all is right."""

from __future__ import annotations

import pytest

from crash.checker import check, describe, required
from crash.history import History, Look, matches


class Story:
    """One publisher, a subscriber, and what happens to them."""

    def __init__(self, qos: int = 1, topic_filter: str = "t", **options):
        self.history = History()
        self.stream = self.history.stream("p", "t", qos, **options)
        self.qos = qos
        self.connection = 1
        if topic_filter:
            self.interval = self.subscribe("s", topic_filter)

    def subscribe(self, name: str, topic_filter: str):
        interval = self.history.subscribing(name, topic_filter, 2)
        interval.acked = self.history.tick()
        return interval

    def send(self, acked: bool = True, cleared: bool = False):
        message = self.stream.new(cleared)
        message.sends = 1
        message.sent = self.history.tick()
        if acked:
            message.acked = message.completed = self.history.tick()
        return message

    def deliver(self, message, name: str = "s"):
        self.history.seen(name, self.stream, message.number, self.qos, self.connection)

    def exchange(self, count: int):
        for _ in range(count):
            self.deliver(self.send())

    def kinds(self) -> list[str]:
        return [fault.kind for fault in check(self.history)]


@pytest.mark.parametrize("qos", [1, 2])
def test_a_run_without_faults_has_none(qos):
    story = Story(qos)
    story.exchange(5)
    assert story.kinds() == []
    assert describe([]) == "nothing is wrong"


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("missing", [0, 2, 4])
def test_an_acknowledged_message_that_never_came_is_lost(qos, missing):
    story = Story(qos)
    for number in range(5):
        message = story.send()
        if number != missing:
            story.deliver(message)
    assert story.kinds() == ["lost"]
    assert f"p>t@{qos}#{missing}" in str(check(story.history)[0])


def test_a_message_that_was_not_acknowledged_may_be_missing_but_not_unanswered():
    story = Story()
    story.send(acked=False)
    assert story.kinds() == ["unanswered"]


def test_a_refused_message_may_be_missing():
    story = Story()
    story.send(acked=False).refused = 0x97
    assert story.kinds() == []


def test_pubrec_without_pubcomp_already_makes_the_broker_responsible():
    story = Story(2)
    story.send(acked=False).acked = story.history.tick()
    assert story.kinds() == ["lost", "unanswered"]


def test_a_message_from_before_the_subscription_was_acknowledged_may_be_missing():
    story = Story(topic_filter="")
    interval = story.history.subscribing("s", "t", 1)
    story.send()
    interval.acked = story.history.tick()
    assert story.kinds() == []
    story.send()
    assert story.kinds() == ["lost"]


def test_a_message_acknowledged_before_the_unsubscribe_is_required():
    story = Story()
    story.send()
    story.interval.leaving = story.history.tick()
    story.send()
    story.interval.left = story.history.tick()
    assert [message.number for message in required(story.history)["s"]] == [0]


def test_a_message_sent_after_the_unsuback_is_foreign():
    story = Story()
    story.interval.leaving = story.history.tick()
    story.exchange(1)
    story.interval.left = story.history.tick()
    assert story.kinds() == []
    story.exchange(1)
    assert story.kinds() == ["foreign"]


def test_a_session_given_up_needs_nothing_and_must_not_come_back():
    story = Story()
    queued = story.send()
    story.interval.void, story.interval.leaving = True, story.history.tick()
    story.interval.left = story.history.tick()
    story.subscribe("s", "t")
    story.exchange(1)
    assert story.kinds() == []
    story.deliver(queued)
    assert "foreign" in story.kinds()


def test_a_message_for_somebody_else_is_foreign():
    story = Story(topic_filter="other")
    story.exchange(1)
    assert story.kinds() == ["foreign"]


def test_a_message_that_nobody_sent_is_foreign():
    story = Story()
    story.history.seen("s", story.stream, 3, 1, 1)
    assert story.kinds() == ["foreign"]


def test_qos_2_delivered_again_is_twice_on_whatever_connection():
    for connection in (1, 2):
        story = Story(2)
        story.exchange(2)
        story.connection = connection
        story.deliver(story.stream.messages[0])
        assert story.kinds() == ["twice"]


def test_qos_1_may_be_repeated_after_a_reconnect_of_either_side():
    story = Story(1)
    story.exchange(2)
    story.connection = 2
    story.deliver(story.stream.messages[0])
    story.deliver(story.stream.messages[1])
    story.stream.messages[1].sends = 2
    story.deliver(story.stream.messages[1])
    assert story.kinds() == []


def test_qos_1_repeated_without_a_cause_is_a_fault():
    story = Story(1)
    story.exchange(2)
    story.deliver(story.stream.messages[1])
    assert story.kinds() == ["repeated"]


@pytest.mark.parametrize("qos", [1, 2])
def test_first_deliveries_out_of_order_are_a_fault(qos):
    story = Story(qos)
    first, second, third = story.send(), story.send(), story.send()
    for message in (first, third, second):
        story.deliver(message)
    assert story.kinds() == ["order"]


def test_a_message_sent_again_for_a_subscription_that_is_newer_may_come_late():
    for sends, kinds in ((1, ["order"]), (2, [])):
        story = Story(1, topic_filter="")
        early = story.send(acked=False)
        story.subscribe("s", "t")
        story.deliver(story.send())
        early.sends = sends
        early.acked = early.completed = story.history.tick()
        story.deliver(early)
        assert story.kinds() == kinds


def test_delayed_messages_have_no_order():
    story = Story(1, ordered=False, target="$delayed/1/t")
    first, second = story.send(), story.send()
    story.deliver(second)
    story.deliver(first)
    assert story.kinds() == []


def test_delayed_messages_may_be_missing_when_the_subscription_ended_and_repeated_at_qos_1_only():
    story = Story(1, ordered=False, target="$delayed/1/t")
    twice = story.send()
    story.deliver(twice)
    story.deliver(twice)
    assert story.kinds() == []
    story.send()
    assert story.kinds() == ["lost"]
    story.interval.leaving = story.history.tick()
    assert story.kinds() == []
    story = Story(2, ordered=False, target="$delayed/1/t")
    twice = story.send()
    story.deliver(twice)
    story.deliver(twice)
    assert story.kinds() == ["twice"]


def test_order_is_that_of_one_stream_only():
    story = Story(1)
    other = story.history.stream("q", "t", 1)
    story.exchange(2)
    message = other.new()
    message.sends, message.sent = 1, story.history.tick()
    message.acked = message.completed = story.history.tick()
    story.history.seen("s", other, 0, 1, 1)
    assert story.kinds() == []


def test_a_shared_subscription_needs_each_message_once_over_all_members():
    story = Story(2, topic_filter="")
    for name in ("a", "b"):
        story.subscribe(name, "$share/g/t")
    first, second = story.send(), story.send()
    story.deliver(first, "a")
    assert story.kinds() == ["lost"]
    story.deliver(second, "b")
    assert story.kinds() == []
    story.deliver(second, "a")
    assert story.kinds() == ["twice"]


def look(story: Story, number: int | None):
    story.history.looks.append(Look(story.stream, story.history.tick(), number))


def test_the_retained_message_is_the_last_acknowledged_one_or_a_later_one():
    story = Story(topic_filter="", retain=True)
    look(story, None)  # nothing was sent
    story.send()
    story.send()
    look(story, 1)
    story.send(acked=False)
    look(story, 1)
    look(story, 2)
    assert [kind for kind in story.kinds() if kind != "unanswered"] == []


@pytest.mark.parametrize("seen", [None, 0, 7])
def test_an_old_or_missing_or_unknown_retained_message_is_a_fault(seen):
    story = Story(topic_filter="", retain=True)
    story.send()
    story.send()
    look(story, seen)
    assert story.kinds() == ["retained"]


def test_a_retained_message_that_was_cleared_is_gone():
    story = Story(topic_filter="", retain=True)
    story.send()
    story.send(cleared=True)
    look(story, None)
    assert story.kinds() == []
    look(story, 0)
    assert story.kinds() == ["retained"]


def test_a_payload_says_which_message_it_is_and_damage_shows():
    story = Story()
    message = story.send()
    payload = story.stream.payload(message, 100)
    assert len(payload) == 100
    assert story.history.identify("t", payload) == (story.stream, 0)
    assert story.kinds() == ["lost"]
    damaged = payload[:50] + bytes([payload[50] ^ 1]) + payload[51:]
    assert story.history.identify("t", damaged) is None
    assert story.history.identify("other", payload) is None
    assert story.history.identify("t", payload[:60]) is None
    assert story.kinds() == ["damaged"] * 3 + ["lost"]


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("a/+", "a", False),
        ("a", "a/b", False),
        ("a/b", "a", False),
        ("+", "a/b", False),
        ("b/#", "a/b", False),
    ],
)
def test_filters(topic_filter, topic, expected):
    assert matches(topic_filter, topic) is expected
