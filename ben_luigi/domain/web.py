"""Limit how long a server may take to answer; the timeouts of `requests` only limit a single read.

A server that sends one byte per minute never exceeds such a timeout. So the head of an answer has a deadline as a
whole, and its body a minimum speed.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

HEAD_S = 120.0
"""Seconds that the head of an answer may take, counted from the end of the request."""

BROKEN = (OSError, HTTPError)  # the first are those of requests, too
"""What a connection that is broken off raises, or one that is refused."""

_CHUNK_BYTES = 2**20
_KEPT_CONNECTIONS = 32
"""Idle connections to one host that are kept open; requests keeps 10, fewer than `[sources] parallel` may be."""


class TooSlow(OSError):
    """A server answers, but too slowly."""


@dataclass(frozen=True)
class Pace:
    """The minimum speed of a body: it counts as stalled below `floor_bytes_s`, measured over `window_s` of waiting."""

    floor_bytes_s: float = 20_000
    window_s: float = 60


def chunks(response: requests.Response, pace: Pace, decode: bool = False) -> Iterator[bytes]:
    """Yield the body as it arrives, unpacked if `decode`. Raise TooSlow if it stalls, or what urllib3 raises."""
    waited_s, got = 0.0, 0
    while True:
        asked_s = time.monotonic()
        chunk = response.raw.read1(_CHUNK_BYTES, decode_content=decode)
        if not chunk:
            return
        # Count only the time spent waiting for the server: our own bandwidth limit may be below the minimum.
        waited_s, got = waited_s + time.monotonic() - asked_s, got + len(chunk)
        yield chunk
        if waited_s > pace.window_s:
            if got < pace.floor_bytes_s * waited_s:
                raise TooSlow(f"a crawl of {got / waited_s:,.0f} bytes per second")
            waited_s, got = 0.0, 0


class Adapter(HTTPAdapter):
    """An HTTP adapter that requires the head of each answer within `head_s` seconds, through proxies too.

    A late head raises a requests.RequestException.
    """

    def __init__(self, head_s: float = HEAD_S) -> None:
        self._head_s = head_s
        super().__init__(pool_maxsize=_KEPT_CONNECTIONS)

    def get_connection_with_tls_context(self, *given: Any, **more: Any) -> HTTPConnectionPool:
        """Return the pool of connections to a host."""
        pool: Any = super().get_connection_with_tls_context(*given, **more)
        if not hasattr(pool.ConnectionCls, "head_s"):
            own = {"head_s": self._head_s, "response_class": staticmethod(partial(_Answer, self._head_s))}
            pool.ConnectionCls = type("Connection", (pool.ConnectionCls,), own)
        return pool  # type: ignore[no-any-return]


class _Answer(http.client.HTTPResponse):
    """An answer whose head is read until a deadline."""

    def __init__(self, head_s: float, sock: socket.socket, *given: Any, **more: Any) -> None:
        super().__init__(sock, *given, **more)
        self.fp.close()
        self._reader = _Reader(sock, head_s)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._reader.until_s = None


class _Reader(socket.SocketIO):
    """Read from a socket, until a deadline as long as one is set."""

    def __init__(self, sock: socket.socket, within_s: float) -> None:
        super().__init__(sock, "r")
        sock._io_refs += 1  # type: ignore[attr-defined]  # as `makefile` does: keeps the socket open
        self.until_s: float | None = time.monotonic() + within_s
        self._within_s = within_s

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived."""
        if self.until_s is None:
            return super().readinto(buffer)
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise TooSlow(f"no complete head of an answer within {self._within_s:g} s")
        usual_s = self._sock.gettimeout()  # type: ignore[attr-defined]
        self._sock.settimeout(left_s if usual_s is None else min(left_s, usual_s))  # type: ignore[attr-defined]
        try:
            return super().readinto(buffer)
        finally:
            self._sock.settimeout(usual_s)  # type: ignore[attr-defined]
