"""The file of access rules as an administrator sees it: a start with and without it, emqx_ctl acl, a restart."""

from __future__ import annotations

import os
import subprocess

import pytest

from emqc import broker as emqc_broker
from emqc import tls

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="emqc's commands and messages")

RULES = '{deny, {client, "lamp"}, publish, ["a"]}.\n{allow, all}.\n'
WRONG = '{allow, all}.\n{deny, all, publsh, ["a"]}.\n'
WRONG_TEXT = "acl.conf:2:13: found the word publsh, expected subscribe, publish or pubsub"


class Root:
    """A root with a configuration and, unless it is None, a file of rules."""

    def __init__(self, directory, rules, **settings):
        self.directory = directory
        self.rules = directory / "etc" / "acl.conf"
        self.rules.parent.mkdir()
        lines = {"node.name": "emqx@127.0.0.1", "node.data_dir": "data", "node.cookie": "secret", "log.to": "file",
                 "acl_file": "etc/acl.conf", "listener.tcp.external": f"127.0.0.1:{emqc_broker.free_port()}", **settings}
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
        (directory / "etc" / "emqx.conf").write_text(text)
        if rules is not None:
            self.rules.write_text(rules)

    def run(self, program, *words):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        environment["EMQX_ROOT"] = str(self.directory)
        return subprocess.run([str(program), *words], env=environment, capture_output=True, text=True, timeout=120,
                              cwd="/")

    def emqx(self, *words):
        return self.run(emqc_broker.BINARY, *words)

    def ctl(self, *words):
        return self.run(tls.ctl_program(), *words)


@pytest.fixture
def make_root(tmp_path):
    roots = []

    def make(rules, **settings):
        roots.append(Root(tmp_path, rules, **{key.replace("__", "."): value for key, value in settings.items()}))
        return roots[-1]

    yield make
    for root in roots:
        root.emqx("stop")


def test_a_wrong_file_ends_the_start_with_line_and_column(make_root):
    answer = make_root(WRONG).emqx("start")
    assert answer.returncode == 1
    assert f"The access rules are wrong: etc/{WRONG_TEXT}" in answer.stderr


@pytest.mark.parametrize("settings", [{"acl_nomatch": "allow"}, {"zone__external__acl_nomatch": "allow"}])
def test_a_missing_file_ends_the_start_where_it_would_open_everything(make_root, settings):
    answer = make_root(None, **settings).emqx("start")
    assert answer.returncode == 1
    assert "The access rules are missing: acl_file: cannot read etc/acl.conf: No such file or directory" in answer.stderr
    assert "acl_file_missing = ignore" in answer.stderr


@pytest.mark.parametrize(("settings", "verdict"), [({"acl_nomatch": "allow", "acl_file_missing": "ignore"}, "allow"),
                                                   ({"acl_nomatch": "deny"}, "deny")])
def test_a_missing_file_that_is_meant_or_harmless_is_told(make_root, settings, verdict):
    root = make_root(None, **settings)
    answer = root.emqx("start")
    assert answer.returncode == 0, answer.stderr
    assert "There are no access rules: cannot read etc/acl.conf" in answer.stderr
    answer = root.ctl("acl", "check", "lamp", "", "192.0.2.1", "publish", "a")
    assert (answer.returncode, answer.stdout) == (0, f"{verdict}\nthere are no rules, acl_nomatch decides\n")
    root.rules.write_text(RULES)
    assert root.ctl("acl", "reload").returncode == 0
    answer = root.ctl("acl", "check", "lamp", "", "192.0.2.1", "publish", "a")
    assert answer.stdout == 'deny\nrule 1, etc/acl.conf line 1: {deny, {client, "lamp"}, publish, ["a"]}.\n'


def test_a_reload_says_nothing_or_what_is_wrong(make_root):
    root = make_root(RULES)
    assert root.emqx("start").returncode == 0
    answer = root.ctl("acl", "reload")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    root.rules.write_text(WRONG)
    answer = root.ctl("acl", "reload")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"etc/{WRONG_TEXT}\nThe rules stay as they were.\n"
    answer = root.ctl("acl", "check", "phone", "u", "::1", "subscribe", "$share/g/a/#")
    assert answer.stdout == "allow\nrule 2, etc/acl.conf line 2: {allow, all}.\n"


def test_a_restart_is_refused_while_the_file_is_wrong(make_root):
    root = make_root(RULES)
    assert root.emqx("start").returncode == 0
    root.rules.write_text(WRONG)
    answer = root.emqx("restart")
    assert answer.returncode == 1
    assert WRONG_TEXT in answer.stderr
    assert "The broker goes on as it is." in answer.stderr
    assert root.emqx("ping").stdout == "pong\n"
    root.rules.write_text(RULES)
    assert root.emqx("restart").returncode == 0
    assert root.emqx("ping").stdout == "pong\n"


def test_without_acl_file_there_is_nothing_to_reload(make_root):
    root = make_root(None, acl_file=None)
    assert root.emqx("start").returncode == 0
    answer = root.ctl("acl", "reload")
    assert (answer.returncode, answer.stderr) == (1, "The configuration names no acl_file\n")
