"""JSON Web Tokens made with Python's hmac and the openssl command, their keys, and a server of JWK sets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CURVES = {"ES256": ("P-256", 32), "ES384": ("P-384", 48), "ES512": ("P-521", 66)}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*words, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, words)], input=data, check=True, capture_output=True, timeout=60).stdout


def _numbers(der: bytes, size: int) -> bytes:
    """The two numbers of an ECDSA signature, side by side."""
    at, numbers = 2 + (der[1] & 0x80 != 0), b""
    for _ in range(2):
        length = der[at + 1]
        number = int.from_bytes(der[at + 2 : at + 2 + length], "big")
        numbers += number.to_bytes(size, "big")
        at += 2 + length
    return numbers


class Key:
    """A private key, `kind`: rsa, rsa:1024, P-256, P-384, P-521; its public half as PEM file and as JWK."""

    def __init__(self, directory: Path, name: str, kind: str):
        self.kind = kind
        self.private = directory / f"{name}-private.pem"
        self.public = directory / f"{name}-public.pem"
        algorithm = ["RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:] or 2048}"] if kind.startswith("rsa") else ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
        openssl("genpkey", "-algorithm", *algorithm, "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    def jwk(self, **more) -> dict:
        der = openssl("pkey", "-pubin", "-in", self.public, "-outform", "DER")
        if not self.kind.startswith("rsa"):
            size = {kind: size for kind, size in CURVES.values()}[self.kind]
            x, y = der[-2 * size : -size], der[-size:]
            return {"kty": "EC", "crv": self.kind, "x": base64url(x), "y": base64url(y), **more}
        modulus = openssl("rsa", "-pubin", "-in", self.public, "-noout", "-modulus").decode().strip().removeprefix("Modulus=")
        return {"kty": "RSA", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB", **more}


def token(claims, key, algorithm: str = "HS256", header: dict | None = None) -> str:
    """`key`: a Key, or a secret."""
    head = {"alg": algorithm, "typ": "JWT", **(header or {})}
    body = claims if isinstance(claims, str) else json.dumps(claims)
    text = f"{base64url(json.dumps(head).encode())}.{base64url(body.encode())}"
    digest = f"sha{algorithm[2:]}"
    if not isinstance(key, Key):
        signature = hmac.new(key if isinstance(key, bytes) else key.encode(), text.encode(), getattr(hashlib, digest)).digest()
    else:
        signature = openssl("dgst", f"-{digest}", "-sign", key.private, "-binary", data=text.encode())
        if algorithm in CURVES:
            signature = _numbers(signature, CURVES[algorithm][1])
    return f"{text}.{base64url(signature)}"


class KeyServer:
    """Answers GET with a JWK set. `answer` may be changed: a dict (JSON), or (status, body, headers). While `gate` is clear it does not answer."""

    def __init__(self, certificate=None, port: int = 0):
        self.answer = {"keys": []}
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self.count = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.count += 1
                outer.arrived.release()
                outer.gate.wait(60)
                answer = outer.answer
                status, body, headers = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode(), {})
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # it has gone: that is what some tests are about

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.chain, certificate.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/.well-known/jwks.json"

    def serve(self, *jwks):
        self.answer = {"keys": list(jwks)}

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
