"""`ben-luigi compare-levels FILE...`: what each zstd level makes of one's own files: time, size, ratio.

They are compressed as the archives are, by one core, in frames of 8 MiB; nothing is written. The last column is how
many of them a quick search packs as well as the level's own. The pipeline's level is `[archive] level`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import packing

_LEVELS = (1, 3, 6, 9, 12)
_MB = 1_000_000


@dataclass(frozen=True)
class Spent:
    """What a level took: seconds, the bytes of all files before and after, and how many of them were packed quickly."""

    level: int
    seconds: float
    content_bytes: int
    compressed_bytes: int
    quick: int

    def line(self) -> str:
        """As a row of the table."""
        speed, ratio = self.content_bytes / self.seconds / _MB, self.content_bytes / self.compressed_bytes
        numbers = f"{self.level:>5} {self.seconds:>9.2f} {speed:>9.1f} {self.compressed_bytes:>16,} {ratio:>7.3f}"
        return f"{numbers} {self.quick:>6}"


def compress(files: Sequence[Path], level: int) -> Spent:
    """Compress the files, and throw the result away; reading them does not count."""
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


def parser() -> argparse.ArgumentParser:
    """The parser of its arguments."""
    used = command.parser("ben-luigi compare-levels", __doc__)
    used.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="files, or folders of files")
    used.add_argument(
        "--levels",
        type=int,
        nargs="+",
        default=_LEVELS,
        choices=range(1, 23),
        metavar="LEVEL",
        help=f"1 to 22; by default {' '.join(map(str, _LEVELS))}",
    )
    return used


def main(arguments: Sequence[str]) -> int:
    """Print a table, one row per level."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        found = [path for given in options.paths for path in (sorted(given.rglob("*")) if given.is_dir() else [given])]
        files = [path for path in found if not path.is_dir()]
        total = sum(path.stat().st_size for path in files)
        if not total:
            given = ", ".join(map(str, options.paths))
            return command.refuse(
                used, BadInput(given, expected="files with content", found="none", remedy="name others")
            )
        print(f"{len(files)} files, {total:,} bytes")
        print(f"{'level':>5} {'seconds':>9} {'MB/s':>9} {'bytes':>16} {'ratio':>7} {'quick':>6}")
        for level in options.levels:
            print(compress(files, level).line(), flush=True)
    except OSError as error:
        return command.refuse(used, error)
    return 0
