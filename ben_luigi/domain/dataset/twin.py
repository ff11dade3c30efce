"""Compare the pixels of two datasets of the same squares, such as a dataset and its twin of reprocessed products.

Squares are matched by tile (MGRS square), column and row, not by date: each of our tiles is compared with that tile of
the other dataset on the same MGRS square whose date is nearest, of two such with the earlier one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ben_luigi.domain import files, given
from ben_luigi.domain.dataset import members
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.dataset.registration import Difference
from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.files import AtHand, on_disk
from ben_luigi.domain.formats.shards import ShardReader, read_index
from ben_luigi.domain.formats.tables import read_parquet
from ben_luigi.domain.formats.tiffheader import read_header, read_pixels
from ben_luigi.domain.names import PatchId, TileName, split_band
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.progress import OnFraction, ignore_fraction
from ben_luigi.domain.tiles.patches import ARCHIVE
from ben_luigi.domain.vocabulary import RESOLUTION_M

MOST_PATCHES = 200
"""How many patches of a tile are compared, evenly spread over it: enough for shift, offset and scale of a tile."""

ALL = "all"
"""The tile of the rows that have all tiles together."""

SCHEMA = pa.schema(
    {
        "tile": pa.string(),
        "other_tile": pa.string(),
        "days_later": pa.int32(),
        "band": pa.string(),
        "pixel_m": pa.int16(),
        "patches": pa.int32(),
        "shift_x_px": pa.float32(),
        "shift_y_px": pa.float32(),
        "offset": pa.float64(),
        "scale": pa.float64(),
        "correlation": pa.float64(),
        "equal": pa.float64(),
    }
)
"""The columns of the table: one row per tile and band, and one per band of all tiles together, which come first.

`days_later` is how many days the other tile was sensed after ours. The shift says how many pixels of `pixel_m` metres
the other image lies farther to the east (x) and to the south (y). theirs = offset + scale * ours, in the numbers that
are stored. `equal` is the share of pixels of the same value. Empty is what the images do not tell.
"""

_REMEDY = "correct [inputs] compare_with_dir, or leave it out"
_TELL_EVERY = 240
_MOST_OPEN = 8
_Cell = tuple[str, int, int]
"""MGRS square, column and row."""


@dataclass(frozen=True)
class Match:
    """One of our tiles, by key and name, and the tile of the other dataset: its patches by ours."""

    tile: str
    name: TileName
    other: TileName
    patches: Mapping[str, str]

    @property
    def days_later(self) -> int:
        """How many days after ours the other tile was sensed."""
        return (_day(self.other) - _day(self.name)).days


def pixels_in(folder: Path) -> Path | None:
    """Return the archive with the patches of a dataset, or the folder unpacked from it; None if it has neither."""
    for path, kind in ((folder / ARCHIVE, given.FOLDER), (folder / f"{ARCHIVE}.tar.zst", given.FILE)):
        if given.kind(path) == kind:
            return path
    return None


def compare(
    tiles: Mapping[str, Path], folder: Path, progress: OnFraction = ignore_fraction, at_hand: AtHand = on_disk
) -> pa.Table:
    """Compare the patches in our tiles' shards, by tile key, with those of the dataset in `folder`, as SCHEMA says.

    The shards are there within `at_hand`, their indexes anyway.

    Raise BadInput if it has none of these squares, or if squares of one name are not at one place.
    """
    ours = {
        tile: read_index(shard.with_suffix(".parquet"), alone=True)["patch_id"].unique().to_pylist()
        for tile, shard in tiles.items()
    }
    matches = match(ours, _patch_ids(folder))
    if not matches:
        raise BadInput(
            folder,
            expected=f"patches on the squares of the tiles {some(tiles, 3)}",
            found="none: no tile, column and row is in both datasets",
            remedy=_REMEDY,
        )
    differences = _differences(matches, _Readers(tiles, at_hand), folder, progress)
    return pa.Table.from_pylist([*_rows_of_all(differences), *_rows(matches, differences)], schema=SCHEMA)


def match(ours: Mapping[str, Sequence[str]], theirs: Collection[str]) -> list[Match]:
    """Match our patch ids, by tile key, with others: up to MOST_PATCHES of a tile.

    Other names than patch ids are left out.
    """
    cells: dict[str, dict[TileName, dict[_Cell, str]]] = {}
    for name in theirs:
        try:
            patch = PatchId.parse(name)
            tile = patch.tile
        except BadName:
            continue
        cells.setdefault(tile.mgrs, {}).setdefault(tile, {})[tile.mgrs, patch.x, patch.y] = name
    found = []
    for key, names in ((key, names) for key, names in ours.items() if names):
        tile = PatchId.parse(names[0]).tile
        own = {(tile.mgrs, patch.x, patch.y): str(patch) for patch in map(PatchId.parse, names)}
        nearest = sorted(cells.get(tile.mgrs, {}).items(), key=lambda of: _apart(tile, of[0]))
        for other, of_other in nearest:
            if common := sorted(own.keys() & of_other.keys()):
                found.append(Match(key, tile, other, {own[cell]: of_other[cell] for cell in _evenly(common)}))
                break
    return found


def _apart(tile: TileName, other: TileName) -> tuple[float, str]:
    return abs((other.sensing_time - tile.sensing_time).total_seconds()), str(other)


def _day(name: TileName) -> datetime:
    return name.sensing_time.replace(hour=0, minute=0, second=0)


def _evenly(cells: Sequence[_Cell]) -> list[_Cell]:
    """Return up to MOST_PATCHES of them, as evenly spread over their order as possible."""
    step = max(1.0, len(cells) / MOST_PATCHES)
    return [cells[int(at * step)] for at in range(min(len(cells), MOST_PATCHES))]


def _patch_ids(folder: Path) -> list[str]:
    """Return the ids of the other dataset's patches: by its metadata, where they are there, else by its files."""
    tables = [path for name in (METADATA, FLAGGED) if given.kind(path := folder / name) == given.FILE]
    pixels = pixels_in(folder)
    try:
        if tables:
            return [name for path in tables for name in read_parquet(path, ["patch_id"])["patch_id"].to_pylist()]
        if pixels is not None and given.kind(pixels) == given.FOLDER:
            return [path.name for path in given.find(pixels, "*", "*")]
    except (OSError, ValueError) as error:
        raise BadInput(folder, expected="the patch ids of a dataset", found=str(error), remedy=_REMEDY) from error
    return list(dict.fromkeys(patch for patch, _, _, _ in _files(folder, None)))


