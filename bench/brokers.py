"""The brokers that are compared: how each is configured, started and stopped.

Every start gets a fresh directory, a free port of 127.0.0.1 and empty state. One listener is measured: plain TCP, TLS or
WebSocket; TLS has the same certificate for all. All brokers get the same limits: a send
window of `inflight` messages, queues without a limit (the load keeps them short), no authentication, nothing on disk:
sessions end with their connections. Where the disk is what is measured, `durability` says how: one of emqc's words, or
mosquitto's persistence, which writes its one file at the end and every half hour.
"""

import atexit
import contextlib
import functools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

inflight = 1000  # QoS 1 and 2 messages on their way to one client, also its Receive Maximum; run.py --inflight
START_SECONDS = 15
STOP_SECONDS = 60  # with a file of gigabytes to write


class BrokerError(Exception):
    """A broker that is missing, does not start or has died."""


@functools.cache
def certificate(rsa_bits):
    """A self-signed certificate for this run: (certificate file, key file)."""
    directory = tempfile.mkdtemp(prefix="bench-certificate-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", f"rsa:{rsa_bits}", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokerError(f"openssl could not make a certificate:\n{done.stderr}")
    return cert, key


def free_port():
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening_inodes(port):
    """The socket inodes that listen on the port, as text."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(fields[9])
    return inodes


def has_socket(pid, inodes):
    """Does the process hold one of the sockets?"""
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                target = os.readlink(os.path.join(folder, name))
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                return True
    except OSError:
        pass
    return False


def group_members(group):
    """The processes of a process group."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == group:
                    members.append(int(name))
            except OSError:
                continue
    return members


class Broker:
    """One kind of broker; the subclasses say how it is configured and run."""

    name = ""

    def __init__(self, transport="tcp", durability=""):
        self.transport = transport  # or tls, ws
        self.durability = durability  # empty: nothing is meant to outlive the process
        self.rsa_bits = 2048  # of the key behind TLS: the usual size
        self.logins = ""  # see login.py
        self.process = None
        self.command = []
        self.environment = dict(os.environ)
        self.directory = None
        self.port = 0
        self.pid = 0

    def version(self):
        """A short text for the report."""
        raise NotImplementedError

    def prepare(self):
        """Writes the configuration into self.directory. Returns the command line as a list."""
        raise NotImplementedError

    def start(self):
        """Starts it from nothing and returns when it listens; self.pid is then the process that does."""
        self.directory = tempfile.mkdtemp(prefix=f"bench-{self.name}-")
        self.port = free_port()
        self.command = self.prepare()
        self.launch()

    def launch(self, seconds=START_SECONDS):
        """Starts it with what is there. Returns the seconds until it listened."""
        begin = time.monotonic()
        with open(os.path.join(self.directory, "output"), "ab") as output:
            self.process = subprocess.Popen(self.command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT, env=self.environment, start_new_session=True)
        while time.monotonic() < begin + seconds and self.process.poll() is None:
            inodes = listening_inodes(self.port)
            owners = [pid for pid in group_members(self.process.pid) if inodes and has_socket(pid, inodes)]
            if owners:
                self.pid = owners[0]
                return time.monotonic() - begin
            time.sleep(0.02)
        text = self.output()
        self.discard()
        raise BrokerError(f"{self.name} did not listen on port {self.port}:\n{text}")

    def output(self):
        """What it printed last."""
        with open(os.path.join(self.directory, "output"), encoding="utf-8", errors="replace") as text:
            return text.read()[-2000:]

    def end(self, number=signal.SIGTERM, seconds=STOP_SECONDS):
        """Ends it by this signal, or by SIGKILL when that does not help; what it has written stays. Returns the seconds."""
        begin = time.monotonic()
        for signal_number, patience in ((number, seconds), (signal.SIGKILL, seconds)):
            if self.process is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=patience)
                self.process = None
        return time.monotonic() - begin

    def stop(self):
        """Ends it and removes its directory."""
        self.end(seconds=10)
        self.remove()

    def discard(self):
        """The same without waiting for what it would still write."""
        self.end(signal.SIGKILL)
        self.remove()

    def remove(self):
        """Removes its directory."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


class Mosquitto(Broker):
    """Debian's mosquitto."""

    name = "mosquitto"

    @staticmethod
    def executable():
        """Its path; Debian installs it where only root looks."""
        found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if found is None:
            raise BrokerError("mosquitto is not installed")
        return found

    def version(self):
        text = subprocess.run([self.executable(), "-h"], capture_output=True, text=True, check=False).stdout
        return text.splitlines()[0] if text else "mosquitto"

    def prepare(self):
        path = os.path.join(self.directory, "mosquitto.conf")
        settings = {
            "listener": f"{self.port} 127.0.0.1",
            "allow_anonymous": "true",
            "persistence": "true" if self.durability else "false",
            "persistence_location": self.directory + "/",
            "max_inflight_messages": str(inflight),
            "max_queued_messages": "0",
            "set_tcp_nodelay": "true",
            "log_dest": "stderr",
            "log_type": "error",
        }
        if os.getuid() == 0:
            settings["user"] = "root"  # else it becomes another user, and its memory can't be read
        if self.transport == "tls":
            settings["certfile"], settings["keyfile"] = certificate(self.rsa_bits)
        elif self.transport == "ws":
            settings["protocol"] = "websockets"
        with open(path, "w", encoding="utf-8") as config:
            config.writelines(f"{key} {value}\n" for key, value in settings.items())
            if self.transport == "ws":  # it does not start with WebSocket listeners alone
                config.write(f"listener {free_port()} 127.0.0.1\n")
        return [self.executable(), "-c", path]


