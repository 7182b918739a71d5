"""Certificates of every kind, made with the openssl command when the tests run: no key is ever kept in the repository.

    authority = Authority(folder, "Test CA")
    server = authority.issue("server", san="DNS:localhost,IP:127.0.0.1", usage="serverAuth")
    client = authority.issue("/C=DE/O=Acme/CN=c1")
    authority.revoke(client); authority.crl()        # a list that names it
    authority.ocsp_response(server)                  # what a server staples

`Certificates` is the set that most tests need, made once for a test session.
"""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SERVER_SAN = "DNS:localhost,IP:127.0.0.1,IP:::1"
_serial = itertools.count(1)

_CONFIG = """\
[ca]
default_ca = authority
[authority]
dir = {directory}
database = $dir/index.txt
new_certs_dir = $dir/issued
certificate = $dir/ca.pem
private_key = $dir/ca-key.pem
serial = $dir/serial
crlnumber = $dir/crlnumber
default_md = sha256
default_days = 30
default_crl_days = 30
policy = anything
unique_subject = no
copy_extensions = none
utf8 = yes
string_mask = utf8only
[anything]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
emailAddress = optional
[req]
distinguished_name = name
string_mask = utf8only
[name]
[authority_extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


def openssl(*words, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(["openssl", *map(str, words)], input=text, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"openssl {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Pair:
    """A certificate and its key. `chain`: the certificate with those of the authorities between it and the root."""

    cert: Path
    key: Path
    chain: Path

    @cached_property
    def der(self) -> bytes:
        return subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], capture_output=True, check=True).stdout

    @property
    def serial(self) -> str:
        return openssl("x509", "-in", self.cert, "-noout", "-serial").strip().removeprefix("serial=")


def make_key(path: Path, kind: str = "ec"):
    options = {"ec": ("EC", "ec_paramgen_curve:P-256"), "rsa": ("RSA", "rsa_keygen_bits:2048")}[kind]
    openssl("genpkey", "-algorithm", options[0], "-pkeyopt", options[1], "-out", path)


class Authority:
    """A certificate authority in a folder of its own. `issuer`: the one above it; None: a root."""

    def __init__(self, directory: Path, name: str, issuer: Authority | None = None):
        self.directory = directory
        self.issuer = issuer
        self.cert = directory / "ca.pem"
        self.key = directory / "ca-key.pem"
        self._config = directory / "openssl.cnf"
        (directory / "issued").mkdir(parents=True)
        (directory / "index.txt").touch()
        (directory / "serial").write_text("1001\n")
        (directory / "crlnumber").write_text("01\n")
        self._config.write_text(_CONFIG.format(directory=directory))
        make_key(self.key)
        if issuer is None:
            openssl("req", "-x509", "-new", "-utf8", "-config", self._config, "-extensions", "authority_extensions", "-key", self.key,
                    "-subj", f"/CN={name}", "-days", 30, "-out", self.cert)  # fmt: skip
        else:
            issuer._sign(self.key, f"/CN={name}", self._config.read_text().split("[authority_extensions]")[1], self.cert)

    def _sign(self, key: Path, subject: str, extensions: str, out: Path, dates: tuple = ()):
        stem = self.directory / f"request{next(_serial)}"
        openssl("req", "-new", "-utf8", "-config", self._config, "-key", key, "-subj", subject, "-out", f"{stem}.pem")
        Path(f"{stem}.ext").write_text(extensions)
        openssl("ca", "-batch", "-notext", "-utf8", "-config", self._config, "-in", f"{stem}.pem", "-extfile", f"{stem}.ext",
                "-preserveDN", *dates, "-out", out)  # fmt: skip

    def issue(self, subject: str, *, san: str = "", usage: str = "clientAuth", key: str = "ec", expired: bool = False,
              early: bool = False) -> Pair:  # fmt: skip
        """`subject`: a common name, or a distinguished name that begins with a slash. `expired`: last year's; `early`: not valid yet."""
        stem = self.directory / f"cert{next(_serial)}"
        pair = Pair(Path(f"{stem}.pem"), Path(f"{stem}-key.pem"), Path(f"{stem}-chain.pem"))
        make_key(pair.key, key)
        lines = ["basicConstraints = critical, CA:FALSE", f"extendedKeyUsage = {usage}", "subjectKeyIdentifier = hash",
                 "authorityKeyIdentifier = keyid"]  # fmt: skip
        if san:
            lines.append(f"subjectAltName = {san}")
        dates = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z") if expired else ()
        if early:
            dates = ("-startdate", "20700101000000Z", "-enddate", "20710101000000Z")
        if not subject.startswith("/"):
            subject = f"/CN={subject}"
        self._sign(pair.key, subject, "\n".join(lines) + "\n", pair.cert, dates)
        text = pair.cert.read_text()
        authority = self
        while authority.issuer is not None:
            text += authority.cert.read_text()
            authority = authority.issuer
        pair.chain.write_text(text)
        return pair

    def revoke(self, pair: Pair):
        openssl("ca", "-batch", "-config", self._config, "-revoke", pair.cert, "-crl_reason", "keyCompromise")

    def crl(self, expired: bool = False) -> Path:
        """The revocation list of this moment; `expired`: one that should have been renewed long ago."""
        path = self.directory / f"crl{next(_serial)}.pem"
        dates = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z") if expired else ()
        openssl("ca", "-config", self._config, "-gencrl", *dates, "-out", path)
        return path

    def ocsp_response(self, pair: Pair) -> Path:
        """A signed answer about one certificate, as the authority's responder would give it."""
        path = self.directory / f"ocsp{next(_serial)}.der"
        openssl("ocsp", "-index", self.directory / "index.txt", "-CA", self.cert, "-rsigner", self.cert, "-rkey", self.key, "-issuer",
                self.cert, "-cert", pair.cert, "-no_nonce", "-ndays", 7, "-respout", path)  # fmt: skip
        return path


