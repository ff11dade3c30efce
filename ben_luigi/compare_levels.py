"""`scripts/compare-levels FILE...`: what each zstd level makes of one's own files: time, size, ratio.

They are compressed as the archives are, a frame a file, on one core; nothing is written. The level that the pipeline
takes is `[archive] level`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ben_luigi.domain.dataset import archive
from ben_luigi.domain.formats import frames

_LEVELS = (1, 3, 6, 9, 12)
_MB = 1_000_000


@dataclass(frozen=True)
class Spent:
    """What a level took: seconds, and the length of all files in bytes before and after."""

    level: int
    seconds: float
    content_bytes: int
    compressed_bytes: int

    def line(self) -> str:
        """As a row of the table."""
        speed, ratio = self.content_bytes / self.seconds / _MB, self.content_bytes / self.compressed_bytes
        return f"{self.level:>5} {self.seconds:>9.2f} {speed:>9.1f} {self.compressed_bytes:>16,} {ratio:>7.3f}"


def compress(files: Sequence[Path], level: int) -> Spent:
    """Compress the files, and throw the result away; reading them does not count."""
    seconds, content, compressed = 0.0, 0, 0
    for path in files:
        size = path.stat().st_size
        packer = archive.packer(level, size)
        for chunk in _chunks(path):
            before = time.perf_counter()
            compressed += len(packer.compress(chunk) if chunk else packer.flush())
            seconds += time.perf_counter() - before
        content += size
    return Spent(level, seconds, content, compressed)


def _chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, and then nothing once."""
    with path.open("rb") as file:
        while chunk := file.read(frames.CHUNK_BYTES):
            yield chunk
    yield b""


def main() -> int:
    """Print a table, a row a level."""
    parser = argparse.ArgumentParser(prog="scripts/compare-levels", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="files, or folders of files")
    parser.add_argument("--levels", type=int, nargs="+", default=_LEVELS, choices=range(1, 23), metavar="LEVEL")
    options = parser.parse_args()
    try:
        found = [path for given in options.paths for path in (sorted(given.rglob("*")) if given.is_dir() else [given])]
        files = [path for path in found if not path.is_dir()]
        total = sum(path.stat().st_size for path in files)
        if not total:
            print("compare-levels: expected: files with content; found: none", file=sys.stderr)
            return 1
        print(f"{len(files)} files, {total:,} bytes")
        print(f"{'level':>5} {'seconds':>9} {'MB/s':>9} {'bytes':>16} {'ratio':>7}")
        for level in options.levels:
            print(compress(files, level).line(), flush=True)
    except OSError as error:
        print(f"compare-levels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
