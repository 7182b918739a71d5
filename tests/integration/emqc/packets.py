"""MQTT 3.1 (level 3), 3.1.1 (level 4) and 5.0 (level 5) packets, to bytes and from bytes.

Each packet is a dataclass with encode(version) and decode(version, flags, body). Decoding is strict: it checks what
the standards demand of whoever sent the packet (reserved bits, lengths, UTF-8, properties allowed and not repeated,
reason codes that the packet may carry), so every packet that a test receives is checked in full. Encoding does what it
is told, legal or not, so tests can send what a client must not; anything stranger is sent as raw bytes.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from typing import ClassVar


class Malformed(AssertionError):
    """The bytes break a rule of the standard; an assertion, because the broker sent them."""


class Type(enum.IntEnum):
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Prop(enum.IntEnum):
    """Property identifiers of MQTT 5, section 2.2.2.2."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


_PROP_KIND = {
    Prop.PAYLOAD_FORMAT_INDICATOR: "byte",
    Prop.MESSAGE_EXPIRY_INTERVAL: "four",
    Prop.CONTENT_TYPE: "text",
    Prop.RESPONSE_TOPIC: "text",
    Prop.CORRELATION_DATA: "binary",
    Prop.SUBSCRIPTION_IDENTIFIER: "varint",
    Prop.SESSION_EXPIRY_INTERVAL: "four",
    Prop.ASSIGNED_CLIENT_IDENTIFIER: "text",
    Prop.SERVER_KEEP_ALIVE: "two",
    Prop.AUTHENTICATION_METHOD: "text",
    Prop.AUTHENTICATION_DATA: "binary",
    Prop.REQUEST_PROBLEM_INFORMATION: "byte",
    Prop.WILL_DELAY_INTERVAL: "four",
    Prop.REQUEST_RESPONSE_INFORMATION: "byte",
    Prop.RESPONSE_INFORMATION: "text",
    Prop.SERVER_REFERENCE: "text",
    Prop.REASON_STRING: "text",
    Prop.RECEIVE_MAXIMUM: "two",
    Prop.TOPIC_ALIAS_MAXIMUM: "two",
    Prop.TOPIC_ALIAS: "two",
    Prop.MAXIMUM_QOS: "byte",
    Prop.RETAIN_AVAILABLE: "byte",
    Prop.USER_PROPERTY: "pair",
    Prop.MAXIMUM_PACKET_SIZE: "four",
    Prop.WILDCARD_SUBSCRIPTION_AVAILABLE: "byte",
    Prop.SUBSCRIPTION_IDENTIFIER_AVAILABLE: "byte",
    Prop.SHARED_SUBSCRIPTION_AVAILABLE: "byte",
}

_REASONS = frozenset({Prop.REASON_STRING, Prop.USER_PROPERTY})
_WILL_PROPS = frozenset(
    {
        Prop.WILL_DELAY_INTERVAL,
        Prop.PAYLOAD_FORMAT_INDICATOR,
        Prop.MESSAGE_EXPIRY_INTERVAL,
        Prop.CONTENT_TYPE,
        Prop.RESPONSE_TOPIC,
        Prop.CORRELATION_DATA,
        Prop.USER_PROPERTY,
    }
)


# --- the types of section 1.5 ---------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A variable byte integer in the fewest bytes."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    """A UTF-8 string with its length; bytes go out as they are, well-formed or not."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


