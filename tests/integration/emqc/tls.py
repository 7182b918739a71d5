"""TLS and WebSocket listeners of the broker under test, a raw client over TLS, and what the broker writes about both."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import subprocess
import time
from pathlib import Path

from . import broker as emqc_broker
from .broker import Broker, free_port
from .certs import Authority, Pair
from .client import DEADLINE_S, Client

# Shipped: a choice of each kind is enough here.
CIPHERS = ("ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,"
           "AES128-GCM-SHA256,ECDHE-ECDSA-AES128-SHA,ECDHE-RSA-AES128-SHA,AES128-SHA")  # fmt: skip


def tls_listener(pair: Pair, *, authority: Authority | None = None, name: str = "external", type_: str = "ssl", port: int = 0, **more):
    """Settings of a listener. With `authority` clients must have a certificate of it. `more`: further keys, None takes one away."""
    keys = {"keyfile": pair.key, "certfile": pair.chain, "ciphers": CIPHERS, "zone": "external"}
    if authority is not None:
        keys |= {"cacertfile": authority.cert, "verify": "verify_peer", "fail_if_no_peer_cert": "true"}
    prefix = f"listener.{type_}.{name}"
    settings = {prefix: f"127.0.0.1:{port or free_port()}"}
    return settings | {f"{prefix}.{key}": value for key, value in {**keys, **more}.items()}


def listener_port(node: Broker, name: str = "external", type_: str = "ssl") -> int:
    return int(node.settings[f"listener.{type_}.{name}"].rsplit(":", 1)[1])


class _Socket(ssl.SSLSocket):
    def shutdown(self, how):
        """Ends a direction of TCP; SSLSocket's own would drop the TLS state with it."""
        socket.socket.shutdown(self, how)


def context(authority: Authority, pair: Pair | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a client trusts and shows. `version`: this one only."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.sslsocket_class = _Socket
    made.load_verify_locations(authority.cert)
    if pair is not None:
        made.load_cert_chain(pair.chain, pair.key)
    if version is not None:
        made.minimum_version = made.maximum_version = version
    return made


class TlsClient(Client):
    """An MQTT client over TLS. The handshake is done when it is made."""

    def __init__(self, port: int, tls: ssl.SSLContext, version: int = 5, server_name: str = "localhost", session=None):
        super().__init__(("127.0.0.1", port), version)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.socket = tls.wrap_socket(self.socket, server_hostname=server_name, session=session)

    def _wait_readable(self, seconds: float) -> bool:
        return self.socket.pending() > 0 or super()._wait_readable(seconds)

    def server_common_name(self) -> str:
        subject = self.socket.getpeercert()["subject"]
        return next(value for rdn in subject for key, value in rdn if key == "commonName")


def refusal(port: int, tls: ssl.SSLContext) -> tuple[str, str]:
    """What TLS says to a client that the server does not let in, and the client's address. In 1.3 the client may believe that it is in
    until it reads."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as raw:
        address = "127.0.0.1:%d" % raw.getsockname()[1]
        try:
            with tls.wrap_socket(raw, server_hostname="localhost") as client:
                client.sendall(b"\x10")  # not even a packet: a server that wrongly lets us in waits for more
                data = client.recv(1)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
            return str(error), address
    raise AssertionError(f"an end with an error expected, got {data!r}")


def s_client(port: int, *options, data: bytes = b"", check: bool | None = True, quiet: bool = False) -> str:
    """`openssl s_client`: what it prints. `check` False: it must fail."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *map(str, options)]
    if quiet:
        words.append("-quiet")
    done = subprocess.run(words, input=data, capture_output=True, timeout=3 * DEADLINE_S)
    text = (done.stdout + done.stderr).decode("latin-1")
    if check is not None:
        assert (done.returncode == 0) == check, f"{done.returncode}: {text}"
    return text


def await_log(node: Broker, *patterns: str, timeout: float | None = None) -> str:
    """The line of the broker's log in which all patterns are found; writing a line gives no event to wait for."""
    deadline = time.monotonic() + (timeout or DEADLINE_S)
    while True:
        text = node.log()
        for line in text.splitlines():
            if all(re.search(pattern, line) for pattern in patterns):
                return line
        assert time.monotonic() < deadline, f"no line with {patterns}\n{text[-6000:]}"
        select.select([], [], [], 0.01)


def ctl(node: Broker, *words, status: int = 0) -> str:
    """emqx_ctl: what it prints on both outputs."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EMQX_")}
    environment["EMQX_ROOT"] = str(node.directory)
    done = subprocess.run([ctl_program(), *words], env=environment, capture_output=True, text=True, timeout=3 * DEADLINE_S)
    assert done.returncode == status, done
    return done.stdout + done.stderr


def ctl_program() -> Path:
    if "EMQX_CTL" in os.environ:
        return Path(os.environ["EMQX_CTL"])
    beside = emqc_broker.BINARY.with_name("emqx_ctl")
    return beside if beside.is_file() else emqc_broker.BINARY.parents[1] / "ctl" / "emqx_ctl"


def failed_start(settings: dict) -> tuple[int, str]:
    """A start that must not succeed: (exit status, what it wrote)."""
    node = Broker(settings)
    node.port = free_port()
    command, environment = node._prepare_emqc()
    done = subprocess.run(command, env=environment, cwd=node.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=3 * DEADLINE_S)  # fmt: skip
    text = done.stdout + done.stderr + node.log()
    node.remove()
    return done.returncode, text
