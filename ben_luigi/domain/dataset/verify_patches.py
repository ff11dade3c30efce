"""Verify that `patches.parquet` agrees with the metadata and with the name, place and products of each patch.

Its hashes and fractions of land cover are kept, to be compared with the files in the archives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ben_luigi.domain.dataset import geoparquet, metadata, time_series
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.geoparquet import BBOX, CODES, PATCHES, SCHEMA, SHARES
from ben_luigi.domain.dataset.time_series import TIME_SERIES
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_json import entry
from ben_luigi.domain.dataset.verify_provenance import is_of, start_time
from ben_luigi.domain.dataset.verify_rows import Rows, tile_named
from ben_luigi.domain.errors import some
from ben_luigi.domain.formats.tables import opened, read_parquet
from ben_luigi.domain.names import TileName
from ben_luigi.domain.placement.alignment import season
from ben_luigi.domain.placement.footprints import EDGES, LONGITUDE_LATITUDE, polygons
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.tiles.reference_maps import PIXEL_M

SAME_DEGREES = 1e-9
"""Degrees closer than this are equal: 0.1 mm on the ground; another PROJ version may change the last digit."""

_SCL_M = 20
"""The finest pixel of a scene classification; one of 60 m has parts of fewer pixels, which are parts of these, too."""

_ROWS_AT_ONCE = 8192
_SHA256_BYTES = 32
_SOURCES = {
    **{name: "the patch's name and place say" for name in SCHEMA.names if not name.startswith("clc_")},
    **dict.fromkeys(metadata.SCHEMA.names, "the metadata say"),
    **dict.fromkeys(("product", "product_id", "sensing_time"), "provenance.json or the tile's name says"),
    **dict.fromkeys(("s2_sha256", "reference_map_sha256", *SHARES), "the column must be"),
}


@dataclass(frozen=True)
class Described:
    """What `patches.parquet` states about the files of each row.

    sha256 as bytes (row, 32), uint8; pixels of each code of the dataset (row, code), uint32; shares of scene classes
    (row, class), float32, NaN where there are none. `known` tells which rows have usable values.
    """

    s2_sha256: np.ndarray
    map_sha256: np.ndarray
    pixels: np.ndarray
    shares: np.ndarray
    known: np.ndarray

    @classmethod
    def nothing(cls, rows: int, codes: int = len(CODES)) -> Described:
        """Return an object that knows nothing of any row; there are so many `codes`."""
        s2, maps = (np.zeros((rows, _SHA256_BYTES), dtype="uint8") for _ in range(2))
        pixels, shares = np.zeros((rows, codes), dtype="uint32"), np.full((rows, len(SHARES)), np.nan, dtype="float32")
        return cls(s2, maps, pixels, shares, np.zeros(rows, dtype=bool))


def check_patches(
    folder: Path,
    rows: Rows,
    grids: Mapping[str, PatchGrid],
    facts: Mapping[str, Any] | None,
    findings: Findings,
    form: Form = FORM_V2,
) -> Described | None:
    """Add findings about `patches.parquet`; return None if it cannot be read.

    `grids` has the patches of each tile, `facts` its entry in `provenance.json`, if there is one.
    """
    check = _Check(rows, grids, facts, findings, form)
    try:
        with opened(folder / PATCHES) as file:
            if not any(file.schema_arrow.equals(schema, check_metadata=False) for schema in _schemas(form)):
                raise ValueError(f"columns {some(f'{field.name}: {field.type}' for field in file.schema_arrow)}")
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                batch.validate(full=True)  # Arrow does not check by itself that text is UTF-8
                check.take(pa.Table.from_batches([batch]).combine_chunks())
            check.finish(file.schema_arrow.metadata or {})
    except (OSError, ValueError, TypeError, pa.ArrowException, shapely.errors.ShapelyError) as error:
        findings.add(PATCHES, f"cannot be read ({error})")
        return None
    return check.described


def check_time_series(folder: Path, findings: Findings) -> None:
    """Add findings about `time_series.parquet`, which follows from `patches.parquet`, and about splits of squares."""
    if findings.has(PATCHES):
        findings.skip(f"{TIME_SERIES}: {PATCHES}, from which it follows, is not right")
        return
    try:
        patches = read_parquet(folder / PATCHES, [*time_series.COLUMNS, "split"])
        expected = time_series.table(patches.drop_columns("split"))
        found = read_parquet(folder / TIME_SERIES)
    except (OSError, ValueError) as error:
        findings.add(TIME_SERIES, f"cannot be read ({error})")
        return
    if not found.equals(expected):
        same = found.num_rows == expected.num_rows and found.schema.equals(expected.schema)
        at = next((row for row in range(len(found)) if found.slice(row, 1) != expected.slice(row, 1)), 0) if same else 0
        name = expected["patch_id"][at].as_py() if same else f"{len(found)} rows of {some(found.column_names)}"
        findings.add(TIME_SERIES, f"not what follows from {PATCHES}", name)
    by_id = patches.take(pc.index_in(expected["patch_id"], value_set=patches["patch_id"]))
    several = time_series.divided(expected["square"].combine_chunks(), by_id["split"].combine_chunks())
    findings.add_all("split", "not that of the other dates of the square", several)


class _Check:
    """Check the rows batch by batch."""

    def __init__(
        self,
        rows: Rows,
        grids: Mapping[str, PatchGrid],
        facts: Mapping[str, Any] | None,
        findings: Findings,
        form: Form,
    ) -> None:
        self.described = Described.nothing(len(rows), len(form.codes))
        self._rows = rows
        self._grids = grids
        self._facts = facts
        self._findings = findings
        self._form = form
        self._code_columns = [f"clc_{code}" for code in form.codes]
        self._seen = np.zeros(len(rows), dtype=bool)
        self._last = b""
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def take(self, table: pa.Table) -> None:
        """Check the next rows; there is at least one."""
        boxes = table["bbox"].combine_chunks()
        edges = np.array([boxes.field(name).to_numpy(zero_copy_only=False) for name in BBOX])
        self._bounds[:2] = np.fmin(self._bounds[:2], np.fmin.reduce(edges[:2], axis=1))
        self._bounds[2:] = np.fmax(self._bounds[2:], np.fmax.reduce(edges[2:], axis=1))
        ids = np.asarray(table["patch_id"].fill_null("").to_numpy(), dtype="S")
        at, known = self._place(ids)
        for tile, of_tile in self._rows.tiles.items():
            mine = known & (at >= of_tile.start) & (at < of_tile.stop)
            if mine.any():
                self._judge(tile, at[mine], table.filter(pa.array(mine)).combine_chunks())

    def _place(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the row of the metadata of each patch, and whether there is one."""
        keys = self._rows.patch_ids
        at = np.searchsorted(keys, ids)
        known = np.zeros(len(ids), dtype=bool)
        inside = at < len(keys)
        known[inside] = keys[at[inside]] == ids[inside]
        if self._rows.complete:
            self._findings_of("patch_id: without a row in the metadata", ids[~known])
        again = known & np.r_[False, ids[1:] == ids[:-1]][: len(ids)]
        again[known] |= self._seen[at[known]]
        self._findings_of("patch_id: in more than one row", ids[again])
        before = np.r_[[self._last], ids[:-1]]
        self._findings_of("rows not ascending by patch_id", ids[ids < before])
        self._last = ids[-1] if len(ids) else self._last
        self._seen[at[known]] = True
        return at, known & ~again

    def _findings_of(self, what: str, names: np.ndarray) -> None:
        if len(names):
            self._findings.add(PATCHES, what, *(name.decode(errors="replace") for name in names))

    def _judge(self, tile: str, at: np.ndarray, table: pa.Table) -> None:
        """Compare rows of one tile with what is expected, column by column, and keep what is compared with files."""
        expected = {**self._metadata(at), **self._constant(tile, table), **self._edges(tile, at)}
        for column, values in expected.items():
            found = table[column].to_pylist()
            for row, (mine, other) in enumerate(zip(values, found, strict=True)):
                if mine != other:
                    self._differ(column, at[row], mine, other)
        self._check_geometry(tile, at, table)
        if SHARES[0] in table.column_names:
            self._check_shares(at, table)
        self._keep(at, table, (self._grids[tile].patch_m // PIXEL_M) ** 2)

    def _differ(self, column: str, row: int, expected: object, found: object) -> None:
        self._findings.differ(
            PATCHES,
            f"{column}: not as {_SOURCES.get(column, 'the column must be')}",
            self._rows.patch_id(row),
            expected,
            found,
        )

    def _metadata(self, at: np.ndarray) -> dict[str, list[Any]]:
        """Return the columns of the metadata."""
        rows = self._rows
        others = rows.others.take(pa.array(at))
        return {
            "labels": [list(rows.labels[row]) for row in at.tolist()],
            **{name: others[name].to_pylist() for name in others.column_names},
            **({"s1_name": [name.decode() for name in rows.s1_names[at]]} if "s1_name" in self._form.columns else {}),
        }

    def _constant(self, tile: str, table: pa.Table) -> dict[str, list[Any]]:
        """Return the columns that are the same for a whole tile."""
        named = tile_named(tile)
        first = table.slice(0, 1).to_pylist()[0]
        facts = (self._facts or {}).get(tile, {})
        values = {
            "tile": tile,
            "mgrs": named.mgrs,
            "epsg": named.epsg,
            **_of_product(named, first, facts, self._form.season_rule),
        }
        return {name: [value] * len(table) for name, value in values.items()}

    def _edges(self, tile: str, at: np.ndarray) -> dict[str, list[Any]]:
        return {name: edge.tolist() for name, edge in zip(EDGES, self._squares_of(tile, at).T, strict=True)}

    def _squares_of(self, tile: str, at: np.ndarray) -> np.ndarray:
        """Return the edges (row, edge) of patches, in the order of EDGES."""
        return self._grids[tile].patch_edges(self._rows.x[at], self._rows.y[at])

    def _check_geometry(self, tile: str, at: np.ndarray, table: pa.Table) -> None:
        expected = polygons(np.full(len(at), tile_named(tile).epsg), self._squares_of(tile, at), LONGITUDE_LATITUDE)
        found = shapely.from_wkb(table["geometry"].to_numpy(), on_invalid="ignore")
        bounds = shapely.bounds(found)
        boxes = table["bbox"].combine_chunks()
        described = np.array([boxes.field(name).to_numpy(zero_copy_only=False) for name in BBOX]).T
        same = shapely.equals_exact(expected, found, SAME_DEGREES)
        for row in np.flatnonzero(~same).tolist():
            self._differ("geometry", at[row], expected[row], found[row])
        for row in np.flatnonzero(~(np.abs(bounds - described) <= SAME_DEGREES).all(axis=1) & same).tolist():
            self._differ("bbox", at[row], bounds[row].tolist(), described[row].tolist())

    def _check_shares(self, at: np.ndarray, table: pa.Table) -> None:
        """Check that the shares of scene classes can be those of whole pixels, the same number for all of them."""
        nulls = np.array([table[name].is_null().to_numpy() for name in SHARES])
        shares = np.array([table[name].fill_null(np.nan).to_numpy() for name in SHARES], dtype="float32").T
        most = (self._form.patch_m // _SCL_M) ** 2
        known = ~nulls.any(axis=0)
        good = nulls.all(axis=0) | (known & _are_parts(shares, np.array([most])))
        others = np.flatnonzero(known & ~good)
        good[others] = [bool(_are_parts(shares[row], np.arange(1, most)).any()) for row in others.tolist()]
        for row in np.flatnonzero(~good).tolist():
            expected = f"all scl_ columns parts of the same 1 to {most} pixels, or all null"
            self._differ(SHARES[-1], at[row], expected, [table[name][row].as_py() for name in SHARES])

    def _keep(self, at: np.ndarray, table: pa.Table, map_pixels: int) -> None:
        """Keep hashes and land cover, if their values are valid; a reference map has `map_pixels`."""
        good = np.ones(len(at), dtype=bool)
        for column, place in (
            ("s2_sha256", self.described.s2_sha256),
            ("reference_map_sha256", self.described.map_sha256),
        ):
            whole = pc.fill_null(pc.match_substring_regex(table[column], "^[0-9a-f]{64}$"), False).to_numpy()
            texts = table[column].filter(pa.array(whole)).to_pylist()
            place[at[whole]] = np.frombuffer(bytes.fromhex("".join(texts)), "uint8").reshape(-1, _SHA256_BYTES)
            for row in np.flatnonzero(~whole).tolist():
                self._differ(column, at[row], "64 hexadecimal digits", table[column][row].as_py())
            good &= whole
        parts = np.array([table[name].to_numpy() for name in self._code_columns], dtype="float32").T
        pixels = np.nan_to_num(np.rint(parts * np.float32(map_pixels)), nan=0, posinf=0).clip(0, map_pixels)
        exact = (pixels.astype("float32") / np.float32(map_pixels) == parts).all(axis=1)
        for row in np.flatnonzero(~exact).tolist():
            self._differ(
                self._code_columns[-1], at[row], f"all clc_ columns parts of {map_pixels} pixels", parts[row].tolist()
            )
        self.described.pixels[at] = pixels
        self.described.known[at] = good & exact
        if SHARES[0] in table.column_names:
            columns = [table[name].fill_null(np.nan).to_numpy() for name in SHARES]
            self.described.shares[at] = np.array(columns, dtype="float32").T

    def finish(self, metadata: Mapping[bytes, bytes]) -> None:
        """Report missing patches, and compare the bounds of the file with those of the rows."""
        self._findings_of("patch_id: no row of", self._rows.patch_ids[~self._seen])
        expected = geoparquet.geo(self._bounds.tolist())
        found = json.loads(metadata.get(b"geo", b"null"))
        if found != expected:
            self._findings.differ(PATCHES, "not the metadata of GeoParquet", "geo", expected, found)


def _schemas(form: Form) -> tuple[pa.Schema, ...]:
    """Return the columns that the file may have; older versions wrote no shares of scene classes."""
    whole = form.patches_schema
    return whole, pa.schema([field for field in whole if field.name not in SHARES])


def _are_parts(shares: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return whether shares (..., class) are all parts, one in all, of so many `pixels`, one number or one per row."""
    with np.errstate(invalid="ignore"):
        counts = np.rint(shares * pixels[:, None].astype("float64"))
        exact = ((counts / pixels[:, None]).astype("float32") == shares) & (counts >= 0)
        return np.asarray(exact.all(axis=-1) & (counts.sum(axis=-1) <= pixels))


def _of_product(tile: TileName, row: Mapping[str, Any], facts: Mapping[str, Any], season_rule: str) -> dict[str, Any]:
    """Return the expected values of a row about its tile's product; unknown ones are taken from the row."""
    name = entry(facts, "l1c", "name") or (None if facts.get("l1c") else facts.get("l2a_name"))
    start, time = start_time(facts), row["sensing_time"]
    if start is not None:
        time = start.replace(microsecond=start.microsecond // 1000 * 1000, tzinfo=UTC)
    elif time is None or time.date() != tile.sensing_time.date():
        time = tile.sensing_time.replace(tzinfo=UTC)
    return {
        "product": name or (row["product"] if is_of(tile, row["product"]) else f"a product of {tile}"),
        "product_id": entry(facts, "l1c", "id") or entry(facts, "l2a", "id") if facts else row["product_id"],
        "sensing_time": time,
        "season": season(time.replace(tzinfo=None), season_rule),
    }
