"""Clients that people use: mosquitto_pub and mosquitto_sub, paho-mqtt, MQTT.js."""

import json
import queue
import shutil
import subprocess
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from emqc.client import DEADLINE_S, unique
from emqc.packets import Prop

HERE = Path(__file__).resolve().parent
COUNT = 20
NUMBERS = [str(number) for number in range(COUNT)]
TIMEOUT_S = 3 * DEADLINE_S


@pytest.fixture
def run():
    """Starts programs; what still runs at the end is killed."""
    started = []

    def start(*command, **more):
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": HERE, **more}
        started.append(subprocess.Popen([str(word) for word in command], **more))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process) -> str:
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{process.args}: {process.returncode}\n{out}\n{err}"
    return out


# --- mosquitto's

MOSQUITTO_VERSION = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
needs_mosquitto = pytest.mark.skipif(not shutil.which("mosquitto_sub"), reason="mosquitto-clients is not installed")


def subscribed(broker, topic: str, version: int = 5):
    """Waits until another program's subscription to `topic` is there: probes come back to nobody else."""
    client = broker.connect(5)
    while client.publish(topic, b"probe", 1, reason={0, 0x10}).reason == 0x10:
        pass
    client.disconnect()


@pytest.mark.quick
@needs_mosquitto
@pytest.mark.emqc
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_sub_gets_what_mosquitto_pub_sends(broker, version, topic, run, qos):
    common = ["-h", "127.0.0.1", "-p", broker.port, "-V", MOSQUITTO_VERSION[version], "-q", qos, "-t", topic]
    subscriber = run("mosquitto_sub", *common, "-F", "%q %p", "-W", int(TIMEOUT_S), stdout=subprocess.PIPE)
    subscribed(broker, topic)
    publisher = run("mosquitto_pub", *common, "-l", stdin=subprocess.PIPE)
    publisher.stdin.write("\n".join(NUMBERS) + "\n")
    publisher.stdin.close()
    publisher.stdin = None
    lines = []
    while len(lines) < COUNT:
        line = subscriber.stdout.readline()
        assert line, subscriber.stderr.read()
        if not line.rstrip().endswith("probe"):
            lines.append(line.rstrip())
    assert lines == [f"{qos} {number}" for number in NUMBERS]
    finish(publisher)


@needs_mosquitto
def test_mosquitto_pub_retains_and_mosquitto_sub_reads_it(broker, version, topic, run):
    common = ["-h", "127.0.0.1", "-p", broker.port, "-V", MOSQUITTO_VERSION[version], "-t", topic]
    finish(run("mosquitto_pub", *common, "-r", "-q", "1", "-m", "kept"))
    assert finish(run("mosquitto_sub", *common, "-C", "1", "-F", "%r %p")).strip() == "1 kept"
    finish(run("mosquitto_pub", *common, "-r", "-q", "1", "-n"))
    broker_side = broker.connect()
    broker_side.subscribe(topic)
    broker_side.expect_nothing()


@needs_mosquitto
def test_mosquitto_sub_shows_properties(broker, topic, run):
    common = ["-h", "127.0.0.1", "-p", broker.port, "-V", "mqttv5", "-t", topic]
    finish(run("mosquitto_pub", *common, "-r", "-q", "1", "-m", "x", "-D", "publish", "content-type", "c/t", "-D", "publish",
               "user-property", "k", "v", "-D", "publish", "response-topic", "r/t", "-D", "publish", "correlation-data",
               "cd", "-D", "publish", "message-expiry-interval", "100"))  # fmt: skip
    line = finish(run("mosquitto_sub", *common, "-C", "1", "-F", "%C|%P|%R|%D|%E|%p")).strip()
    content, user, response, correlation, expiry, payload = line.split("|")
    assert (content, user, response, correlation, payload) == ("c/t", "k:v", "r/t", "cd", "x")
    assert 90 <= int(expiry) <= 100
    finish(run("mosquitto_pub", *common, "-r", "-q", "1", "-n"))


@needs_mosquitto
def test_mosquitto_pub_sends_a_large_file(broker, version, topic, run, tmp_path):
    payload = bytes(number % 251 for number in range(900_000))
    path = tmp_path / "payload"
    path.write_bytes(payload)
    subscriber = broker.connect(version)
    subscriber.subscribe(topic, qos=2)
    finish(run("mosquitto_pub", "-h", "127.0.0.1", "-p", broker.port, "-V", MOSQUITTO_VERSION[version], "-q", "2", "-t", topic,
               "-f", path))  # fmt: skip
    subscriber.expect_publish(topic, payload, qos=2)


# --- paho

