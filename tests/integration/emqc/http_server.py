"""An HTTP server for plugins to ask, in the test's own process: it says what it was asked, byte by byte, and answers as the test wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from .client import DEADLINE_S


@dataclass
class Request:
    """One request as it came."""

    raw: bytes
    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    connection: int = 0  # number of the connection, from 1

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the form, or of the URL."""
        pairs = parse_qsl(self.query or self.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert len(pairs) == len(dict(pairs))
        return dict(pairs)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: tuple[str, ...] = ()

    def encode(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Whatever", f"Content-Length: {len(self.body)}", *self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class HttpServer:
    """Listens on a port of 127.0.0.1. `answers`: by path an Answer, a status, or a function of the request that gives one; None closes the
    connection without a word. A path that is not there is 404. `tls`: an ssl.SSLContext."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0):
        self.answers: dict[str, Answer | int | Callable[[Request], Answer | int | None] | None] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._tls = tls
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def url(self, path: str) -> str:
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}{path}"

    def asked(self, path: str) -> list[Request]:
        with self._changed:
            return [request for request in self.requests if request.path == path]

    def await_requests(self, path: str, count: int = 1) -> list[Request]:
        """Returns when so many have come for the path."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while len(found := [request for request in self.requests if request.path == path]) < count:
                assert self._changed.wait(deadline - time.monotonic()), f"{len(found)} of {count} requests for {path}"
            return found

    def stop(self):
        """Nobody listens any more, and all connections end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)  # SSLSocket's own would drop the TLS state with it
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _start(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                self._sockets.add(connection)
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int):
        with contextlib.suppress(OSError):  # those of ssl as well
            if self._tls:
                with self._changed:
                    self._sockets.discard(connection)
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                    self._sockets.add(connection)
                connection.do_handshake()
            buffer = b""
            while True:
                request, buffer = self._read(connection, buffer)
                if request is None:
                    break
                request.connection = number
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                answer = self.answers.get(request.path, 404)
                answer = answer(request) if callable(answer) else answer
                answer = Answer(answer) if isinstance(answer, int) else answer
                if answer is None:
                    break
                connection.sendall(answer.encode())
        with self._changed:
            self._sockets.discard(connection)
        connection.close()

    @staticmethod
    def _read(connection: socket.socket, buffer: bytes) -> tuple[Request | None, bytes]:
        """A whole request and what came behind it."""
        while True:
            head, separator, rest = buffer.partition(b"\r\n\r\n")
            if separator:
                line, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
                length = int(headers.get("content-length", 0))
                if len(rest) >= length:
                    method, target, version = line.split(" ")
                    assert version == "HTTP/1.1"
                    url = urlsplit(target)
                    raw = head + separator + rest[:length]
                    return Request(raw, method, url.path, url.query, headers, rest[:length]), rest[length:]
            data = connection.recv(65536)
            if not data:
                return None, b""
            buffer += data
