"""One attack on one broker with everybody watching. Both the tests and bench/hostile.py run it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from emqc import broker as emqc_broker

from . import bombs, connections, ends, floods, secure, slow, web, wire  # noqa: F401 (they add their attacks)
from .attacks import ATTACKS, Attack, Target, connect
from .watch import Witness, await_true, log_lines_per_second, memory, sanitized

NAMES = list(ATTACKS)
BOUND_MS = 2000.0  # of a round trip, in a release build: for a machine with two busy cores, not a figure of speed
WARM_UP_CONNECTIONS = 200

_certificates = None


def certificates() -> str:
    """A directory with key.pem and cert.pem, made once for this process."""
    global _certificates
    if _certificates is None:
        _certificates = tempfile.TemporaryDirectory(prefix="emqc-hostile-")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"],
                       cwd=_certificates.name, check=True, capture_output=True)  # fmt: skip
    return _certificates.name


class Scene:
    """A broker with one listener of the transport, and a second one for attacks that want it."""

    def __init__(self, attack: Attack, transport: str, scale: float = 1.0):
        self.attack, self.transport = attack, transport
        first, second = emqc_broker.free_port(), emqc_broker.free_port()
        words = {"transport": transport, "second": f"127.0.0.1:{second}"}
        certified = certificates() if transport in wire.TLS else None
        if transport == "tcp":
            own = {"listener.tcp.external.max_connections": "20000"}
        else:
            own = wire.server_settings(transport, f"127.0.0.1:{first}", certified)
        own |= {key.format(**words): value.format(**words) for key, value in attack.settings.items()}
        self.node = emqc_broker.Broker(own).start()
        port = self.node.port if transport == "tcp" else first
        self.target = Target(self.node, transport, ("127.0.0.1", port), ("127.0.0.1", second), scale)
        self.witness = None

    def watch(self, rate: float = 100.0):
        """Brings pools and tables to their usual size, and then the witness in. Returns memory at the start."""
        wires = []
        for _ in range(WARM_UP_CONNECTIONS):
            wires.append(self.target.open())
            if not self.attack.newcomers and len(wires) > 50:
                wires.pop(0).close()
            connect(wires[-1])
        for each in wires:
            each.close()
        self.witness = Witness(self.transport, self.target.address[1], rate, self.attack.newcomers)
        self.witness.mark()
        Path(f"/proc/{self.node.process.pid}/clear_refs").write_text("5")  # the peak begins anew
        return memory(self.node)

    def close(self):
        try:
            if self.witness is not None:
                self.witness.stop()
            self.node.stop()
        finally:
            self.node.kill()
            self.node.remove()


def check_memory(scene: Scene, before: int):
    """The peak is bounded, and most of it is given back: jemalloc returns pages within about two seconds."""
    if sanitized():
        return
    attack, mib = scene.attack, 1 << 20
    peak = memory(scene.node, "VmHWM") - before
    assert peak <= attack.peak_bytes, f"{peak / mib:.1f} MiB at the peak, {attack.peak_bytes / mib:.0f} allowed"
    await_true(lambda: memory(scene.node) - before <= attack.kept_bytes, 15, 0.1)
    kept = memory(scene.node) - before
    assert kept <= attack.kept_bytes, f"{kept / mib:.1f} MiB kept, {attack.kept_bytes / mib:.0f} allowed"


def check_witness(figures: dict):
    text = json.dumps(figures)
    assert figures["error"] is None, text
    assert not figures["lost"] and not figures["unacknowledged"] and not figures["doubles"], text
    bound = BOUND_MS * (10 if sanitized() else 1)
    assert figures["max_ms"] < bound and figures["newcomer_max_ms"] < bound, text


def check_log(scene: Scene):
    most = log_lines_per_second(scene.node.log())
    assert most <= scene.attack.lines_per_second, f"{most} lines in one second\n{scene.node.log()[-3000:]}"


def run(attack: Attack, transport: str, scale: float = 1.0):
    """The attack and all that has to hold during it and afterwards."""
    scene = Scene(attack, transport, scale)
    try:
        before = scene.watch()
        attack.run(scene.target)
        figures = scene.witness.mark()
        assert scene.node.alive(), scene.node.output()
        check_witness(figures)
        check_memory(scene, before)
        check_log(scene)
        assert figures["count"] > 0
        check_witness(scene.witness.mark())
    except BaseException:
        print(scene.node.output())
        raise
    finally:
        scene.close()
    return figures


@contextlib.contextmanager
def lowest_priority():
    """For the thread that attacks: broker and witness, which are there already, come first."""
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, 19)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # only root gets its priority back
            os.setpriority(os.PRIO_PROCESS, thread, before)


def measure(attack: Attack, transport: str, seconds: float, rate: float) -> tuple[dict, dict]:
    """(quiet figures, figures under the attack), each over so many seconds at least; the attack repeats until then."""
    scene = Scene(attack, transport)
    try:
        scene.watch(rate)
        time.sleep(seconds)
        quiet = scene.witness.mark()
        end = time.monotonic() + seconds
        with lowest_priority():
            while True:
                attack.run(scene.target)
                if time.monotonic() >= end:
                    break
        return quiet, scene.witness.mark()
    finally:
        scene.close()
