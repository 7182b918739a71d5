"""What outlives the broker's process: sessions with all that belongs to them, through SIGTERM, `emqx restart` and SIGKILL."""

import os
import subprocess
import time

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S, fence, unique
from emqc.packets import Prop

pytestmark = pytest.mark.emqc


def _stop(broker):
    broker.stop()
    broker.start()


def _kill(broker):
    broker.await_store()
    broker.kill()
    broker.start()


def _restart(broker):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(broker.directory)
    done = subprocess.run([emqc_broker.BINARY, "restart"], env=environment, capture_output=True, text=True,
                          timeout=3 * DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


@pytest.fixture(params=[_stop, _restart, _kill], ids=["stop", "restart", "kill"])
def reborn(request):
    """Ends the broker in one of three ways and starts it again."""
    return request.param


@pytest.fixture(params=[4, 5], ids=["v3.1.1", "v5"])
def version(request):
    return request.param


@pytest.fixture
def broker(make_broker, request):
    """One worker where it is killed: a client's acknowledgement tells then that its message is with the store."""
    marker = request.node.get_closest_marker("config")
    settings = dict(marker.args[0]) if marker else {}
    if "kill" in request.node.name or "crash" in request.node.name:
        settings["node.workers"] = "1"
    return make_broker(settings)


def durable(broker, version, name, clean=False, expiry=600, **fields):
    """A client whose session outlives its connection and the broker."""
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: expiry, **dict(fields.get("properties", {}))}
    return broker.connect(version, client_id=name, clean=clean, **fields)


def resumed(broker, version, name, **fields):
    client = durable(broker, version, name, **fields)
    assert client.connack.session_present
    return client


def absent(broker, version, topic, qos=2, name=None, **fields):
    """The name of a client that has subscribed and gone."""
    name = name or unique()
    client = durable(broker, version, name, **fields)
    client.subscribe(topic, qos=qos)
    client.disconnect()
    return name


def publish_numbers(broker, topic, numbers, qos=1):
    publisher = broker.connect()
    for number in numbers:
        publisher.publish(topic, b"%d" % number, qos)
    publisher.disconnect()


def expect_numbers(client, topic, numbers, **fields):
    for number in numbers:
        client.expect_publish(topic, b"%d" % number, **fields)


# --- sessions, subscriptions, queues


@pytest.mark.quick
@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_comes_back_with_its_queue_in_order(broker, reborn, version, topic, qos):
    name = absent(broker, version, topic)
    publish_numbers(broker, topic, range(20), qos)
    reborn(broker)
    client = resumed(broker, version, name)
    expect_numbers(client, topic, range(20), qos=qos, dup=False)
    client.expect_nothing()
    broker.connect(version).publish(topic, b"and still subscribed", qos)
    client.expect_publish(topic, b"and still subscribed", qos=qos, dup=False)


def test_the_queue_survives_several_restarts_and_grows_meanwhile(broker, reborn, topic):
    name = absent(broker, 5, topic)
    for number in range(4):
        publish_numbers(broker, topic, [number], 1 + number % 2)
        reborn(broker)
    client = resumed(broker, 5, name)
    expect_numbers(client, topic, range(4), dup=False)
    client.expect_nothing()


@pytest.mark.parametrize("version", [4, 5], ids=["v3.1.1", "v5"])
def test_what_was_acknowledged_does_not_come_back(broker, version, topic):
    name = absent(broker, version, topic)
    publish_numbers(broker, topic, range(3), 1)
    publish_numbers(broker, topic, range(3, 6), 2)
    client = resumed(broker, version, name)
    expect_numbers(client, topic, range(6))
    client.disconnect()
    _stop(broker)
    resumed(broker, version, name).expect_nothing()


def test_subscription_options_come_back(broker, reborn, topic):
    name = unique()
    client = durable(broker, 5, name)
    client.subscribe(p.Filter(topic + "/own", 1, no_local=True), properties={Prop.SUBSCRIPTION_IDENTIFIER: 77})
    client.subscribe(p.Filter(topic + "/kept/#", 2, retain_as_published=True), properties={Prop.SUBSCRIPTION_IDENTIFIER: 268435455})
    client.subscribe(p.Filter(topic + "/gone", 1))
    client.unsubscribe(topic + "/gone")
    client.disconnect()
    reborn(broker)
    client = resumed(broker, 5, name)
    client.publish(topic + "/own", b"not to itself", 1)
    publisher = broker.connect()
    publisher.publish(topic + "/gone", b"unsubscribed", 1)
    publisher.publish(topic + "/own", b"from another", 2)
    got = client.expect_publish(topic + "/own", b"from another", qos=1)
    assert got.properties.get(Prop.SUBSCRIPTION_IDENTIFIER) == 77
    publisher.publish(topic + "/kept/x", b"retained", 2, retain=True)
    got = client.expect_publish(topic + "/kept/x", b"retained", qos=2, retain=True)
    assert got.properties.get(Prop.SUBSCRIPTION_IDENTIFIER) == 268435455


