"""`scripts/bench forms`: what each form of a dataset costs to write and to read, and beside them unpacked TIFFs.

A made-up dataset, which compresses as the real one does, is made first and kept. Each form is written in a process of
its own, beside a plain copy of the bytes that it has, beside what cutting the patches of a small tile takes, and beside
packing the archives at zstd's level 6. It is then read by its usual reader, from a warm cache. Bytes are those that
were asked of the file system (`rchar`); of LMDB, which is mapped, the pages of the values.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
import zstandard

from ben_luigi.commands import command
from ben_luigi.domain import libraries
from ben_luigi.domain.files import unfinished
from ben_luigi.domain.formats.packing import FRAME_BYTES
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.placement.grid import PATCH_M, PatchGrid
from ben_luigi.domain.products.product import read_product
from ben_luigi.domain.tiles import patches as tile_patches
from ben_luigi.domain.vocabulary import ARRAY, RAW, TIFF
from benchmarks import finished_dataset, synthetic_tile
from benchmarks.form_readers import READERS, Arrays, Reader
from benchmarks.timing import Spent, report, spent

BATCH = 64
CUT_M = 24_000
"""Side of the tile that is cut."""
PART = 100
"""One in so many patches are read alone."""
UNPACKED = "unpacked TIFFs"
PIXELS = {"parquet, arrays": ARRAY, "parquet, raw": RAW}
"""What the columns of Parquet hold, where that is not TIFFs."""
_PACKAGES = ("pyarrow", "lmdb", "safetensors", "zarr", "webdataset", "rasterio")


@dataclass(frozen=True)
class Read:
    """What reading a form takes: seconds to the first batch, patches a second, bytes for a band and for 1 %."""

    first_s: float
    in_order: float
    shuffled: float
    band_bytes: int
    some_bytes: int


def _write(name: str, source: Path, out: Path) -> None:
    if name == UNPACKED:
        out.mkdir()
        for archive in source.glob("*.tar.zst"):
            subprocess.run(["tar", "--zstd", "-xf", archive, "-C", out], check=True, env=dict(os.environ))
        shutil.copy(source / "metadata.parquet", out)
        return
    options = replace(Options(), pixels=PIXELS.get(name, TIFF))
    export(FORMS[name.partition(",")[0]], Source.open(source), out, options)


def _read_all(source: Path) -> None:
    """What reading the archives takes by itself."""
    opened = Source.open(source)
    for archive in opened.archives:
        for _ in opened.patches(archive):
            pass


def _read_and_pack(source: Path) -> None:
    """The same, and what packing their content at the level of the dataset takes."""
    opened = Source.open(source)
    packer, waiting = zstandard.ZstdCompressor(level=finished_dataset.LEVEL), bytearray()
    for archive in opened.archives:
        for patch in opened.patches(archive):
            waiting += b"".join(patch.files.values())
            if len(waiting) >= FRAME_BYTES:
                packer.compress(waiting)
                waiting.clear()
    packer.compress(waiting)


def _cut(folder: Path, out: Path) -> int:
    """Cut all patches of a small tile with one thread; return how many."""
    product = read_product(synthetic_tile.product(folder, CUT_M), CUT_M)
    grid = PatchGrid(product.name.tile_name, product.square, PATCH_M)
    every = np.arange(grid.patches_a_side**2)
    tile_patches.cut(product, grid, every, out / "cut.tar", out / "cut.parquet", threads=1)
    return len(every)


def _copy(folder: Path) -> None:
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(copy)


def _read(reader: Reader, folder: Path, rng: np.random.Generator, patches: int) -> Read:
    rows = sorted(rng.permutation(patches)[: max(1, patches // PART)].tolist())
    next(reader.in_order(folder))  # libraries are loaded, and the cache is warm
    begun = time.perf_counter()
    batch = list(islice(reader.in_order(folder), BATCH))
    first_s = time.perf_counter() - begun
    assert len(batch) == min(BATCH, patches)
    band, some = (
        _bytes_of(lambda: reader.band(folder), patches),
        _bytes_of(lambda: reader.some(folder, rows), len(rows)),
    )
    if reader.mapped_bytes is not None:
        band, some = (reader.mapped_bytes(folder, what, rows) for what in ("band", "some"))
    speeds = (_speed(lambda: reader.in_order(folder)), _speed(lambda: reader.shuffled(folder, rng)))
    return Read(first_s, *speeds, band, some)


def _speed(patches: Callable[[], Iterator[Arrays]]) -> float:
    begun = time.perf_counter()
    number = sum(1 for _ in patches())
    return number / (time.perf_counter() - begun)


def _bytes_of(patches: Callable[[], Iterator[Arrays]], expected: int) -> int:
    before = _asked_bytes()
    assert sum(1 for _ in patches()) == expected
    return _asked_bytes() - before


def _asked_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])


def _size(folder: Path) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print it."""
    parser = command.parser("scripts/bench forms", __doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/bench/archive"), metavar="FOLDER", help="where the dataset is kept"
    )
    parser.add_argument("--patches-a-side", type=int, default=40, metavar="N", help="of the tile; by default 40: 1,600")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each writing, in turn; by default 3")
    options = parser.parse_args(argv)
    for library in {name for form in FORMS.values() for name in form.libraries}:
        import_module(libraries.module(library))  # once, not in the process of each writing
    # In a process of its own: each that is measured has at least the memory of this one.
    spent(partial(finished_dataset.make, options.folder, options.patches_a_side))
    source = finished_dataset.make(options.folder, options.patches_a_side)
    out = unfinished(options.folder.absolute() / "forms")
    out.mkdir()
    try:
        _run(options.folder, source, out, options.patches_a_side**2, options.runs)
    finally:
        shutil.rmtree(out)
    return 0


