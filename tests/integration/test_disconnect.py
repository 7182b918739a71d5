"""DISCONNECT and the end of connections, AUTH: sections 3.14, 3.15, 4.12 and 4.13."""

import pytest

from emqc import packets as p
from emqc.client import unique
from emqc.packets import Prop


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-3.14.4-2", "MQTT-3.14.4-1", "MQTT-4.13.2-1", "MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.0-1")
def test_after_its_disconnect_the_broker_sends_nothing_and_closes(broker, topic):
    client = broker.connect()
    client.subscribe(topic)
    client.send(p.Publish(topic + "/#", b""), p.Publish(topic, b"must not come back"), p.Pingreq())
    client.expect_disconnect(0x90, 0x81, 0x82)


@pytest.mark.mqtt5("MQTT-3.14.4-3")
@pytest.mark.mqtt311("MQTT-3.14.4-3")
def test_disconnect_closes_the_connection(broker, version):
    client = broker.connect(version)
    client.send(p.Disconnect())
    client.expect_closed()


@pytest.mark.mqtt5("MQTT-3.14.4-1")
def test_what_follows_a_disconnect_is_not_processed(broker, version, topic):
    watcher = broker.connect()
    watcher.subscribe(topic)
    client = broker.connect(version)
    client.send(p.Publish(topic, b"before"), p.Disconnect(), p.Publish(topic, b"after"))
    client.expect_closed()
    watcher.expect_publish(topic, b"before")
    watcher.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.14.2-1", "MQTT-3.14.4-3")
@pytest.mark.parametrize("data", ["e0 00", "e0 01 00", "e0 02 00 00", "e0 07 00 05 11 00 00 00 00"])
def test_disconnect_of_each_length_is_understood(broker, topic, data):
    watcher = broker.connect()
    watcher.subscribe(topic)
    client = broker.connect(will=p.Will(topic, b"must not come"))
    client.send(bytes.fromhex(data))
    client.expect_closed()
    watcher.expect_nothing()


@pytest.mark.mqtt5("MQTT-3.14.2-4", "MQTT-3.14.2-3")
def test_disconnect_with_properties_is_understood(broker):
    client = broker.connect(properties={Prop.SESSION_EXPIRY_INTERVAL: 5})
    client.send(p.Disconnect(0, [(Prop.SESSION_EXPIRY_INTERVAL, 1), (Prop.REASON_STRING, "bye"),
                                 (Prop.USER_PROPERTY, ("a", "b")), (Prop.USER_PROPERTY, ("a", "b"))]))  # fmt: skip
    client.expect_closed()


@pytest.mark.mqtt5("MQTT-3.14.0-1")
def test_a_refused_connect_gets_no_disconnect(broker):
    client = broker.open()
    client.send(p.Connect(unique(), properties={Prop.RECEIVE_MAXIMUM: 0}))
    assert [type(packet) for packet in client.drain()] == [p.Connack]


@pytest.mark.emqc
def test_a_reason_string_tells_more(broker):
    client = broker.connect()
    client.send(p.Publish("a/+", b""))
    packet = client.expect_disconnect(0x90)
    assert packet.properties.get(Prop.REASON_STRING)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.12.0-1", "MQTT-3.1.4-2", "MQTT-3.2.2-7")
def test_an_unknown_authentication_method_is_refused(broker):
    client = broker.open()
    client.send(p.Connect(unique(), properties={Prop.AUTHENTICATION_METHOD: "NONE-SUCH"}))
    client.expect_refused(0x8C, 0x87)


@pytest.mark.mqtt5("MQTT-4.12.0-6", "MQTT-3.2.2-8")
def test_without_an_authentication_method_no_auth_is_sent(broker):
    client = broker.connect(username="u", password=b"p")
    assert Prop.AUTHENTICATION_METHOD not in client.connack.properties
    client.expect_nothing()


@pytest.mark.mqtt5("MQTT-4.13.1-1", "MQTT-3.15.2-1")
@pytest.mark.parametrize("packet", [p.Auth(0x19), p.Auth(0x18), p.Auth(0x19, {Prop.AUTHENTICATION_METHOD: "x"}), p.Auth()], ids=str)
def test_auth_of_a_client_without_a_method_ends_the_connection(broker, packet):
    client = broker.connect()
    client.send(packet)
    client.expect_disconnect(0x82, 0x81, 0x8C)


@pytest.mark.mqtt5("MQTT-3.1.0-1")
def test_auth_before_connect_ends_the_connection(broker):
    client = broker.open()
    client.send(p.Auth(0x18))
    client.expect_closed()


@pytest.mark.emqc
@pytest.mark.mqtt5("MQTT-3.14.2-1")
def test_stopping_the_broker_tells_the_clients(make_broker):
    node = make_broker()
    clients = [node.connect(version) for version in (3, 4, 5)]
    node.process.terminate()
    for client in clients:
        client.expect_disconnect(0x8B)
    assert node.wait() == 0
