"""Read the usable rows of both metadata files: with a value in each column, and well-formed names.

Rows that cannot be used are findings, and are left out of later checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA, SCHEMA
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.errors import BadName, reason, some
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.names import PatchId, TileName, s1_tile
from ben_luigi.domain.placement.grid import Square, tile_square

OTHERS = ("split", "country", "s2v1_name", *FLAGS)
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Rows:
    """The rows of both files together, ascending by patch id, without duplicates.

    Names are arrays of bytes, which take a fifth of the memory of strings; without Sentinel-1, `s1_names` are empty.
    `x` and `y` are the patch's position in its tile, `others` has those of the columns OTHERS that there are, `flagged`
    tells the file of each row, `tiles` the rows of each tile by its name. `complete` is False if there are rows that
    cannot be used.
    """

    patch_ids: np.ndarray
    s1_names: np.ndarray
    x: np.ndarray
    y: np.ndarray
    labels: Sequence[tuple[str, ...]]
    others: pa.Table
    flagged: np.ndarray
    tiles: Mapping[str, slice]
    complete: bool

    def __len__(self) -> int:
        return len(self.patch_ids)

    def patch_id(self, row: int) -> str:
        """Return the patch id of a row."""
        return str(self.patch_ids[row].decode())

    def file(self, row: int) -> str:
        """Return the file that a row belongs to."""
        return FLAGGED if self.flagged[row] else METADATA


@lru_cache(maxsize=256)
def tile_named(tile_name: str) -> TileName:
    """Return a tile's parsed name. Raise BadName if it is malformed."""
    return TileName.parse(tile_name)


@lru_cache(maxsize=256)
def rule_square(tile_name: str, side_m: int) -> Square:
    """Return the square of a tile by its MGRS name. Raise BadName if there is no such square."""
    return tile_square(tile_named(tile_name), side_m)


def read_rows(folder: Path, findings: Findings, form: Form = FORM_V2, *, free_pairs: bool = False) -> Rows:
    """Read the rows of `metadata.parquet` and of the flagged patches' file in `folder`, and add findings.

    With `free_pairs`, a patch may have no partner in Sentinel-1, whose name is empty then, or share it with others.
    """
    gathered = _Gathered(findings, form, free_pairs=free_pairs)
    for file in form.tables:
        try:
            for batch in _batches(folder / file, gathered.schema):
                gathered.add(file, batch)
        except FileNotFoundError:
            findings.add(file, "missing")
            gathered.complete = False
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            findings.add(file, f"cannot be read ({reason(error)})")
            gathered.complete = False
    if gathered.complete and not gathered.labels:
        findings.add("metadata", "no rows")
    return gathered.rows()


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    with opened(path) as parquet:
        if parquet.schema_arrow.names != schema.names:
            raise ValueError(f"columns {some(parquet.schema_arrow.names)}")
        for batch in parquet.iter_batches(_ROWS_AT_ONCE):
            batch.validate(full=True)  # Arrow does not check by itself that text is UTF-8
            yield pa.Table.from_batches([batch]).cast(schema)


