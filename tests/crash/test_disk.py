"""A disk that is full, broken or read-only for a while, by the shim: who needs it is told so, everybody else goes on, and afterwards all is well
without a restart. What was acknowledged before, meanwhile and after is there after a kill -9."""

from __future__ import annotations

import time

import pytest

from emqc import packets as p
from emqc.client import DEADLINE_S
from emqc.packets import Prop

REASONS = {"full": 0x97, "broken": 0x83, "read-only": 0x83}
DURABLE = {Prop.SESSION_EXPIRY_INTERVAL: 0xFFFFFFFF}
SERVER_UNAVAILABLE = 3  # CONNACK of 3.1.1

pytestmark = pytest.mark.parametrize("trouble", REASONS)


class Scene:
    """A broker with one durable session, away, which is subscribed to everything below `kept/`."""

    def __init__(self, made, trouble: str):
        self.node, self.shim, _ = made
        self.trouble, self.reason = trouble, REASONS[trouble]
        self.node.start()
        self.acknowledged: list[bytes] = []
        self.early = []  # client and payload of what was sent before the broker noticed that the disk fails
        keeper = self.node.connect(5, client_id="keeper", clean=False, properties=DURABLE)
        keeper.subscribe("kept/#", qos=2)
        keeper.disconnect()

    def publish(self, client, payload: bytes, qos: int = 1):
        """A message that must be there in the end."""
        client.publish("kept/t", payload, qos)
        self.acknowledged.append(payload)

    def fail(self):
        """The disk fails; messages come until one is refused: the broker has noticed. Who came before that gets no answer
        until the disk works again."""
        self.shim.fail(self.trouble)
        deadline = time.monotonic() + 3 * DEADLINE_S
        while time.monotonic() < deadline:
            client, payload = self.node.connect(5), b"early %d" % len(self.early)
            client.send(p.Publish("kept/t", payload, 1, packet_id=1))
            try:
                answer = client.receive(0.05)
            except TimeoutError:
                self.early.append((client, payload))
                continue
            assert answer == p.Puback(1, self.reason, answer.properties), f"{answer} while the disk is {self.trouble}"
            return
        raise AssertionError(f"nothing was refused\n{self.node.output()}")

    def recover(self):
        """The disk works again; waits until a new session is accepted, without a restart. What had no answer gets it now."""
        self.shim.recover()
        self.until_accepted()
        for client, payload in self.early:
            client.await_packet(p.Puback, packet_id=1, reason=0)
            self.acknowledged.append(payload)

    def until_accepted(self):
        deadline = time.monotonic() + 3 * DEADLINE_S
        while True:
            client = self.node.open(5)
            client.send(p.Connect("probe", clean=False, properties=DURABLE))
            answer = client.receive()
            client.close()
            if answer.reason == 0:
                return
            assert answer.reason == self.reason, answer
            assert time.monotonic() < deadline, f"still refused\n{self.node.output()}"

    def check(self):
        """kill -9; the session has everything that was acknowledged, and messages at QoS 2 once."""
        self.node.kill()
        self.node.start()
        keeper = self.node.connect(5, client_id="keeper", clean=False, properties=DURABLE)
        assert keeper.connack.session_present
        other = self.node.connect(5)
        other.publish("kept/end", b"end", 2)
        found = []
        twice = []
        while not found or found[-1] != b"end":
            message = keeper.expect_publish()
            if message.qos == 2 and message.payload in found:
                twice.append(message.payload)
            found.append(message.payload)
        missing = [payload for payload in self.acknowledged if payload not in found]
        assert not missing, f"acknowledged and lost: {missing}\n{self.node.output()}"
        assert not twice, f"delivered twice at QoS 2: {twice}"


@pytest.fixture
def scene(make_shimmed, trouble):
    return Scene(make_shimmed(), trouble)


@pytest.mark.parametrize("qos", [1, 2])
def test_publishers_of_version_5_are_told_and_later_served(scene, trouble, qos):
    client = scene.node.connect(5)
    scene.publish(client, b"before", qos)
    scene.fail()
    for number in range(3):
        kind = p.Puback if qos == 1 else p.Pubrec
        packet_id = client.next_id()
        client.send(p.Publish("kept/t", b"refused %d" % number, qos, packet_id=packet_id))
        client.await_packet(kind, packet_id=packet_id, reason=scene.reason)
    scene.recover()
    scene.publish(client, b"after", qos)
    scene.check()