def access_rules(count):
    """So many rules, of which only the last one fits a client of emqx_bench."""
    for number in range(count - 1):
        if number % 2:
            yield f'{{deny, all, pubsub, ["secret/{number}/%c/#", "site/{number}/+/admin"]}}.\n'
        else:
            yield f'{{allow, {{user, "user{number}"}}, pubsub, ["site/{number}/#"]}}.\n'
    yield "{allow, all}.\n"


class Emqc(Broker):
    """The broker of this repository: a copy of the release tree with settings added."""

    name = "emqc"

    def __init__(self, release, transport="tcp", workers=0, durability="", rules=None):
        super().__init__(transport, durability)
        self.rules = rules  # of acl_file; 0: enable_acl is off; None: as shipped
        self.release = release
        self.workers = workers  # 0: as many as the machine has processors
        if not os.access(os.path.join(release, "bin", "emqx"), os.X_OK):
            raise BrokerError(f"there is no {release}/bin/emqx; build it first: make")

    def version(self):
        text = subprocess.run([os.path.join(self.release, "bin", "emqx"), "version"], capture_output=True, text=True,
                              check=False).stdout.strip()
        return "emqc " + text if text else "emqc"

    def prepare(self):
        root = os.path.join(self.directory, "emqx")
        shutil.copytree(self.release, root, ignore=shutil.ignore_patterns("data", "log"))
        for name in ("data", "log"):
            os.mkdir(os.path.join(root, name))
        settings = {
            "node.data_dir": os.path.join(root, "data"),
            "log.to": "console",
            "log.level": "error",
            "allow_anonymous": "true",
            "listener.tcp.internal": f"127.0.0.1:{free_port()}",
            "zone.external.max_inflight": str(inflight),
            "zone.external.max_mqueue_len": "0",
            "zone.external.force_shutdown_policy": "0|0MB",  # would end a client with 8,000 messages waiting
            "zone.external.enable_flapping_detect": "off",
        }
        if self.durability:
            settings |= {"zone.external.durability": self.durability, "broker.max_retained_messages": "0"}
        if self.rules is not None:
            settings["zone.external.enable_acl"] = "on" if self.rules else "off"
            with open(os.path.join(root, "etc", "acl.conf"), "w", encoding="utf-8") as file:
                file.writelines(access_rules(self.rules))
        if self.workers > 0:
            settings["node.workers"] = str(self.workers)
        for kind in ("tcp", "ssl", "ws", "wss"):
            is_measured = kind == {"tls": "ssl"}.get(self.transport, self.transport)
            settings[f"listener.{kind}.external"] = f"127.0.0.1:{self.port if is_measured else free_port()}"
            settings[f"listener.{kind}.external.max_connections"] = "1024000"
            settings[f"listener.{kind}.external.max_conn_rate"] = "1000000"
        if self.transport == "tls":
            cert, key = certificate(self.rsa_bits)
            settings |= {"listener.ssl.external.certfile": cert, "listener.ssl.external.keyfile": key}
        with open(os.path.join(root, "etc", "emqx.conf"), "a", encoding="utf-8") as config:
            config.write("\n## added by the benchmark; of a key given twice the last counts\n")
            config.writelines(f"{key} = {value}\n" for key, value in settings.items())
        # Settings of the user's environment would win over the file.
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
        self.environment["EMQX_ROOT"] = root
        return [os.path.join(root, "bin", "emqx"), "foreground"]


class Other(Broker):
    """A broker given by its command line; {port} and {dir} in it are replaced."""

    def __init__(self, name, template):
        super().__init__()
        self.name = name
        self.template = template

    def version(self):
        return self.name

    def prepare(self):
        values = {"port": self.port, "dir": self.directory}
        return [part.format(**values) for part in shlex.split(self.template)]