PAHO_VERSION = {3: paho.MQTTv31, 4: paho.MQTTv311, 5: paho.MQTTv5}


class Paho:
    """A paho client with its loop in a thread; what it hears comes in queues."""

    def __init__(self, broker, version: int, **more):
        self.connected, self.subscribed, self.messages = queue.Queue(), queue.Queue(), queue.Queue()
        clean = {} if version == 5 else {"clean_session": True}
        self.client = paho.Client(client_id=unique("paho"), protocol=PAHO_VERSION[version], **clean, **more)
        self.client.on_connect = lambda *arguments: self.connected.put(arguments[3])
        self.client.on_subscribe = lambda *arguments: self.subscribed.put(arguments[3])
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.connect("127.0.0.1", broker.port, 60)
        self.client.loop_start()
        assert self.connected.get(timeout=TIMEOUT_S) == 0

    def subscribe(self, topic: str, qos: int):
        self.client.subscribe(topic, qos)
        return [int(getattr(code, "value", code)) for code in self.subscribed.get(timeout=TIMEOUT_S)]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.quick
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_publishes_and_subscribes(broker, version, topic, qos):
    subscriber, publisher = Paho(broker, version), Paho(broker, version)
    assert subscriber.subscribe(topic, qos) == [qos]
    for number in NUMBERS:
        publisher.client.publish(topic, number, qos).wait_for_publish(TIMEOUT_S)
    messages = [subscriber.messages.get(timeout=TIMEOUT_S) for _ in NUMBERS]
    assert [message.payload.decode() for message in messages] == NUMBERS
    assert {message.qos for message in messages} == {qos}
    publisher.close()
    subscriber.close()


def test_paho_exchanges_properties(broker, topic):
    subscriber, publisher = Paho(broker, 5), Paho(broker, 5)
    subscriber.subscribe(topic, 1)
    properties = PahoProperties(PacketTypes.PUBLISH)
    properties.ContentType = "c/t"
    properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    properties.CorrelationData = b"\x00\x01"
    publisher.client.publish(topic, "x", 1, properties=properties).wait_for_publish(TIMEOUT_S)
    got = subscriber.messages.get(timeout=TIMEOUT_S).properties
    assert (got.ContentType, got.UserProperty, got.CorrelationData) == ("c/t", properties.UserProperty, b"\x00\x01")
    publisher.close()
    subscriber.close()


# --- MQTT.js

needs_node = pytest.mark.skipif(
    not shutil.which("node") or not (HERE / "node_modules" / "mqtt").is_dir(),
    reason="run npm ci in tests/integration",
)


def mqttjs(run, broker, **options):
    return run("node", "mqttjs_client.mjs", json.dumps({"port": broker.port, "clientId": unique("js"), "count": COUNT, **options}))


@needs_node
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqttjs_publishes_and_subscribes(broker, version, topic, run, qos):
    result = json.loads(finish(mqttjs(run, broker, version=version, qos=qos, topic=topic)))
    assert result["granted"] == [qos]
    assert [message["payload"] for message in result["received"]] == NUMBERS
    assert {message["qos"] for message in result["received"]} == {qos}


@needs_node
def test_mqttjs_gets_properties_of_others(broker, topic, run):
    process = mqttjs(run, broker, version=5, qos=2, topic=topic, mode="subscribe", count=1)
    assert process.stdout.readline().strip() == "ready"
    pairs = [(Prop.CONTENT_TYPE, "c/t"), (Prop.USER_PROPERTY, ("k", "v")), (Prop.MESSAGE_EXPIRY_INTERVAL, 50)]
    broker.connect().publish(topic, b"x", 2, properties=pairs)
    (message,) = json.loads(finish(process))["received"]
    assert message["properties"]["contentType"] == "c/t"
    assert dict(message["properties"]["userProperties"]) == {"k": "v"}
    assert message["properties"]["messageExpiryInterval"] in (49, 50)


@needs_node
def test_mqttjs_s_properties_reach_others(broker, topic, run):
    subscriber = broker.connect()
    subscriber.subscribe(topic, qos=2)
    finish(mqttjs(run, broker, version=5, qos=1, topic=topic, mode="publish", count=1,
                  properties={"contentType": "c/t", "responseTopic": "r", "userProperties": {"k": "v"}}))  # fmt: skip
    properties = subscriber.expect_publish(topic, b"0", qos=1).properties
    assert properties.get(Prop.CONTENT_TYPE) == "c/t"
    assert properties.get(Prop.RESPONSE_TOPIC) == "r"
    assert properties.all(Prop.USER_PROPERTY) == [("k", "v")]
