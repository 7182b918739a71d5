"""What a zone and a listener set: limits, mount point, identity, rates. The broker's own contract."""

import time

import pytest

from emqc import packets as p
from emqc.client import Closed, fence, unique
from emqc.packets import Prop
from test_publish import wait_for_delay

pytestmark = pytest.mark.emqc


@pytest.mark.config({"zone.external.mountpoint": "dev/%c/%u/", "zone.plain.max_inflight": "32"})
def test_the_mount_point_is_put_before_topics_and_taken_off_again(broker, version):
    name = unique()
    client = broker.connect(version, client_id=name, username="user")
    client.subscribe("a/#", qos=1)
    client.publish("a/b", b"x", 1, reason=0)
    client.expect_publish("a/b", b"x")
    other = broker.connect(version, username="user")
    other.publish("a/b", b"y", 1)
    client.expect_nothing()
    client.unsubscribe("a/#")
    client.publish("a/b", b"z", 1)
    client.expect_nothing()


def two_listeners(node_settings: dict) -> dict:
    """Settings for zone external with something in it and a second listener whose zone has nothing."""
    from emqc.broker import free_port

    port = free_port()
    return {
        **node_settings,
        "listener.tcp.plain": f"127.0.0.1:{port}",
        "listener.tcp.plain.zone": "plain",
        "listener.tcp.plain.max_connections": "100",
        "zone.plain.max_inflight": "32",
    }


def plain_client(node, version=5, **fields):
    """A client of the second listener."""
    from emqc.client import Client

    host, port = node.settings["listener.tcp.plain"].rsplit(":", 1)
    return Client((host, int(port)), version).connect(**fields)


@pytest.mark.parametrize("username, prefix", [("u", "m/ID/u/"), (None, "m/ID/%u/")], ids=["user", "no-user"])
def test_topics_with_mount_point_as_others_see_them(make_broker, version, username, prefix):
    node = make_broker(two_listeners({"zone.external.mountpoint": "m/%c/%u/"}))
    name = unique()
    prefix = prefix.replace("ID", name)
    outside = plain_client(node, version)
    outside.subscribe("m/#")
    inside = node.connect(version, client_id=name, username=username, will=p.Will("will", b"w"))
    inside.subscribe("in")
    inside.publish("out", b"1")
    outside.expect_publish(prefix + "out", b"1")
    outside.publish(prefix + "in", b"2")
    inside.expect_publish("in", b"2")
    outside.expect_publish(prefix + "in", b"2")
    inside.drop()
    outside.expect_publish(prefix + "will", b"w")


def test_the_mount_point_stands_behind_the_share_prefix(make_broker):
    node = make_broker(two_listeners({"zone.external.mountpoint": "m/"}))
    inside, outside = node.connect(), plain_client(node)
    inside.subscribe("$share/g/a", "$queue/b")
    for name in "ab":
        outside.publish(f"m/{name}", b"x")
        inside.expect_publish(name, b"x")


def test_the_mount_point_of_an_assigned_client_id(make_broker):
    node = make_broker(two_listeners({"zone.external.mountpoint": "m/%c/"}))
    outside = plain_client(node)
    outside.subscribe("m/#")
    inside = node.connect(client_id="")
    name = inside.connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER)
    inside.publish("t", b"x")
    outside.expect_publish(f"m/{name}/t", b"x")


def test_assigned_client_ids_are_letters_and_digits(broker):
    name = broker.connect(client_id="").connack.properties.get(Prop.ASSIGNED_CLIENT_IDENTIFIER)
    assert name.isalnum() and name.isascii() and len(name) < 65


@pytest.mark.config({"zone.external.upgrade_qos": "on"})
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_upgrade_qos_takes_the_higher_of_the_two(broker, topic, published, granted):
    client = broker.connect(4)
    client.subscribe(topic, qos=granted)
    broker.connect(4).publish(topic, b"x", published)
    client.expect_publish(topic, b"x", qos=max(published, granted))


@pytest.mark.config({"zone.external.ignore_loop_deliver": "true"})
def test_ignore_loop_deliver_keeps_own_messages_away_from_older_clients(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic)
    client.publish(topic, b"own")
    if version == 5:
        client.expect_publish(topic, b"own")  # version 5 has No Local
    other = broker.connect(version)
    other.publish(topic, b"other")
    client.expect_publish(topic, b"other")