def test_properties_and_large_payloads_come_back(broker, reborn, topic):
    name = absent(broker, 5, topic)
    payload = bytes(range(256)) * 1200
    properties = [(Prop.CONTENT_TYPE, "text"), (Prop.USER_PROPERTY, ("a", "1")), (Prop.USER_PROPERTY, ("a", "2")),
                  (Prop.CORRELATION_DATA, b"\0\1")]
    publisher = broker.connect()
    publisher.publish(topic, payload, 1, properties=properties)
    publisher.publish(topic, b"", 2)
    reborn(broker)
    client = resumed(broker, 5, name)
    got = client.expect_publish(topic, payload, qos=1)
    assert got.properties.get(Prop.CONTENT_TYPE) == "text"
    assert got.properties.get(Prop.CORRELATION_DATA) == b"\0\1"
    client.expect_publish(topic, b"", qos=2)


def test_one_message_for_many_sessions(broker, reborn, version, topic):
    names = [absent(broker, version, topic, qos=1 + number % 2) for number in range(6)]
    publish_numbers(broker, topic, range(5), 2)
    publish_numbers(broker, topic, range(5, 10), 1)
    reborn(broker)
    for name in names[:3]:
        client = resumed(broker, version, name)
        expect_numbers(client, topic, range(10), dup=False)
        client.disconnect()
    reborn(broker)
    for name in names[3:]:
        client = resumed(broker, version, name)
        expect_numbers(client, topic, range(10), dup=False)
        client.disconnect()


@pytest.mark.parametrize("version", [4, 5], ids=["v3.1.1", "v5"])
def test_clean_start_removes_everything(broker, reborn, version, topic):
    name = absent(broker, version, topic)
    publish_numbers(broker, topic, range(3))
    reborn(broker)
    client = durable(broker, version, name, clean=True)
    assert not client.connack.session_present
    broker.connect().publish(topic, b"not subscribed", 1)
    client.expect_nothing()
    client.disconnect()
    broker.connect(version, client_id=name, clean=True).disconnect()
    absent(broker, version, topic + "/other")  # what this is told is on disk, so is all before it
    reborn(broker)
    client = durable(broker, version, name)
    assert client.connack.session_present is False
    client.expect_nothing()


def test_a_session_that_ends_with_its_connection_is_not_there(broker, reborn, topic):
    name = unique()
    client = broker.connect(5, client_id=name)
    client.subscribe(topic, qos=1)
    reborn(broker)
    assert not durable(broker, 5, name).connack.session_present


@pytest.mark.config({"zone.external.durability": "none"})
def test_without_durability_nothing_comes_back(broker, version, topic):
    name = absent(broker, version, topic)
    publish_numbers(broker, topic, range(3))
    _stop(broker)
    assert not durable(broker, version, name).connack.session_present


@pytest.mark.config({"zone.external.durability": "async"})
def test_async_sessions_come_back_after_an_ordered_end(broker, version, topic):
    name = absent(broker, version, topic)
    publish_numbers(broker, topic, range(3), 2)
    _stop(broker)
    expect_numbers(resumed(broker, version, name), topic, range(3), qos=2, dup=False)


@pytest.mark.config({"zone.external.max_mqueue_len": "3"})
def test_the_length_of_the_queue_counts_what_came_before(broker, reborn, topic):
    name = absent(broker, 5, topic)
    publish_numbers(broker, topic, range(3))
    reborn(broker)
    publish_numbers(broker, topic, range(3, 5))
    client = resumed(broker, 5, name)
    expect_numbers(client, topic, range(2, 5))
    client.expect_nothing()


@pytest.mark.config({"zone.external.mqueue_priorities": "test/high=10,test/low=1"})
def test_priorities_come_back(broker, reborn):
    name = unique()
    client = durable(broker, 5, name)
    client.subscribe("test/high", "test/low", qos=1)
    client.disconnect()
    for number in range(3):
        publish_numbers(broker, "test/low", [number])
        publish_numbers(broker, "test/high", [number])
    reborn(broker)
    client = resumed(broker, 5, name)
    expect_numbers(client, "test/high", range(3))
    expect_numbers(client, "test/low", range(3))


# --- in flight to the client


@pytest.mark.quick
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_in_flight_is_sent_again_under_its_packet_id(broker, reborn, version, topic, qos):
    name = unique()
    client = durable(broker, version, name)
    client.subscribe(topic, qos=qos)
    publish_numbers(broker, topic, range(5), qos)
    ids = [client.expect_publish(topic, b"%d" % number, qos=qos, dup=False, ack=False).packet_id for number in range(5)]
    reborn(broker)
    client = resumed(broker, version, name)
    for number in range(5):
        client.expect_publish(topic, b"%d" % number, qos=qos, dup=True, packet_id=ids[number])
    client.expect_nothing()