class Reader:
    """Takes fields off the front of a packet's body."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if self.left() < count:
            raise Malformed(f"{count} bytes wanted, {self.left()} left in {self.data.hex(' ')}")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def two(self) -> int:
        return struct.unpack("!H", self.take(2))[0]

    def four(self) -> int:
        return struct.unpack("!I", self.take(4))[0]

    def varint(self) -> int:
        value = 0
        for position in range(4):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if not byte & 0x80:
                if position and not byte:
                    raise Malformed("variable byte integer not in the fewest bytes [MQTT-1.5.5-1]")
                return value
        raise Malformed("variable byte integer with more than 4 bytes")

    def binary(self) -> bytes:
        return self.take(self.two())

    def text(self) -> str:
        raw = self.binary()
        try:
            value = raw.decode()  # refuses surrogates and overlong forms
        except UnicodeDecodeError as error:
            raise Malformed(f"ill-formed UTF-8 {raw.hex(' ')} [MQTT-1.5.4-1]") from error
        if "\0" in value:
            raise Malformed("U+0000 in a string [MQTT-1.5.4-2]")
        return value

    def end(self):
        if self.left():
            raise Malformed(f"{self.left()} bytes left over in {self.data.hex(' ')}")


class Properties:
    """Properties in order, as (Prop, value) pairs; User Property values are pairs of strings."""

    def __init__(self, pairs=()):
        if isinstance(pairs, Properties):
            pairs = pairs.pairs
        elif isinstance(pairs, dict):
            pairs = pairs.items()
        self.pairs: list[tuple[int, object]] = list(pairs or ())

    def get(self, prop: Prop, default=None):
        return next((value for key, value in self.pairs if key == prop), default)

    def all(self, prop: Prop) -> list:
        return [value for key, value in self.pairs if key == prop]

    def __contains__(self, prop):
        return any(key == prop for key, _ in self.pairs)

    def __eq__(self, other):
        return self.pairs == Properties(other).pairs

    def __bool__(self):
        return bool(self.pairs)

    def __repr__(self):
        return "{" + ", ".join(f"{Prop(key).name}: {value!r}" for key, value in self.pairs) + "}"

    def encode(self) -> bytes:
        out = b""
        for prop, value in self.pairs:
            kind = _PROP_KIND.get(prop, "raw")
            out += bytes([prop])
            if kind == "byte":
                out += struct.pack("!B", value)
            elif kind == "two":
                out += struct.pack("!H", value)
            elif kind == "four":
                out += struct.pack("!I", value)
            elif kind == "varint":
                out += varint(value)
            elif kind == "pair":
                out += text(value[0]) + text(value[1])
            elif kind == "raw":
                out += value
            else:
                out += text(value)
        return varint(len(out)) + out

    @classmethod
    def decode(cls, reader: Reader, allowed: frozenset, repeatable: frozenset = frozenset()) -> Properties:
        inner = Reader(reader.take(reader.varint()))
        found = cls()
        while inner.left():
            number = inner.varint()
            if number not in _PROP_KIND or number not in allowed:
                raise Malformed(f"property 0x{number:02x} is not allowed here")
            prop = Prop(number)
            if prop in found and prop != Prop.USER_PROPERTY and prop not in repeatable:
                raise Malformed(f"property {prop.name} twice")
            kind = _PROP_KIND[prop]
            value = (inner.text(), inner.text()) if kind == "pair" else getattr(inner, kind)()
            found.pairs.append((prop, value))
        return found


# --- packets --------------------------------------------------------------------------------------------------------


@dataclass
class Packet:
    TYPE: ClassVar[Type]
    FLAGS: ClassVar[int] = 0

    def body(self, version: int) -> bytes:
        return b""

    def flags(self) -> int:
        return self.FLAGS

    def encode(self, version: int) -> bytes:
        body = self.body(version)
        return bytes([self.TYPE << 4 | self.flags()]) + varint(len(body)) + body

    @classmethod
    def parse(cls, version: int, flags: int, reader: Reader) -> Packet:
        return cls()


@dataclass
class Will:
    topic: str | bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties | dict | list = field(default_factory=Properties)


@dataclass
class Connect(Packet):
    TYPE = Type.CONNECT
    client_id: str | bytes = ""
    clean: bool = True
    keepalive: int = 60
    will: Will | None = None
    username: str | bytes | None = None
    password: bytes | None = None
    properties: Properties | dict | list = field(default_factory=Properties)
    protocol_name: str | bytes | None = None
    protocol_level: int | None = None
    reserved_flag: bool = False

    def body(self, version):
        name = self.protocol_name if self.protocol_name is not None else ("MQIsdp" if version == 3 else "MQTT")
        level = self.protocol_level if self.protocol_level is not None else version
        flags = int(self.reserved_flag) | self.clean << 1
        if self.will:
            flags |= 0x04 | self.will.qos << 3 | self.will.retain << 5
        flags |= (self.password is not None) << 6 | (self.username is not None) << 7
        out = text(name) + struct.pack("!BBH", level, flags, self.keepalive)
        if version == 5:
            out += Properties(self.properties).encode()
        out += text(self.client_id)
        if self.will:
            if version == 5:
                out += Properties(self.will.properties).encode()
            out += text(self.will.topic) + text(self.will.payload)
        if self.username is not None:
            out += text(self.username)
        if self.password is not None:
            out += text(self.password)
        return out

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(protocol_name=reader.text(), protocol_level=reader.byte())
        bits = reader.byte()
        packet.reserved_flag = bool(bits & 1)
        packet.clean = bool(bits & 2)
        packet.keepalive = reader.two()
        allowed = frozenset(
            {
                Prop.SESSION_EXPIRY_INTERVAL,
                Prop.RECEIVE_MAXIMUM,
                Prop.MAXIMUM_PACKET_SIZE,
                Prop.TOPIC_ALIAS_MAXIMUM,
                Prop.REQUEST_RESPONSE_INFORMATION,
                Prop.REQUEST_PROBLEM_INFORMATION,
                Prop.USER_PROPERTY,
                Prop.AUTHENTICATION_METHOD,
                Prop.AUTHENTICATION_DATA,
            }
        )
        if packet.protocol_level == 5:
            packet.properties = Properties.decode(reader, allowed)
        packet.client_id = reader.text()
        if bits & 4:
            props = Properties.decode(reader, _WILL_PROPS) if packet.protocol_level == 5 else Properties()
            packet.will = Will(reader.text(), reader.binary(), bits >> 3 & 3, bool(bits & 0x20), props)
        if bits & 0x80:
            packet.username = reader.text()
        if bits & 0x40:
            packet.password = reader.binary()
        return packet


@dataclass
class Connack(Packet):
    TYPE = Type.CONNACK
    session_present: bool = False
    reason: int = 0
    properties: Properties | dict | list = field(default_factory=Properties)

    V3_CODES: ClassVar = {0, 1, 2, 3, 4, 5}
    REASONS: ClassVar = (
        {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C}
        | {0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}
    )
    PROPS: ClassVar = frozenset(
        {
            Prop.SESSION_EXPIRY_INTERVAL,
            Prop.RECEIVE_MAXIMUM,
            Prop.MAXIMUM_QOS,
            Prop.RETAIN_AVAILABLE,
            Prop.MAXIMUM_PACKET_SIZE,
            Prop.ASSIGNED_CLIENT_IDENTIFIER,
            Prop.TOPIC_ALIAS_MAXIMUM,
            Prop.WILDCARD_SUBSCRIPTION_AVAILABLE,
            Prop.SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            Prop.SHARED_SUBSCRIPTION_AVAILABLE,
            Prop.SERVER_KEEP_ALIVE,
            Prop.RESPONSE_INFORMATION,
            Prop.SERVER_REFERENCE,
            Prop.AUTHENTICATION_METHOD,
            Prop.AUTHENTICATION_DATA,
        }
        | _REASONS
    )

    def body(self, version):
        out = bytes([self.session_present, self.reason])
        return out + Properties(self.properties).encode() if version == 5 else out

    @classmethod
    def parse(cls, version, flags, reader):
        bits = reader.byte()
        if bits & 0xFE:
            raise Malformed("reserved bits of the CONNACK flags [MQTT-3.2.2-1]")
        packet = cls(bool(bits), reader.byte())
        # A refusal of a protocol level the client made up comes in the older form.
        if version == 5 and reader.left():
            packet.properties = Properties.decode(reader, cls.PROPS)
            if packet.reason not in cls.REASONS:
                raise Malformed(f"CONNACK reason 0x{packet.reason:02x} [MQTT-3.2.2-8]")
        elif packet.reason not in cls.V3_CODES:
            raise Malformed(f"CONNACK return code {packet.reason}")
        if packet.reason and packet.session_present:
            raise Malformed("session present in a refusal [MQTT-3.2.2-6]")
        return packet


@dataclass
class Publish(Packet):
    TYPE = Type.PUBLISH
    topic: str | bytes = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties | dict | list = field(default_factory=Properties)

    PROPS: ClassVar = frozenset(
        {
            Prop.PAYLOAD_FORMAT_INDICATOR,
            Prop.MESSAGE_EXPIRY_INTERVAL,
            Prop.TOPIC_ALIAS,
            Prop.RESPONSE_TOPIC,
            Prop.CORRELATION_DATA,
            Prop.USER_PROPERTY,
            Prop.SUBSCRIPTION_IDENTIFIER,
            Prop.CONTENT_TYPE,
        }
    )

    def flags(self):
        return self.dup << 3 | self.qos << 1 | int(self.retain)

    def body(self, version):
        out = text(self.topic)
        if self.qos:
            out += struct.pack("!H", self.packet_id)
        if version == 5:
            out += Properties(self.properties).encode()
        return out + self.payload

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(qos=flags >> 1 & 3, retain=bool(flags & 1), dup=bool(flags & 8))
        if packet.qos == 3:
            raise Malformed("QoS 3 [MQTT-3.3.1-4]")
        if packet.qos == 0 and packet.dup:
            raise Malformed("DUP at QoS 0 [MQTT-3.3.1-2]")
        packet.topic = reader.text()
        if "+" in packet.topic or "#" in packet.topic:
            raise Malformed("wildcard in a topic name [MQTT-3.3.2-2]")
        if packet.qos:
            packet.packet_id = reader.two()
            if not packet.packet_id:
                raise Malformed("packet identifier 0 [MQTT-2.2.1-4]")
        if version == 5:
            packet.properties = Properties.decode(reader, cls.PROPS, frozenset({Prop.SUBSCRIPTION_IDENTIFIER}))
            if packet.properties.get(Prop.TOPIC_ALIAS) == 0:
                raise Malformed("topic alias 0 [MQTT-3.3.2-8]")
        if not packet.topic and Prop.TOPIC_ALIAS not in Properties(packet.properties):
            raise Malformed("no topic and no alias")
        packet.payload = reader.take(reader.left())
        return packet


@dataclass
class _Ack(Packet):
    """PUBACK, PUBREC, PUBREL, PUBCOMP. `short` leaves out what MQTT 5 allows to leave out."""

    packet_id: int = 0
    reason: int = 0
    properties: Properties | dict | list = field(default_factory=Properties)
    short: bool = True

    REASONS: ClassVar[set]

    def body(self, version):
        out = struct.pack("!H", self.packet_id)
        properties = Properties(self.properties)
        if version == 5 and (self.reason or properties or not self.short):
            out += bytes([self.reason])
            if properties or not self.short:
                out += properties.encode()
        return out

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(packet_id=reader.two())
        if not packet.packet_id:
            raise Malformed("packet identifier 0")
        if version == 5 and reader.left():
            packet.short = False
            packet.reason = reader.byte()
            if packet.reason not in cls.REASONS:
                raise Malformed(f"{cls.__name__} reason 0x{packet.reason:02x}")
            if reader.left():
                packet.properties = Properties.decode(reader, _REASONS)
        return packet

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return (self.packet_id, self.reason, Properties(self.properties)) == (
            other.packet_id,
            other.reason,
            Properties(other.properties),
        )


class Puback(_Ack):
    TYPE = Type.PUBACK
    REASONS = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}


class Pubrec(_Ack):
    TYPE = Type.PUBREC
    REASONS = Puback.REASONS


class Pubrel(_Ack):
    TYPE = Type.PUBREL
    FLAGS = 2
    REASONS = {0x00, 0x92}


class Pubcomp(_Ack):
    TYPE = Type.PUBCOMP
    REASONS = {0x00, 0x92}


@dataclass
class Filter:
    """One topic filter of a SUBSCRIBE with its options; `raw_options` overrules the parts."""

    filter: str | bytes
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    raw_options: int | None = None

    def encode(self, version: int) -> bytes:
        options = self.qos
        if version == 5:
            options |= self.no_local << 2 | self.retain_as_published << 3 | self.retain_handling << 4
        return text(self.filter) + bytes([options if self.raw_options is None else self.raw_options])


@dataclass
class Subscribe(Packet):
    TYPE = Type.SUBSCRIBE
    FLAGS = 2
    packet_id: int = 1
    filters: list[Filter] = field(default_factory=list)
    properties: Properties | dict | list = field(default_factory=Properties)

    def body(self, version):
        out = struct.pack("!H", self.packet_id)
        if version == 5:
            out += Properties(self.properties).encode()
        return out + b"".join(item.encode(version) for item in self.filters)

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(packet_id=reader.two())
        if version == 5:
            packet.properties = Properties.decode(
                reader, frozenset({Prop.SUBSCRIPTION_IDENTIFIER, Prop.USER_PROPERTY})
            )
        while reader.left():
            name, options = reader.text(), reader.byte()
            packet.filters.append(
                Filter(name, options & 3, bool(options & 4), bool(options & 8), options >> 4 & 3)
            )
        return packet


@dataclass
class Suback(Packet):
    TYPE = Type.SUBACK
    packet_id: int = 0
    codes: list[int] = field(default_factory=list)
    properties: Properties | dict | list = field(default_factory=Properties)

    REASONS: ClassVar = {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}

    def body(self, version):
        out = struct.pack("!H", self.packet_id)
        if version == 5:
            out += Properties(self.properties).encode()
        return out + bytes(self.codes)

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(packet_id=reader.two())
        if version == 5:
            packet.properties = Properties.decode(reader, _REASONS)
        packet.codes = list(reader.take(reader.left()))
        legal = cls.REASONS if version == 5 else {0, 1, 2, 0x80}
        if not packet.codes or not set(packet.codes) <= legal:
            raise Malformed(f"SUBACK codes {packet.codes} [MQTT-3.9.3-2]")
        return packet


@dataclass
class Unsubscribe(Packet):
    TYPE = Type.UNSUBSCRIBE
    FLAGS = 2
    packet_id: int = 1
    filters: list[str | bytes] = field(default_factory=list)
    properties: Properties | dict | list = field(default_factory=Properties)

    def body(self, version):
        out = struct.pack("!H", self.packet_id)
        if version == 5:
            out += Properties(self.properties).encode()
        return out + b"".join(text(item) for item in self.filters)

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(packet_id=reader.two())
        if version == 5:
            packet.properties = Properties.decode(reader, frozenset({Prop.USER_PROPERTY}))
        while reader.left():
            packet.filters.append(reader.text())
        return packet


@dataclass
class Unsuback(Packet):
    TYPE = Type.UNSUBACK
    packet_id: int = 0
    codes: list[int] = field(default_factory=list)
    properties: Properties | dict | list = field(default_factory=Properties)

    def body(self, version):
        out = struct.pack("!H", self.packet_id)
        return out + Properties(self.properties).encode() + bytes(self.codes) if version == 5 else out

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls(packet_id=reader.two())
        if version == 5:
            packet.properties = Properties.decode(reader, _REASONS)
            packet.codes = list(reader.take(reader.left()))
            if not packet.codes or not set(packet.codes) <= {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}:
                raise Malformed(f"UNSUBACK codes {packet.codes} [MQTT-3.11.3-2]")
        return packet


@dataclass
class Pingreq(Packet):
    TYPE = Type.PINGREQ


@dataclass
class Pingresp(Packet):
    TYPE = Type.PINGRESP


@dataclass
class Disconnect(Packet):
    TYPE = Type.DISCONNECT
    reason: int = 0
    properties: Properties | dict | list = field(default_factory=Properties)

    # What a server may send (a client may also send 0x04).
    REASONS: ClassVar = (
        {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90}
        | {0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2}
    )
    PROPS: ClassVar = _REASONS | {Prop.SERVER_REFERENCE}

    def body(self, version):
        properties = Properties(self.properties)
        if version != 5 or not (self.reason or properties):
            return b""
        return bytes([self.reason]) + (properties.encode() if properties else b"")

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls()
        if version != 5:
            raise Malformed("a server of 3.1.1 sends no DISCONNECT")
        if reader.left():
            packet.reason = reader.byte()
            if packet.reason not in cls.REASONS:
                raise Malformed(f"DISCONNECT reason 0x{packet.reason:02x} [MQTT-3.14.2-1]")
        if reader.left():
            packet.properties = Properties.decode(reader, cls.PROPS)  # no session expiry [MQTT-3.14.2-2]
        return packet


@dataclass
class Auth(Packet):
    TYPE = Type.AUTH
    reason: int = 0
    properties: Properties | dict | list = field(default_factory=Properties)

    def body(self, version):
        properties = Properties(self.properties)
        return bytes([self.reason]) + properties.encode() if self.reason or properties else b""

    @classmethod
    def parse(cls, version, flags, reader):
        packet = cls()
        if reader.left():
            packet.reason = reader.byte()
            packet.properties = Properties.decode(
                reader, _REASONS | {Prop.AUTHENTICATION_METHOD, Prop.AUTHENTICATION_DATA}
            )
        return packet


_CLASSES = {
    cls.TYPE: cls
    for cls in (
        Connect, Connack, Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe,
        Suback, Unsubscribe, Unsuback, Pingreq, Pingresp, Disconnect, Auth,
    )
}  # fmt: skip


def decode(version: int, first_byte: int, body: bytes) -> Packet:
    """The packet of a fixed header's first byte and the bytes that its remaining length counted."""
    if first_byte >> 4 not in _CLASSES:
        raise Malformed(f"packet type {first_byte >> 4}")
    cls = _CLASSES[Type(first_byte >> 4)]
    if cls is not Publish and first_byte & 0x0F != cls.FLAGS:
        raise Malformed(f"flags {first_byte & 0x0F:04b} of {cls.__name__} [MQTT-2.1.3-1]")
    reader = Reader(body)
    packet = cls.parse(version, first_byte & 0x0F, reader)
    reader.end()
    return packet


def decode_bytes(version: int, data: bytes) -> Packet:
    """The one packet that `data` holds."""
    reader = Reader(data)
    first = reader.byte()
    length = reader.varint()
    if reader.left() != length:
        raise Malformed(f"remaining length {length}, but {reader.left()} bytes follow")
    return decode(version, first, reader.take(length))
