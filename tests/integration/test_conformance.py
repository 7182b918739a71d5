"""The table of statements and tests: up to date, and without unexplained holes."""

import pytest

import conformance

pytestmark = pytest.mark.quick


def test_the_document_is_up_to_date():
    assert conformance.DOCUMENT.read_text() == conformance.render(), "run tests/integration/conformance.py"


@pytest.mark.parametrize("name", ["mqtt5", "mqtt311"])
def test_each_statement_for_servers_has_a_test_or_a_reason(name):
    missing = [
        item.number
        for item in conformance.collect(name).values()
        if item.who != "client" and not item.tests and not item.why_not
    ]
    assert not missing


@pytest.mark.parametrize("name", ["mqtt5", "mqtt311"])
def test_no_statement_has_both_a_test_and_an_excuse(name):
    assert not [item.number for item in conformance.collect(name).values() if item.tests and item.why_not]


@pytest.mark.parametrize("name", ["mqtt5", "mqtt311"])
def test_the_numbers_stand_in_order_and_without_gaps(name):
    first = {"mqtt5": {"2.2.1": 2}, "mqtt311": {}}[name]  # MQTT 5.0 has no [MQTT-2.2.1-1]
    sections: dict[str, list[int]] = {}
    for number in conformance.read_statements(name):
        section, place = number.removeprefix("MQTT-").split("-")
        sections.setdefault(section, []).append(int(place))
    assert list(sections) == sorted(sections, key=lambda section: [int(part) for part in section.split(".")])
    for section, places in sections.items():
        start = first.get(section, 1)
        assert places == list(range(start, start + len(places))), section