def _run(folder: Path, source: Path, out: Path, patches: int, runs: int) -> None:
    a_cut = _cut(folder, out)  # the tile is made, and read once
    # Of all rounds the least, since what the kernel takes to find memory and disk depends on the state of the machine.
    cutting = min(spent(partial(_cut, folder, out)).cpu_s for _ in range(runs)) / a_cut * 1e3
    written: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in READERS}
    whole = [(spent(partial(_read_all, source)), spent(partial(_read_and_pack, source))) for _ in range(runs)]
    for _ in range(runs):
        for name in READERS:
            shutil.rmtree(out / name, ignore_errors=True)
            written[name].append((spent(partial(_write, name, source, out / name)), spent(partial(_copy, out / name))))
    rng = np.random.default_rng(0)
    read = {name: _read(reader, out / name, rng, patches) for name, reader in READERS.items()}
    _table(written, read, out, patches)
    reading, packing = _ms(whole, 0, patches), _ms(whole, 1, patches) - _ms(whole, 0, patches)
    facts: dict[str, object] = {"patches": patches, "CPU ms per patch, reading the archives": reading}
    facts["CPU ms per patch, cutting"] = round(cutting, 2)
    facts["CPU ms per patch, packing the archives at level 6"] = round(packing, 2)
    for name, spents in written.items():
        facts[f"CPU ms per patch, {name}"] = _ms(spents, 0, patches)
        facts[f"CPU ms per patch, a copy of {name}"] = _ms(spents, 1, patches)
        share = (_ms(spents, 0, patches) - _ms(spents, 1, patches)) / (cutting + packing)
        facts[f"beyond a copy, of cutting and packing, {name} (aim: <= 0.10)"] = round(share, 3)
        facts[f"peak MB, {name} (aim: < 512)"] = round(max(own.peak_mb for own, _ in spents))
    report([], facts, _PACKAGES)


def _ms(spents: Sequence[tuple[Spent, Spent]], which: int, patches: int) -> float:
    return round(min(pair[which].cpu_s for pair in spents) / patches * 1e3, 2)


def _table(written: dict[str, list[tuple[Spent, Spent]]], read: dict[str, Read], out: Path, patches: int) -> None:
    print("| form | KB per patch | files | first batch, ms | patches/s in order | shuffled | MB for B04 | MB for 1 % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, one in read.items():
        size, files = _size(out / name)
        cells = [f"{size / patches / 1e3:.0f}", f"{files:,}", f"{one.first_s * 1e3:.0f}", f"{one.in_order:.0f}"]
        cells += [f"{one.shuffled:.0f}", f"{one.band_bytes / 1e6:.1f}", f"{one.some_bytes / 1e6:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |")
