"""A small finished dataset of which all files differ, and a server of ranges, for the tests of the exported forms."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from rasterio.io import MemoryFile

from ben_luigi.domain import files
from ben_luigi.domain.dataset.statistics_parts import FLAGGED
from ben_luigi.domain.forms.form import Options
from ben_luigi.domain.forms.pixel_counts import PixelCounts
from ben_luigi.domain.forms.pixels import pixels_in
from ben_luigi.domain.forms.source import FLAG, S1, S2, Patch, Source
from ben_luigi.domain.names import s1_tile
from tests.unit.small_dataset import Dataset

SMALL = Options(seed=3, file_mb=0.7)
"""Two patches per file."""


def varied_dataset() -> Dataset:
    """One whose patches all differ, in S1 and map, too."""
    dataset = Dataset()
    for number, name in enumerate(name for archive in (S1, "Reference_Maps") for name in dataset.names(archive)):
        dataset.replace(name, _other(number, name, dict(files_of(dataset))[name]))
    return dataset


def in_big_endian(dataset: Dataset) -> Dataset:
    """The same dataset, with the same pixels in TIFFs of the other byte order, by GDAL."""
    for name, data in list(files_of(dataset)):
        dataset.replace(name, _big_endian(data))
    return dataset


@cache
def _big_endian(data: bytes) -> bytes:
    with MemoryFile(data) as old, old.open() as raster, MemoryFile() as new:
        with new.open(**{**raster.profile, "endianness": "big"}) as other:
            other.write(raster.read())
        return bytes(new.read())


def counted(source: Source) -> PixelCounts:
    """The pixels of a whole dataset."""
    counts = PixelCounts()
    for archive in (S2, S1):
        for patch in source.patches(archive):
            counts.add(part_in(source, patch), pixels_in(source, patch.files, "a patch"))
    return counts


def part_in(source: Source, patch: Patch) -> str:
    """The part of the dataset that a patch counts for."""
    return FLAGGED if source.rows[FLAG][patch.row].as_py() else str(source.rows["split"][patch.row])


def call_s1_by_patch_id(dataset: Dataset, rows: Sequence[int]) -> None:
    """Give the S1 patches of these rows the patch ids as names, as they have where they are cut from rasters."""
    for row in (dataset.rows[at] for at in rows):
        before, name = str(row["s1_name"]), str(row["patch_id"])
        for member in dataset.names(S1):
            if f"/{before}/" in member:
                dataset.rename(S1, lambda old: f"{S1}/{s1_tile(name)}/{name}/{name}_{old[-6:]}", member)  # noqa: B023
        row["s1_name"] = name


@cache
def _other(number: int, name: str, data: bytes) -> bytes:
    """The same TIFF with other pixels, by GDAL."""
    rng = np.random.default_rng(number)
    with MemoryFile(data) as old, old.open() as raster:
        profile, shape = raster.profile, raster.shape
    pixels = rng.normal(-12, 4, shape).astype("float32") if name.startswith(S1) else rng.choice([211, 231, 999], shape)
    with MemoryFile() as new:
        with new.open(**profile) as raster:
            raster.write(pixels.astype(profile["dtype"]), 1)
        return bytes(new.read())


def files_of(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    for parts in dataset.parts.values():
        for part in parts:
            yield from part.items()


def pixels_of(data: bytes) -> np.ndarray:
    with MemoryFile(data) as file, file.open() as raster:
        return np.asarray(raster.read(1))


class _Ranges(SimpleHTTPRequestHandler):
    """Sends the bytes that are asked for, as any server of static files does."""

    sent: list[int]

    def do_GET(self) -> None:
        """Answer with a range, or the whole file."""
        data = Path(self.translate_path(self.path)).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, wanted.groups()) if wanted else (0, len(data) - 1)
        body = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body)
        self.sent.append(len(body))

    def do_HEAD(self) -> None:
        """Answer with the length alone."""
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(Path(self.translate_path(self.path)).stat().st_size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Serve a folder on loopback; yield its URL, and the list of how many bytes were sent with each answer."""
    handler = type("Handler", (_Ranges,), {"sent": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.sent  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def hashes_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.file_hash(path) for path in folder.rglob("*") if path.is_file()}
