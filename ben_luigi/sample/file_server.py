"""Serve files on loopback as Zenodo, ESA's site of installers and hosts of raw files do, with faults by script."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ben_luigi.sample.loopback import COMMON, Answer, Fault, LoopbackServer, Request

_RANGE = re.compile(r"bytes=(\d+)-")
ZENODO = "/records/12687186/files/BigEarthNet-S1-v1.0.tar.gz"
ESA = "/thirdparties/sen2cor/2.11.0/Sen2Cor-02.11.00-Linux64.run"


class FileServer(LoopbackServer):
    """Serves `files` by their paths, whole or from an offset, with ETag and Accept-Ranges.

    Kinds of requests are `whole` and `rest`; `asked_from` has the first byte of each. Kinds of faults: those of COMMON;
    `429 busy`, as Zenodo answers; `short` (half of what is to come, then the connection breaks off); `range ignored`,
    `range shifted`, `range misstated`, `range of another total`, `416`; `flipped bit`; `trailing junk`.
    """

    def __init__(self, files: Mapping[str, bytes], faults: Iterable[Fault] = ()) -> None:
        super().__init__(faults)
        self.files = dict(files)
        self.asked_from: list[int] = []

    def url(self, path: str) -> str:
        """The URL of one file."""
        return self.base_url + path

    def usual_fault(self, kind: str) -> Answer | None:
        """The answer that a kind of fault stands for, whatever is asked; None for others."""
        if kind == "429 busy":
            headers = (("Retry-After", "0"), ("X-RateLimit-Limit", "60"), ("X-RateLimit-Reset", "1"))
            return Answer(429, b'{"message": "60 per 1 minute", "status": 429}', headers=headers)
        return COMMON.get(kind)

    def answer(self, request: Request) -> Answer:
        """Answer with the file, or what the script says."""
        wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        where = "rest" if wanted else "whole"
        self.count(where)
        self.asked_from.append(start)
        kind = self.faults.take(where)
        content = self.files.get(request.path)
        if usual := self.usual_fault(kind):
            return usual
        if content is None:
            return COMMON["404"]
        return _sent(content, start if kind != "range ignored" else 0, kind)


def _sent(content: bytes, start: int, kind: str) -> Answer:
    total = len(content)
    if kind == "416" or start >= total:
        return Answer(416, headers=(("Content-Range", f"bytes */{total}"),))
    if kind == "flipped bit":
        middle = (start + total) // 2
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if kind == "trailing junk":
        content += b"junk"
    body = content[start - (kind == "range shifted") :] if start else content
    tag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    headers: tuple[tuple[str, str], ...] = (("Accept-Ranges", "bytes"), ("ETag", f'"{tag}"'))
    if start:
        first, length = start + (kind == "range misstated"), total + (kind == "range of another total")
        headers = (*headers, ("Content-Range", f"bytes {first}-{total - 1}/{length}"))
    answer = Answer(206 if start else 200, body, "application/octet-stream", headers)
    if "short" in kind:
        answer = replace(answer, body=body[: len(body) // 2], stated_bytes=len(body))
    return answer
