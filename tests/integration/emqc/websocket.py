"""A raw WebSocket client: the upgrade request as a test wants it, and MQTT packets in binary frames."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time

from .client import DEADLINE_S, Client

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def request(port: int, *, path: str = "/mqtt", method: str = "GET", http: str = "HTTP/1.1", more=(), **headers) -> bytes:
    """An upgrade request that a browser could send. `headers` replace (None: remove) one; underscores stand for hyphens."""
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    for name, value in headers.items():
        fields[name.replace("_", "-")] = value
    lines = [f"{method} {path} {http}", *(f"{name}: {value}" for name, value in fields.items() if value is not None), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Answer:
    """What the server said to the upgrade: status, headers (lower-case names), bytes after them."""

    def __init__(self, sock: socket.socket):
        data = b""
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            if not part:
                break
            data += part
        head, _, self.rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), f"no HTTP answer: {data!r}"
        self.status = int(lines[0].split()[1])
        self.headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def ask(port: int, data: bytes | None = None, **fields) -> Answer:
    """One upgrade request, answered; the connection is closed."""
    with connect(port) as sock:
        sock.sendall(request(port, **fields) if data is None else data)
        return Answer(sock)


def receive_exactly(stream, count: int) -> bytes:
    """From a plain or TLS socket; a stream that ends before is a failure."""
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        assert part, f"closed after {data!r}"
        data += part
    return data


def upgrade(stream, *headers: str):
    """Opens a WebSocket on a connected stream; `headers`: further lines of the request."""
    stream.sendall(request(80, more=headers))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += receive_exactly(stream, 1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer


def frame(opcode: int, payload: bytes = b"", final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    head = bytes([final << 7 | reserved << 4 | opcode])
    mask_bit = masked << 7
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    long_mask = mask * (len(payload) // 4 + 1)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(long_mask[: len(payload)], "big")
    return head + mask + mixed.to_bytes(len(payload), "big")


class WebSocketClient(Client):
    """An MQTT client over WebSocket. What it sends goes into one binary frame per call."""

    def __init__(self, port: int, version: int = 5, **fields):
        super().__init__(("127.0.0.1", port), version)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(request(port, Sec_WebSocket_Key=key, **fields))
        self.answer = Answer(self.socket)
        assert self.answer.status == 101, self.answer.__dict__
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        assert self.answer.headers["sec-websocket-accept"] == accept
        self._raw = bytearray(self.answer.rest)
        self.control: list[tuple[int, bytes]] = []  # control frames that came
        self.frame_sizes: list[int] = []

    def send(self, *items):
        super().send(frame(BINARY, b"".join(item if isinstance(item, bytes) else item.encode(self.version) for item in items)))

    def send_raw(self, data: bytes):
        super().send(data)

    def _fill(self, deadline: float) -> bool:
        while not self._take_frame():
            left = deadline - time.monotonic()
            if left <= 0 or not self._readable.poll(left * 1000):
                raise TimeoutError("nothing from the broker")
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._raw += data
        return True

    def _take_frame(self) -> bool:
        if len(self._raw) < 2:
            return False
        assert not self._raw[1] & 0x80, "a server must not mask"
        length, at = self._raw[1] & 0x7F, 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(self._raw) < 2 + width:
                return False
            length, at = int.from_bytes(self._raw[2 : 2 + width], "big"), 2 + width
        if len(self._raw) < at + length:
            return False
        opcode, payload = self._raw[0] & 0x0F, bytes(self._raw[at : at + length])
        assert self._raw[0] & 0x70 == 0, "reserved bits without an extension"
        del self._raw[: at + length]
        if opcode >= CLOSE:
            self.control.append((opcode, payload))
        else:
            assert opcode in (0, BINARY), f"opcode {opcode}: MQTT travels in binary frames [MQTT-6.0.0-1]"
            self.frame_sizes.append(length)
            self._buffer += payload
        return True

    def expect_control(self, opcode: int) -> bytes:
        """The payload of the next control frame, which must be of that kind."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.control:
            if not self._fill(deadline):
                raise AssertionError("closed where a control frame was expected")
        found, payload = self.control.pop(0)
        assert found == opcode, f"opcode {opcode} expected, got {found} {payload!r}"
        return payload

    def drain_control(self):
        """Reads until the server closes; control frames are kept in `control`."""
        while self._fill(time.monotonic() + DEADLINE_S):
            pass
