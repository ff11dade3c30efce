"""Share one access token among all workers on all hosts, since CDSE bans accounts that open many sessions.

The token is in a file that only its owner can read, in a folder that the workers share. The worker that finds it about
to expire renews it under a lock on a file beside it; the others wait and use the result. So no two of them refresh at
once, which could invalidate both. A password that CDSE has refused is remembered there too, as a salted hash, and not
tried again, since accounts get locked.

The lock is flock's. On one host it is released when its process ends in any way. Across hosts it needs a file system
that passes it on, as NFS does on Linux unless it is mounted with `nolock` or `local_lock`. If clocks differ, a token
that has expired is refused, and renewed then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ben_luigi.domain import locks
from ben_luigi.domain.answers import refusal, snippet
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Client, again, log_failure
from ben_luigi.domain.errors import PermanentError, RateLimitError, SourceError, TransientError
from ben_luigi.domain.files import unfinished

_EARLY_S = 60
_PRESUMED_LIFE_S = 600
_CLIENT_ID = "cdse-public"
_ONCE = {"tries": 1, "waits": 1}
"""A code is valid for half a minute, and for one use: sent again after a pause it would count as a wrong password."""
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class _State:
    """The content of the file. Times are seconds since 1970, taken before the request."""

    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    account: str = ""
    refused: bool = False
    asks_code: bool = False
    access_token: str = field(default="", repr=False)
    renew_at: float = 0
    refresh_token: str = field(default="", repr=False)
    refresh_until: float = 0

    def usable(self, refused_token: str = "") -> bool:
        return bool(self.access_token) and self.access_token != refused_token and time.time() < self.renew_at


class Tokens:
    """Access tokens of one account, kept in `folder`, which all workers share.

    `ask_totp` is called for the code of accounts with two factors; it returns "" if there is nobody to ask.
    """

    def __init__(
        self, client: Client, credentials: Credentials, folder: Path, ask_totp: Callable[[], str] | None = None
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._ask_totp = ask_totp
        self._file = folder / "cdse-token.json"
        self._hashes: dict[str, str] = {}

    def get(self) -> str:
        """Return a token that is valid for at least a minute, if tokens live that long. Raise SourceError."""
        state = self._read()
        return state.access_token if state.usable() else self._obtain()

    def renew(self, refused_token: str) -> str:
        """Return a replacement for a token that the server has just refused: another worker's, if it is newer."""
        return self._obtain(refused_token)

    def _obtain(self, refused_token: str = "") -> str:
        with self._locked():
            state = self._read()
            if state.refused:
                raise self._wrong("the same user name and password were refused before, and are not tried again")
            if not state.usable(refused_token):
                state = self._refresh(state) or self._log_in(state)
                self._write(state)
            return state.access_token

    def _refresh(self, state: _State) -> _State | None:
        """Return the state with a new token of the same session; None if the session is over."""
        if not state.refresh_token or time.time() >= state.refresh_until:
            return None
        form = {"grant_type": "refresh_token", "refresh_token": state.refresh_token}
        return self._request(state, form)

    def _log_in(self, state: _State) -> _State:
        """Return the state with the token of a new session."""
        form = {"grant_type": "password", "username": self._credentials.user, "password": self._credentials.password}
        granted = None if state.asks_code else self._request(state, form)
        # CDSE gives the same answer for a wrong password and for a missing code.
        code = self._ask_totp() if granted is None and self._ask_totp else ""
        if code:
            granted = self._request(replace(state, asks_code=True), {**form, "totp": code}, _ONCE)
        elif state.asks_code:  # CDSE has not been asked, so it has refused nothing
            raise CredentialsError(
                self._subject,
                expected="a two-factor code",
                found="no code was typed in" if self._ask_totp else "no terminal to ask for it at",
                remedy="run again, and type it in" if self._ask_totp else "start the run at a terminal",
            )
        if granted is None:
            self._write(replace(state, refused=True))
            raise self._wrong("CDSE answered: Invalid user credentials")
        return granted

    def _request(self, state: _State, form: dict[str, str], tries: Mapping[str, int] | None = None) -> _State | None:
        """Ask the token endpoint; return None if it does not accept the grant or the account."""

        def once() -> _State | None:
            asked_at = time.time()
            response = self._client.open("POST", self._url, data={"client_id": _CLIENT_ID, **form})
            body = self._client.body(response)
            if response.status_code == 200:
                return _granted(state, _json(body), asked_at, self._url)
            # 401 `invalid_grant`: a wrong password. 400 with a refresh token, `Token is not active`: the session is
            # over.
            error = _json(body).get("error")
            wrong = response.status_code == 401 or form["grant_type"] == "refresh_token"
            if error == "invalid_grant" and wrong:
                return None
            raise self._refusal(response.status_code, response.headers, body)

        return again(replace(self._client.patience, **(tries or {})), once, log_failure)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
        body = body.replace(self._credentials.password.encode() or b"\0", b"***")
        description = str(_json(body).get("error_description", "")).lower()
        if "session" in description and any(word in description for word in ("exceed", "limit", "too many")):
            return RateLimitError(self._url, found=snippet(body), remedy="wait until old sessions have expired")
        error = refusal(f"POST {self._url}", status, headers, body, section="cdse")
        if isinstance(error, PermanentError):
            return CredentialsError(
                self._subject,
                expected="a token for the account",
                found=error.found,
                remedy="log in once at https://dataspace.copernicus.eu with a browser, and complete the account",
            )
        return error

    def _wrong(self, found: str) -> CredentialsError:
        return CredentialsError(
            self._subject,
            expected="a user name and password (and two-factor code) that CDSE accepts",
            found=found,
            remedy=f"correct them; to try the same once more, remove {self._file}",
        )

    @property
    def _subject(self) -> str:
        return f"CDSE account {self._credentials.user}"

    @property
    def _url(self) -> str:
        return self._client.service.token_url

    def _account(self, salt: str) -> str:
        """Return what identifies this account and password without revealing them."""
        if salt not in self._hashes:
            told = "\0".join([self._url, self._credentials.user, self._credentials.password])
            self._hashes[salt] = hashlib.scrypt(told.encode(), salt=salt.encode(), n=2**12, r=8, p=1, dklen=32).hex()
        return self._hashes[salt]

    def _read(self) -> _State:
        """Return the stored state of this account; a new one if there is none, or it is another account's."""
        try:
            state = _State(**json.loads(self._file.read_bytes()))
            if self._account(state.salt) == state.account:
                return state
        except (OSError, ValueError, TypeError, AttributeError):
            pass
        state = _State()
        return replace(state, account=self._account(state.salt))

    def _write(self, state: _State) -> None:
        work = unfinished(self._file)
        descriptor = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
        work.replace(self._file)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = locks.opened(self._file.with_suffix(".lock"))
        except OSError as error:
            raise self._no_lock(error) from error
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            locks.take(descriptor, locks.ALONE, f"the access token of {self._subject}")
        except OSError as error:
            raise self._no_lock(error) from error

    def _no_lock(self, error: OSError) -> PermanentError:
        return PermanentError(
            self._file.parent,
            expected="a file system with locks, and a lock that is ours, so that one worker at a time asks for a token",
            found=str(error),
            remedy="mount it with locks (flock), or name another [dataset] data_dir",
        )


def _json(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _granted(state: _State, answer: dict[str, Any], asked_at: float, url: str) -> _State:
    token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TransientError(url, expected="an answer with access_token", found="a page or answer without")
    life_s = _seconds(answer.get("expires_in"))
    return replace(
        state,
        refused=False,
        access_token=token,
        renew_at=asked_at + max(life_s - _EARLY_S, life_s / 2),
        refresh_token=refresh_token if isinstance(refresh_token, str) else "",
        refresh_until=asked_at + _seconds(answer.get("refresh_expires_in")),
    )


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else _PRESUMED_LIFE_S
