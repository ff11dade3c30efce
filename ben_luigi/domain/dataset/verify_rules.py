"""Verify that the values of each row follow the rules: where the patch lies, and how its names belong together.

All 65,716 published rows of UTM zones 31, 32 and 33 keep these rules, and so do all 590,326 patches of v1 with their
products and S1 patches, as far as the published lists contain both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.metadata import FLAGS, read_csv
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_rows import Rows, tile_named
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.names import TileName, s1_sensing_time, s1_tile, split_position, v1_sensing_time
from ben_luigi.domain.placement import split as splitting
from ben_luigi.domain.placement.country import NO_COUNTRY, check_tile, countries, read_borders
from ben_luigi.domain.placement.grid import SPLITS, PatchGrid, Square
from ben_luigi.domain.recipe.model import BLOCKS, CSV, FROM_V1

V1_APART = timedelta(seconds=8)
"""Most that the time in a v1 name differs from the sensing time of its product, in all 590,326 published pairs."""

S1_APART = timedelta(days=6)
"""Most that the time of an S1 patch differs from that of its v1 patch, in all 590,326 published pairs."""


@dataclass(frozen=True)
class References:
    """Inputs of a dataset against which its rows are checked, where they are available.

    Borders of the countries (GeoJSON), and lists (CSV): pairs of v1 and S1 patch, v1 patches with snow, with cloud.
    """

    borders: Path | None = None
    s1s2: Path | None = None
    snow: Path | None = None
    cloud: Path | None = None

    def missing(self, form: Form = FORM_V2) -> list[str]:
        """Return what is not checked because one of these inputs is missing, one sentence each."""
        nearest = "the nearest of the ten" if form.about.is_v2 else "the one that the recipe says"
        lacking = {
            "country": (f"whether it is {nearest}, for want of the borders", self.borders),
            "s1_name": ("whether it is the partner of the v1 patch, for want of the pairs", self.s1s2),
            FLAGS[0]: ("whether it is so listed, for want of the list", self.snow),
            FLAGS[1]: ("whether it is so listed, for want of the list", self.cloud),
        }
        if form.sentinel1.source != FROM_V1:
            del lacking["s1_name"]
        return [f"{name}: {what}" for name, (what, path) in lacking.items() if name in form.columns and path is None]


NO_REFERENCES = References()

Wrong = Iterator[tuple[str, object, object]]
"""What is wrong with a row: column and rule, expected value, found value."""


def check_rows(
    rows: Rows,
    squares: Mapping[str, Square],
    references: References,
    findings: Findings,
    form: Form = FORM_V2,
    listed: Sequence[PatchGrid] = (),
) -> None:
    """Add a finding for each value that breaks a rule; `squares` has the square of each tile.

    `listed` has the grid of each tile among which a recipe divides blocks of ground.
    """
    given = references.borders if "country" in form.columns else None
    if given is not None:
        read_borders(given, form.countries)  # an error of the file itself is not one of the dataset
    without = {
        CSV: "the recipe's CSV, which is not part of the dataset",
        BLOCKS: "" if listed else f"the recipe's blocks, for want of the tiles' names in {PROVENANCE}",
    }
    if lacking := without.get(form.split.rule):
        findings.skip(f"split: whether it is that of {lacking}")
    for name, of_tile in rows.tiles.items():
        borders = _borders_near(name, squares[name], given, rows.file(of_tile.start), form, findings)
        grid = PatchGrid(name, squares[name], form.patch_m)
        splits = None if lacking else splitting.splits(grid, form.split, listed)
        tile = _Tile(tile_named(name), grid, borders, form, splits)
        columns = {column: rows.others[column][of_tile].to_pylist() for column in rows.others.column_names}
        for at, row in enumerate(range(of_tile.start, of_tile.stop)):
            values = {column: column_values[at] for column, column_values in columns.items()}
            wrong = (*tile.check(int(rows.x[row]), int(rows.y[row]), values, rows.s1_names[row]),)
            for what, expected, found in (*wrong, *_order(rows.labels[row])):
                findings.differ(rows.file(row), what, rows.patch_id(row), expected, found)
    if "s2v1_name" in form.columns:
        _check_v1_names(rows, findings)
        _check_lists(rows, references, findings, form)


def _borders_near(
    tile: str, square: Square, borders: Path | None, file: str, form: Form, findings: Findings
) -> Path | None:
    """Return the borders; add a finding and return None if the tile's square is far from all of the countries."""
    if borders is None:
        return None
    try:
        check_tile(tile, square, borders, form.countries)
    except BadInput as error:
        of = "all of the ten countries" if form.about.is_v2 else "all of the countries"
        findings.differ(file, f"tile: far from {of}", tile, error.expected, error.found)
        return None
    return borders


