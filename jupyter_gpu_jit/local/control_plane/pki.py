"""Keys of a control plane: a CA, one certificate for all its servers, a key for account tokens.

Called by ``plane``. The CA's private key is never written: after the start nobody can make
another certificate. Everything lives as long as the plane's folder.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 365
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the files are."""

    folder: Path

    @property
    def ca(self) -> Path:
        """Certificate of the CA."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """Certificate of the servers, on 127.0.0.1; also what the API server shows to etcd."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """Private key of ``certificate``."""
        return self.folder / "server.key"

    @property
    def accounts(self) -> Path:
        """Private key that signs service-account tokens."""
        return self.folder / "accounts.key"


def make(folder: Path) -> Keys:
    """Write fresh keys into ``folder``, readable for the owner only."""
    keys = Keys(folder)
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name("gpu-jit control plane CA")
    ca = _sign(ca_name, ca_key.public_key(), ca_name, ca_key, _ca_extensions(ca_key.public_key()))
    server = _sign(
        _name("gpu-jit control plane"),
        server_key.public_key(),
        ca_name,
        ca_key,
        _server_extensions(server_key.public_key(), ca_key.public_key()),
    )
    _write(keys.ca, ca.public_bytes(serialization.Encoding.PEM))
    _write(keys.certificate, server.public_bytes(serialization.Encoding.PEM))
    _write(keys.key, _pem(server_key))
    _write(keys.accounts, _pem(ec.generate_private_key(ec.SECP256R1())))
    return keys


Extensions = Sequence[tuple[x509.ExtensionType, bool]]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _sign(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: Extensions,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _ca_extensions(public: ec.EllipticCurvePublicKey) -> Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(signs_certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
    )


def _server_extensions(
    public: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePublicKey
) -> Extensions:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(uses), False),
        (x509.SubjectAlternativeName(names), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False),
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