@pytest.mark.parametrize("qos", [1, 2])
def test_publishers_of_version_3_get_no_acknowledgement_until_it_is_true(scene, trouble, qos):
    client = scene.node.connect(4, client_id="old", clean=False)
    scene.publish(client, b"before", qos)
    scene.fail()
    kind = p.Puback if qos == 1 else p.Pubrec
    client.send(p.Publish("kept/t", b"meanwhile", qos, packet_id=7))
    client.expect_closed()  # there is no answer that lets it try again
    scene.recover()
    client = scene.node.connect(4, client_id="old", clean=False)
    client.send(p.Publish("kept/t", b"meanwhile", qos, packet_id=7, dup=True))
    client.expect(kind, packet_id=7)
    scene.acknowledged.append(b"meanwhile")
    if qos == 2:
        client.send(p.Pubrel(7))
        client.expect(p.Pubcomp, packet_id=7)
    scene.publish(client, b"after", qos)
    scene.check()


def test_sessions_that_need_the_disk_are_refused_and_others_are_not(scene, trouble):
    scene.fail()
    scene.node.open(5).connect(expect=False, client_id="new", clean=False, properties=DURABLE).expect_refused(scene.reason)
    scene.node.open(4).connect(expect=False, client_id="new", clean=False).expect_refused(code=SERVER_UNAVAILABLE)
    subscriber = scene.node.connect(5)
    subscriber.subscribe("live/#", qos=2)
    publisher = scene.node.connect(4)
    for qos in (0, 1, 2):
        publisher.publish("live/t", b"%d" % qos, qos)
        subscriber.expect_publish("live/t", b"%d" % qos)
    publisher.publish("kept/t", b"QoS 0 is never stored", 0)
    publisher.ping()
    scene.recover()
    scene.publish(publisher, b"after")
    scene.check()


def test_a_session_that_is_connected_stays_so(scene, trouble):
    client = scene.node.connect(5, client_id="durable", clean=False, properties=DURABLE)
    client.subscribe("live/#", qos=1)
    scene.fail()
    publisher = scene.node.connect(5)
    publisher.publish("live/t", b"QoS 0", 0)
    client.expect_publish("live/t", b"QoS 0")
    packet_id = client.next_id()
    client.send(p.Subscribe(packet_id, [p.Filter("other", 1)]))
    answer = client.await_packet(p.Suback)
    assert answer.codes in ([scene.reason], [1]), answer
    scene.recover()
    client.ping()
    publisher.publish("live/t", b"QoS 1", 1)
    client.expect_publish("live/t", b"QoS 1", qos=1)
    scene.publish(publisher, b"after")
    scene.check()


def test_retained_messages_are_refused_and_the_old_ones_stay(scene, trouble):
    client = scene.node.connect(5)
    client.publish("note", b"old", 1, retain=True)
    scene.fail()
    client.send(p.Publish("note", b"new", 1, packet_id=900, retain=True))
    client.await_packet(p.Puback, packet_id=900, reason=scene.reason)
    looker = scene.node.connect(5)
    looker.subscribe("note")
    looker.expect_publish("note", {b"old"}, retain=True)
    scene.recover()
    scene.node.kill()
    scene.node.start()
    looker = scene.node.connect(5)
    looker.subscribe("note")
    looker.expect_publish("note", b"old", retain=True)


def test_the_log_has_an_alert_and_says_when_it_is_over(scene, trouble):
    client = scene.node.connect(5)
    scene.fail()
    assert "[alert]" in scene.node.log()
    alert = next(line for line in scene.node.log().splitlines() if "[alert]" in line)
    assert "0x%02x" % scene.reason in alert, alert
    scene.recover()
    scene.publish(client, b"after")
    scene.check()


def test_a_client_with_messages_in_flight_finishes_them_afterwards(scene, trouble):
    """A subscriber acknowledges while the disk fails: it gets nothing twice at QoS 2."""
    publisher = scene.node.connect(5)
    for number in range(5):
        scene.publish(publisher, b"%d" % number, 2)
    keeper = scene.node.connect(5, client_id="keeper", clean=False, properties=DURABLE)
    messages = [keeper.expect_publish("kept/t", b"%d" % number, ack=False) for number in range(5)]
    scene.fail()
    keeper.send(*[p.Pubrec(message.packet_id) for message in messages])
    with pytest.raises(TimeoutError):
        keeper.await_packet(p.Pubrel, timeout=0.3)  # it promises something
    scene.recover()
    for message in messages:
        keeper.await_packet(p.Pubrel, packet_id=message.packet_id)
        keeper.send(p.Pubcomp(message.packet_id))
    scene.publish(publisher, b"after", 1)
    del scene.acknowledged[:5]
    keeper.disconnect()
    scene.check()
