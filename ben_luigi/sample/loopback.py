"""Run servers on a free port of 127.0.0.1 while a `with` block lasts, which count, and fail by script."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, body, type, further headers. `stated_bytes` is a Content-Length that is not true."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stated_bytes: int | None = None


@dataclass
class Fault:
    """What goes wrong in answers to questions of one kind ("" for all): so many times, None for always."""

    kind: str
    where: str = ""
    times: int | None = 1


@dataclass(frozen=True)
class Request:
    """A request: method, path, what its query and its form ask for, headers, body."""

    method: str
    path: str
    asked: dict[str, str]
    headers: dict[str, str]
    body: str = ""


class Faults:
    """The faults that are still to come, in order; asked by all threads of a server."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._left = list(faults)
        self._lock = threading.Lock()

    def take(self, where: str) -> str:
        """The kind of fault that this question meets, "" for none."""
        with self._lock:
            for fault in self._left:
                if fault.where in ("", where) and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault.kind
        return ""


class HttpServer(ThreadingHTTPServer):
    """A server with a thread per connection, which belongs to `owner`."""

    daemon_threads = True
    request_queue_size = 64
    owner: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that go away in mid-stream."""


class Handler(BaseHTTPRequestHandler):
    """A handler that keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class Loopback:
    """A server on a free port of 127.0.0.1, while its `with` block lasts. Its handlers know it as `server.owner`.

    `counts` has the number of requests of each kind. `stopped` is set at the end, so that no handler goes on waiting.
    """

    def __init__(self, handler: type[Handler]) -> None:
        self.counts: Counter[str] = Counter()
        self.stopped = threading.Event()
        self._http = HttpServer(("127.0.0.1", 0), handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"


class LoopbackServer(Loopback):
    """A server whose kinds say in `answer` what they answer. A kind of fault that all know is one of COMMON."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        super().__init__(_Handler)
        self.faults = Faults(faults)
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """Count one request."""
        with self._lock:
            self.counts[what] += 1

    def answer(self, request: Request) -> Answer:
        """What this server answers."""
        raise NotImplementedError


COMMON: dict[str, Answer] = {
    "500": Answer(500, b'{"detail": "Internal Server Error"}'),
    "503 html": Answer(503, b"<html><head><title>503 Service Unavailable</title></head></html>", "text/html"),
    "html": Answer(200, b"<html><head><title>Maintenance</title></head></html>", "text/html"),
    "empty": Answer(200),
    "redirect": Answer(302, headers=(("Location", "https://elsewhere.example.invalid/maintenance"),)),
    "429 seconds": Answer(429, b"too many requests", "text/plain", (("Retry-After", "0"),)),
    "404": Answer(404, b"not found", "text/plain"),
}
"""Answers in place of the right one, by kind of fault."""


class _Handler(Handler):
    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def _answer(self, form: str) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query)) | dict(parse_qsl(form))
        answer = self.server.owner.answer(Request(self.command, parts.path, asked, dict(self.headers), form))
        self.send_response(answer.status)
        length = len(answer.body) if answer.stated_bytes is None else answer.stated_bytes
        for name, value in (("Content-Type", answer.content_type), ("Content-Length", str(length)), *answer.headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = length != len(answer.body)
