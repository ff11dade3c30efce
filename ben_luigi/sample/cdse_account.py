"""Simulate one account of CDSE: password and refresh grants, sessions, and the tokens that they give."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ben_luigi.sample.cdse_faults import REFUSALS, Refusal

_OVER = Refusal(400, b'{"error": "invalid_grant", "error_description": "Session not active"}')


@dataclass
class Account:
    """The credentials that may log in, and what has been granted.

    Lifetimes are in seconds; `code` is required if it is set.

    `counts` has the password grants (each is a session), the refreshes that were granted, and the refused requests.
    """

    user: str = "sample"
    password: str = "sample"
    code: str = ""
    lifetime_s: float = 600
    refresh_lifetime_s: float = 3600
    most_sessions: int = 100
    counts: Counter[str] = field(default_factory=Counter)
    _ends: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, form: Mapping[str, str], kind: str = "") -> Refusal:
        """Return the answer to a request to the token endpoint; `kind` is a fault in the grant."""
        with self._lock:
            if form.get("client_id") != "cdse-public":
                return Refusal(401, b'{"error": "invalid_client"}')
            granted = self._refresh(form) if form.get("grant_type") == "refresh_token" else self._log_in(form)
            if isinstance(granted, Refusal):
                self.counts["refused"] += 1
                return granted
            return Refusal(200, json.dumps(self._give(granted, kind)).encode())

    def accepts(self, authorization: str) -> bool:
        """Return whether an Authorization header has a token that has not expired."""
        token = authorization.removeprefix("Bearer ")
        return token in self._sessions and time.monotonic() < self._ends[token]

    def _log_in(self, form: Mapping[str, str]) -> str | Refusal:
        """Start a session."""
        right = (form.get("username"), form.get("password"), form.get("totp", "")) == (
            self.user,
            self.password,
            self.code,
        )
        if not right or form.get("grant_type") != "password":
            return REFUSALS["401 wrong credentials"]
        if self.counts["sessions"] >= self.most_sessions:
            return REFUSALS["403 sessions"]
        self.counts["sessions"] += 1
        return secrets.token_hex(8)

    def _refresh(self, form: Mapping[str, str]) -> str | Refusal:
        """Return the session of a refresh token. One that is used twice ends its session, with all its tokens."""
        token = form.get("refresh_token", "")
        session = self._sessions.get(token)
        if session is None:
            return _OVER
        if token in self._used:
            self._sessions = {token: other for token, other in self._sessions.items() if other != session}
            return _OVER
        if time.monotonic() >= self._ends[token]:
            return REFUSALS["400 too old"]
        self._used.add(token)
        self.counts["refreshes"] += 1
        return session

    def _give(self, session: str, kind: str) -> dict[str, object]:
        lifetime_s = 2.0 if kind == "short life" else self.lifetime_s
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._sessions |= {access: session, refresh: session}
        self._ends |= {
            access: time.monotonic() + lifetime_s,
            refresh: time.monotonic() + self.refresh_lifetime_s,
        }
        given: dict[str, object] = {"access_token": access, "expires_in": lifetime_s, "token_type": "Bearer"}
        if kind != "no refresh token":
            given |= {"refresh_token": refresh, "refresh_expires_in": self.refresh_lifetime_s}
        return given