class _Gathered:
    """Take the rows batch by batch, and check each on its own."""

    def __init__(self, findings: Findings, form: Form, *, free_pairs: bool) -> None:
        self._lacking = {"country"} if form.may_lack_country else set()
        self._lacking |= {"s1_name"} if free_pairs else set()
        self._is_shared = free_pairs or form.shares_sentinel1
        self.schema = pa.schema([SCHEMA.field(name) for name in form.columns])
        self.complete = True
        self.labels: list[tuple[str, ...]] = []
        self._findings = findings
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._checks = {
            name: check for name, check in (("patch_id", _check_patch_id), ("s1_name", s1_tile)) if name in form.columns
        }
        self._names: dict[str, list[np.ndarray]] = {name: [np.empty(0, "S1")] for name in self._checks}
        self._form = form
        self._other_names = [name for name in OTHERS if name in form.columns]
        self._others = [pa.schema([SCHEMA.field(name) for name in self._other_names]).empty_table()]
        self._flagged = [np.empty(0, dtype=bool)]
        self._last: dict[str, str] = {}

    def add(self, file: str, batch: pa.Table) -> None:
        """Take the next rows of a file."""
        usable = self._with_values(file, batch)
        for column, check in self._checks.items():
            usable &= self._named(file, column, batch[column].to_pylist(), check)
        self.complete &= bool(usable.all())
        rows = batch.filter(pa.array(usable))
        ids = rows["patch_id"].to_pylist()
        self._check_order(file, ids)
        self._check_flags(file, rows, ids)
        for column, parts in self._names.items():
            parts.append(np.asarray(rows[column].fill_null("").to_numpy(), dtype="S"))
        self.labels += (self._known.setdefault(row, row) for row in map(tuple, rows["labels"].to_pylist()))
        self._others.append(rows.select(self._other_names))
        self._flagged.append(np.full(len(rows), file == FLAGGED))

    def _check_flags(self, file: str, rows: pa.Table, ids: Sequence[str]) -> None:
        if not self._form.has_flags:
            return
        odd = pc.not_equal(pc.or_(rows[FLAGS[0]], rows[FLAGS[1]]), file == FLAGGED).to_pylist()
        if any(odd):
            wrong = [name for name, is_odd in zip(ids, odd, strict=True) if is_odd]
            self._findings.add(file, "in the wrong file, by their flags", *wrong)

    def _with_values(self, file: str, batch: pa.Table) -> np.ndarray:
        usable = np.ones(len(batch), dtype=bool)
        for column in self.schema.names:
            if column in self._lacking:
                continue
            wrongs = {"without a value": batch[column].is_null().to_numpy()}
            if pa.types.is_list(batch.schema.field(column).type):
                wrongs["with a gap"] = _with_gaps(batch[column].combine_chunks())
            for wrong, rows in wrongs.items():
                names = batch["patch_id"].filter(pa.array(rows)).to_pylist()
                self._findings.add_all(file, f"{column}: {wrong}", [*map(str, names)])
                usable &= ~rows
        return usable

    def _named(self, file: str, column: str, names: Sequence[str | None], check: Callable[[str], object]) -> np.ndarray:
        usable = np.ones(len(names), dtype=bool)
        for row, name in enumerate(names):
            if name is None and column in self._lacking:
                continue
            try:
                check(name or "")
            except BadName as error:
                usable[row] = False
                if name is not None:
                    self._findings.differ(file, f"{column}: another name than it must be", name, error.expected, name)
        return usable

    def _check_order(self, file: str, ids: Sequence[str]) -> None:
        last = self._last.get(file, "")
        for name in ids:
            if name < last:
                self._findings.add(file, "rows not ascending by patch_id", name)
            last = name
        self._last[file] = last

    def rows(self) -> Rows:
        """Return all rows that can be used."""
        names = {column: np.concatenate(parts) for column, parts in self._names.items()}
        ids = names["patch_id"]
        s1_names = names.get("s1_name", np.zeros(len(ids), "S1"))
        others, flagged = pa.concat_tables(self._others), np.concatenate(self._flagged)
        order = np.argsort(ids, kind="stable")
        order = order[self._first_ones("patch_id", ids[order])]
        if "s1_name" in names and not self._is_shared:
            by_s1 = np.argsort(s1_names[order], kind="stable")
            order = order[np.sort(by_s1[self._first_ones("s1_name", s1_names[order][by_s1])])]
        x, y, tiles = _places(ids[order])
        return Rows(
            patch_ids=ids[order],
            s1_names=s1_names[order],
            x=x,
            y=y,
            labels=[self.labels[row] for row in order.tolist()],
            others=others.take(pa.array(order)).combine_chunks(),
            flagged=flagged[order],
            tiles=tiles,
            complete=self.complete,
        )

    def _first_ones(self, column: str, ordered: np.ndarray) -> np.ndarray:
        """Return which of the ascending names are the first of their kind; add a finding for duplicates."""
        again = np.r_[False, ordered[1:] == ordered[:-1]][: len(ordered)]
        for name in np.unique(ordered[again]).tolist():
            self._findings.add("metadata", f"{column} in more than one row", name.decode())
            self.complete = False
        return np.asarray(~again)


def _with_gaps(lists: pa.ListArray) -> np.ndarray:
    """Return which lists have an element without a value."""
    gaps = pc.list_flatten(lists).is_null()
    return np.isin(np.arange(len(lists)), pc.list_parent_indices(lists).filter(gaps).to_numpy(zero_copy_only=False))


def _check_patch_id(name: str) -> None:
    patch = PatchId.parse(name)
    rule_square(patch.tile_name, 0)
    if str(patch) != name:
        raise BadName(f"patch id {name!r}", expected=str(patch), found=name, remedy="correct the file")


def _places(patch_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, slice]]:
    """Return the position of each patch in its tile, and the slice of rows of each tile.

    Ascending ids keep the rows of a tile together.
    """
    x, y = (np.empty(len(patch_ids), dtype="int32") for _ in range(2))
    first: dict[str, int] = {}
    for row, name in enumerate(patch_ids):
        patch = PatchId.parse(name.decode())
        x[row], y[row] = patch.x, patch.y
        first.setdefault(patch.tile_name, row)
    bounds = pairwise([*first.values(), len(patch_ids)])
    return x, y, {tile: slice(*pair) for tile, pair in zip(first, bounds, strict=True)}
