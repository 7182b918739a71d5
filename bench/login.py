"""The group `login`: what clients that log in through an HTTP server cost those that are connected.

A steady load of messages is measured (emqx_bench load at a fixed rate) while other clients log in, 2,000 a second, and stay. Each is asked about
twice, /mqtt/auth and /mqtt/superuser, of Debian's nginx on this machine, which answers at once. emqc has one worker, so that logins and messages
share a thread.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile

import brokers
from loads import Column, Group, Load

LOGINS_PER_S = 2000
TOOL_PER_S = 1000  # one emqx_bench opens a connection each ms
MESSAGES_PER_S = 2000
SECONDS_MAX = 4  # with warm-up 12,000 clients: past 14,000, half of its address's ports, the kernel takes long to find one for a client
RUN_SECONDS_MAX = 300

NGINX = """daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /mqtt/auth {{ return 200; }}
        location = /mqtt/superuser {{ return 403; }}
    }}
}}
"""


def group():
    """No logins, logins without any question, logins with both."""
    columns = [Column("with auth_http", "emqc", workers=1, logins="http"),
               Column("logins of anybody", "emqc", workers=1, logins="anybody"),
               Column("no logins", "emqc", workers=1, logins="none")]
    return Group(
        "login", "Logins through an HTTP server",
        f"10 pairs at QoS 1 exchange {MESSAGES_PER_S:,} messages a second while {LOGINS_PER_S:,} other clients a second log in; emqc has one worker. "
        "auth_http asks nginx on the same machine twice for each; emqc, nginx and three processes of the tool share the processors.",
        columns, [("with auth_http", "logins of anybody"), ("with auth_http", "no logins")],
        [
            Load("login", f"{LOGINS_PER_S:,} logins/s beside {MESSAGES_PER_S:,} messages/s",
                 ["--pattern", "pair", "--qos", "1", "--publishers", "10", "--subscribers", "10", "--rate", str(MESSAGES_PER_S)], "login",
                 {"logins_per_s": [0.99]}, run="login", seconds_max=SECONDS_MAX),
        ])


class Nginx:
    """A server that lets everybody in. As a context: (re)moved at its end."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="bench-nginx-")
        self.port = brokers.free_port()
        self.process = None

    def __enter__(self):
        path = os.path.join(self.directory, "nginx.conf")
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            raise brokers.BrokerError("nginx is not installed")
        with open(path, "w", encoding="utf-8") as file:
            file.write(NGINX.format(directory=self.directory, port=self.port))
        os.chmod(self.directory, 0o755)  # its worker is another user
        with open(os.path.join(self.directory, "output"), "wb") as output:
            self.process = subprocess.Popen([program, "-p", self.directory, "-c", path], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=10)
        shutil.rmtree(self.directory, ignore_errors=True)


def load_plugin(broker, port):
    """emqx_auth_http in a broker that runs."""
    root = os.path.join(broker.directory, "emqx")
    settings = {
        "auth.http.auth_req": f"http://127.0.0.1:{port}/mqtt/auth",
        "auth.http.auth_req.params": "clientid=%c,username=%u,password=%P",
        "auth.http.super_req": f"http://127.0.0.1:{port}/mqtt/superuser",
        "auth.http.super_req.params": "clientid=%c,username=%u",
    }
    os.makedirs(os.path.join(root, "etc", "plugins"), exist_ok=True)
    with open(os.path.join(root, "etc", "plugins", "emqx_auth_http.conf"), "w", encoding="utf-8") as file:
        file.writelines(f"{key} = {value}\n" for key, value in settings.items())
    done = subprocess.run([os.path.join(root, "bin", "emqx_ctl"), "plugins", "load", "emqx_auth_http"], env=broker.environment,
                          capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise brokers.BrokerError(f"emqx_auth_http is not loaded: {done.stdout}{done.stderr}")


def start_logins(bench, broker, seconds, files):
    """Clients that log in for so long, from as many processes as it takes. Returns these."""
    found = []
    for number, file in enumerate(files):
        command = [bench, "conn", "--host", "127.0.0.1", "--port", str(broker.port), "--quiet", "--json", file, "--prefix", f"login{number}",
                   "-u", f"user{number}", "-P", "secret", "-k", "0", "-i", "1", "-c", str(TOOL_PER_S * seconds), "--duration", str(seconds)]
        found.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    return found


def run(bench, broker, common, load, directory):
    """The load with its logins. Returns the load's summary, with that of the logins."""
    seconds = int(common[common.index("--seconds") + 1]) + int(common[common.index("--warm-up") + 1]) // 1000 + 1
    files = [os.path.join(directory, f"login{number}.json") for number in range(LOGINS_PER_S // TOOL_PER_S)]
    messages = os.path.join(directory, "messages.json")
    tools = [] if broker.logins == "none" else start_logins(bench, broker, seconds, files)
    command = [bench, "load", "--host", "127.0.0.1", "--port", str(broker.port), "--broker-pid", str(broker.pid), "--json", messages,
               *common, *load.arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS_MAX)
        for tool in tools:
            tool.wait(timeout=RUN_SECONDS_MAX)
    finally:
        for tool in tools:
            tool.kill()
            tool.wait()
            tool.stderr.close()
    if done.returncode not in (0, 3) or any(tool.returncode != 0 for tool in tools):
        raise brokers.BrokerError(f"{broker.name}: {done.stderr}\n{broker.output()}")
    with open(messages, encoding="utf-8") as file:
        summary = json.load(file)
    logins = []
    for file in files[:len(tools)]:
        with open(file, encoding="utf-8") as text:
            logins.append(json.load(text))
    summary["logins"] = logins
    summary["ok"] = done.returncode == 0 and not any(one["connect_fail"] or one["connection_lost"] for one in logins)
    return summary


def measure(bench, broker, common, load):
    """One run from nothing. Returns its summary."""
    broker.start()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-login-") as directory, Nginx() as nginx:
            if broker.logins == "http":
                load_plugin(broker, nginx.port)
            return run(bench, broker, common, load, directory)
    finally:
        broker.stop()
