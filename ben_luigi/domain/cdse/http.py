"""Send requests to CDSE and other sources: only to their own hosts, never hanging, repeated where that helps."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from ben_luigi.domain import network, waiting, web
from ben_luigi.domain.answers import one_line, refusal
from ben_luigi.domain.errors import RateLimitError, TransientError, without_userinfo

_log = logging.getLogger(__name__)
_ANSWER_BYTES = 2**26
_REDIRECTS = 5
_REDIRECTED = {301, 302, 303, 307, 308}
T = TypeVar("T")


class Hosts(Protocol):
    """The servers that a client may talk to."""

    @property
    def allowed(self) -> str:
        """Which addresses these are, in words."""

    def allows(self, url: str) -> bool:
        """Whether `url` is one of them."""


@dataclass(frozen=True)
class Service:
    """The base URLs of CDSE's catalogue, token endpoint, downloads and, if asked, its traces."""

    catalogue_url: str = "https://catalogue.dataspace.copernicus.eu/odata/v1"
    token_url: str = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"
    download_url: str = "https://download.dataspace.copernicus.eu/odata/v1"
    trace_url: str = ""

    @property
    def allowed(self) -> str:
        """Return in words which addresses may be requested."""
        return "an https address under dataspace.copernicus.eu"

    def allows(self, url: str) -> bool:
        """Return whether `url` is one of CDSE's over https, or has scheme, host and port of a configured one."""
        try:
            parts = urlsplit(url)
            origin = (parts.scheme, parts.hostname, parts.port)
            configured = (self.catalogue_url, self.token_url, self.download_url, self.trace_url)
            own = {(part.scheme, part.hostname, part.port) for part in map(urlsplit, filter(None, configured))}
        except ValueError:
            return False
        host = f".{parts.hostname or ''}"
        official = parts.scheme == "https" and parts.port in (None, 443) and host.endswith(".dataspace.copernicus.eu")
        return parts.username is None and (official or origin in own)


@dataclass(frozen=True)
class Patience:
    """How often to try, how often to wait for a rate limit, and how long. Pauses double up to the longest, with jitter.

    An answer below `floor_bytes_s`, measured over `floor_window_s`, counts as stalled.
    """

    tries: int = 5
    waits: int = 10
    first_pause_s: float = 2
    longest_pause_s: float = 600
    connect_timeout_s: float = 30
    read_timeout_s: float = 60
    floor_bytes_s: float = 20_000
    floor_window_s: float = 60

    def pause_s(self, number: int, asked_s: float | None = None) -> float:
        """Return the seconds to wait after failure `number` (from 1).

        The server's request is obeyed up to the longest pause.
        """
        drawn_s = self.first_pause_s * 2.0 ** min(number - 1, 30) * random.uniform(0.5, 1.0)
        return min(self.longest_pause_s, max(drawn_s, asked_s or 0))


def again(patience: Patience, action: Callable[[], T], failed: Callable[[TransientError, float | None], None]) -> T:
    """Call `action` as often as `patience` allows while it raises TransientError; a rate limit does not count.

    `failed` is called with each failure, and the seconds until the next attempt: None if there is none.
    """
    tries = waits = 0
    while True:
        try:
            return action()
        except TransientError as error:
            limited = isinstance(error, RateLimitError)
            tries, waits = tries + (not limited), waits + limited
            if tries >= patience.tries or waits >= patience.waits:
                failed(error, None)
                raise
            pause_s = patience.pause_s(tries + waits, error.retry_after_s)
            failed(error, pause_s)
            waiting.pause(pause_s, f"the time to ask again after: {error}")


@dataclass(frozen=True)
class Client:
    """A session with CDSE, or with `hosts`, through the proxy of the environment if there is one."""

    service: Service = field(default_factory=Service)
    patience: Patience = field(default_factory=Patience)
    session: requests.Session = field(default_factory=lambda: network.session(), repr=False)
    hosts: Hosts | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **what: Any
    ) -> requests.Response:
        """Send one request, and follow redirects of a GET within the allowed hosts; the body is left to be read.

        `what` is passed to requests: data, json, params. Raise TransientError.
        """
        headers, hosts = {"Accept-Encoding": "identity", **(headers or {})}, self.hosts or self.service
        for _ in range(_REDIRECTS + 1):
            if not hosts.allows(url):
                raise TransientError(f"{method} {plain(url)}", expected=hosts.allowed, found="another")
            response = self._send(method, url, headers=headers, **what)
            if response.status_code not in _REDIRECTED or method != "GET":
                return response
            response.close()
            url, what = urljoin(response.url, response.headers.get("Location", "")), {}
        raise TransientError(f"{method} {plain(url)}", expected=f"at most {_REDIRECTS} redirects", found="more")

    def _send(self, method: str, url: str, **what: Any) -> requests.Response:
        timeouts_s = (self.patience.connect_timeout_s, self.patience.read_timeout_s)
        try:
            with waiting.told(f"an answer to {method} {plain(url)}"):
                return self.session.request(method, url, timeout=timeouts_s, stream=True, allow_redirects=False, **what)
        except (*web.BROKEN, ValueError) as error:  # ValueError: requests cannot parse a Location
            raise TransientError(f"{method} {plain(url)}", expected="an answer", found=reason(error)) from error

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it arrives. Raise TransientError if it breaks off, or is slower than the minimum speed."""
        subject = f"answer of {plain(response.url)}"
        pace = web.Pace(self.patience.floor_bytes_s, self.patience.floor_window_s)
        try:
            yield from web.chunks(response, pace)
        except web.TooSlow as error:
            floor = f"at least {pace.floor_bytes_s:,.0f} bytes per second"
            raise TransientError(subject, expected=floor, found=str(error)) from error
        except web.BROKEN as error:
            raise TransientError(subject, expected="the whole body", found=reason(error)) from error

    def body(self, response: requests.Response) -> bytes:
        """Return a small body. Raise TransientError."""
        body = bytearray()
        with response:
            for chunk in self.chunks(response):
                body += chunk
                if len(body) > _ANSWER_BYTES:
                    raise TransientError(
                        plain(response.url), expected=f"at most {_ANSWER_BYTES:,} bytes", found="an endless answer"
                    )
        return bytes(body)

    def fetch(self, method: str, url: str, **what: Any) -> bytes:
        """Return the body of the 200 answer to one small request. Raise SourceError."""
        response = self.open(method, url, **what)
        body = self.body(response)
        if response.status_code != requests.codes.ok:
            section = "sources" if self.hosts else "cdse"
            raise refusal(f"{method} {plain(url)}", response.status_code, response.headers, body, section=section)
        return body


def log_failure(error: TransientError, pause_s: float | None) -> None:
    """Log in one line what failed, and when it is tried again."""
    _log.warning("%s; %s", error, "given up" if pause_s is None else f"asking again in {pause_s:.1f} s")


def plain(url: str) -> str:
    """Return `url` without its query and credentials, which may be long or secret."""
    return one_line(without_userinfo(url.partition("?")[0]))


def reason(error: BaseException) -> str:
    """Return the innermost exception with a message, without the layers around it."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"{type(error).__name__}: {str(error).rpartition('>: ')[2] or 'no message'}"
