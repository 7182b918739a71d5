"""Plugins as their authors and an administrator see them: emqx_ctl plugins, settings, hook points, restarts, errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading

import pytest

from emqc import broker as emqc_broker
from emqc import packets as p
from emqc.client import DEADLINE_S, unique
from emqc.tls import await_log, ctl, ctl_program

pytestmark = pytest.mark.skipif(emqc_broker.KIND != "emqc", reason="emqc's plugins")

INCLUDE = emqc_broker.REPOSITORY / "include"
TEMPLATE = emqc_broker.REPOSITORY / "plugins" / "emqc_plugin_template"
SERVER_UNAVAILABLE = 0x88
BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87

HEAD = "#include <emqc/plugin.h>\n#include <stdlib.h>\n#include <string.h>\n"
NO_UNLOAD = "static void unload(void *state) { (void)state; }\n"
NO_LOAD = ("static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **state)\n"
           "{ (void)host; (void)self; (void)state; return 0; }\n")


def descriptor(name: str, kind: str = "EMQC_FEATURE", depends: str = "NULL", keys: str = "NULL, 0", head: str = "EMQC_PLUGIN_HEAD") -> str:
    return f'EMQC_PLUGIN = {{{head}, "{name}", "1.2.3", "A test", {kind}, {depends}, {keys}, load, unload}};\n'


def simple(name: str, **fields) -> str:
    return HEAD + NO_LOAD + NO_UNLOAD + descriptor(name, **fields)


def install(node, name: str, source: str):
    """Compiles a plugin and puts it in place of one that may be there."""
    file = node.directory / f"{name}.c"
    file.write_text(source)
    library = node.directory / "lib"
    library.mkdir(exist_ok=True)
    built = library / f".{name}.so"
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-fPIC", "-fvisibility=hidden", "-shared",
                    f"-I{INCLUDE}", "-o", built, file], check=True, timeout=120)  # fmt: skip
    os.replace(built, library / f"{name}.so")


def install_template(node, name: str = "emqc_plugin_template"):
    source = (TEMPLATE / "emqc_plugin_template.c").read_text()
    install(node, name, source.replace("emqc_plugin_template", name))


def listed(node) -> dict:
    """name -> active, of plugins of the test's own."""
    rows = re.findall(r"Plugin\((\w+), version=([^,]*), description=(.*), active=(true|false)\)\n", ctl(node, "plugins", "list"))
    return {name: active == "true" for name, _, _, active in rows}


def loaded_file(node):
    return node.directory / "data" / "loaded_plugins"


