"""Service keys of the Copernicus Land Monitoring Service: JSON with a private key, with which a program logs in.

A person makes one, free of charge, in the profile at land.copernicus.eu. It is a secret: nothing in it is ever quoted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ben_luigi.domain import given, private, signatures
from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.errors import BadOption

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

OPTION = "[land_cover] service_key"
_FIELDS = ("client_id", "user_id", "token_uri", "private_key")
_EXPECTED = f"the JSON of a service key, with {', '.join(_FIELDS)}"
_MOST_BYTES = 2**16
_LIFE_S = 300
"""The life of an assertion, which is used at once; the service accepts at most an hour."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServiceKey:
    """What is needed of a key; the private key is never shown."""

    client_id: str
    user_id: str
    token_uri: str
    private_key: RSAPrivateKey = field(repr=False)

    def assertion(self, now_s: int) -> str:
        """Return what the service takes for a login (RFC 7523), signed at `now_s` (Unix time)."""
        claims = {"iss": self.client_id, "sub": self.user_id, "aud": self.token_uri}
        return signatures.assertion({**claims, "iat": now_s, "exp": now_s + _LIFE_S}, self.private_key)


def read_service_key(path: Path) -> ServiceKey:
    """Return the key in the JSON file at `path`. Raise BadOption, which quotes nothing of it."""
    if (what := given.kind(path)) != given.FILE:
        raise _bad(path, what, f"make one in your profile at land.copernicus.eu, and correct {OPTION}")
    if private.is_open_to_others(path):
        remedy = f"type: chmod 600 {path}"
        raise BadOption(_subject(path), expected="one that only its owner can read", found="others can", remedy=remedy)
    try:
        content = read_json(path, _MOST_BYTES)
    except OSError as error:
        raise _bad(path, str(error.strerror), "correct who may read it") from error
    except ValueError:
        raise _bad(path, "something that is not JSON") from None
    if not isinstance(content, dict):
        raise _bad(path, "JSON of another kind")
    wrong = [name for name in _FIELDS if not _is_text(content.get(name))]
    if wrong:
        raise _bad(path, f"no text for {', '.join(wrong)}")
    if not _is_safe(content["token_uri"]):
        raise _bad(path, "a token_uri that is no https address")
    try:
        key = signatures.private_key(content["private_key"])
    except ValueError as error:
        raise _bad(path, str(error)) from None
    return ServiceKey(content["client_id"], content["user_id"], content["token_uri"], key)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_safe(address: str) -> bool:
    """Return whether an address is of https, or of this machine."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.hostname in _LOOPBACK))
    except ValueError:
        return False


def _subject(path: Path) -> str:
    return f"service key {path}"


def _bad(path: Path, found: str, remedy: str = "make a new one in your profile at land.copernicus.eu") -> BadOption:
    return BadOption(_subject(path), expected=_EXPECTED, found=found, remedy=remedy)
