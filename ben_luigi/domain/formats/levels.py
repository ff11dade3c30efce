"""Measure what a zstd level makes of files that are compressed as the archives are: time, size, quick searches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ben_luigi.domain.formats import packing

_MB = 1_000_000


@dataclass(frozen=True)
class Spent:
    """The cost of a level: seconds, bytes of all files before and after, and how many were packed by a quick search."""

    level: int
    seconds: float
    content_bytes: int
    compressed_bytes: int
    quick: int

    def line(self) -> str:
        """Return the figures as a row of the table."""
        speed, ratio = self.content_bytes / self.seconds / _MB, self.content_bytes / self.compressed_bytes
        numbers = f"{self.level:>5} {self.seconds:>9.2f} {speed:>9.1f} {self.compressed_bytes:>16,} {ratio:>7.3f}"
        return f"{numbers} {self.quick:>6}"


def compress(files: Sequence[Path], level: int) -> Spent:
    """Compress the files and discard the result; the time to read them is not counted."""
    seconds, content, compressed, quick = 0.0, 0, 0, 0
    for path in files:
        size, sample = path.stat().st_size, _sample(path)
        before = time.perf_counter()
        chosen = packing.parameters(level, sample)
        packer = packing.packer(chosen)
        seconds += time.perf_counter() - before
        for chunk in _chunks(path):
            before = time.perf_counter()
            compressed += len(packer.compress(chunk))
            seconds += time.perf_counter() - before
        content += size
        quick += packing.is_quick(chosen)
    return Spent(level, seconds, content, compressed, quick)


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        return b"".join(os.pread(file.fileno(), size, at) for at, size in packing.sampled(path.stat().st_size))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(packing.FRAME_BYTES):
            yield chunk
