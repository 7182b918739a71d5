"""Wires: one connection of each transport, from the plain socket up to WebSocket in TLS.

`raw()` gives the bare TCP connection to a transport's listener, `open_wire()` one on which MQTT can be spoken. A wire
sends and takes MQTT bytes; below it the tests reach the socket itself to reset it, close half of it or send rubbish.
"""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import struct

TRANSPORTS = ("tcp", "ssl", "ws", "wss")
TLS = ("ssl", "wss")
WEB = ("ws", "wss")

WAIT_S = 10.0

# One address of ours has 28,000 ports, and a connection that the broker closed first keeps its port for a minute.
_sources = itertools.cycle(range(2, 250))

UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")  # fmt: skip


def raw(address: tuple[str, int], receive_buffer: int = 0) -> socket.socket:
    """A TCP connection from an address of its own."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen by connect()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.bind((f"127.0.0.{next(_sources)}", 0))
        connection.settimeout(WAIT_S)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def reset(connection: socket.socket):
    """Closes with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def is_over(connection: socket.socket) -> bool:
    """Reads what is there and says whether the broker has ended the connection."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


class Wire:
    """MQTT over TCP."""

    def __init__(self, connection: socket.socket):
        self.socket = connection  # of the lowest layer that still can be used
        self.closed = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def pending(self) -> bool:
        """Is there something to take that the socket no longer shows?"""
        return False

    def send(self, data: bytes):
        self.socket.settimeout(WAIT_S)
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Sends as long as the broker reads or has ended the connection; false: it does neither for 0.3 s."""
        self.socket.settimeout(0.3)
        try:
            self.socket.sendall(data)
            return True
        except (TimeoutError, ssl.SSLWantWriteError):
            return False
        except OSError:
            self.closed = True
            return True

    def receive(self, timeout: float = WAIT_S) -> bytes:
        """Bytes; empty at the end of the connection. TimeoutError."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1 << 18)
        except TimeoutError:
            raise
        except OSError:
            return b""

    def await_end(self, timeout: float = WAIT_S) -> bytes:
        """What comes before the broker ends the connection."""
        found = []
        while data := self.receive(timeout):
            found.append(data)
        self.close()
        return b"".join(found)

    def half_close(self):
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def reset(self):
        reset(self.socket)
        self.closed = True

    def close(self):
        self.socket.close()
        self.closed = True


class TlsWire(Wire):
    def __init__(self, connection: socket.socket):
        super().__init__(tls_context().wrap_socket(connection))

    def pending(self) -> bool:
        return self.socket.pending() > 0


class WebWire(Wire):
    """MQTT in binary frames over another wire."""

    def __init__(self, below: Wire):
        super().__init__(below.socket)
        self.below = below
        self._in = bytearray()
        below.send(UPGRADE)
        while b"\r\n\r\n" not in self._in:
            data = below.receive()
            if not data:
                raise ConnectionError(f"closed during the upgrade: {bytes(self._in)}")
            self._in += data
        head, _, rest = bytes(self._in).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"no upgrade: {head}")
        self._in = bytearray(rest)

    def pending(self) -> bool:
        return bool(self._in) or self.below.pending()

    def send(self, data: bytes):
        self.below.send(frame(data))

    def try_send(self, data: bytes) -> bool:
        sent = self.below.try_send(frame(data))
        self.closed = self.below.closed
        return sent

    def receive(self, timeout: float = WAIT_S) -> bytes:
        while True:
            parsed = take_frame(self._in)
            if parsed is None:
                data = self.below.receive(timeout)
                if not data:
                    return b""
                self._in += data
                continue
            opcode, payload = parsed
            if opcode == 8:
                return b""
            if opcode in (0, 2) and payload:
                return payload


def frame(payload: bytes, opcode: int = 2, fin: bool = True, extra_bits: int = 0) -> bytes:
    """A client's frame; its mask is zero, so that the payload goes as it is."""
    first = (0x80 if fin else 0) | extra_bits | opcode
    if len(payload) < 126:
        head = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
    return head + bytes(4) + payload


def take_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Takes one frame of the broker off the buffer: opcode and payload."""
    if len(buffer) < 2:
        return None
    length, at = buffer[1] & 0x7F, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(buffer) < 2 + size:
            return None
        length, at = int.from_bytes(buffer[2 : 2 + size], "big"), 2 + size
    if len(buffer) < at + length:
        return None
    opcode, payload = buffer[0] & 0x0F, bytes(buffer[at : at + length])
    del buffer[: at + length]
    return opcode, payload


def tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def open_wire(transport: str, address: tuple[str, int], receive_buffer: int = 0) -> Wire:
    connection = raw(address, receive_buffer)
    try:
        wire = TlsWire(connection) if transport in TLS else Wire(connection)
        return WebWire(wire) if transport in WEB else wire
    except BaseException:
        connection.close()
        raise


def server_settings(transport: str, address: str, certificates: str | os.PathLike | None) -> dict:
    """The settings of a listener of this transport that the attacks meet."""
    name = f"listener.{transport}.external"
    settings = {name: address, f"{name}.zone": "external", f"{name}.max_connections": "20000"}
    if transport in TLS:
        settings[f"{name}.keyfile"] = f"{certificates}/key.pem"
        settings[f"{name}.certfile"] = f"{certificates}/cert.pem"
        settings[f"{name}.ciphers"] = "ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES128-GCM-SHA256"
        settings[f"{name}.max_handshakes"] = "20000"
    if transport == "ssl":
        settings[f"{name}.handshake_timeout"] = "3s"  # that of wss is fixed
    return settings
