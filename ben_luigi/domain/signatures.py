"""Check and make RSA signatures with SHA-256 (PKCS #1 v1.5, RFC 8017): by a certificate, and with a private key.

The package `cryptography` is imported only when a signature is checked or made, since most runs need neither.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_LEAST_BITS = 2048
"""The shortest key that RS256 allows (RFC 7518, 3.3)."""


@dataclass(frozen=True)
class Signer:
    """What a certificate states: whose it is, who issued it, and from when to when it is valid (UTC)."""

    subject: str
    issuer: str
    start: datetime
    end: datetime

    def is_valid_at(self, when: datetime) -> bool:
        """Return whether the certificate is valid at a time, which has a time zone."""
        return self.start <= when <= self.end


def verify(message: bytes, signature: bytes, certificate: bytes) -> Signer:
    """Return what `certificate` (X.509, DER) states, whose RSA key must have made `signature` over `message`.

    No chain is followed: who issued the certificate is not proven. Raise ValueError with what is wrong.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        read = x509.load_der_x509_certificate(certificate)
        key = read.public_key()
        signer = Signer(
            read.subject.rfc4514_string(),
            read.issuer.rfc4514_string(),
            read.not_valid_before_utc,
            read.not_valid_after_utc,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("its certificate cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("its certificate has a key that is not RSA")
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise ValueError("its signature does not fit its message and certificate") from None
    return signer


def private_key(pem: str) -> RSAPrivateKey:
    """Return the RSA key in a PEM text without a password. Raise ValueError, which never quotes the text."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise ValueError("a private key with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("a private key that cannot be read as PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("a private key of another kind than RSA")
    if key.key_size < _LEAST_BITS:
        raise ValueError(f"an RSA key of {key.key_size} bits, where RS256 needs {_LEAST_BITS}")
    return key


def assertion(claims: Mapping[str, str | int], key: RSAPrivateKey) -> str:
    """Return `claims` as a JSON Web Token that `key` has signed (RS256; RFC 7515 and 7519)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    signed = b".".join(map(_base64url, parts))
    return (signed + b"." + _base64url(key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
