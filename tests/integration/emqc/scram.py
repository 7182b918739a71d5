"""The client's side of SCRAM (RFC 5802), written apart from the broker's: with hashlib and hmac."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from . import packets as p
from .client import Client, unique

Prop = p.Prop


class Scram:
    """One exchange. `digest`: sha256 or sha512."""

    def __init__(self, digest: str, user: str, password: str):
        self.digest = digest
        self.method = f"SCRAM-SHA-{digest[3:]}"
        self.user, self.password = user, password
        self.salt = b""
        self.nonce = secrets.token_urlsafe(18)
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self.digest).digest()

    def properties(self, data: bytes | None) -> dict:
        properties = {Prop.AUTHENTICATION_METHOD: self.method}
        if data is not None:
            properties[Prop.AUTHENTICATION_DATA] = data
        return properties

    def first(self) -> bytes:
        return b"n,," + self._bare.encode()

    def final(self, challenge: bytes) -> bytes:
        """client-final for this server-first."""
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) >= len(self.nonce) + 16
        self.salt, self.iterations = base64.b64decode(fields["s"], validate=True), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), self.salt, self.iterations)
        client_key = self._hmac(salted, b"Client Key")
        without_proof = b"c=biws,r=" + fields["r"].encode()
        message = b",".join([self._bare.encode(), challenge, without_proof])
        signature = self._hmac(hashlib.new(self.digest, client_key).digest(), message)
        proof = bytes(left ^ right for left, right in zip(client_key, signature))
        self._expected = b"v=" + base64.b64encode(self._hmac(self._hmac(salted, b"Server Key"), message))
        return without_proof + b",p=" + base64.b64encode(proof)

    def check(self, server_final: bytes):
        """Does the server know the password, too?"""
        assert server_final == self._expected

    # --- packets

    def connect(self, **fields) -> p.Connect:
        fields.setdefault("client_id", unique())
        return p.Connect(properties={**fields.pop("properties", {}), **self.properties(self.first())}, **fields)

    def answer(self, client: Client) -> p.Auth:
        """Awaits the challenge; the AUTH that answers it."""
        packet = client.await_packet(p.Auth, reason=0x18)
        assert packet.properties.get(Prop.AUTHENTICATION_METHOD) == self.method
        return p.Auth(0x18, self.properties(self.final(packet.properties.get(Prop.AUTHENTICATION_DATA))))

    def login(self, client: Client, **fields) -> Client:
        """The whole exchange up to a CONNACK that accepts."""
        packet = self.connect(**fields)
        client.client_id = packet.client_id
        client.send(packet)
        client.send(self.answer(client))
        client.connack = client.expect(p.Connack, reason=0)
        assert client.connack.properties.get(Prop.AUTHENTICATION_METHOD) == self.method
        self.check(client.connack.properties.get(Prop.AUTHENTICATION_DATA))
        return client

    def begin_again(self) -> p.Auth:
        return p.Auth(0x19, self.properties(self.first()))