@pytest.mark.config({"zone.external.use_username_as_clientid": "true"})
def test_the_user_name_is_the_client_id(broker, version):
    name = unique("user")
    first = broker.connect(version, client_id=unique(), username=name)
    second = broker.connect(version, client_id=unique(), username=name)
    first.expect_disconnect(0x8E)
    second.expect_nothing()
    broker.connect(version, client_id=name).expect_nothing()
    second.expect_disconnect(0x8E)


@pytest.mark.mqtt5("MQTT-3.2.2-9", "MQTT-3.2.2-10")
@pytest.mark.config({"mqtt.max_qos_allowed": "1"})
def test_the_maximum_qos_is_announced_and_enforced(broker, version, topic):
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.MAXIMUM_QOS) == 1
    client.subscribe(p.Filter(topic, 2), p.Filter(topic + "/0", 0), codes=[1, 0])
    client.publish(topic, b"x", 1)
    client.expect_publish(topic, b"x", qos=1)
    client.send(p.Publish(topic, b"x", 2, packet_id=9))
    found = client.drain()
    if version == 5:
        assert found[-1:] == [p.Disconnect(0x9B, found[-1].properties)]
    assert not [packet for packet in found if isinstance(packet, p.Publish)]


@pytest.mark.config({"mqtt.max_qos_allowed": "0"})
@pytest.mark.mqtt5("MQTT-3.2.2-9", "MQTT-3.2.2-10")
def test_a_maximum_qos_of_0_still_lets_clients_subscribe(broker, topic):
    client = broker.connect()
    assert client.connack.properties.get(Prop.MAXIMUM_QOS) == 0
    client.subscribe(topic, qos=2, codes=[0])
    client.send(p.Publish(topic, b"x", 1, packet_id=1))
    found = client.drain()
    assert isinstance(found[-1], p.Disconnect) and found[-1].reason == 0x9B


@pytest.mark.config({"mqtt.retain_available": "false"})
def test_retain_is_refused_where_it_is_off(broker, version, topic):
    client = broker.connect(version)
    if version == 5:
        assert client.connack.properties.get(Prop.RETAIN_AVAILABLE) == 0
    client.send(p.Publish(topic, b"x", retain=True))
    client.expect_disconnect(0x9A)
    reader = broker.connect(version)
    reader.subscribe(topic)
    reader.expect_nothing()


@pytest.mark.config({"zone.external.max_subscriptions": "2"})
def test_no_more_subscriptions_than_allowed(broker, version, topic):
    no = 0x97 if version == 5 else 0x80
    client = broker.connect(version)
    client.subscribe(f"{topic}/1", f"{topic}/2", f"{topic}/3", codes=[0, 0, no])
    client.subscribe(f"{topic}/1", qos=1)  # known already
    client.unsubscribe(f"{topic}/2")
    client.subscribe(f"{topic}/3")


@pytest.mark.slow
@pytest.mark.config({"zone.external.publish_limit": "5,1s"})
def test_publish_limit_delays_and_drops_nothing(broker, version, topic):
    subscriber = broker.connect(4)
    subscriber.subscribe(topic)
    client = broker.connect(version)
    start = time.monotonic()
    client.send(*(p.Publish(topic, b"%d" % n, 1, packet_id=n) for n in range(1, 16)))
    for n in range(1, 16):
        client.expect(p.Puback, packet_id=n)
    assert time.monotonic() - start > 1.2  # a burst of 5, then 5 a second
    for n in range(1, 16):
        subscriber.expect_publish(topic, b"%d" % n)


@pytest.mark.slow
@pytest.mark.config({"listener.tcp.external.rate_limit": "20000,20000"})
def test_rate_limit_delays_and_drops_nothing(broker, topic):
    subscriber = broker.connect(4)
    subscriber.subscribe(topic)
    client = broker.connect(4)
    start = time.monotonic()
    for n in range(80):
        client.send(p.Publish(topic, n.to_bytes(1, "big") * 1000))
    for n in range(80):
        subscriber.expect_publish(topic, n.to_bytes(1, "big") * 1000)
    client.publish(topic, b"last")  # whatever one read took beyond the limit is paid for before this one
    subscriber.expect_publish(topic, b"last")
    assert time.monotonic() - start > 2.0  # 80 kB: 20 kB at once, 20 kB a second


