"""The programs emqx and emqx_ctl: start, stop, restart, prompts, errors and exit statuses.

Most of it runs with `emqx_fake`, the program emqx around a broker on paper that fails, dies or hangs as told (the file `fake` in its
root); what both must do runs with the real emqx too. EMQX_FAKE and EMQX_CTL name the programs; without them they are
looked for in the build directory of the release tree EMQX_HOME, then in build* of the repository.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("EMQX_HOME", REPOSITORY / "_rel" / "emqx"))
REAL = Path(os.environ.get("EMQX_BIN", HOME / "bin" / "emqx"))
DEADLINE_S = 30
NODE = "emqx@127.0.0.1"
NOT_RUNNING = f"Node '{NODE}' not responding to pings.\n"


def find_program(variable, below_build):
    if variable in os.environ:
        return Path(os.environ[variable])
    builds = [HOME.parent, *sorted(REPOSITORY.glob("build*")), *sorted(REPOSITORY.glob("build/*"))]
    for build in builds:
        if (build / below_build).is_file():
            return build / below_build
    raise FileNotFoundError(f"no {below_build} in {builds}: build with -Dtests=true or set {variable}")


class Installation:
    """A root of its own with the programs run on it."""

    def __init__(self, root, emqx):
        self.root = root
        self.emqx_path = emqx
        self.ctl_path = find_program("EMQX_CTL", "src/ctl/emqx_ctl")
        (root / "etc").mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.configure()

    def configure(self, **settings):
        lines = {"node.name": NODE, "node.data_dir": "data", "node.cookie": "secret",
                 "listener.tcp.external": f"127.0.0.1:{self.port}"}
        lines.update({key.replace("__", "."): value for key, value in settings.items()})
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        (self.root / "etc" / "emqx.conf").write_text(text)

    def fake(self, words):
        (self.root / "fake").write_text(words)

    def environment(self, **more):
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("EMQX_", "WAIT_FOR"))}
        return {**variables, "EMQX_ROOT": str(self.root), **more}

    def run(self, program, *words, env=None, **options):
        return subprocess.run([str(program), *words], env=self.environment(**(env or {})), capture_output=True, text=True,
                              timeout=DEADLINE_S, stdin=options.pop("stdin", subprocess.DEVNULL) if "input" not in options
                              else None, **options)

    def emqx(self, *words, **options):
        return self.run(self.emqx_path, *words, **options)

    def ctl(self, *words, **options):
        return self.run(self.ctl_path, *words, **options)

    def popen(self, *words, **options):
        return subprocess.Popen([str(self.emqx_path), *words], env=self.environment(**options.pop("env", {})), text=True,
                                **options)

    def pid(self):
        return int(self.emqx("pid").stdout)

    def console_log(self):
        return (self.root / "log" / "emqx.console.log").read_text()

    def cleanup(self):
        found = self.emqx("pid")
        if found.returncode == 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(found.stdout), signal.SIGKILL)
        log = self.root / "log" / "emqx.console.log"
        if log.is_file():
            report = re.search(r"Sanitizer: .*|.*runtime error: .*", log.read_text(errors="replace"))
            assert not report, report.group(0)


def wait_for(condition):
    """For what gives no event: looks again until it is so."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def fake(tmp_path):
    installation = Installation(tmp_path, find_program("EMQX_FAKE", "tests/fake_broker/emqx_fake"))
    yield installation
    installation.cleanup()


@pytest.fixture(params=["fake", "emqx"])
def any_emqx(request, tmp_path):
    """What must hold for the real broker and the one on paper alike."""
    if request.param == "emqx" and not REAL.is_file():
        pytest.skip(f"no broker at {REAL}")
    program = REAL if request.param == "emqx" else find_program("EMQX_FAKE", "tests/fake_broker/emqx_fake")
    installation = Installation(tmp_path, program)
    yield installation
    installation.cleanup()


def check(result, status, stdout=None, stderr=None):
    assert result.returncode == status, result
    if stdout is not None:
        assert result.stdout == stdout
    if stderr is not None:
        assert result.stderr == stderr


# ---- both ----