def self_signed(directory: Path, name: str) -> Pair:
    stem = directory / f"self{next(_serial)}"
    pair = Pair(Path(f"{stem}.pem"), Path(f"{stem}-key.pem"), Path(f"{stem}.pem"))
    make_key(pair.key)
    openssl("req", "-x509", "-new", "-key", pair.key, "-subj", f"/CN={name}", "-days", 30, "-addext", "extendedKeyUsage=clientAuth", "-out",
            pair.cert)  # fmt: skip
    return pair


class Certificates:
    """What most tests need. Each is made when first asked for."""

    def __init__(self, directory: Path):
        self.directory = directory

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.directory / "root", "Test CA")

    @cached_property
    def server(self) -> Pair:
        return self.authority.issue("/O=Acme/CN=localhost", san=SERVER_SAN, usage="serverAuth")

    @cached_property
    def rsa_server(self) -> Pair:
        return self.authority.issue("/O=Acme/CN=localhost", san=SERVER_SAN, usage="serverAuth", key="rsa")

    @cached_property
    def other_server(self) -> Pair:
        """What the server is given on a reload."""
        return self.authority.issue("/O=Acme/CN=renewed", san=SERVER_SAN, usage="serverAuth")

    @cached_property
    def sni_server(self) -> Pair:
        return self.authority.issue("/O=Acme/CN=mqtt.example.com", san="DNS:mqtt.example.com", usage="serverAuth")

    @cached_property
    def client(self) -> Pair:
        return self.authority.issue("/C=DE/O=Acme/CN=c1")

    @cached_property
    def expired_client(self) -> Pair:
        return self.authority.issue("out-of-date", expired=True)

    @cached_property
    def early_client(self) -> Pair:
        return self.authority.issue("too-soon", early=True)

    @cached_property
    def revoked_client(self) -> Pair:
        pair = self.authority.issue("thrown-out")
        self.authority.revoke(pair)
        return pair

    @cached_property
    def crl(self) -> Path:
        """Names revoked_client."""
        assert self.revoked_client.cert.exists()
        return self.authority.crl()

    @cached_property
    def other_authority(self) -> Authority:
        """Nobody's: clients and servers trust the first one."""
        return Authority(self.directory / "other", "Other CA")

    @cached_property
    def foreign_client(self) -> Pair:
        return self.other_authority.issue("foreign")

    @cached_property
    def self_signed_client(self) -> Pair:
        return self_signed(self.directory, "self-signed")

    @cached_property
    def wrong_purpose_client(self) -> Pair:
        """A server's certificate where a client's belongs."""
        return self.authority.issue("server-only", usage="serverAuth")

    @cached_property
    def intermediate(self) -> Authority:
        return Authority(self.directory / "intermediate", "Test intermediate", self.authority)

    @cached_property
    def intermediate_client(self) -> Pair:
        return self.intermediate.issue("below")
