"""Session state: clean start, expiry, resumption, takeover. Sections 3.1.2, 3.1.4 and 4.1."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique
from emqc.packets import Prop

pytestmark = pytest.mark.threads
FOREVER = 0xFFFFFFFF


def persistent(broker, version, name, clean=False, expiry=60, **fields):
    """A client whose session outlives its connection."""
    if version == 5:
        fields["properties"] = {Prop.SESSION_EXPIRY_INTERVAL: expiry, **dict(fields.get("properties", {}))}
    return broker.connect(version, client_id=name, clean=clean, **fields)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-3.2.2-3", "MQTT-4.1.0-1", "MQTT-4.5.0-1")
@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.2.2-2", "MQTT-4.1.0-1", "MQTT-4.5.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_is_resumed_with_its_messages(broker, version, topic, qos):
    name = unique()
    client = persistent(broker, version, name)
    assert not client.connack.session_present
    client.subscribe(topic, qos=qos)
    client.disconnect()
    publisher = broker.connect(version)
    for number in range(5):
        publisher.publish(topic, b"%d" % number, qos)
    again = persistent(broker, version, name)
    assert again.connack.session_present
    for number in range(5):
        again.expect_publish(topic, b"%d" % number, qos=qos, dup=False)
    again.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.2-6", "MQTT-3.2.2-3")
@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-3.2.2-3")
def test_without_a_session_a_new_one_is_made(broker, version):
    assert not persistent(broker, version, unique()).connack.session_present


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.2-4", "MQTT-3.2.2-2", "MQTT-3.1.4-4")
@pytest.mark.mqtt311("MQTT-3.1.2-6", "MQTT-3.2.2-1", "MQTT-3.1.4-3")
def test_clean_start_discards_the_session(broker, version, topic):
    name = unique()
    client = persistent(broker, version, name)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker.connect(version)
    publisher.publish(topic, b"lost", 1)
    again = persistent(broker, version, name, clean=True)
    assert not again.connack.session_present
    publisher.publish(topic, b"not subscribed", 1)
    fence(publisher, again)


@pytest.mark.mqtt311("MQTT-3.1.2-6")
@pytest.mark.mqtt5("MQTT-4.1.0-2")
def test_a_session_without_expiry_ends_with_its_connection(broker, version, topic):
    name = unique()
    client = broker.connect(version, client_id=name, clean=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    broker.connect(version).publish(topic, b"x", 1)
    again = broker.connect(version, client_id=name, clean=False)
    assert not again.connack.session_present
    again.publish(topic, b"y", 1)
    again.expect_nothing()


@pytest.mark.slow
@pytest.mark.mqtt5("MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_a_session_ends_when_its_expiry_has_passed(broker, topic):
    will_topic = topic + "/will"
    watcher = broker.connect()
    watcher.subscribe(will_topic)
    name = unique()
    # The will is delayed beyond the session, so it tells when the session ended.
    will = p.Will(will_topic, b"ended", properties={Prop.WILL_DELAY_INTERVAL: 60})
    client = persistent(broker, 5, name, expiry=1, will=will)
    client.subscribe(topic, qos=1)
    client.drop()
    watcher.expect_publish(will_topic, b"ended")
    assert not persistent(broker, 5, name).connack.session_present


@pytest.mark.mqtt5("MQTT-3.1.2-23", "MQTT-4.1.0-2")
def test_the_expiry_can_be_changed_in_disconnect(broker, topic):
    name = unique()
    client = persistent(broker, 5, name, expiry=60)
    client.disconnect(properties={Prop.SESSION_EXPIRY_INTERVAL: 0})
    assert not persistent(broker, 5, name, expiry=60).connack.session_present
    client = persistent(broker, 5, name, expiry=1)
    client.disconnect(properties={Prop.SESSION_EXPIRY_INTERVAL: 120})
    assert persistent(broker, 5, name).connack.session_present


@pytest.mark.mqtt5("MQTT-4.13.1-1", "MQTT-3.1.2-23")
@pytest.mark.parametrize("properties", [{}, {Prop.SESSION_EXPIRY_INTERVAL: 0}], ids=["absent", "zero"])
def test_an_expiry_in_disconnect_where_connect_had_none_is_a_protocol_error(broker, properties):
    client = broker.connect(properties=properties)
    client.send(p.Disconnect(0, {Prop.SESSION_EXPIRY_INTERVAL: 10}))
    client.expect_disconnect(0x82)


@pytest.mark.mqtt5("MQTT-3.1.2-23")
def test_an_expiry_of_ffffffff_never_ends(broker, topic):
    name = unique()
    persistent(broker, 5, name, expiry=FOREVER).drop()
    assert persistent(broker, 5, name).connack.session_present


@pytest.mark.mqtt5("MQTT-3.1.2-23")
def test_the_expiry_of_the_last_connect_counts(broker):
    name = unique()
    persistent(broker, 5, name, expiry=60).disconnect()
    persistent(broker, 5, name, expiry=0).disconnect()
    assert not persistent(broker, 5, name).connack.session_present


@pytest.mark.mqtt5("MQTT-3.1.2-4")
def test_clean_start_with_an_expiry_makes_a_session_that_stays(broker, topic):
    name = unique()
    client = persistent(broker, 5, name, clean=True)
    client.subscribe(topic, qos=1)
    client.drop()
    assert persistent(broker, 5, name).connack.session_present


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.1.4-3", "MQTT-3.1.3-2")
@pytest.mark.mqtt311("MQTT-3.1.4-2", "MQTT-3.1.3-2")
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "resume"])
def test_a_second_connection_takes_over_from_the_first(broker, version, clean):
    name = unique()
    first = broker.connect(version, client_id=name, clean=clean)
    second = broker.connect(version, client_id=name, clean=clean)
    first.expect_disconnect(0x8E)
    second.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.4-3")
@pytest.mark.mqtt311("MQTT-3.1.4-2")
def test_a_takeover_works_between_versions(broker):
    name = unique()
    clients = [broker.connect(version, client_id=name) for version in (5, 4, 3, 5)]
    for client in clients[:-1]:
        client.expect_disconnect(0x8E)
    clients[-1].expect_nothing()


@pytest.mark.mqtt5("MQTT-3.1.4-4", "MQTT-3.2.2-3")
@pytest.mark.mqtt311("MQTT-3.1.4-3", "MQTT-3.2.2-2")
def test_a_takeover_without_clean_start_keeps_subscriptions_and_unacknowledged_messages(broker, version, topic):
    name = unique()
    first = persistent(broker, version, name)
    first.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    publisher.publish(topic, b"one", 1)
    message = first.expect_publish(topic, b"one", ack=False)
    second = persistent(broker, version, name)
    assert second.connack.session_present
    first.expect_disconnect(0x8E)
    second.expect_publish(topic, b"one", packet_id=message.packet_id, dup=True)
    publisher.publish(topic, b"two", 1)
    second.expect_publish(topic, b"two", dup=False)


@pytest.mark.mqtt5("MQTT-3.1.2-4")
@pytest.mark.mqtt311("MQTT-3.1.2-6")
def test_a_takeover_with_clean_start_forgets_subscriptions(broker, version, topic):
    name = unique()
    first = persistent(broker, version, name)
    first.subscribe(topic, qos=1)
    second = persistent(broker, version, name, clean=True)
    assert not second.connack.session_present
    publisher = broker.connect(version)
    publisher.publish(topic, b"x", 1)
    fence(publisher, second)


def test_a_storm_of_takeovers_leaves_one_connection(broker, version):
    name = unique()
    clients = []
    for _ in range(30):
        client = broker.open(version)
        client.send(p.Connect(name))
        clients.append(client)
    alive = 0
    for client in clients:
        try:
            client.expect(p.Connack, reason=0)
            client.send(p.Pingreq())
            alive += isinstance(client.receive(), p.Pingresp)
        except TimeoutError:
            raise
        except (AssertionError, OSError):
            continue
    assert alive >= 1
    last = broker.connect(version, client_id=name)
    last.expect_nothing()
    for client in clients:
        client.drain()  # the broker has closed each of them


@pytest.mark.mqtt311("MQTT-3.1.2-7")
@pytest.mark.mqtt5("MQTT-3.3.1-5")
def test_retained_messages_outlive_the_session_that_made_them(broker, version, topic):
    publisher = broker.connect(version, clean=True)
    publisher.publish(topic, b"stays", 1, retain=True)
    publisher.disconnect()
    reader = broker.connect(version)
    reader.subscribe(topic)
    reader.expect_publish(topic, b"stays", retain=True)
    broker.connect(version).publish(topic, b"", 1, retain=True)


@pytest.mark.mqtt5("MQTT-4.4.0-1", "MQTT-3.1.2-5")
@pytest.mark.mqtt311("MQTT-4.4.0-1", "MQTT-4.1.0-1")
def test_a_session_of_an_older_version_is_resumed_by_mqtt_5(broker, topic):
    name = unique()
    old = broker.connect(4, client_id=name, clean=False)
    old.subscribe(topic, qos=1)
    old.disconnect()
    broker.connect().publish(topic, b"x", 1)
    new = persistent(broker, 5, name)
    assert new.connack.session_present
    new.expect_publish(topic, b"x")


@pytest.mark.mqtt5("MQTT-4.1.0-1")
@pytest.mark.mqtt311("MQTT-4.1.0-2")
@pytest.mark.slow
def test_an_open_connection_keeps_its_session_beyond_the_expiry(broker, topic):
    client = persistent(broker, 5, unique(), expiry=1)
    client.subscribe(topic)
    other = broker.connect(will=p.Will(topic, b"time has passed", properties={Prop.WILL_DELAY_INTERVAL: 2}),
                           properties={Prop.SESSION_EXPIRY_INTERVAL: 60})  # fmt: skip
    other.drop()
    client.expect_publish(topic, b"time has passed")


@pytest.mark.emqc
@pytest.mark.slow
@pytest.mark.config({"zone.external.session_expiry_interval": "1s"})
def test_sessions_of_older_versions_expire_by_the_zone(broker, old_version, topic):
    name = unique()
    persistent(broker, old_version, name).disconnect()
    assert persistent(broker, old_version, name).connack.session_present
    client = persistent(broker, old_version, name)
    client.disconnect()
    timer = broker.connect(properties={Prop.SESSION_EXPIRY_INTERVAL: 60},
                           will=p.Will(topic, b"later", properties={Prop.WILL_DELAY_INTERVAL: 3}))  # fmt: skip
    watcher = broker.connect()
    watcher.subscribe(topic)
    timer.drop()
    watcher.expect_publish(topic, b"later")
    assert not persistent(broker, old_version, name).connack.session_present