def test_start_returns_when_the_broker_answers_and_stop_when_it_is_gone(any_emqx):
    started = any_emqx.emqx("start")
    check(started, 0)
    assert started.stdout.endswith("emqx 3.2.8 is started successfully!\n")
    check(any_emqx.emqx("ping"), 0, "pong\n", "")
    pid = any_emqx.pid()
    check(any_emqx.ctl("status"), 0, f"Node '{NODE}' is started\nemqx 3.2.8 is running\n", "")
    stopped = any_emqx.emqx("stop")
    check(stopped, 0, "ok\n")
    assert is_gone(pid)
    assert not (any_emqx.root / "data" / "emqx.sock").exists()


def test_a_second_start_says_that_it_runs_already(any_emqx):
    check(any_emqx.emqx("start"), 0)
    pid = any_emqx.pid()
    for command in ("start", "foreground", "console"):
        check(any_emqx.emqx(command), 1, "Node is already running!\n")
    assert any_emqx.pid() == pid


def test_two_starts_at_once_give_one_broker(any_emqx):
    starts = [any_emqx.popen("start", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [start.communicate(timeout=DEADLINE_S)[0] for start in starts]
    assert sorted(start.returncode for start in starts) == [0, 1], outputs
    assert "is started successfully!" in outputs[[start.returncode for start in starts].index(0)]
    assert "Node is already running!" in outputs[[start.returncode for start in starts].index(1)]
    check(any_emqx.emqx("stop"), 0, "ok\n")


def test_restart_keeps_the_process_and_reads_the_configuration_anew(any_emqx):
    check(any_emqx.emqx("start"), 0)
    pid = any_emqx.pid()
    for command, name in (("restart", "second@127.0.0.1"), ("reboot", "third@127.0.0.1")):
        any_emqx.configure(node__name=name)
        check(any_emqx.emqx(command), 0, "ok\n")
        assert any_emqx.pid() == pid
        assert any_emqx.ctl("status").stdout.startswith(f"Node '{name}' is started\n")
    check(any_emqx.emqx("stop"), 0, "ok\n")


def test_stop_works_although_the_name_and_the_data_directory_were_changed(any_emqx):
    any_emqx.configure(node__data_dir="first")
    check(any_emqx.emqx("start"), 0)
    pid = any_emqx.pid()
    any_emqx.configure(node__name="other@10.0.0.1", node__data_dir="second")
    check(any_emqx.emqx("ping"), 0, "pong\n")
    check(any_emqx.emqx("start"), 1, "Node is already running!\n")
    check(any_emqx.emqx("stop"), 0, "ok\n")
    assert is_gone(pid)


def test_a_killed_broker_can_be_started_again(any_emqx):
    check(any_emqx.emqx("start"), 0)
    pid = any_emqx.pid()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))
    check(any_emqx.emqx("ping"), 1, "")
    check(any_emqx.emqx("start"), 0)
    check(any_emqx.emqx("stop"), 0, "ok\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_foreground_shows_where_it_runs_and_a_signal_stops_it_cleanly(any_emqx, number):
    with any_emqx.popen("foreground", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines == [f"Exec: {any_emqx.emqx_path.resolve()} foreground\n", f"Root: {any_emqx.root}\n"]
        wait_for(lambda: any_emqx.emqx("ping").returncode == 0)
        assert any_emqx.pid() == process.pid
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(DEADLINE_S) == 0, rest
    assert f"Starting emqx on node {NODE}\n" in rest


def test_the_socket_is_the_owner_s_alone(any_emqx):
    check(any_emqx.emqx("start"), 0)
    mode = (any_emqx.root / "data" / "emqx.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_help_asked_for_exits_with_0_and_unknown_commands_with_1(any_emqx):
    check(any_emqx.emqx("start"), 0)
    usage = any_emqx.ctl("help")
    check(usage, 0, stderr="")
    lines = usage.stdout.splitlines()
    assert lines[0] == "Usage: emqx_ctl" and lines[1] == 80 * "-"
    assert "clients show <ClientId>                         # Show a client" in lines
    assert not any(line.startswith("node") for line in lines)
    check(any_emqx.ctl(), 1, usage.stdout, "")
    check(any_emqx.ctl("nonsense"), 1, usage.stdout, "emqx_ctl: there is no command 'nonsense'\n")
    check(any_emqx.emqx("rpc", "emqx_ctl", "run_command", "status"), 0, any_emqx.ctl("status").stdout, "")


def test_attach_runs_commands_of_emqx_ctl(any_emqx):
    check(any_emqx.emqx("start"), 0)
    session = any_emqx.emqx("attach", input="status\nemqx_ctl clients show 'no body'\n\n'open\nexit\nstatus\n")
    check(session, 0, f"({NODE})1> Node '{NODE}' is started\nemqx 3.2.8 is running\n"
                      f"({NODE})2> Not Found.\n({NODE})3> ({NODE})4> a quote has no end\n({NODE})5> ", "")
    check(any_emqx.emqx("remote_console", input="quit\n"), 0)
    check(any_emqx.emqx("ping"), 0)


def test_console_has_a_prompt_on_a_terminal_whose_end_stops_the_broker(any_emqx):
    master, slave = pty.openpty()
    with any_emqx.popen("console", stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        os.close(slave)
        seen = ""
        while f"({NODE})1> " not in seen:
            seen += process.stdout.read(1)
        assert f"Root: {any_emqx.root}\n" in seen
        os.write(master, b"status\n")
        assert process.stdout.readline() == f"Node '{NODE}' is started\n"
        os.write(master, b"\x04")
        rest = process.stdout.read()
        assert process.wait(DEADLINE_S) == 0, rest
    os.close(master)


# ---- starts that fail ----


def test_a_start_that_fails_says_why(fake):
    fake.fake("fail")
    result = fake.emqx("start")
    check(result, 1, "", "node.async_threads is accepted for compatibility and has no effect\n"
                         "Failed to start mqtt:tcp listener on 0.0.0.0:1883 - eaddrinuse\n")
    assert "eaddrinuse" in fake.console_log()
    check(fake.emqx("ping"), 1)


def test_a_start_that_dies_shows_how_and_its_last_lines(fake):
    fake.fake("die")
    result = fake.emqx("start")
    check(result, 1, "")
    assert "The broker died while it started (signal 6, Aborted)." in result.stderr or "exit status" in result.stderr
    assert f"{fake.root}/log/emqx.console.log" in result.stderr
    assert f"Starting emqx on node {NODE}\n" in result.stderr


def test_a_start_that_takes_too_long_goes_on_and_can_be_stopped(fake):
    fake.fake("hang")
    result = fake.emqx("start", env={"WAIT_FOR_ERLANG": "1"})
    check(result, 1)
    match = re.fullmatch(r"The broker failed to start within 1 seconds,\n"
                         r"see the output of './bin/emqx console' for more information.\n"
                         r"If you want to wait longer, set the environment variable\n"
                         r"WAIT_FOR_ERLANG to the number of seconds to wait.\n"
                         r"emqx is still starting \(pid (\d+)\).\n", result.stdout)
    assert match, result.stdout
    assert fake.pid() == int(match.group(1))
    check(fake.emqx("stop"), 0, "ok\n")


def test_the_daemon_keeps_nothing_of_its_caller_open(fake):
    reader, writer = os.pipe()
    extra = os.dup2(writer, 100)
    check(fake.emqx("start", pass_fds=(writer, extra)), 0)
    os.close(writer)
    os.close(extra)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_log_directory_that_cannot_be_made_is_named(fake):
    (fake.root / "log").write_text("a file")
    result = fake.emqx("start")
    check(result, 1)
    assert f"{fake.root}/log" in result.stderr and "Not a directory" in result.stderr


def test_few_open_files_are_warned_about(fake):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result = fake.emqx("start", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard)))
    check(result, 0)
    assert result.stdout.startswith("!!!!\n!!!! WARNING: ulimit -n is 512; 1024 is the recommended minimum.\n!!!!\n")
    limits = Path(f"/proc/{fake.pid()}/limits").read_text()
    assert re.search(rf"Max open files\s+{hard}\s+{hard}", limits), "the broker raises the limit to what it may"


def test_a_large_console_log_is_set_aside(fake):
    (fake.root / "log").mkdir()
    (fake.root / "log" / "emqx.console.log").write_bytes(b"x" * (4 << 20))
    check(fake.emqx("start"), 0)
    assert fake.console_log().startswith("Starting emqx")
    assert (fake.root / "log" / "emqx.console.log.1").stat().st_size == 4 << 20


# ---- stops ----


def test_stop_falls_back_to_a_signal(fake):
    fake.fake("deaf")
    check(fake.emqx("start"), 0)
    pid = fake.pid()
    ping = fake.emqx("ping")
    check(ping, 1, "")
    assert f"emqx runs as process {pid} but does not answer" in ping.stderr
    stopped = fake.emqx("stop")
    check(stopped, 0, "ok\n")
    assert f"sending SIGTERM to process {pid}" in stopped.stderr
    assert is_gone(pid)


def test_a_stop_that_takes_long_shows_that_it_goes_on(fake):
    fake.fake("slow_stop")
    check(fake.emqx("start"), 0)
    pid = fake.pid()
    with fake.popen("stop", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stop:
        assert stop.stderr.readline() == f"emqx is stopping (pid {pid}), 1 s\n"
        os.kill(pid, signal.SIGTERM)
        assert stop.stdout.read() == "ok\n"
        assert stop.wait(DEADLINE_S) == 0


def test_a_restart_that_fails_shows_why(fake):
    check(fake.emqx("start"), 0)
    fake.fake("fail")
    result = fake.emqx("restart")
    check(result, 1, "")
    assert "could not start again" in result.stderr
    assert "Failed to start mqtt:tcp listener on 0.0.0.0:1883 - eaddrinuse" in result.stderr


def test_a_restart_with_a_wrong_configuration_leaves_the_broker_as_it_is(any_emqx):
    check(any_emqx.emqx("start"), 0)
    pid = any_emqx.pid()
    any_emqx.configure(node__nmae="x")
    result = any_emqx.emqx("restart")
    check(result, 1, "")
    assert "node.nmae" in result.stderr and result.stderr.endswith("The broker goes on as it is.\n")
    check(any_emqx.emqx("ping"), 0, "pong\n")
    assert any_emqx.pid() == pid
    check(any_emqx.emqx("stop"), 0, "ok\n")


def test_a_restart_of_a_foreground_broker_stays_in_its_process(fake):
    with fake.popen("foreground", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        while "Start mqtt:tcp" not in process.stdout.readline():
            pass
        check(fake.emqx("restart"), 0, "ok\n")
        assert fake.pid() == process.pid
        check(fake.emqx("stop"), 0, "ok\n")
        assert process.wait(DEADLINE_S) == 0


# ---- nobody there ----


@pytest.mark.parametrize("command", ["stop", "restart", "reboot", "pid", "ping"])
def test_without_a_broker_commands_say_so_and_how_to_start_it(fake, command):
    check(fake.emqx(command), 1, "", f"{NOT_RUNNING}It is not running. To start it: {fake.root}/bin/emqx start\n")


def test_without_a_broker_emqx_ctl_says_so_and_how_to_start_it(fake):
    check(fake.ctl("status"), 1, "", f"{NOT_RUNNING}It is not running. To start it: {fake.root}/bin/emqx start\n")
    check(fake.ctl("status", env={"EMQX_NODE_NAME": "a@b"}), 1)


def test_without_a_broker_attach_says_so(fake):
    check(fake.emqx("attach"), 1, "Node is not running!\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_told_whose_broker_it_is(fake):
    check(fake.emqx("start"), 0)
    for folder in (fake.root, *list(fake.root.parents)[:-2]):
        folder.chmod(0o755)
    program = shutil.copy(fake.ctl_path, fake.root / "emqx_ctl")
    result = fake.run(program, "status", user="nobody")
    check(result, 1, "")
    assert "belong to another user" in result.stderr


# ---- emqx_ctl ----


def test_failures_exit_with_1_unless_the_old_statuses_are_wished_for(fake):
    check(fake.emqx("start"), 0)
    old = {"EMQX_CTL_LEGACY_EXIT": "1"}
    for words, status, old_status in ((("clients", "show", "x"), 1, 0), (("clients", "kick", "x"), 1, 0),
                                      (("clients",), 1, 0), (("help",), 0, 1), (("nonsense",), 1, 1)):
        new_result = fake.ctl(*words)
        check(new_result, status)
        check(fake.ctl(*words, env=old), old_status, new_result.stdout)


def test_clients_are_listed_shown_and_kicked(fake):
    fake.emqx("start")
    first = "Connection(client-1, clean_start=false, username=alice, peername=127.0.0.1:64896, connected_at=1552554416)\n"
    check(fake.ctl("clients", "show", "client-1"), 0, first, "")
    assert len(fake.ctl("clients", "list").stdout.splitlines()) == 3
    check(fake.ctl("clients", "list", "--limit", "1"), 0, first)
    check(fake.ctl("clients", "kick", "client-1"), 0, "", "")
    check(fake.ctl("clients", "show", "client-1"), 1, "Not Found.\n", "")


def test_a_long_list_comes_whole(fake):
    fake.fake("clients=200000")
    fake.emqx("start")
    lines = fake.ctl("clients", "list").stdout.splitlines()
    assert len(lines) == 200000
    assert lines[-1].startswith("Connection(client-200000, ")


def test_a_reader_that_stopped_reading_holds_up_nobody(fake):
    fake.fake("clients=1000000")
    fake.emqx("start")
    memory = Path(f"/proc/{fake.pid()}/statm")
    before = int(memory.read_text().split()[1])
    with subprocess.Popen([fake.ctl_path, "clients", "list"], env=fake.environment(), stdout=subprocess.PIPE) as reader:
        reader.stdout.readline()
        check(fake.ctl("status"), 0)
        check(fake.ctl("clients", "list", "--limit", "2"), 0)
        after = int(memory.read_text().split()[1])
        reader.kill()
    assert (after - before) * os.sysconf("SC_PAGE_SIZE") < 8 << 20
    check(fake.emqx("stop"), 0, "ok\n")


def test_output_that_cannot_be_written_is_an_error(fake):
    fake.emqx("start")
    with open("/dev/full", "w") as full:
        result = subprocess.run([fake.ctl_path, "status"], env=fake.environment(), stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=DEADLINE_S)
    check(result, 1, stderr="emqx_ctl: cannot write the output: No space left on device\n")


def test_arguments_over_the_limit_are_refused(fake):
    fake.emqx("start")
    for words in (["x"] * 65, ["x" * 70000]):
        result = fake.ctl(*words)
        check(result, 1, "")
        assert "too many or too long arguments" in result.stderr


# ---- help and what is not there ----


def test_every_command_has_help_with_an_example(fake):
    names = re.findall(r"^  ([a-z_]+) ", fake.emqx("help").stdout, re.M)
    assert {"start", "stop", "restart", "console", "foreground", "ping", "version", "help"} <= set(names)
    for name in [*names, "eval", "upgrade"]:
        result = fake.emqx(name, "--help")
        check(result, 0, stderr="")
        assert result.stdout.startswith(f"Usage: emqx {name}") and "\nExample" in result.stdout
    result = fake.ctl("--help")
    check(result, 0, stderr="")
    assert "Examples" in result.stdout


def test_unknown_commands_show_the_usage(fake):
    usage = ("Usage: emqx {start|start_boot <file>|ertspath|foreground|stop|restart|reboot|pid|ping|console|console_clean|"
             "console_boot <file>|attach|remote_console|upgrade|escript|rpc|rpcterms|eval}\n")
    check(fake.emqx(), 1, usage, "")
    check(fake.emqx("nonsense"), 1, usage, "emqx: there is no command 'nonsense'; see: emqx help\n")


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "install", "unpack", "escript", "ertspath", "start_boot",
                                     "console_clean", "console_boot", "rpcterms", "eval"])
def test_commands_of_the_erlang_machine_are_refused(fake, command):
    check(fake.emqx(command, "x"), 1, "", f"emqx {command}: not supported by this implementation\n")


def test_version_prints_both(fake):
    assert re.fullmatch(r"emqx 3\.2\.8 \(emqc \d+\.\d+\.\d+\)\n", fake.emqx("version").stdout)


def test_arguments_that_a_command_does_not_take_are_refused(fake):
    result = fake.emqx("stop", "now")
    check(result, 1, "")
    assert "emqx stop --help" in result.stderr


# ---- the root ----


def test_the_root_is_found_from_the_program(fake):
    (fake.root / "bin").mkdir()
    program = shutil.copy(fake.emqx_path, fake.root / "bin" / "emqx")
    environment = {key: value for key, value in fake.environment().items() if key != "EMQX_ROOT"}
    for command, expected in (("start", "emqx 3.2.8 is started successfully!\n"), ("restart", "ok\n"), ("stop", "ok\n")):
        result = subprocess.run([program, command], env=environment, capture_output=True, text=True, timeout=DEADLINE_S,
                                cwd="/")
        check(result, 0, expected)
    assert (fake.root / "data" / "emqx.pid").exists()


def test_a_long_path_to_the_data_directory_works(fake):
    fake.configure(node__data_dir="d" * 200)
    check(fake.emqx("start"), 0)
    check(fake.ctl("status"), 0)
    check(fake.emqx("stop"), 0, "ok\n")


def test_a_root_that_is_not_there_is_named(fake):
    result = fake.emqx("ping", env={"EMQX_ROOT": "/nonexistent"})
    check(result, 1, "")
    assert "EMQX_ROOT=/nonexistent" in result.stderr