def _files(folder: Path, wanted: Collection[str] | None) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield patch id, band, name and data of the files of `wanted` patches; None means all."""
    pixels = pixels_in(folder)
    if pixels is None:
        raise BadInput(folder, expected=f"{ARCHIVE}.tar.zst, or {ARCHIVE}/", found="neither", remedy=_REMEDY)
    for found in _members(pixels, folder, wanted):
        if not isinstance(found, members.Member):
            what = found.what if isinstance(found, members.Damage) else f"{found.name}: {found.why}"
            raise BadInput(pixels, expected="patches that can be read", found=what, remedy=_REMEDY)
        patch, band = split_band(found.name.rpartition("/")[2].removesuffix(".tif"))
        if band in RESOLUTION_M and (wanted is None or patch in wanted):
            yield patch, band, found.name, found.data


def _members(
    pixels: Path, folder: Path, wanted: Collection[str] | None
) -> Iterator[members.Member | members.Damage | members.Unreadable]:
    if given.kind(pixels) == given.FILE:
        yield from members.read(pixels)
        return
    for patch in sorted(wanted or ()):
        yield from members.read_folder(pixels / PatchId.parse(patch).tile_name / patch, folder)


def _differences(
    matches: Sequence[Match], shards: _Readers, folder: Path, progress: OnFraction
) -> dict[tuple[str, str], Difference]:
    """Return the differences by our tile's key and band."""
    ours: dict[str, list[tuple[Match, str]]] = {}
    for one in matches:
        for mine, other in one.patches.items():
            ours.setdefault(other, []).append((one, mine))
    found: dict[tuple[str, str], Difference] = {}
    total = len(ours) * len(BANDS)
    with shards as readers:
        for number, (patch, band, name, data) in enumerate(_files(folder, ours), start=1):
            for of_tile, mine in ours[patch]:
                own, other = _pixels(
                    readers.of(of_tile.tile).read(f"{mine}_{band}"), f"{mine}_{band}", data, name, folder
                )
                difference = found.setdefault((of_tile.tile, band), Difference(len(own)))
                difference.add(own, other)
            if number % _TELL_EVERY == 0 or number == total:
                progress(min(number / total, 1.0))
    return found


