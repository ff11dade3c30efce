"""Read the patches of a finished dataset, ours or a downloaded one, in one pass over each archive.

Archives are read as streams, or the folders unpacked from them. Nothing is unpacked to disk. Memory: one patch, and
per row 270 bytes, while the metadata are read 400.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.dataset import members, sentinel1
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.metadata import FLAGGED, SCHEMA
from ben_luigi.domain.dataset.usable_rows import require_usable
from ben_luigi.domain.errors import BadArchive, BadInput, BadTable, DamagedFile, reason, some
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.rows_by_name import RowsByName
from ben_luigi.domain.names import MAP_SUFFIX, ProductName
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.vocabulary import MAPS_ARCHIVE, S1_ARCHIVE, S2_ARCHIVE

S2, MAPS, S1 = S2_ARCHIVE, MAPS_ARCHIVE, S1_ARCHIVE
MAP = MAP_SUFFIX.removeprefix("_")
"""What a reference map is called beside the bands."""
KINDS = {S2: BANDS, MAPS: (MAP,), S1: sentinel1.BANDS}
"""The files of a patch in each archive, by what follows its name in theirs."""
FLAG = "is_flagged"
"""The column that tells whether a patch is in the second file of metadata: with snow, cloud or shadow."""

_WORDS = ("labels", "split", "country")
"""The columns of few words, each of which is kept once: that saves 40 MB of all 549,488 rows."""
_WORD = pa.dictionary(pa.int32(), pa.string())

_SHOWN, _LAYERS_SHOWN = 3, 20
_ROWS_AT_ONCE = 65_536


class Patch(NamedTuple):
    """The files of one patch in one archive: row of the metadata, and the bytes of each TIFF by kind."""

    row: int
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Source:
    """A finished dataset in `folder`; `rows` are the patches to export, ascending by patch id, with FLAG.

    Labels, splits and countries are numbers of words in them; `spelled_out` makes texts of these again.

    `selection` has the options by which they were selected, if they are not all; `classes` the labels that the whole
    dataset may have: those of its nomenclature, sorted, and after them others that occur. Archives that are `left_out`
    need not be there.
    """

    folder: Path
    rows: pa.Table
    form: Form = FORM_V2
    selection: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path, form: Form = FORM_V2, classes: Collection[str] = ()) -> Source:
        """Read the metadata. `classes` are those of the nomenclature, of which a subset's folder may have some only.

        Raise BadInput if a file is missing or unreadable, BadTable if a row cannot be used or a patch is there twice.

        One patch of S1 may be the partner of several of S2.
        """
        schema = pa.schema([SCHEMA.field(name) for name in form.columns])
        lacking = ("country",) if form.may_lack_country else ()
        tables = [_read_rows(folder / name, schema, lacking) for name in form.tables]
        if not any(map(len, tables)):
            raise BadTable(
                folder,
                expected="patches in the metadata",
                found=f"no row in {some(form.tables)}",
                remedy="make or fetch the files again, or name the folder of a finished dataset",
            )
        _give_back()
        flags = np.repeat([name == FLAGGED for name in form.tables], [len(table) for table in tables])
        order = _order(tables)
        rows = _taken(tables, order).append_column(FLAG, pa.array(flags).take(order))
        _check_unique(folder, rows["patch_id"].combine_chunks())
        others = _labels(rows) - {*classes}
        return cls(folder, rows, form, classes=(*sorted({*classes}), *sorted(others)))

    @property
    def archives(self) -> tuple[str, ...]:
        """The names of the archives: without that of S1 if there is none, and without those of further layers."""
        return tuple(name for name in self.form.archives if name in KINDS and name not in self.left_out)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of files that a patch has: bands of S2, reference map, polarisations of S1."""
        return tuple(kind for name in (S2, MAPS, S1) if name in self.archives for kind in KINDS[name])

    def parts(self) -> dict[str, np.ndarray]:
        """Return the rows of each part of the dataset, ascending, by its name: see `part_of`."""
        flagged, splits = self.rows[FLAG].to_numpy(), self.rows["split"].combine_chunks()
        numbers, words = splits.indices.to_numpy(), splits.dictionary.to_pylist()
        found = {
            _part(word, is_flagged): np.flatnonzero((flagged == is_flagged) & (numbers == words.index(word)))
            for is_flagged in (False, True)
            for word in sorted(words)
        }
        return {part: rows for part, rows in found.items() if len(rows)}

    def names(self, archive: str) -> pa.Array:
        """Return the name of each row's patch in an archive; null where it has none there."""
        if archive == S1 and S1 not in self.archives:
            return pa.nulls(len(self.rows), pa.string())
        return self.rows["s1_name" if archive == S1 else "patch_id"].combine_chunks()

    def patches(self, archive: str) -> Iterator[Patch]:
        """Yield the patches of an archive, in its order: of S2 and maps ascending by row; one of S1 once per row
        that has it.

        Raise DamagedFile or BadArchive, which name the archive, if it is damaged or lacks a file.
        """
        if archive not in self.archives:
            return
        path = self.path(archive)
        found = members.read(path) if path.is_file() else members.read_folder(path, self.folder)
        yield from patches_of(path, found, self.names(archive), archive)

    def beside(self) -> Iterator[tuple[Patch, bytes]]:
        """Yield each patch of S2 with the bytes of its reference map, ascending by row."""
        maps = self.patches(MAPS)
        for patch, other in zip(self.patches(S2), maps, strict=True):
            if patch.row != other.row:
                raise BadArchive(
                    self.path(MAPS),
                    expected=f"the reference maps in the order of the patches, {self._patch_id(patch.row)} next",
                    found=self._patch_id(other.row),
                    remedy="run ben-luigi verify on the dataset, which names all that is wrong",
                )
            yield patch, other.files[MAP]

    def _patch_id(self, row: int) -> str:
        return str(self.rows["patch_id"][row].as_py())

    def path(self, archive: str) -> Path:
        """Return the archive, or the folder unpacked from it. Raise BadInput if there is neither."""
        packed, unpacked = self.folder / f"{archive}.tar.zst", self.folder / archive
        if packed.is_file():
            return packed
        if unpacked.is_dir():
            return unpacked
        raise BadInput(
            self.folder,
            expected=f"{packed.name}, or the folder {archive} unpacked from it",
            found="neither",
            remedy="name the folder of a finished dataset, or put the archive there"
            + ("; --without-s1 exports what is there" if archive == S1 else ""),
        )


