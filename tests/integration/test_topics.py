"""Topic names and filters: section 4.7."""

import pytest

from emqc import packets as p
from emqc.client import fence, unique

# filter, topics that match, topics that do not
MATCHES = [
    ("R/tennis/#", ["R/tennis", "R/tennis/a", "R/tennis/a/b", "R/tennis/"], ["R", "R/tennisa", "R/tenni"]),
    ("R/+", ["R/a", "R/"], ["R", "R/a/b", "R//"]),
    ("R/+/b", ["R/a/b", "R//b"], ["R/a/c", "R/b", "R/a/a/b"]),
    ("R/+/+", ["R//", "R/a/", "R/a/b"], ["R/a", "R/a/b/c"]),
    ("R//b", ["R//b"], ["R/b", "R/a/b"]),
    ("R/", ["R/"], ["R", "R//"]),
    ("R/A", ["R/A"], ["R/a"]),
    ("R/+/#", ["R/a", "R/a/b", "R/"], ["R"]),
    ("R/é", ["R/é"], ["R/e\u0301", "R/É"]),
    ("R/ ", ["R/ "], ["R/", "R/  "]),
    ("R/a$b", ["R/a$b"], ["R/a"]),
    ("R/+/$x", ["R/y/$x"], ["R/y/x"]),
    ("R/\ufeffbom", ["R/\ufeffbom"], ["R/bom"]),
    ("R/\U0001f980", ["R/\U0001f980"], ["R/"]),
]


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-4", "MQTT-1.5.4-3", "MQTT-3.3.2-3")
@pytest.mark.mqtt311("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-4", "MQTT-1.5.3-3", "MQTT-3.3.2-3")
@pytest.mark.parametrize("pattern, yes, no", MATCHES, ids=[ascii(row[0]) for row in MATCHES])
def test_a_filter_matches_these_topics_and_no_others(broker, version, pattern, yes, no):
    root = unique("root")
    client, publisher = broker.connect(version), broker.connect(version)
    client.subscribe(pattern.replace("R", root, 1))
    for name in no + yes:
        publisher.publish(name.replace("R", root, 1), b"x")
    for name in yes:
        client.expect_publish(name.replace("R", root, 1))
    fence(publisher, client)


@pytest.mark.quick
@pytest.mark.mqtt5("MQTT-4.7.2-1")
@pytest.mark.mqtt311("MQTT-4.7.2-1")
@pytest.mark.parametrize("pattern", ["#", "+/R", "+/#", "+/+"])
def test_a_leading_wildcard_does_not_match_a_dollar_topic(broker, version, pattern):
    root = unique("dollar")
    client, publisher = broker.connect(version), broker.connect(version)
    client.subscribe(pattern.replace("R", root))
    publisher.publish(f"$sys{root}/{root}", b"hidden")
    publisher.publish(f"/{root}", b"shown")
    # Other tests publish too; "#" and the like see them.
    while (message := client.expect_publish()).topic != f"/{root}":
        assert not message.topic.startswith("$"), message


@pytest.mark.mqtt5("MQTT-4.7.2-1")
@pytest.mark.mqtt311("MQTT-4.7.2-1")
@pytest.mark.parametrize("pattern", ["$R/#", "$R/+", "$R/a"])
def test_a_dollar_topic_is_reached_by_its_first_level(broker, version, pattern):
    root = unique("dollar")
    client, publisher = broker.connect(version), broker.connect(version)
    client.subscribe(pattern.replace("R", root))
    publisher.publish(f"${root}/a", b"x")
    client.expect_publish(f"${root}/a", b"x")


@pytest.mark.mqtt5("MQTT-3.3.2-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-4.7.3-2", "MQTT-4.13.1-1")
@pytest.mark.mqtt311("MQTT-3.3.2-1", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-4.7.3-2", "MQTT-4.8.0-1")
@pytest.mark.parametrize("name", [b"a\xff", b"\xc3", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80", b"a\0b"],
                         ids=["ff", "cut", "d800", "dfff", "overlong", "five-bytes", "null"])  # fmt: skip
def test_an_ill_formed_topic_name_ends_the_connection_of_its_sender_only(broker, version, name):
    watcher = broker.connect(version)
    watcher.subscribe(unique("w/") + "/#")
    client = broker.connect(version)
    client.send(p.Publish(name, b"x", 1, packet_id=1))
    client.expect_disconnect(0x81, 0x82, 0x90)
    watcher.expect_nothing()


@pytest.mark.mqtt5("MQTT-1.5.4-1", "MQTT-1.5.4-3")
@pytest.mark.mqtt311("MQTT-1.5.3-1", "MQTT-1.5.3-3")
@pytest.mark.parametrize("text", ["\u007f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010fffd",
                                  "\ufeff"], ids=ascii)  # fmt: skip
def test_well_formed_text_at_the_borders_of_utf_8_passes(broker, version, text):
    name = unique("utf8/") + text
    client = broker.connect(version)
    client.subscribe(name)
    broker.connect(version).publish(name, b"x")
    client.expect_publish(name, b"x")


@pytest.mark.mqtt5("MQTT-4.7.1-1")
@pytest.mark.mqtt311("MQTT-4.7.1-2")
def test_deep_topics_work(broker, version):
    root = unique("deep")
    levels = [root] + ["x"] * 200
    client, publisher = broker.connect(version), broker.connect(version)
    client.subscribe("/".join(levels))
    client.subscribe("/".join([root] + ["+"] * 200))
    client.subscribe(root + "/#")
    publisher.publish("/".join(levels), b"x")
    for _ in range(3):
        client.expect_publish("/".join(levels), b"x")
    fence(publisher, client)


@pytest.mark.emqc
@pytest.mark.config({"mqtt.max_topic_levels": "3"})
def test_filters_with_too_many_levels_are_refused(broker, version):
    no = 0x8F if version == 5 else 0x80
    client = broker.connect(version)
    client.subscribe("a/b/c", codes=[0])
    client.subscribe("a/b/c/d", codes=[no])
    client.subscribe("+/+/+/#", codes=[no])
    client.publish("a/b/c/d/e", b"", 1)  # topic names are not limited
