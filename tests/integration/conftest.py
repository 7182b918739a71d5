"""Fixtures of the integration tests.

    broker        the broker shared by the tests of one worker process; with @pytest.mark.config({...}) one of its own
    make_broker   starts brokers with other settings, or one by hand
    version       the test runs for 3.1, 3.1.1 and 5.0;  old_version: for 3.1 and 3.1.1
    topic         a topic that no other test uses
    certs         certificates of every kind (emqc/certs.py), made once per session
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from emqc import broker as emqc_broker  # noqa: E402
from emqc.certs import Certificates  # noqa: E402
from emqc.client import unique  # noqa: E402

VERSION_NAMES = {3: "v3.1", 4: "v3.1.1", 5: "v5"}


def pytest_configure(config):
    # Some tests open thousands of connections, and the broker inherits the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for line in (
        "mqtt5(*statements): shows these normative statements of MQTT 5.0",
        "mqtt311(*statements): shows these normative statements of MQTT 3.1.1",
        "config(settings): the test needs a broker with these settings",
        "settings(settings): the same, for a broker that a fixture of the test starts",
        "emqc: behaviour of this broker beyond the standard",
        "quick: a fast subset that touches everything",
        "slow: takes more than about two seconds",
        "threads: worth running under ThreadSanitizer",
    ):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(items):
    if emqc_broker.KIND == "emqc":
        return
    skip = pytest.mark.skip(reason="beyond the standard")
    for item in items:
        if item.get_closest_marker("emqc") or item.get_closest_marker("config"):
            item.add_marker(skip)


class _Shared:
    """The broker with the default settings, started when first needed and again when a test brought it down."""

    def __init__(self):
        self.broker = None

    def get(self):
        if self.broker is None:
            self.broker = emqc_broker.Broker().start()
        return self.broker

    def check(self):
        """After each test: whoever brought the broker down is the one that fails."""
        if self.broker is None:
            return
        report = self.broker.sanitizer_report()
        if not self.broker.alive() or report:
            broken, self.broker = self.broker, None
            broken.kill()
            pytest.fail(f"the broker died or a sanitizer complained\n{report or broken.output()}", pytrace=False)


@pytest.fixture(scope="session")
def _shared_broker():
    shared = _Shared()
    yield shared
    if shared.broker is not None:
        shared.broker.stop()
        shared.broker.remove()


@pytest.fixture
def make_broker():
    started = []

    def make(settings=None, **more):
        started.append(emqc_broker.Broker(settings, **more).start())
        return started[-1]

    yield make
    errors = []
    for item in started:
        try:
            item.stop()
        except AssertionError as error:
            errors.append(str(error))
        item.remove()
    assert not errors, "\n".join(errors)


@pytest.fixture
def broker(request, _shared_broker):
    marker = request.node.get_closest_marker("config")
    if marker:
        yield request.getfixturevalue("make_broker")(marker.args[0])
        return
    yield _shared_broker.get()
    _shared_broker.check()


@pytest.fixture(params=[3, 4, 5], ids=VERSION_NAMES.get)
def version(request):
    return request.param


@pytest.fixture(params=[3, 4], ids=VERSION_NAMES.get)
def old_version(request):
    return request.param


@pytest.fixture
def topic():
    return unique("test/topic")


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))