def spelled_out(rows: pa.Table) -> pa.Table:
    """Return some rows of a Source with the types that the metadata have."""
    return rows.cast(pa.schema([SCHEMA.field(each.name) if each.name in _WORDS else each for each in rows.schema]))


def patches_of(
    path: Path, found: Iterable[members.Member | members.Damage | members.Unreadable], names: pa.Array, archive: str
) -> Iterator[Patch]:
    """Yield the patches that the members of an archive, or of a part of one, are the files of, in their order.

    `names` are those of the rows, null where a row has none. Raise DamagedFile or BadArchive about `path`.
    """
    awaited = _Awaited(path, names, KINDS[archive])
    for member in found:
        if isinstance(member, members.Damage):
            raise _damaged(path, member.what)
        if isinstance(member, members.Unreadable):
            raise _damaged(path.parent / member.name, member.why)
        yield from awaited.take(member)
    awaited.check()


def without_layers(form: Form) -> list[str]:
    """Return the line that says which further layers of a dataset its forms do not have, if it has such layers."""
    names = some((layer.name for layer in form.layers), _LAYERS_SHOWN)
    return [f"without the layers {names}: these are in the archives only"] if names else []


def offset_tiles(folder: Path) -> frozenset[str]:
    """Return the names of the tiles whose pixels carry BOA_ADD_OFFSET, as `provenance.json` says, if there is one."""
    path = folder / "provenance.json"
    if not path.is_file():
        return frozenset()
    try:
        tiles = read_json(path, 2**28)["tiles"].values()
        return frozenset(ProductName.parse(tile["l2a_name"]).tile_name for tile in tiles if tile.get("boa_offset"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "restore it, or take it away: then pixels count as they are"
        raise BadInput(path, expected="what it says of each tile", found=repr(error), remedy=remedy) from error


def part_of(rows: pa.Table, row: int) -> str:
    """Return the part of the dataset that a patch is in: `train` and so on, or `flagged-train` and so on."""
    return _part(rows["split"][row].as_py(), rows[FLAG][row].as_py())


def _part(split: str, is_flagged: bool) -> str:
    return f"flagged-{split}" if is_flagged else split


class _Awaited:
    """Gather the files of each patch of an archive, and notice those that never come."""

    def __init__(self, path: Path, names: pa.Array, kinds: Sequence[str]) -> None:
        self._path, self._kinds, self._names = path, kinds, names
        self._of_name = RowsByName(names)
        self._missing = names.is_valid().to_numpy(zero_copy_only=False).copy()
        self._row, self._name = -1, ""
        self._rows: list[int] = []
        self._files: dict[str, bytes] = {}

    def take(self, member: members.Member) -> list[Patch]:
        """Take a member; return its patch, for each row that has it, if it is the last of it; else nothing."""
        stem = member.name.rpartition("/")[2].removesuffix(".tif")
        name, kind = _split(stem, self._kinds)
        if name != self._name or self._row < 0:
            rows = self._of_name.of(name)
            if not rows:
                return []
            self._check_whole()
            self._row, self._rows, self._name, self._files = rows[0], rows, name, {}
        row = self._row
        if kind not in self._kinds or kind in self._files or not self._missing[row]:
            raise self._bad(f"each file of {name} once, beside each other", member.name)
        self._files[kind] = member.data
        if len(self._files) < len(self._kinds):
            return []
        self._missing[self._rows] = False
        files = {kind: self._files[kind] for kind in self._kinds}
        return [Patch(row, files) for row in self._rows]

    def check(self) -> None:
        """Raise BadArchive if files of a patch have not come."""
        self._check_whole()
        if self._missing.any():
            lacking = self._names.filter(pa.array(self._missing)).to_pylist()
            raise self._bad("all patches of the metadata", f"it lacks {some(lacking, _SHOWN)}")

    def _check_whole(self) -> None:
        if self._row >= 0 and self._missing[self._row]:
            lacking = [kind for kind in self._kinds if kind not in self._files]
            raise self._bad(f"{len(self._kinds)} files of {self._name}", f"it lacks {', '.join(lacking)}")

    def _bad(self, expected: str, found: str) -> BadArchive:
        return BadArchive(
            self._path,
            expected=expected,
            found=found,
            remedy="run ben-luigi verify on the dataset, which names all that is wrong; nothing was made of it",
        )


def _split(stem: str, kinds: Sequence[str]) -> tuple[str, str]:
    """Return name and kind in the name of a file without suffix."""
    if kinds == KINDS[MAPS]:
        return stem.removesuffix(MAP_SUFFIX), MAP if stem.endswith(MAP_SUFFIX) else ""
    name, _, kind = stem.rpartition("_")
    return name, kind


def _damaged(path: Path, what: str) -> DamagedFile:
    remedy = "fetch or make that file again, and repeat the command; nothing was made of it"
    return DamagedFile(path, expected="an archive without damage", found=what, remedy=remedy)


def _read_rows(path: Path, schema: pa.Schema, lacking: Collection[str]) -> pa.Table:
    try:
        with opened(path) as file:
            if unfit := _unfit(file.schema_arrow, schema):
                raise ValueError(unfit)
            held = _coded(schema)
            batches = [batch.cast(schema).cast(held) for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False)]
            rows = pa.Table.from_batches(batches, held)
        rows.validate(full=True)  # Arrow does not check by itself that text is UTF-8
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInput(
            path,
            expected="metadata of a finished dataset, as Parquet",
            found=reason(error),
            remedy="name the folder of a finished dataset, or make or fetch the file again",
        ) from error
    require_usable(path, rows, lacking)
    return rows


def _unfit(found: pa.Schema, schema: pa.Schema) -> str:
    """Return how the columns of a file are not those of the schema; an empty text if they can be read as these."""
    if lacking := [name for name in schema.names if name not in found.names]:
        return f"no column {some(lacking)}"
    if found.names != schema.names:
        return f"columns {some(found.names, len(found.names))}, where there should be {some(schema.names)}"
    for each in schema:
        kind = found.field(each.name).type
        try:
            pa.array([], kind).cast(each.type)
        except pa.ArrowException:
            return f"{each.name} of type {kind}, where {each.type} is read"
    return ""


def _coded(schema: pa.Schema) -> pa.Schema:
    """Return the schema with numbers of words in the place of words."""
    types = {name: pa.list_(_WORD) if name == "labels" else _WORD for name in _WORDS}
    return pa.schema([each.with_type(types.get(each.name, each.type)) for each in schema])


def _order(tables: Sequence[pa.Table]) -> pa.Array:
    """Return the rows of the tables together in the order of their patch ids."""
    return pc.sort_indices(pa.chunked_array([chunk for table in tables for chunk in table["patch_id"].chunks]))


def _taken(tables: list[pa.Table], order: pa.Array) -> pa.Table:
    """Return the rows of the tables together in this order, column by column, so that no two copies are in memory."""
    schema = tables[0].schema
    columns = []
    for each in schema:
        chunks = [chunk for table in tables for chunk in table[each.name].chunks]
        columns.append(pa.chunked_array(chunks, each.type).take(order).combine_chunks())
        tables[:] = [table.drop_columns([each.name]) for table in tables]
        _give_back()
    return pa.table(columns, schema=schema)


def _give_back() -> None:
    """Give memory that Arrow has used, and keeps for the next time, back to the system: 130 MB of all 549,488 rows."""
    pa.default_memory_pool().release_unused()


def _labels(rows: pa.Table) -> set[str]:
    """Return the labels that occur; few rows at once, since the labels of all are copied for that."""
    batches = rows.select(["labels"]).to_batches(max_chunksize=_ROWS_AT_ONCE)
    return {label for batch in batches for label in pc.unique(pc.list_flatten(batch["labels"])).to_pylist()}


def _check_unique(folder: Path, ordered: pa.Array) -> None:
    twice = ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])).unique().to_pylist() if len(ordered) else []
    if twice:
        raise BadTable(
            folder,
            expected="each patch_id in one row of the metadata",
            found=f"more than one row of {some(twice, _SHOWN)}",
            remedy="run ben-luigi verify on the dataset, which names all that is wrong",
        )