@pytest.mark.config({"zone.external.max_inflight": "2"})
def test_behind_what_was_in_flight_the_rest_follows(broker, reborn, version, topic):
    name = unique()
    client = durable(broker, version, name)
    client.subscribe(topic, qos=2)
    publish_numbers(broker, topic, range(6), 2)
    ids = [client.expect_publish(topic, b"%d" % number, ack=False).packet_id for number in range(2)]
    client.disconnect()
    reborn(broker)
    client = resumed(broker, version, name)
    first = [client.expect_publish(topic, b"%d" % number, dup=True, ack=False) for number in range(2)]
    assert [packet.packet_id for packet in first] == ids
    client.expect_nothing()  # the window
    client.acknowledge(first[0])
    client.expect_publish(topic, b"2", dup=False, ack=False)
    client.acknowledge(first[1])
    client.expect_publish(topic, b"3", dup=False, ack=False)
    client.expect_nothing()


def test_a_qos_2_message_the_client_has_received_is_only_released(broker, reborn, version, topic):
    name = unique()
    client = durable(broker, version, name)
    client.subscribe(topic, qos=2)
    publish_numbers(broker, topic, range(2), 2)
    first = client.expect_publish(topic, b"0", ack=False)
    second = client.expect_publish(topic, b"1", ack=False)
    client.send(p.Pubrec(first.packet_id))
    client.expect(p.Pubrel, packet_id=first.packet_id)  # which says that the PUBREC is on disk
    reborn(broker)
    client = resumed(broker, version, name)
    found = [client.receive(), client.receive()]
    released = next(packet for packet in found if isinstance(packet, p.Pubrel))
    again = next(packet for packet in found if isinstance(packet, p.Publish))
    assert released.packet_id == first.packet_id
    assert (again.packet_id, again.payload, again.dup) == (second.packet_id, b"1", True)
    client.send(p.Pubcomp(first.packet_id))
    client.acknowledge(again)
    client.expect_nothing()
    client.disconnect()
    _stop(broker)
    resumed(broker, version, name).expect_nothing()


# --- in flight from the client


@pytest.mark.quick
def test_a_qos_2_message_is_not_published_again(broker, reborn, version, topic):
    subscriber = absent(broker, version, topic)
    name = unique()
    client = durable(broker, version, name)
    client.send(p.Publish(topic, b"once", 2, packet_id=7))
    client.expect(p.Pubrec, packet_id=7)
    client.send(p.Publish(topic, b"released", 2, packet_id=8))
    client.expect(p.Pubrec, packet_id=8)
    reborn(broker)
    client = resumed(broker, version, name)
    client.send(p.Publish(topic, b"once", 2, packet_id=7, dup=True))
    client.expect(p.Pubrec, packet_id=7)
    client.send(p.Pubrel(8))
    client.expect(p.Pubcomp, packet_id=8, reason=0)
    client.send(p.Pubrel(7))
    client.expect(p.Pubcomp, packet_id=7, reason=0)
    client.send(p.Publish(topic, b"new", 2, packet_id=7))  # the ID is free again
    client.expect(p.Pubrec, packet_id=7)
    receiver = resumed(broker, version, subscriber)
    for payload in (b"once", b"released", b"new"):
        receiver.expect_publish(topic, payload, qos=2)
    receiver.expect_nothing()


def test_a_released_id_is_free_after_a_restart(broker, version, topic):
    subscriber = absent(broker, version, topic)
    name = unique()
    client = durable(broker, version, name)
    client.publish(topic, b"first", 2, packet_id=7)
    _stop(broker)
    client = resumed(broker, version, name)
    client.publish(topic, b"second", 2, packet_id=7)
    receiver = resumed(broker, version, subscriber)
    receiver.expect_publish(topic, b"first", qos=2)
    receiver.expect_publish(topic, b"second", qos=2)
    receiver.expect_nothing()


# --- wills and expiry


def will_fields(topic, delay, payload=b"gone"):
    return {"will": p.Will(topic, payload, 1, properties={Prop.WILL_DELAY_INTERVAL: delay})}


def test_a_delayed_will_is_published_after_the_restart(broker, reborn, topic):
    watcher = absent(broker, 5, topic, qos=1)
    client = durable(broker, 5, unique(), **will_fields(topic, 2))
    client.ping()
    reborn(broker)  # with the connection, its delay begins
    resumed(broker, 5, watcher).expect_publish(topic, b"gone", qos=1)


