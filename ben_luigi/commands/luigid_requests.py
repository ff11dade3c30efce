"""Decide which requests `ben-luigi luigid` obeys: those of workers, its own pages and people, not of other pages.

A browser sends requests to this machine on behalf of any page it has open: with `Origin` or `Sec-Fetch-Site`, or, for
the address of an image, with neither. A page whose owner points its name to this machine for a moment (DNS rebinding)
counts as one of ours for the browser. So luigid answers to its own names and addresses only, and to no other page.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
from tornado.web import Application, RequestHandler

_READS = re.compile(
    "/api/(task_list|task_search|graph|dep_graph|inverse_dep_graph|fetch_error|worker_list|resource_list|count_pending"
    "|has_task_history|is_paused|is_pause_enabled|get_task_status_message|get_task_progress_percentage"
    "|get_running_task_resources)"
)
"""Requests that change nothing, so that a person may send them by hand."""

_WhyNot = Callable[[HTTPServerRequest], str]


@dataclass(frozen=True)
class Guard:
    """The permitted requests.

    `names` are those of this host in lower case; `origins` are other permitted pages, as `http://host:port` or `*`.
    """

    names: frozenset[str]
    origins: frozenset[str] = frozenset()

    def router(self, application: Application) -> RuleRouter:
        """Return a router that passes permitted requests to `application`, and answers all others with the reason."""
        refusal = Application([(r".*", _Refusal, {"why_not": self.why_not})])
        return RuleRouter([Rule(_Refused(self.why_not), refusal), Rule(AnyMatches(), application)])

    def why_not(self, request: HTTPServerRequest) -> str:
        """Return why a request is refused, and what to do; an empty text if it is permitted."""
        host = _host(f"//{request.host}")
        if host not in self.names and not _is_address(host, request):
            return (
                f"luigid has no such name: {host}; next: ask it by 127.0.0.1, localhost or its own address, "
                "or give it this name by [core] scheduler_host in its configuration, and start it again"
            )
        origin = request.headers.get("Origin")
        if origin is not None:
            own = f"//{request.host}".lower() == origin.lower().removeprefix("http:").removeprefix("https:")
            return "" if own or {origin, "*"} & self.origins else f"luigid obeys no page of {origin}"
        return self._why_not_without_origin(request)

    def _why_not_without_origin(self, request: HTTPServerRequest) -> str:
        """Check a request without `Origin`, which browsers omit for what a page merely embeds or links to."""
        if not request.path.startswith("/api/"):
            return ""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return "" if site in ("same-origin", "none") else "luigid obeys no other pages than its own"
        if request.method == "POST" or "X-Requested-With" in request.headers or _READS.fullmatch(request.path):
            return ""
        return "luigid changes something for a POST alone"


def own_names(*configured: str) -> frozenset[str]:
    """Return the names of this host, and the configured ones, which may be URLs."""
    given = (_host(name if "//" in name else f"//{name}") for name in configured)
    return frozenset(name.lower() for name in ("localhost", socket.gethostname(), socket.getfqdn(), *given) if name)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str, request: HTTPServerRequest) -> bool:
    """Return whether `host` is a loopback address, or the one at which the request arrived."""
    connection: Any = request.connection
    entrance = connection.stream.socket
    if entrance.family == socket.AF_UNIX:  # no browser can reach it
        return True
    named = _address(host)
    return named is not None and (named.is_loopback or named == _address(entrance.getsockname()[0]))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class _Refused(Matcher):
    def __init__(self, why_not: _WhyNot) -> None:
        self._why_not = why_not

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return {} if self._why_not(request) else None


class _Refusal(RequestHandler):
    def initialize(self, why_not: _WhyNot) -> None:
        self._why_not = why_not

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self._why_not(self.request) + "\n")
