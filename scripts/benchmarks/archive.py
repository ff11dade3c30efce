"""`scripts/bench archive`: from shards to the finished archive with all hashes, against `zstd -T2` of its tar alone.

Shards of synthetic tiles are made first (two minutes) and kept: 216,000 members, which compress as real ones do.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import zstandard

from ben_luigi.commands import command
from ben_luigi.domain.dataset import archive
from ben_luigi.domain.files import unfinished
from ben_luigi.domain.formats import shards
from ben_luigi.domain.placement.grid import PATCH_M, PatchGrid, tile_square
from ben_luigi.domain.tiles import patches
from ben_luigi.domain.tiles.decoding import Column
from ben_luigi.domain.vocabulary import RESOLUTION_M
from benchmarks import synthetic_tile
from benchmarks.timing import Spent, pairs, report, rounds, spent

LEVEL = 6
WORKERS = 2
CONTRAST = 0.75
"""Of the tiles' texture: so zstd makes of their tar the same part as of the published S2, 63.25 of 102.4 GB: 1.62."""

S2_OF_ALL = 102 / 168
"""GB of the tar of S2, of GB of the three tars, in the published dataset: it is the longest to hash."""

_PROGRAM = "zstd"


def write_shard(folder: Path, number: int, patches_a_side: int) -> Path:
    """The shard of a synthetic tile in `folder`, by its number; made if it is not there."""
    side_m = patches_a_side * PATCH_M
    name = replace(synthetic_tile.NAME, sensing=f"201706{number + 10}T101031")
    shard = folder / f"{patches_a_side}" / f"{name.tile_key}.tar"
    if not shard.exists():
        rng, side = np.random.default_rng(number), patches_a_side
        pixels = {
            band: synthetic_tile.texture(side_m // pixel_m, rng, CONTRAST)
            .reshape(side, PATCH_M // pixel_m, side, PATCH_M // pixel_m)
            .swapaxes(1, 2)
            for band, pixel_m in RESOLUTION_M.items()
        }
        writer = patches.PatchWriter(PatchGrid(name.tile_name, tile_square(name, side_m)))
        with shards.writing(shard, shard.with_suffix(".parquet")) as file:
            for x in range(side):
                writer.write(file, Column(x, np.arange(side), {band: tile[:, x] for band, tile in pixels.items()}))
    return shard


@dataclass(frozen=True)
class Bench:
    """The shards of an archive, and a folder for what is written."""

    shards: Sequence[Path]
    out: Path
    level: int
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def tar(self) -> Path:
        """The finished tar, for the program."""
        return self.out / "finished.tar"

    @property
    def packed(self) -> Path:
        """What the program makes of it."""
        return self.out / "program.tar.zst"

    @property
    def archive(self) -> Path:
        """The archive that is made of the shards."""
        return self.out / "archive.tar.zst"

    def make(self) -> None:
        """What CompressPart, HashTar and JoinParts do, in the order in which two workers take them."""
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")) as workers:
            compressed = workers.map(partial(_compress, out=self.out, level=self.level), self.shards)
            hashed = workers.submit(_hash_tar, self.shards)
            parts = list(compressed)
            joined = workers.submit(archive.join, parts, self.archive)
        archive.check_sizes([part for part, _ in parts], joined.result()[1], hashed.result()[1])

    def program(self) -> None:
        """The program, which takes no hashes."""
        command = [_PROGRAM, "-q", "-f", f"-{LEVEL}", f"-T{WORKERS}", str(self.tar), "-o", str(self.packed)]
        subprocess.run(command, check=True)

    def tidy(self) -> None:
        """Remove what was written, since replacing it would be timed too; its sizes stay known."""
        for path in self.out.glob("*.zst"):
            self.sizes[path.name] = path.stat().st_size
            path.unlink()

    def join(self) -> None:
        """The parts that `make` left, once more."""
        self.archive.unlink()
        parts = [_part(self.out, shard) for shard in self.shards]
        archive.join([(part, _crc32(part).read_text()) for part in parts], self.archive)

    def compress(self) -> None:
        """One part, by one core."""
        _compress(self.shards[0], self.out, self.level)

    def digest(self, algorithm: str) -> None:
        """One shard, by one core."""
        with self.shards[0].open("rb") as file:
            hashlib.file_digest(file, algorithm)


def _members(shard: Path) -> tuple[Path, Path, list[str]]:
    index = shard.with_suffix(".parquet")
    return shard, index, shards.read_index(index)["patch_id"].unique().to_pylist()


def _hash_tar(sources: Sequence[Path], tar: Path | None = None) -> tuple[archive.Hashes, list[int]]:
    return archive.hash_tar((archive.shard_members(*_members(shard)) for shard in sources), tar)


def _compress(shard: Path, out: Path, level: int) -> tuple[Path, str]:
    part = _part(out, shard)
    crc32 = archive.write_shard_part(*_members(shard), part, level).crc32
    _crc32(part).write_text(crc32)
    return part, crc32


def _crc32(part: Path) -> Path:
    """Where the CRC-32 of a part is kept."""
    return part.with_suffix(".crc32")


def _part(out: Path, shard: Path) -> Path:
    return out / f"{shard.stem}.tar.zst"


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print it."""
    parser = command.parser("scripts/bench archive", __doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build/bench/archive"),
        metavar="FOLDER",
        help="where the shards are kept; by default %(default)s",
    )
    parser.add_argument("--tiles", type=int, default=20, metavar="N", help="how many, 1 to 20; by default 20")
    parser.add_argument(
        "--patches-a-side",
        type=int,
        default=30,
        metavar="N",
        help="of each tile: its square is their number; by default 30",
    )
    parser.add_argument(
        "--level", type=int, default=LEVEL, metavar="LEVEL", help="of ours, by default %(default)s; the program's is 6"
    )
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="of ours and of the program, in turn; by default 5"
    )
    options = parser.parse_args(argv)
    sources = [write_shard(options.folder, number, options.patches_a_side) for number in range(options.tiles)]
    out = unfinished(options.folder / "out")
    out.mkdir()
    try:
        _run(Bench(sources, out, options.level), options.runs)
    finally:
        shutil.rmtree(out)
    return 0


def _run(bench: Bench, runs: int) -> None:
    tar, _ = _hash_tar(bench.shards, bench.tar)
    ratio = pairs(
        "shards to archive, hashed / zstd -T2", bench.make, bench.program, runs=runs, at_most=0.90, tidy=bench.tidy
    )
    work: dict[str, tuple[Callable[[], object], float | None]] = {
        name: (partial(bench.digest, name), None) for name in ("md5", "sha256")
    }
    alone = rounds(bench.compress, {f"{name} / compression, a core": each for name, each in work.items()}, runs=runs)
    compressing, md5 = alone[0].reference, alone[0].ours
    bench.make()
    joining_s = statistics.median(spent(bench.join).wall_s for _ in range(runs))
    ahead_s = md5.wall_s * tar.size_bytes / bench.shards[0].stat().st_size - joining_s
    compressing_s = compressing.cpu_s * len(bench.shards)
    facts = {
        "tiles": len(bench.shards),
        "tar, MB": round(tar.size_bytes / 1e6),
        "members": sum(len(shards.read_index(shard.with_suffix(".parquet"))) for shard in bench.shards),
        "tar / archive, ours": round(tar.size_bytes / bench.sizes[bench.archive.name], 3),
        "tar / archive, zstd": round(tar.size_bytes / bench.sizes[bench.packed.name], 3),
        "zstd of the library": ".".join(map(str, zstandard.ZSTD_VERSION)),
        "zstd, the program": _version(),
        "peak memory of a process, MB (aim: < 512)": round(ratio.ours.peak_mb),
        "peak memory with a fourth of the tiles, MB": round(_of_a_fourth(bench).peak_mb),
        "cores that compress as fast as one core hashes md5": round(compressing.cpu_s / md5.cpu_s, 1),
        "s, md5 of the tar, less what joining takes after the parts": round(ahead_s, 2),
        "cores from which this archive alone waits for the md5 of its tar": _cores(compressing_s, ahead_s),
        "cores from which all three archives together do": _cores(compressing_s / S2_OF_ALL, ahead_s),
    }
    report([ratio, *alone], facts, ("zstandard", "pyarrow"))


def _cores(work_s: float, time_s: float) -> float | None:
    """How many share work out so that it is done in that time; None if no number can."""
    return round(work_s / time_s, 1) if time_s > 0 else None


def _of_a_fourth(bench: Bench) -> Spent:
    return spent(replace(bench, shards=bench.shards[: max(1, len(bench.shards) // 4)]).make)


def _version() -> str:
    version = subprocess.run([_PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return next((word.strip("v,") for word in version.split() if word.startswith("v1")), version.strip())
