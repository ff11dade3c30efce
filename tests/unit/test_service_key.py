"""Service keys that are none: each error says what is wrong and what to do, and quotes nothing of the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.fetching.service_key import read_service_key
from ben_luigi.sample import signing

SECRET = "qzjxwvk"
KEY = {"client_id": f"c{SECRET}", "user_id": f"u{SECRET}", "token_uri": "https://land.copernicus.eu/@@oauth2-token"}


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> str:
    locked: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked).decode()


def _public() -> str:
    made = signing.throwaway_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made.decode()


def _write(path: Path, content: Mapping[str, object] | str) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def _with(**more: object) -> dict[str, object]:
    return {**KEY, "private_key": signing.pem(), **more}


WRONG: dict[str, tuple[Callable[[], Mapping[str, object] | str], str]] = {
    "not JSON": (lambda: signing.pem(), "something that is not JSON"),
    "empty": (lambda: "", "something that is not JSON"),
    "too large": (lambda: "[" + "1," * 40_000, "something that is not JSON"),
    "a list": (lambda: f'["{SECRET}"]', "JSON of another kind"),
    "a text": (lambda: f'"{SECRET}"', "JSON of another kind"),
    "no fields": (dict, "no text for client_id, user_id, token_uri, private_key"),
    "no private key": (lambda: KEY, "no text for private_key"),
    "no token_uri": (lambda: {k: v for k, v in _with().items() if k != "token_uri"}, "no text for token_uri"),
    "numbers": (lambda: _with(client_id=7, user_id=None), "no text for client_id, user_id"),
    "empty field": (lambda: _with(user_id=" "), "no text for user_id"),
    "http": (lambda: _with(token_uri=f"http://{SECRET}.example.org/"), "a token_uri that is no https address"),
    "no address": (lambda: _with(token_uri=SECRET), "a token_uri that is no https address"),
    "wrong address": (lambda: _with(token_uri="https://[land/"), "a token_uri that is no https address"),
    "no PEM": (lambda: _with(private_key=SECRET), "a private key that cannot be read as PEM"),
    "cut PEM": (lambda: _with(private_key=signing.pem()[:800]), "a private key that cannot be read as PEM"),
    "public key": (lambda: _with(private_key=_public()), "a private key that cannot be read as PEM"),
    "EC key": (
        lambda: _with(private_key=_pem(ec.generate_private_key(ec.SECP256R1()))),
        "a private key of another kind than RSA",
    ),
    "Ed25519 key": (
        lambda: _with(private_key=_pem(ed25519.Ed25519PrivateKey.generate())),
        "a private key of another kind than RSA",
    ),
    "short key": (
        lambda: _with(private_key=_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))),
        "an RSA key of 1024 bits, where RS256 needs 2048",
    ),
    "locked key": (
        lambda: _with(private_key=_pem(signing.throwaway_key(), SECRET.encode())),
        "a private key with a password",
    ),
    "surrogates": (lambda: _with(private_key="\ud800"), "a private key that cannot be read as PEM"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_key_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, found = WRONG[kind]
    path = _write(tmp_path / "key.json", make())
    with pytest.raises(BadOption) as caught:
        read_service_key(path)
    said = str(caught.value)
    assert f"found: {found}; next: make a new one in your profile" in said and str(path) in said
    assert SECRET not in said and "PRIVATE" not in said and len(said) < 400


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_can_touch_is_refused(mode: int, tmp_path: Path) -> None:
    path = _write(tmp_path / "key.json", _with())
    path.chmod(mode)
    with pytest.raises(BadOption, match=f"next: type: chmod 600 {path}"):
        read_service_key(path)


def test_a_key_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadOption, match=r"\[land_cover\] service_key"):
            read_service_key(path)


def test_a_key_is_read_and_shows_nothing_of_its_secret(tmp_path: Path) -> None:
    key = read_service_key(_write(tmp_path / "key.json", _with()))
    assert (key.client_id, key.user_id) == (f"c{SECRET}", f"u{SECRET}")
    assert "private_key" not in repr(key) and "RSA" not in repr(key)