class _Readers:
    """Shards that are open: the last few, since the index of each takes some MB, and the files come tile by tile."""

    def __init__(self, shards: Mapping[str, Path], at_hand: AtHand) -> None:
        self._shards, self._at_hand = shards, at_hand
        self._open: OrderedDict[str, tuple[ExitStack, ShardReader]] = OrderedDict()

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def of(self, tile: str) -> ShardReader:
        """Return the shard of a tile."""
        if tile not in self._open:
            if len(self._open) == _MOST_OPEN:
                self._open.popitem(last=False)[1][0].close()
            with ExitStack() as stack:
                stack.enter_context(self._at_hand(self._shards[tile]))
                reader = stack.enter_context(ShardReader(self._shards[tile]))
                self._open[tile] = stack.pop_all(), reader
        self._open.move_to_end(tile)
        return self._open[tile][1]


def _pixels(own: bytes, own_name: str, other: bytes, other_name: str, folder: Path) -> tuple[Any, Any]:
    """Return the pixels of both files. Raise BadInput if they are not those of one square."""
    headers = read_header(own, own_name), read_header(other, f"{folder}: {other_name}")
    mine, theirs = (
        f"{one.width} * {one.height} pixels of {one.pixel_m:g} m from {one.left:.0f} {one.top:.0f} (EPSG:{one.epsg})"
        for one in headers
    )
    if mine != theirs:
        raise BadInput(
            f"{folder}: {other_name}",
            expected=f"the square of our {own_name}: {mine}",
            found=theirs,
            remedy=f"{_REMEDY}: only datasets of patches of one side on one grid have the same squares",
        )
    return read_pixels(own, own_name), read_pixels(other, other_name)


def _rows_of_all(differences: Mapping[tuple[str, str], Difference]) -> Iterator[dict[str, Any]]:
    for band in BANDS:
        of_band = [difference for (_, name), difference in differences.items() if name == band]
        if of_band:
            whole = Difference(of_band[0].side_px)
            for one in of_band:
                whole.merge(one)
            yield {"tile": ALL, **_row(band, whole)}


def _rows(matches: Sequence[Match], differences: Mapping[tuple[str, str], Difference]) -> Iterator[dict[str, Any]]:
    for one in matches:
        about = {"tile": one.tile, "other_tile": str(one.other), "days_later": one.days_later}
        for band in BANDS:
            if (one.tile, band) in differences:
                yield {**about, **_row(band, differences[one.tile, band])}


def _row(band: str, difference: Difference) -> dict[str, Any]:
    shift = difference.shift
    return {
        "band": band,
        "pixel_m": RESOLUTION_M[band],
        "patches": difference.pairs,
        "shift_x_px": shift and shift.x_px,
        "shift_y_px": shift and shift.y_px,
        "offset": _rounded(difference.offset, 2),
        "scale": _rounded(difference.scale, 5),
        "correlation": _rounded(difference.correlation, 5),
        "equal": _rounded(difference.equal, 5),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0


def write(table: pa.Table, csv: Path, parquet: Path) -> None:
    """Write the table atomically to both files."""
    for path, put in ((csv, pcsv.write_csv), (parquet, pq.write_table)):
        _write(table, path, put)


def _write(table: pa.Table, path: Path, put: Callable[[pa.Table, Path], None]) -> None:
    with files.atomic_write(path) as work:
        put(table, work)


def lines(table: pa.Table) -> list[str]:
    """Return the rows of all tiles together as text, with a header."""
    names = ("band", "patches", "shift_x_px", "shift_y_px", "offset", "scale", "correlation", "equal")
    rows = [row for row in table.to_pylist() if row["tile"] == ALL]
    texts = [names, *(tuple(_said(row[name]) for name in names) for row in rows)]
    return ["  ".join(f"{text:>{max(len(name), 8)}}" for text, name in zip(row, names, strict=True)) for row in texts]


def _said(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