def test_a_delayed_will_waits_for_a_client_that_had_gone_before(broker, reborn, topic):
    watcher = absent(broker, 5, topic, qos=1)
    client = durable(broker, 5, unique(), **will_fields(topic, 2))
    client.disconnect(0x04)
    reborn(broker)
    resumed(broker, 5, watcher).expect_publish(topic, b"gone", qos=1)


def test_a_delayed_will_is_not_published_when_the_client_is_back_in_time(broker, reborn, topic):
    watcher = absent(broker, 5, topic, qos=1)
    name = unique()
    durable(broker, 5, name, **will_fields(topic, 3600)).disconnect(0x04)
    reborn(broker)
    resumed(broker, 5, name)
    fence(broker.connect(), resumed(broker, 5, watcher))


def test_an_ordered_goodbye_before_the_restart_took_the_will(broker, reborn, topic):
    watcher = absent(broker, 5, topic, qos=1)
    client = durable(broker, 5, unique(), **will_fields(topic, 0))
    client.disconnect()
    reborn(broker)
    fence(broker.connect(), resumed(broker, 5, watcher))


@pytest.mark.parametrize("end", [_stop, _kill], ids=["stop", "kill"])
def test_a_will_without_delay_of_a_client_that_was_connected(broker, end, topic):
    """When the broker ends in order it says so at once, after a crash when it is back. Once in any case."""
    watcher = absent(broker, 5, topic, qos=1)
    client = durable(broker, 5, unique(), **will_fields(topic, 0))
    client.ping()
    end(broker)
    receiver = resumed(broker, 5, watcher)
    receiver.expect_publish(topic, b"gone", qos=1)
    fence(broker.connect(), receiver)


@pytest.mark.slow
def test_expiry_and_will_go_on_while_the_broker_is_down(broker, topic):
    watcher = absent(broker, 5, topic, qos=1)
    name, other = unique(), unique()
    durable(broker, 5, name, expiry=1, **will_fields(topic, 3600)).disconnect(0x04)  # the session's end publishes it
    durable(broker, 5, other, expiry=600).disconnect()
    publisher = broker.connect()
    publisher.publish(topic, b"short-lived", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    publisher.publish(topic, b"long-lived", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 600})
    broker.stop()
    time.sleep(2.1)  # what passes here is what the test is about
    broker.start()
    assert not durable(broker, 5, name).connack.session_present
    assert durable(broker, 5, other).connack.session_present
    receiver = resumed(broker, 5, watcher)
    receiver.expect_publish(topic, b"long-lived", qos=1)
    receiver.expect_publish(topic, b"gone", qos=1)
    receiver.expect_nothing()


@pytest.mark.slow
def test_the_expiry_of_a_session_that_was_connected_begins_with_the_crash(broker, topic):
    watcher = absent(broker, 5, topic, qos=1)
    name = unique()
    client = durable(broker, 5, name, expiry=2, **will_fields(topic, 3600))
    client.ping()
    _kill(broker)
    receiver = resumed(broker, 5, watcher)
    receiver.expect_publish(topic, b"gone", qos=1)  # at the session's end
    assert not durable(broker, 5, name).connack.session_present


# --- shared subscriptions


@pytest.mark.parametrize("prefix", ["$share/group/", "$queue/"])
def test_a_shared_subscription_comes_back_with_its_messages(broker, reborn, topic, prefix):
    name = absent(broker, 5, prefix + topic, qos=2)
    publish_numbers(broker, topic, range(5), 1)
    reborn(broker)
    publish_numbers(broker, topic, range(5, 7), 1)
    client = resumed(broker, 5, name)
    expect_numbers(client, topic, range(7), qos=1)
    client.expect_nothing()


def test_shared_messages_of_a_session_that_ends_go_to_another_member(broker, reborn, topic):
    name = absent(broker, 5, f"$share/group/{topic}", qos=1)
    publish_numbers(broker, topic, range(4), 1)
    reborn(broker)
    other = broker.connect(5)
    other.subscribe(f"$share/group/{topic}", qos=1)
    durable(broker, 5, name, clean=True)
    assert sorted(other.expect_publish(topic).payload for _ in range(4)) == [b"0", b"1", b"2", b"3"]
    other.expect_nothing()


# --- many


def test_hundreds_of_sessions_come_back(broker, reborn, topic):
    names = [absent(broker, 4 + number % 2, f"{topic}/{number}", name=f"many-{number}") for number in range(300)]
    publisher = broker.connect()
    for number in range(300):
        publisher.publish(f"{topic}/{number}", b"%d" % number, 1 + number % 2)
    reborn(broker)
    for number, name in enumerate(names):
        client = resumed(broker, 4 + number % 2, name)
        client.expect_publish(f"{topic}/{number}", b"%d" % number)
        client.disconnect()
