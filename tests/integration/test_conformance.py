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
