"""The broker under test: the real binary in a directory of its own, on a free port.

EMQX_HOME names the release tree (default: _rel/emqx of this repository), EMQX_BIN the program itself when it is not
$EMQX_HOME/bin/emqx, as for a sanitizer build. EMQC_TEST_BROKER=mosquitto runs Debian's mosquitto instead; that is for
checking the tests of the standard against a second broker.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .client import DEADLINE_S, Client

REPOSITORY = Path(__file__).resolve().parents[3]
HOME = Path(os.environ.get("EMQX_HOME", REPOSITORY / "_rel" / "emqx"))
BINARY = Path(os.environ.get("EMQX_BIN", HOME / "bin" / "emqx"))
KIND = os.environ.get("EMQC_TEST_BROKER", "emqc")
NODE_NAME = "emqc@127.0.0.1"

READY = "is running now!"
SANITIZER = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")

# What the shipped configuration has in effect for a client of listener tcp.external, without what costs time.
SETTINGS = {
    "node.name": NODE_NAME,
    "log.to": "file",
    "log.level": "warning",
    "allow_anonymous": "true",
    "acl_nomatch": "allow",
    "mqtt.ignore_loop_deliver": "false",
    "zone.external.max_inflight": "32",
    "zone.external.max_awaiting_rel": "100",
    "zone.external.retry_interval": "20s",
    "listener.tcp.external.zone": "external",
    "listener.tcp.external.max_connections": "10000",
}

# Settings that mosquitto knows under another name.
_MOSQUITTO = {
    "zone.external.max_inflight": "max_inflight_messages",
    "zone.external.max_mqueue_len": "max_queued_messages",
    "mqtt.max_packet_size": "max_packet_size",
}


def free_port() -> int:
    """A port outside the range that the system hands to clients, free at this moment."""
    while True:
        port = random.randint(10000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@functools.cache
def _store_template() -> Path:
    """The store of a broker that has started and stopped once: RocksDB takes longer to make one than all else of a start."""
    made = Broker(from_template=False)
    made.start().stop()
    store = Path(tempfile.mkdtemp(prefix="emqc-store-"))
    atexit.register(shutil.rmtree, store, ignore_errors=True)
    shutil.copytree(made.directory / "data" / "store", store, dirs_exist_ok=True)
    made.remove()
    return store


class Broker:
    """One running broker. `settings` are added to SETTINGS; None takes a key away. A new one begins with a store that another
    one has made, unless `from_template` is False."""

    def __init__(self, settings: dict | None = None, directory: Path | None = None, from_template: bool = True):
        self.settings = {**SETTINGS, **(settings or {})}
        self.directory = directory or Path(tempfile.mkdtemp(prefix="emqc-test-"))
        self._own_directory = directory is None
        self._from_template = from_template
        self.port = 0
        self.process: subprocess.Popen | None = None
        self.stdout = self.directory / "stdout"
        self.stderr = self.directory / "stderr"

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    # --- life

    def start(self) -> Broker:
        for _ in range(3):
            self.port = self.port or free_port()
            command, environment = getattr(self, f"_prepare_{KIND}")()
            with open(self.stdout, "ab") as out, open(self.stderr, "ab") as err:
                said_before = out.tell()  # a broker that ran here earlier was ready too
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=self.directory
                )
            if self._await_ready(said_before):
                return self
            self.kill()
            self.port = 0  # somebody else took it meanwhile
        raise AssertionError(f"the broker did not start\n{self.output()}")

    def _prepare_emqc(self):
        for name in ("etc", "data", "log"):
            (self.directory / name).mkdir(exist_ok=True)
        store = self.directory / "data" / "store"
        if self._from_template and not store.exists():
            shutil.copytree(_store_template(), store)
        lines = {
            "node.data_dir": str(self.directory / "data"),
            "log.dir": str(self.directory / "log"),
            "listener.tcp.external": f"127.0.0.1:{self.port}",
            **self.settings,
        }
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
        (self.directory / "etc" / "emqx.conf").write_text(text)
        self._link_plugins()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        environment["EMQX_ROOT"] = str(self.directory)
        environment.setdefault("TSAN_OPTIONS", "exitcode=66")
        return [str(BINARY), "foreground"], environment

    def _link_plugins(self):
        """The node's lib/: what was built beside the program, in a release tree or a build directory."""
        library = self.directory / "lib"
        library.mkdir(exist_ok=True)
        for item in [*BINARY.parents[1].glob("lib/*.so"), *BINARY.parents[2].glob("plugins/*/*.so")]:
            if not (library / item.name).exists():
                (library / item.name).symlink_to(item)

    def plugin_conf(self, name: str, settings: dict) -> Path:
        """Writes the plugin's settings, for its next load or reload."""
        path = self.directory / "etc" / "plugins" / f"{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        return path

    def _prepare_mosquitto(self):
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"]
        for key, value in self.settings.items():
            if key in _MOSQUITTO:
                lines.append(f"{_MOSQUITTO[key]} {value}")
        path = self.directory / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(path)], dict(os.environ)

    def _await_ready(self, said_before: int) -> bool:
        """The port answers and, for emqc, the program says that it runs."""
        deadline = time.monotonic() + 3 * DEADLINE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if KIND != "emqc" or READY.encode() in self.stdout.read_bytes()[said_before:]:
                with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        return False

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self, timeout: float = None) -> int:
        return self.process.wait(3 * DEADLINE_S if timeout is None else timeout)

    def stop(self):
        """SIGTERM; the broker must end with exit code 0 and no word from a sanitizer."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(3 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not stop on SIGTERM\n{self.output()}") from None
        assert code == 0, f"the broker ended with {code}\n{self.output()}"
        report = self.sanitizer_report()
        assert not report, f"sanitizer report\n{report}"

    def kill(self):
        """SIGKILL, as when the machine fails."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def await_store(self):
        """Returns when all that the workers have handed to the store is written."""
        deadline = time.monotonic() + DEADLINE_S
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        environment["EMQX_ROOT"] = str(self.directory)
        ctl = BINARY.with_name("emqx_ctl")
        ctl = ctl if ctl.is_file() else BINARY.parents[1] / "ctl" / "emqx_ctl"
        while True:
            answer = subprocess.run([ctl, "store", "stats"], env=environment, capture_output=True, text=True,
                                    timeout=DEADLINE_S, check=True)
            if "\nwaiting        0 bytes\n" in answer.stdout:
                return
            assert time.monotonic() < deadline, answer.stdout

    # --- what it says

    def sanitizer_report(self) -> str:
        text = self.stderr.read_text(errors="replace") if self.stderr.exists() else ""
        return text[-20000:] if any(mark in text for mark in SANITIZER) else ""

    def log(self) -> str:
        directory = self.directory / "log"
        files = sorted(directory.glob("*")) if directory.is_dir() else []
        return "".join(item.read_text(errors="replace") for item in files if item.is_file())

    def output(self) -> str:
        parts = [(str(path.name), path.read_text(errors="replace")) for path in (self.stdout, self.stderr) if path.exists()]
        parts.append(("log", self.log()))
        return "\n".join(f"--- {name}\n{text[-6000:]}" for name, text in parts if text)

    # --- clients

    def open(self, version: int = 5) -> Client:
        """A connection on which nothing was sent yet."""
        return Client(self.address, version)

    def connect(self, version: int = 5, **fields) -> Client:
        """A client that was accepted; fields of packets.Connect."""
        return self.open(version).connect(**fields)