def run_ctl(node, *words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(node.directory)
    return subprocess.run([ctl_program(), *words], env=environment, capture_output=True, text=True, timeout=3 * DEADLINE_S)


# ---- the commands


def test_a_plugin_is_loaded_listed_unloaded(make_broker):
    node = make_broker()
    install(node, "one", simple("one"))
    assert "Plugin(one, version=1.2.3, description=A test, active=false)\n" in ctl(node, "plugins", "list")
    assert ctl(node, "plugins", "load", "one") == "Start apps: [one]\nPlugin one loaded successfully.\n"
    assert "Plugin(one, version=1.2.3, description=A test, active=true)\n" in ctl(node, "plugins", "list")
    assert loaded_file(node).read_text() == "{one, true}.\n"
    assert ctl(node, "plugins", "load", "one", status=1) == "load plugin error: already_started\n"
    assert ctl(node, "plugins", "unload", "one") == "Plugin one unloaded successfully.\n"
    assert loaded_file(node).read_text() == "{one, false}.\n"
    assert ctl(node, "plugins", "unload", "one", status=1) == "unload plugin error: not_started\n"


@pytest.mark.parametrize("word", ["nothing", "../../lib/one", "One", "one.so", "-", "x" * 65])
def test_what_is_no_plugin_is_not_found(make_broker, word):
    node = make_broker()
    install(node, "one", simple("one"))
    assert ctl(node, "plugins", "load", word, status=1).startswith("load plugin error: not_found\nThere is no plugin ")
    assert ctl(node, "plugins", "reload", word, status=1).startswith("Reload plugin error: plugin_not_exist\n")


def test_wrong_words_show_the_usage(make_broker):
    node = make_broker()
    assert "plugins load <Plugin>" in ctl(node, "plugins", "load", status=1)
    assert "Examples:" in ctl(node, "plugins", "--help")


def test_what_is_loaded_is_loaded_again_after_a_restart_in_order(make_broker):
    node = make_broker()
    for name in ("first", "second", "third"):
        install_template(node, name)
    for name in ("second", "third", "first"):
        ctl(node, "plugins", "load", name)
    ctl(node, "plugins", "unload", "third")
    node.stop()
    node.start()
    assert listed(node) | {"first": True, "second": True, "third": False} == listed(node)
    loads = re.findall(r"\[Plugins\] (\w+) 1.0.0 is loaded", node.log())
    assert loads == []  # level warning
    assert loaded_file(node).read_text() == "{second, true}.\n{first, true}.\n{third, false}.\n"


def test_a_file_of_the_original_names_what_is_loaded(make_broker):
    node = make_broker()
    install(node, "one", simple("one"))
    install(node, "two", simple("two"))
    node.stop()
    loaded_file(node).write_text("%% comment\n{emqx_management, true}.\none.\n{two,false}.\nemqx_retainer.\n")
    node.start()
    assert listed(node) | {"one": True, "two": False} == listed(node)
    await_log(node, "names the plugin emqx_management, which this version does not have")
    ctl(node, "plugins", "load", "two")
    assert loaded_file(node).read_text() == ("%% comment\n{emqx_management, true}.\none.\nemqx_retainer.\n{two, true}.\n")


# ---- what is wrong with them


@pytest.mark.parametrize("source, text", [
    (HEAD + "int nothing;\n", "has no symbol emqc_plugin"),
    (simple("other"), "calls itself other: the file should be called other.so"),
    (simple("bad", head="sizeof(struct emqc_plugin), 77"), "was built for version 77 of the plugin interface, and this broker has version 1"),
    (simple("bad", head="16, EMQC_PLUGIN_ABI"), "its descriptor has 16 bytes"),
    (HEAD + "extern int missing(void);\n" + "EMQC_EXPORT int use(void);\nint use(void) { return missing(); }\n" + NO_LOAD + NO_UNLOAD
     + descriptor("bad"), "undefined symbol: missing"),
    (HEAD + 'static const struct emqc_key keys[] = {{"bad.n", EMQC_INTEGER, "many", 0, 0, 0, 0, 0, 0, 0, "Help."}};\n' + NO_LOAD
     + NO_UNLOAD + descriptor("bad", keys="keys, 1"), 'Its table of settings is wrong: bad.n: the default "many" is wrong'),
    (HEAD + NO_UNLOAD + "static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **state)\n"
     '{ (void)state; return host->fail(self, "the server %s is not there", "10.0.0.1"); }\n' + descriptor("bad"),
     "the server 10.0.0.1 is not there"),
], ids=["no symbol", "name", "ABI", "size", "missing symbol", "key table", "load fails"])  # fmt: skip
def test_what_is_wrong_with_a_plugin_is_said(make_broker, source, text):
    node = make_broker()
    install(node, "bad", source)
    answer = ctl(node, "plugins", "load", "bad", status=1)
    assert answer.startswith("load plugin error: {bad,bad_plugin_or_config}\n") and text in answer
    await_log(node, re.escape(text))
    assert listed(node)["bad"] is False
    assert not loaded_file(node).exists()


def test_a_file_that_is_no_object_is_said_and_listed(make_broker):
    node = make_broker()
    (node.directory / "lib").mkdir(exist_ok=True)
    (node.directory / "lib" / "junk.so").write_text("junk")
    assert "junk.so cannot be opened: file too short" in ctl(node, "plugins", "load", "junk", status=1)
    assert "Plugin(junk, version=?, description=" in ctl(node, "plugins", "list")


def test_plugins_load_those_they_depend_on_and_hold_them(make_broker):
    node = make_broker()
    needs = 'static const char *const depends[] = {"base_of_all", NULL};\n'
    install(node, "base_of_all", simple("base_of_all"))
    install(node, "upper", HEAD + needs + NO_LOAD + NO_UNLOAD + descriptor("upper", depends="depends"))
    assert ctl(node, "plugins", "load", "upper") == "Start apps: [base_of_all,upper]\nPlugin upper loaded successfully.\n"
    assert ctl(node, "plugins", "unload", "base_of_all", status=1) == (
        "unload plugin error: in_use\nupper depends on it: unload that first\n")
    ctl(node, "plugins", "unload", "upper")
    ctl(node, "plugins", "unload", "base_of_all")


def test_a_missing_or_circular_dependency_is_said(make_broker):
    node = make_broker()
    for name, other in (("a", "b"), ("b", "a"), ("c", "nobody")):
        install(node, name, HEAD + f'static const char *const depends[] = {{"{other}", NULL}};\n' + NO_LOAD + NO_UNLOAD
                + descriptor(name, depends="depends"))  # fmt: skip
    assert "depend on each other" in ctl(node, "plugins", "load", "a", status=1)
    assert "c depends on nobody. There is no plugin nobody" in ctl(node, "plugins", "load", "c", status=1)
    assert listed(node) | {"a": False, "b": False, "c": False} == listed(node)


# ---- settings


KEYS = HEAD + r'''
static const struct emqc_key keys[] = {
    {"conf_test.name", EMQC_STRING, "nobody", NULL, NULL, NULL, 0, 0, false, false, "A name."},
    {"conf_test.count", EMQC_INTEGER, "5", NULL, NULL, NULL, 1, 10, false, false, "A count."},
    {"conf_test.wait", EMQC_DURATION_MS, NULL, NULL, NULL, NULL, 0, 0, false, false, "A time."},
    {"conf_test.url", EMQC_STRING, NULL, NULL, "http://h/", NULL, 0, 0, true, false, "Where to ask."},
    {"conf_test.secret", EMQC_STRING, NULL, NULL, NULL, NULL, 0, 0, false, true, "A secret."},
    {"conf_test.item.$id.size", EMQC_BYTESIZE, NULL, NULL, NULL, NULL, 0, 0, false, false, "Sizes."},
};
static const struct emqc_host *the_host;
static struct emqc_plugin_instance *the_self;
static void run(void *context, struct emqc_request *request, int argc, char **argv)
{
    const char *const *names;
    size_t count;
    (void)context; (void)argc; (void)argv;
    the_host->print(request, "%s %lld %lld", the_host->config_string(the_self, "conf_test.name", NULL, NULL),
                    (long long)the_host->config_integer(the_self, "conf_test.count", NULL, NULL, 0),
                    (long long)the_host->config_integer(the_self, "conf_test.wait", NULL, NULL, -1));
    if (the_host->config_names(the_self, "conf_test.item.$id.size", &names, &count) == 0)
        for (size_t i = 0; i < count; i++)
            the_host->print(request, " %s=%lld", names[i],
                            (long long)the_host->config_integer(the_self, "conf_test.item.$id.size", names[i], NULL, -1));
    the_host->print(request, "\n");
    the_host->finish(request, EMQC_COMMAND_OK);
}
static const struct emqc_usage usage[] = {{"conf_test", "Shows settings"}, {NULL, NULL}};
static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **state)
{
    struct emqc_command command = {sizeof(command), "conf_test", usage, run, NULL};
    (void)state;
    the_host = host;
    the_self = self;
    if (strcmp(host->config_string(self, "conf_test.name", NULL, NULL), "wrong") == 0)
        return host->config_wrong(self, "conf_test.name", NULL, NULL, "any other name would be right");
    if (host->config_string(self, "conf_test.secret", NULL, NULL) != NULL)
        return host->config_wrong(self, "conf_test.secret", NULL, NULL, "it is too short");
    return host->command_add(self, &command);
}
''' + NO_UNLOAD + descriptor("conf_test", keys="keys, sizeof(keys) / sizeof(keys[0])")


def test_settings_come_from_the_plugins_file_by_its_own_table(make_broker):
    node = make_broker()
    install(node, "conf_test", KEYS)
    node.plugin_conf("conf_test", {"conf_test.url": "http://h/", "conf_test.wait": "3s", "conf_test.item.big.size": "2MB",
                                   "conf_test.item.small.size": "1KB"})  # fmt: skip
    ctl(node, "plugins", "load", "conf_test")
    assert ctl(node, "conf_test") == "nobody 5 3000 big=2097152 small=1024\n"
    node.plugin_conf("conf_test", {"conf_test.url": "http://h/", "conf_test.name": "me", "conf_test.count": 7})
    ctl(node, "plugins", "reload", "conf_test")
    assert ctl(node, "conf_test") == "me 7 -1\n"
    node.stop()
    node.start()
    assert ctl(node, "conf_test") == "me 7 -1\n"


@pytest.mark.parametrize("settings, text", [
    ({"conf_test.url": "x", "conf_test.coun": 1}, "conf_test.count"),
    ({"conf_test.url": "x", "conf_test.count": 11}, "conf_test.count"),
    ({"conf_test.url": "x", "conf_test.wait": "soon"}, "conf_test.wait"),
    ({}, "conf_test.url is missing. Where to ask. For instance: http://h/"),
    ({"conf_test.url": "x", "conf_test.name": "wrong"}, "conf_test.conf:2: conf_test.name = wrong: any other name would be right"),
    ({"conf_test.url": "x", "conf_test.secret": "abc"}, "conf_test.conf:2: conf_test.secret: it is too short"),
    ({"conf_test.url": "x", "node.name": "a@b"}, "node.name"),
], ids=["unknown", "range", "type", "mandatory", "by the plugin", "secret", "of the core"])  # fmt: skip
def test_wrong_settings_are_said_and_the_loaded_plugin_goes_on(make_broker, settings, text):
    node = make_broker()
    install(node, "conf_test", KEYS)
    path = node.plugin_conf("conf_test", settings)
    answer = ctl(node, "plugins", "load", "conf_test", status=1)
    assert text in answer and str(path) in answer and "abc" not in answer
    node.plugin_conf("conf_test", {"conf_test.url": "http://h/"})
    ctl(node, "plugins", "load", "conf_test")
    node.plugin_conf("conf_test", settings)
    answer = ctl(node, "plugins", "reload", "conf_test", status=1)
    assert answer.startswith("Reload plugin error: parse_config_file_failed\n") and text in answer
    by_load = "by the plugin" in text or "any other name" in text or "too short" in text
    assert listed(node)["conf_test"] is not by_load  # what only its load() can find is found after the old one is gone


# ---- start


def test_a_start_without_a_plugin_for_access_control_that_is_listed_fails(make_broker):
    node = make_broker()
    node.stop()
    loaded_file(node).write_text("{emqx_auth_nothing, true}.\n")
    with pytest.raises(AssertionError, match="emqx_auth_nothing cannot be loaded: There is no plugin"):
        node.start()


def test_a_start_with_a_listed_plugin_that_is_wrong_fails(make_broker):
    node = make_broker()
    install(node, "conf_test", KEYS)
    node.stop()
    loaded_file(node).write_text("conf_test.\n")
    with pytest.raises(AssertionError, match=r"conf_test.url is missing(?s:.)*loaded_plugins names it"):
        node.start()


def test_a_start_with_a_list_that_cannot_be_read_fails_with_the_line(make_broker):
    node = make_broker()
    node.stop()
    loaded_file(node).write_text("{a, true}.\n{b, maybe}.\n")
    with pytest.raises(AssertionError, match='loaded_plugins: line 2: "{b, maybe}." should be'):
        node.start()


# ---- hook points


def test_callbacks_come_with_their_plugin_and_go_with_it(make_broker):
    node = make_broker({"log.level": "info", "zone.external.enable_acl": "on"})
    install_template(node)
    ctl(node, "plugins", "load", "emqc_plugin_template")
    client = node.connect(client_id="c1")
    client.subscribe("t/1", qos=1)
    client.publish("t/1", b"x", 1, reason=0)
    client.expect_publish("t/1", b"x", qos=1)
    client.unsubscribe("t/1")
    client.disconnect()
    ctl(node, "plugins", "unload", "emqc_plugin_template")
    node.connect(client_id="c2").disconnect()
    await_log(node, "emqc_plugin_template is unloaded")
    said = [line.split("[emqc_plugin_template] ")[1] for line in node.log().splitlines() if "[emqc_plugin_template] " in line]
    wanted = ["Session(c1) created", "Client(c1) connected, connack: 0", "Client(c1) will subscribe: t/1", "Session(c1) subscribe t/1",
              "Client(c1) wants to publish to t/1", "Publish t/1 by c1, 1 bytes", "Client(c1) unsubscribe: t/1",
              "Session(c1) unsubscribe t/1"]  # fmt: skip
    assert [line for line in said if line in wanted] == wanted
    assert not any("c2" in line for line in said)


def test_a_plugin_answers_a_login_later(make_broker):
    node = make_broker()
    install_template(node)
    node.plugin_conf("emqc_plugin_template", {"emqc_plugin_template.user_name": "alice", "emqc_plugin_template.password": "secret"})
    ctl(node, "plugins", "load", "emqc_plugin_template")
    node.connect(username="alice", password=b"secret")
    refused = node.open()
    refused.send(p.Connect(client_id=unique(), username="alice", password=b"wrong"))
    refused.expect(p.Connack, reason=BAD_USER_NAME_OR_PASSWORD)
    node.connect(username="bob", password=b"whatever")  # allow_anonymous


# ---- reload


FAILING = HEAD + r'''
static const struct emqc_key keys[] = {{"guard_test.fail", EMQC_BOOL, "off", NULL, NULL, NULL, 0, 0, false, false, "Fail."}};
static enum emqc_verdict on_authenticate(void *context, struct emqc_event *event)
{
    struct emqc_authenticate *authenticate = (struct emqc_authenticate *)event;
    (void)context;
    authenticate->result = EMQC_NOT_AUTHORIZED;
    return EMQC_STOP;
}
static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **state)
{
    struct emqc_hook hook = {sizeof(hook), EMQC_CLIENT_AUTHENTICATE, 0, on_authenticate, NULL};
    (void)state;
    if (host->config_bool(self, "guard_test.fail", NULL, NULL, false))
        return host->fail(self, "as asked");
    return host->hook_add(self, &hook);
}
''' + NO_UNLOAD + descriptor("guard_test", kind="EMQC_AUTH", keys="keys, 1")


def refusal(node) -> int:
    client = node.open()
    client.send(p.Connect(client_id=unique()))
    return client.expect(p.Connack).reason


def test_a_plugin_may_be_loaded_after_another_was_reloaded(make_broker):
    node = make_broker()
    names = ["one", "two", "three"]
    for name in names:
        install(node, name, simple(name))
    for name in names:
        assert ctl(node, "plugins", "load", name).endswith(f"Plugin {name} loaded successfully.\n")
        for _ in range(3):
            assert ctl(node, "plugins", "reload", name) == f"Plugin {name} reloaded successfully.\n"
    assert listed(node).items() >= {name: True for name in names}.items()


def test_nobody_is_let_in_when_an_authentication_plugin_cannot_be_reloaded(make_broker):
    node = make_broker()
    install(node, "guard_test", FAILING)
    ctl(node, "plugins", "load", "guard_test")
    assert refusal(node) == NOT_AUTHORIZED
    node.plugin_conf("guard_test", {"guard_test.fail": "on"})
    answer = ctl(node, "plugins", "reload", "guard_test", status=1)
    assert "as asked\nIt is not loaded now. Nobody is let in until it is loaded again" in answer
    assert refusal(node) == SERVER_UNAVAILABLE
    node.plugin_conf("guard_test", {"guard_test.fail": "off"})
    ctl(node, "plugins", "load", "guard_test")
    assert refusal(node) == NOT_AUTHORIZED
    ctl(node, "plugins", "unload", "guard_test")
    assert refusal(node) == 0


def test_unloading_lifts_the_guard_of_a_failed_reload(make_broker):
    node = make_broker()
    install(node, "guard_test", FAILING)
    ctl(node, "plugins", "load", "guard_test")
    node.plugin_conf("guard_test", {"guard_test.fail": "on"})
    ctl(node, "plugins", "reload", "guard_test", status=1)
    assert ctl(node, "plugins", "unload", "guard_test") == "Plugin guard_test unloaded successfully.\n"
    assert refusal(node) == 0


def test_a_new_object_is_checked_before_the_old_one_goes(make_broker):
    node = make_broker()
    install(node, "one", simple("one"))
    ctl(node, "plugins", "load", "one")
    install(node, "one", simple("one", head="sizeof(struct emqc_plugin), 9"))
    assert "was built for version 9" in ctl(node, "plugins", "reload", "one", status=1)
    assert listed(node)["one"] is True
    install(node, "one", simple("one").replace("1.2.3", "2.0.0"))
    ctl(node, "plugins", "reload", "one")
    assert "Plugin(one, version=2.0.0, description=A test, active=true)" in ctl(node, "plugins", "list")


# ---- tables, timers, jobs


SERVICES = HEAD + r'''
static const struct emqc_host *the_host;
static struct emqc_plugin_instance *the_self;
static struct emqc_table *table;
static struct emqc_slice slice(const char *text) { struct emqc_slice out = {text, strlen(text)}; return out; }
static void on_disk(void *context, int err)
{
    the_host->print(context, "on disk %d\n", err);
    the_host->finish(context, EMQC_COMMAND_OK);
}
static void fail(struct emqc_request *request, int err)
{
    the_host->print_error(request, "%s\n", strerror(-err));
    the_host->finish(request, EMQC_COMMAND_FAILED);
}
static void show(void *context, struct emqc_slice key, struct emqc_slice value)
{
    the_host->print_slice(context, key);
    the_host->print(context, "=%.*s\n", (int)value.len, value.data);
}
static void in_job(void *context) { (void)context; }
static void after_job(void *context)
{
    the_host->print(context, "job done\n");
    the_host->finish(context, EMQC_COMMAND_OK);
}
static void on_timer(void *context)
{
    the_host->print(context, "timer\n");
    the_host->finish(context, EMQC_COMMAND_OK);
}
static void run(void *context, struct emqc_request *request, int argc, char **argv)
{
    struct emqc_message message = {sizeof(message), {NULL, 0}, {NULL, 0}, 1, false};
    char value[8];
    int err;
    (void)context;
    if (argc == 4 && strcmp(argv[1], "put") == 0) {
        err = the_host->table_put(table, slice(argv[2]), slice(argv[3]), true, on_disk, request);
        if (err < 0) fail(request, err);
    } else if (argc == 3 && strcmp(argv[1], "del") == 0) {
        err = the_host->table_delete(table, slice(argv[2]), on_disk, request);
        if (err < 0) fail(request, err);
    } else if (argc == 3 && strcmp(argv[1], "get") == 0) {
        err = the_host->table_get(table, slice(argv[2]), value, sizeof(value));
        if (err < 0) { fail(request, err); return; }
        the_host->print(request, "%d %.*s\n", err, err < 8 ? err : 8, value);
        the_host->finish(request, EMQC_COMMAND_OK);
    } else if (argc == 2 && strcmp(argv[1], "list") == 0) {
        uint64_t cursor = 0;
        do the_host->table_visit(table, &cursor, 10, show, request); while (cursor != 0);
        the_host->finish(request, EMQC_COMMAND_OK);
    } else if (argc == 2 && strcmp(argv[1], "job") == 0) {
        err = the_host->job_run(the_self, in_job, after_job, request);
        if (err < 0) fail(request, err);
    } else if (argc == 2 && strcmp(argv[1], "timer") == 0) {
        err = the_host->timer_start(the_self, 1, 0, on_timer, request, NULL);
        if (err < 0) fail(request, err);
    } else if (argc == 2 && strcmp(argv[1], "hold") == 0) {
        /* is never finished but by the end of the plugin's caller */
        err = the_host->timer_start(the_self, 3600000, 0, on_timer, request, NULL);
        if (err < 0) fail(request, err);
    } else if (argc == 3 && strcmp(argv[1], "kick") == 0) {
        err = the_host->kick(the_self, slice(argv[2]));
        the_host->finish(request, err == 0 ? EMQC_COMMAND_OK : EMQC_COMMAND_FAILED);
    } else if (argc == 4 && strcmp(argv[1], "publish") == 0) {
        message.topic = slice(argv[2]);
        message.payload = slice(argv[3]);
        err = the_host->publish(the_self, &message);
        if (err < 0) fail(request, err); else the_host->finish(request, EMQC_COMMAND_OK);
    } else {
        the_host->finish(request, EMQC_COMMAND_USAGE);
    }
}
static const struct emqc_usage usage[] = {{"svc put <Key> <Value>", "Puts"}, {NULL, "Example:\n  emqx_ctl svc put a b\n"}};
static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **state)
{
    struct emqc_command command = {sizeof(command), "svc", usage, run, NULL};
    struct emqc_table_options options = {sizeof(options), "things", 3};
    int err;
    (void)state;
    the_host = host;
    the_self = self;
    err = host->table_open(self, &options, &table);
    return err < 0 ? err : host->command_add(self, &command);
}
''' + NO_UNLOAD + descriptor("svc")


def test_tables_survive_unloading_and_a_crash(make_broker):
    node = make_broker()
    install(node, "svc", SERVICES)
    ctl(node, "plugins", "load", "svc")
    assert ctl(node, "svc", "put", "k1", "v1") == "on disk 0\n"
    assert ctl(node, "svc", "put", "k2", "a longer value") == "on disk 0\n"
    assert "File exists" in ctl(node, "svc", "put", "k1", "v2", status=1)
    assert ctl(node, "svc", "get", "k2") == "14 a longer\n"
    assert "No such file" in ctl(node, "svc", "get", "k3", status=1)
    ctl(node, "svc", "put", "k3", "")
    assert "No space left" in ctl(node, "svc", "put", "k4", "v4", status=1)
    assert ctl(node, "svc", "del", "k3") == "on disk 0\n"
    assert "No such file" in ctl(node, "svc", "del", "k3", status=1)
    for _ in range(2):
        assert sorted(ctl(node, "svc", "list").splitlines()) == ["k1=v1", "k2=a longer value"]
        ctl(node, "plugins", "reload", "svc")
    node.kill()
    node.start()
    assert sorted(ctl(node, "svc", "list").splitlines()) == ["k1=v1", "k2=a longer value"]


def test_jobs_timers_messages_and_kicks(make_broker):
    node = make_broker()
    install(node, "svc", SERVICES)
    ctl(node, "plugins", "load", "svc")
    assert ctl(node, "svc", "job") == "job done\n"
    assert ctl(node, "svc", "timer") == "timer\n"
    client = node.connect(client_id="listener")
    client.subscribe("from/plugin", qos=1)
    ctl(node, "svc", "publish", "from/plugin", "hello")
    client.expect_publish("from/plugin", b"hello", qos=1)
    assert "Invalid argument" in ctl(node, "svc", "publish", "a/#", "x", status=1)
    ctl(node, "svc", "kick", "listener")
    client.expect(p.Disconnect, reason=0x98)
    assert "Example:" in ctl(node, "svc", "--help")
    assert "svc put <Key> <Value>" in ctl(node, "svc", status=1)


def test_a_plugin_stays_while_a_command_of_it_runs(make_broker):
    """And the broker's stop does not wait for it."""
    node = make_broker()
    install(node, "svc", SERVICES)
    ctl(node, "plugins", "load", "svc")
    environment = {**os.environ, "EMQX_ROOT": str(node.directory)}
    holding = subprocess.Popen([ctl_program(), "svc", "hold"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        answer = run_ctl(node, "plugins", "unload", "svc")
        while answer.returncode == 0:  # the other command had not come yet
            ctl(node, "plugins", "load", "svc")
            holding.kill()
            holding.wait()
            holding = subprocess.Popen([ctl_program(), "svc", "hold"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            answer = run_ctl(node, "plugins", "unload", "svc")
        assert answer.stdout == "unload plugin error: in_use\n"
        assert "a command of svc is running" in answer.stderr
        assert "a command of svc is running" in run_ctl(node, "plugins", "reload", "svc").stderr
    finally:
        holding.kill()
        holding.wait()
        holding.stdout.close()
        holding.stderr.close()


# ---- under traffic


def test_loading_and_unloading_a_thousand_times_under_traffic_loses_nothing(make_broker):
    """Sanitizer builds look at memory at the end."""
    node = make_broker()
    install_template(node)
    node.plugin_conf("emqc_plugin_template", {"emqc_plugin_template.user_name": "alice", "emqc_plugin_template.password": "secret"})
    reader, publisher = node.connect(), node.connect()
    reader.subscribe("t", qos=1)
    ending = threading.Event()
    counts = {"sent": 0, "logins": 0}
    failures = []

    def traffic():
        try:
            while not ending.is_set():
                publisher.publish("t", b"%d" % counts["sent"], 1, reason=0)
                reader.expect_publish("t", b"%d" % counts["sent"], qos=1)
                counts["sent"] += 1
        except Exception as error:  # noqa: BLE001  the test's thread tells it
            failures.append(error)

    def logins():
        try:
            while not ending.is_set():
                client = node.open()
                client.send(p.Connect(client_id=unique(), username="alice", password=b"secret"))
                # let in by the plugin, or without it as anybody; what waits while it goes is told to come again
                assert client.expect(p.Connack).reason in (0, SERVER_UNAVAILABLE)
                client.close()
                counts["logins"] += 1
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=traffic), threading.Thread(target=logins)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(int(os.environ.get("EMQC_PLUGIN_ROUNDS", "100"))):
            ctl(node, "plugins", "load", "emqc_plugin_template")
            ctl(node, "plugins", "unload", "emqc_plugin_template")
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    assert counts["sent"] > 0 and counts["logins"] > 0


# ---- a plugin of one's own


def test_a_plugin_of_ones_own_is_begun_built_tested_installed_and_loaded(make_broker, tmp_path):
    node = make_broker()
    for name, source in (("include/emqc/plugin.h", INCLUDE / "emqc" / "plugin.h"), ("lib/emqc_plugin_template", TEMPLATE)):
        target = node.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    folder = tmp_path / "mine"
    said = run_ctl(node, "plugins", "new", "my_plugin", str(folder))
    assert said.returncode == 0 and f"make -C {folder} check" in said.stdout
    assert sorted(item.name for item in folder.iterdir()) == ["Makefile", "my_plugin.c", "my_plugin.conf", "test_plugin.c"]
    assert not any("emqc_plugin_template" in item.read_text() for item in folder.iterdir())
    done = subprocess.run(["make", "-C", folder, "check", "install"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "all tests passed" in done.stdout, done
    assert ctl(node, "plugins", "load", "my_plugin") == "Start apps: [my_plugin]\nPlugin my_plugin loaded successfully.\n"
    assert ctl(node, "my_plugin") == "events: 0\n"
    assert "cannot be made: File exists" in run_ctl(node, "plugins", "new", "my_plugin", str(folder)).stderr
    assert "cannot be a plugin's name" in run_ctl(node, "plugins", "new", "My-Plugin", str(folder)).stderr


def test_the_plugin_interface_is_usable_from_cpp(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "p.cc"
    source.write_text(simple("p").replace("#include <stdlib.h>\n", "").replace("EMQC_FEATURE, NULL, NULL", "EMQC_FEATURE, nullptr, nullptr"))
    subprocess.run([compiler, "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared", f"-I{INCLUDE}", "-o",
                    tmp_path / "p.so", source], check=True, timeout=120)  # fmt: skip
