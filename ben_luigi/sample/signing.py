"""Sign what the servers of the sample world sign, with a key that is made for the occasion and thrown away."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_NAME = "trace.sample.invalid"
_VALID = datetime(2023, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)
_EXPIRED = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1)
def throwaway_key() -> RSAPrivateKey:
    """Return a new key, one per process."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem() -> str:
    """Return that key as PEM (PKCS #8)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = throwaway_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


def sign(message: bytes) -> bytes:
    """Return the signature of a message, RSA-SHA256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return throwaway_key().sign(message, padding.PKCS1v15(), hashes.SHA256())


@lru_cache(maxsize=2)
def certificate(*, expired: bool = False) -> bytes:
    """Return a certificate of that key, signed by itself (DER); `expired`: one that was valid in 2020 only."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    start, end = _EXPIRED if expired else _VALID
    made = x509.CertificateBuilder(name, name, throwaway_key().public_key(), 1, start, end)
    return made.sign(throwaway_key(), hashes.SHA256()).public_bytes(Encoding.DER)
