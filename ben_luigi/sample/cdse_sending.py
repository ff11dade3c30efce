"""Send a zip as CDSE does: complete, from an offset, or badly."""

from __future__ import annotations

import io
import select
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO

from ben_luigi.sample.cdse_faults import ZIPS, changed_zip

_PIECE_BYTES = 2**16
_POLL_S = 0.02


class Sender:
    """Send the zip at `path` from byte `start`, in the way of a fault's kind ("" for none)."""

    def __init__(self, handler: BaseHTTPRequestHandler, path: Path, start: int, kind: str) -> None:
        self._handler = handler
        self._path = path
        self._kind = kind
        self._body: bytes | None = changed_zip(path, kind) if kind in ZIPS else None
        self._total = path.stat().st_size if self._body is None else len(self._body)
        self._start = 0 if kind == "range ignored" else start

    def send(self, stopped: threading.Event, slow_s: float) -> None:
        """Send head and body; stalls and crawls end when `stopped` is set."""
        if self._start >= self._total or self._kind == "range 416":
            self._head(416, {"Content-Range": f"bytes */{self._total}", "Content-Length": "0"})
            return
        chunked = self._kind.startswith("chunked")
        length = {} if chunked or self._kind.startswith("no length") else {"Content-Length": str(self._left)}
        encoding = {"Transfer-Encoding": "chunked"} if chunked else {}
        partial = {"Content-Range": self._content_range()} if self._start else {}
        self._head(206 if self._start else 200, {"Content-Type": "application/zip", **length, **encoding, **partial})
        with self._opened() as file:
            if chunked:
                self._send_chunked(file)
            elif self._kind == "crawl":
                self._crawl(file, stopped, slow_s)
            else:
                self._send_plain(file, stopped)

    @property
    def _left(self) -> int:
        return self._total - self._start

    def _content_range(self) -> str:
        misstated = self._kind == "range misstated"
        total = self._total + (self._kind == "range of another total")
        return f"bytes {self._start + misstated}-{total - 1}/{total}"

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def _opened(self) -> IO[bytes]:
        return self._path.open("rb") if self._body is None else io.BytesIO(self._body)

    def _send_plain(self, file: IO[bytes], stopped: threading.Event) -> None:
        connection, cut = self._handler.connection, self._kind in ("short", "no length, early end", "reset", "stall")
        count = self._left // 2 if cut else self._left
        connection.sendfile(file, self._start - (self._kind == "range shifted"), count)
        while self._kind == "stall" and not stopped.is_set() and not select.select([connection], [], [], _POLL_S)[0]:
            pass
        if self._kind == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self._handler.close_connection = cut or self._kind.startswith("no length")

    def _send_chunked(self, file: IO[bytes]) -> None:
        file.seek(self._start)
        cut = self._kind == "chunked and cut"
        for piece in _pieces(file, self._left // 2 if cut else self._left):
            self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if not cut:
            self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.close_connection = cut

    def _crawl(self, file: IO[bytes], stopped: threading.Event, slow_s: float) -> None:
        file.seek(self._start)
        while (byte := file.read(1)) and not stopped.wait(slow_s):
            self._handler.wfile.write(byte)


def _pieces(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(length, _PIECE_BYTES))):
        yield piece
        length -= len(piece)