class _Tile:
    """The rules for the patches of one tile."""

    def __init__(
        self, name: TileName, grid: PatchGrid, borders: Path | None, form: Form, splits: np.ndarray | None
    ) -> None:
        self._name = name
        self._sensed = name.sensing_time
        self._grid = grid
        self._form = form
        self._splits = splits
        self._countries = countries(grid, borders, form.countries) if borders is not None else None

    def check(self, x: int, y: int, values: Mapping[str, Any], s1_name: bytes) -> Wrong:
        """Check the values of a patch's row, by column; those that the dataset does not have are left out."""
        yield from self.place(x, y, str(values["split"]), values.get("country"))
        if "s2v1_name" in values:
            yield from self.v1_name(x, y, str(values["s2v1_name"]))
        if s1_name:
            yield from self.s1_name(x, y, s1_name.decode())

    def place(self, x: int, y: int, split: str, country: str | None) -> Wrong:
        """Check position, split and country."""
        side = self._grid.patches_a_side
        if max(x, y) >= side:
            yield "patch_id: a position outside of the tile", f"both below {side}", f"{x}, {y}"
            return
        at = self._grid.position(x, y)
        if self._splits is not None and split != self._splits[at]:
            yield "split: not that of the patch's place in its tile", self._splits[at], split
        elif split not in SPLITS:
            yield "split: none of the three", f"one of {', '.join(SPLITS)}", split
        names = self._form.countries.names
        if self._countries is not None:
            if (country or NO_COUNTRY) != self._countries[at]:
                yield "country: not the nearest one", self._countries[at] or "none", country
        elif "country" in self._form.columns and names is not None and country not in names:
            of = "the ten" if self._form.about.is_v2 else "the recipe's"
            yield f"country: none of {of}", f"one of {', '.join(names)}", country

    def v1_name(self, x: int, y: int, name: str) -> Wrong:
        """Check that the v1 name has the satellite, time and position of the patch."""
        tile = self._name
        start, *position = split_position(name)
        time = _v1_time(start)
        near = time is not None and abs(time - self._sensed) <= V1_APART
        if not near or not start.startswith(f"{tile.mission}_") or position != [str(x), str(y)]:
            expected = f"{tile.mission}_MSIL2A_{tile.sensing}_{x}_{y}, up to {V1_APART.seconds} s off"
            yield "s2v1_name: not of the patch's satellite, time and position", expected, name

    def s1_name(self, x: int, y: int, name: str) -> Wrong:
        """Check that the S1 name has the MGRS square and position of the patch, and about its time.

        Where Sentinel-1 is not that of v1, it may be the id of the patch, and must be where patches are cut.
        """
        tile, given = self._name, self._form.sentinel1
        patch_id = str(self._grid.patch_id(x, y))
        if self._form.cuts_sentinel1 and name != patch_id:
            yield "s1_name: not the id of the patch", patch_id, name
        if self._form.cuts_sentinel1 or (given.source != FROM_V1 and name == patch_id):
            return
        apart = S1_APART if given.source == FROM_V1 else timedelta(days=given.max_days)
        acquisition = s1_tile(name)
        time = _s1_time(acquisition)
        near = time is not None and abs(time - self._sensed) <= apart
        if not near or name != f"{acquisition}_{tile.mgrs}_{x}_{y}":
            expected = f"..._{tile.mgrs}_{x}_{y}, within {apart.days} days of {tile.sensing}"
            yield "s1_name: not of the patch's MGRS square, position and time", expected, name


@lru_cache(maxsize=4096)
def _v1_time(start: str) -> datetime | None:
    """Return the time in a v1 name, UTC, given what precedes its position; None if it is not such a name."""
    try:
        return v1_sensing_time(f"{start}_0_0")
    except BadName:
        return None


@lru_cache(maxsize=4096)
def _s1_time(acquisition: str) -> datetime | None:
    """Return the time of an acquisition, UTC; None if its name has none."""
    try:
        return s1_sensing_time(acquisition)
    except BadName:
        return None


def _order(labels: tuple[str, ...]) -> Wrong:
    if list(labels) != sorted(set(labels)):
        yield "labels: not ascending, each once", sorted(set(labels)), list(labels)


def _check_v1_names(rows: Rows, findings: Findings) -> None:
    """Add findings for duplicate v1 names. They are no key of anything else, so rows that share one remain in use."""
    names = np.sort(rows.others["s2v1_name"].to_numpy().astype("S"))
    again = np.unique(names[1:][names[1:] == names[:-1]])
    findings.add_all("metadata", "s2v1_name in more than one row", [name.decode() for name in again])


def _check_lists(rows: Rows, references: References, findings: Findings, form: Form) -> None:
    """Compare S1 names and flags with the lists that they come from."""
    names = rows.others["s2v1_name"].combine_chunks()
    if references.s1s2 is not None and form.sentinel1.source == FROM_V1:
        pairs = read_csv(references.s1s2, ["s2v1_name", "s1_name"], header=False)
        found = pc.index_in(names, value_set=pairs["s2v1_name"].combine_chunks())
        expected = pairs["s1_name"].combine_chunks().take(found)
        _differ(
            rows, "s1_name: not the partner of the v1 patch", expected, pa.array(rows.s1_names).cast("utf8"), findings
        )
    for flag, path in zip(FLAGS, (references.snow, references.cloud), strict=True):
        if path is not None:
            listed = read_csv(path, ["s2v1_name"], header=False)["s2v1_name"].combine_chunks()
            found = rows.others[flag].combine_chunks()
            _differ(rows, f"{flag}: not as listed", pc.is_in(names, value_set=listed), found, findings)


def _differ(rows: Rows, what: str, expected: pa.Array, found: pa.Array, findings: Findings) -> None:
    same: Any = pc.fill_null(pc.equal(expected, found), False)
    for row in np.flatnonzero(~same.to_numpy(zero_copy_only=False)).tolist():
        findings.differ(rows.file(row), what, rows.patch_id(row), expected[row].as_py(), found[row].as_py())