@pytest.mark.config({"listener.tcp.external.max_connections": "3"})
def test_connections_above_the_limit_are_closed_at_once(broker):
    clients = []
    while len(clients) < 3:
        try:
            clients.append(broker.connect(4))
        except (Closed, ConnectionError):
            continue  # the probe of the fixture may still count
    for _ in range(3):
        extra = broker.open(4)
        extra.send(p.Connect(unique()))
        with pytest.raises((Closed, ConnectionError)):
            extra.receive()
    for client in clients:
        client.expect_nothing()
    clients.pop().disconnect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            broker.connect(4).expect_nothing()
            return
        except (Closed, ConnectionError):
            continue
    pytest.fail("a place that became free was not given away")


@pytest.mark.config({"node.max_clients": "2"})
def test_clients_above_the_node_s_limit_are_refused(broker, version):
    kept = [broker.connect(version) for _ in range(2)]
    extra = broker.open(version)
    extra.send(p.Connect(unique()))
    extra.expect_refused(0x97, code=3)
    for client in kept:
        client.expect_nothing()


@pytest.mark.slow
@pytest.mark.config({"listener.tcp.external.max_conn_rate": "5"})
def test_the_connection_rate_delays_and_refuses_nobody(broker):
    start = time.monotonic()
    clients = [broker.open(4) for _ in range(15)]
    for client in clients:
        client.send(p.Connect(unique()))
    for client in clients:
        client.expect(p.Connack, reason=0)
    assert time.monotonic() - start > 0.9


def test_a_zone_that_nobody_configured_has_the_defaults(make_broker, topic):
    node = make_broker({"listener.tcp.external.zone": "unheard-of", "zone.external.max_inflight": None})
    client = node.connect(4)
    client.subscribe(topic, qos=2)
    client.publish(topic, b"x", 2)


def test_access_rules_are_read_in_order(make_broker):
    node = make_broker(two_listeners({
        "listener.tcp.plain.access.1": "allow 10.0.0.0/8",
        "listener.tcp.plain.access.2": "deny 127.0.0.0/8",
        "listener.tcp.plain.access.3": "allow all",
    }))  # fmt: skip
    with pytest.raises((Closed, ConnectionError)):
        plain_client(node)
    node.connect().expect_nothing()


# --- queue


def offline(node, topic_qos: dict, version=4) -> str:
    """A session that waits, subscribed to these topics."""
    name = unique()
    client = node.connect(version, client_id=name, clean=False)
    for topic, qos in topic_qos.items():
        client.subscribe(topic, qos=qos)
    client.disconnect()
    return name


@pytest.mark.config({"zone.external.max_mqueue_len": "3"})
def test_a_full_queue_drops_its_oldest_message(broker, topic):
    name = offline(broker, {topic: 1})
    publisher = broker.connect()
    for number in range(5):
        publisher.publish(topic, b"%d" % number, 1)
    client = broker.connect(4, client_id=name, clean=False)
    for number in (2, 3, 4):
        client.expect_publish(topic, b"%d" % number)
    client.expect_nothing()


@pytest.mark.config({"zone.external.mqueue_store_qos0": "true"})
def test_qos_0_waits_for_an_offline_client_if_stored(broker, topic):
    name = offline(broker, {topic: 1})
    publisher = broker.connect()
    for number in range(60):  # more than the window holds
        publisher.publish(topic, b"%d" % number, 0)
    publisher.ping()
    client = broker.connect(4, client_id=name, clean=False)
    for number in range(60):
        client.expect_publish(topic, b"%d" % number, qos=0)
    client.expect_nothing()


@pytest.mark.config({"zone.external.mqueue_store_qos0": "false"})
def test_qos_0_does_not_wait_for_an_offline_client_if_not_stored(broker, topic):
    name = offline(broker, {topic: 1})
    publisher = broker.connect()
    publisher.publish(topic, b"0", 0)
    publisher.publish(topic, b"1", 1)
    client = broker.connect(4, client_id=name, clean=False)
    client.expect_publish(topic, b"1")
    client.expect_nothing()


PRIORITIES = {"zone.external.mqueue_priorities": "p/high=10,p/low=1", "zone.external.max_mqueue_len": "2"}


@pytest.mark.parametrize("default, order", [("lowest", ["p/high", "p/low", "p/other"]), ("highest", ["p/other", "p/high", "p/low"])])
def test_the_queue_goes_by_priority(make_broker, default, order):
    node = make_broker({**PRIORITIES, "zone.external.mqueue_default_priority": default})
    name = offline(node, {"p/#": 1})
    publisher = node.connect()
    for number in range(3):
        for topic in ("p/low", "p/other", "p/high"):
            publisher.publish(topic, b"%d" % number, 1)
    client = node.connect(4, client_id=name, clean=False)
    for topic in order:
        for number in (1, 2):  # each class dropped its oldest
            client.expect_publish(topic, b"%d" % number)
    client.expect_nothing()


@pytest.mark.config({"zone.external.max_inflight": "1", "zone.external.max_mqueue_len": "2"})
def test_a_full_window_queues_and_a_full_queue_drops(broker, version, topic):
    client = broker.connect(version)
    client.subscribe(topic, qos=1)
    publisher = broker.connect(version)
    for number in range(5):
        publisher.publish(topic, b"%d" % number, 1)
    first = client.expect_publish(topic, b"0", ack=False)
    fence(publisher, client)  # all of them have arrived
    client.acknowledge(first)
    client.expect_publish(topic, b"3")
    client.expect_publish(topic, b"4")
    client.expect_nothing()


@pytest.mark.slow
@pytest.mark.config({"zone.external.max_mqueue_len": "3", "zone.external.durability": "none"})
def test_expired_messages_take_no_place_in_the_queue(broker, topic):
    name = offline(broker, {topic: 1})
    publisher = broker.connect()
    publisher.publish(topic, b"first", 1)
    for _ in range(2):
        publisher.publish(topic, b"short", 1, properties={Prop.MESSAGE_EXPIRY_INTERVAL: 1})
    wait_for_delay(broker, 2)
    for payload in (b"second", b"third"):
        publisher.publish(topic, payload, 1)
    client = broker.connect(4, client_id=name, clean=False)
    for payload in (b"first", b"second", b"third"):
        client.expect_publish(topic, payload)
    client.expect_nothing()


# --- $SYS

SYS = {"broker.sys_interval": "1s", "broker.sys_heartbeat": "1s"}


@pytest.mark.slow
@pytest.mark.config(SYS)
def test_the_broker_tells_about_itself(broker, version):
    client = broker.connect(version)
    root = "$SYS/brokers/emqc@127.0.0.1"
    wanted = {"$SYS/brokers", *(f"{root}/{name}" for name in ("version", "sysdescr", "uptime", "datetime"))}
    client.subscribe("$SYS/brokers", f"{root}/+")
    found = {}
    while wanted - set(found):
        message = client.expect_publish()
        found[message.topic] = message.payload.decode()
    assert found["$SYS/brokers"] == "emqc@127.0.0.1"
    assert found[f"{root}/sysdescr"] == "EMQ X Broker"
    assert found[f"{root}/version"]
    time.strptime(found[f"{root}/datetime"], "%Y-%m-%d %H:%M:%S")
    assert found[f"{root}/uptime"].endswith(" seconds")


@pytest.mark.slow
@pytest.mark.config(SYS)
def test_what_stays_true_about_the_broker_is_retained(broker):
    client = broker.connect()
    root = "$SYS/brokers/emqc@127.0.0.1"
    client.subscribe("$SYS/brokers", f"{root}/version", f"{root}/sysdescr", f"{root}/uptime")
    while client.expect_publish().topic != f"{root}/uptime":
        pass
    late = broker.connect()
    late.subscribe("$SYS/brokers", f"{root}/version", f"{root}/sysdescr")
    found = {late.expect_publish(retain=True).topic for _ in range(3)}
    assert found == {"$SYS/brokers", f"{root}/version", f"{root}/sysdescr"}


@pytest.mark.slow
@pytest.mark.config(SYS)
def test_a_wildcard_does_not_show_what_the_broker_tells(broker, topic):
    client, watcher = broker.connect(), broker.connect()
    client.subscribe("#", "+/brokers")
    watcher.subscribe("$SYS/brokers/+/uptime")
    watcher.expect_publish()
    client.expect_nothing()
