"""What all forms have in common: how one is written from a dataset and read again, and the note that lies in it.

The note lists all other files of the form with length and CRC-32, and has a CRC-32 of itself, so that a changed byte
anywhere is found and its file is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import deflate
import numpy as np
import pyarrow as pa

from ben_luigi.domain import libraries
from ben_luigi.domain.errors import DamagedFile, reason
from ben_luigi.domain.forms.listed import Listed, files_of
from ben_luigi.domain.forms.pixels import Places
from ben_luigi.domain.forms.source import S1, Source
from ben_luigi.domain.given import read_bytes
from ben_luigi.domain.progress import OnFraction
from ben_luigi.domain.vocabulary import TIFF

NOTE = "form.json"
"""The file in the folder of a form that tells which one it is, and how it was made."""
MB = 10**6
_FILES, _CRC32 = "files", "crc32"
_MOST_BYTES = 2**26
"""A million files have fewer."""


@dataclass(frozen=True)
class Options:
    """How a form is written: the seed by which it is shuffled, the size of its files, what Parquet's columns hold."""

    seed: int = 0
    file_mb: float = 1000
    pixels: str = TIFF

    @property
    def file_bytes(self) -> int:
        """The size of a file in bytes."""
        return int(self.file_mb * MB)


class Shown(NamedTuple):
    """Pixels (row, col) that a form has: of a patch, by patch id or S1 name, and the kind of its file.

    `tiff` has the bytes of the whole TIFF, where the form has them.
    """

    name: str
    kind: str
    pixels: np.ndarray
    tiff: bytes | None = None


class Difference(NamedTuple):
    """What a file of a form says that its dataset does not; `name` is the patch or member, if it is about one."""

    file: str
    what: str
    name: str = ""


@dataclass(frozen=True)
class Truth:
    """What a form should say: the patches of the dataset, where they lie, and the rows of a patch id or S1 name."""

    source: Source
    places: Places
    rows: Callable[[str], tuple[int, ...]]


Check = Callable[[Truth, Path], Iterator[Difference]]


def unequal(found: pa.ChunkedArray | pa.Array, expected: pa.ChunkedArray | pa.Array) -> list[int]:
    """Return the positions at which two columns of one length differ."""
    if found.equals(expected):
        return []
    pairs = zip(found.to_pylist(), expected.to_pylist(), strict=True)
    return [at for at, (one, other) in enumerate(pairs) if one != other]


class Note(NamedTuple):
    """What the note in a form says.

    It is the name of the form, by which options its patches were selected, how many they are, and which archives were
    left out. `files` are the other files of the form; None in a note from before they were listed. `is_as_written`
    tells whether the note itself has the bytes that were written. `kinds` are the kinds of files that a patch has,
    `dataset` name and version of the dataset.
    """

    form: str
    selection: Mapping[str, str]
    patches: int
    left_out: tuple[str, ...] = ()
    files: Mapping[str, Listed] | None = None
    is_as_written: bool = True
    kinds: tuple[str, ...] = ()
    dataset: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class PatchForm:
    """A form: its name, what it is, the libraries that it needs, and the functions that write and read it.

    `write` writes the form of a dataset to a new folder, and reports the fraction that is done. `read` yields all
    pixels that it has. It may raise DamagedFile. `options` are those of `[forms]` that make a difference to it.
    `is_mapped` tells that its reader maps the file, so that a damaged one can end the process.
    `check` yields what the form says otherwise than its dataset, besides pixels; it may raise DamagedFile. `has_tiffs`
    tells that it may have whole TIFFs, `tells_offset` that it says which pixels carry BOA_ADD_OFFSET, `tells_classes`
    that it has all classes of the nomenclature, also those of none of its patches, `is_by_name` that patches of S1 and
    S2 with the same name have one value.
    """

    name: str
    title: str
    libraries: tuple[str, ...]
    write: Callable[[Source, Path, Options, OnFraction], None]
    read: Callable[[Path], Iterator[Shown]]
    kinds: Callable[[Source], tuple[str, ...]] = lambda source: source.kinds
    options: tuple[str, ...] = ()
    is_mapped: bool = False
    check: Check | None = None
    has_tiffs: bool = False
    tells_offset: bool = False
    tells_classes: bool = False
    is_by_name: bool = False

    def made_with(self, options: Options) -> dict[str, object]:
        """Return those of the options that make a difference to this form."""
        return {name: getattr(options, name) for name in self.options}

    def require_libraries(self) -> None:
        """Raise BadInput, with what to type, if a library is missing or too old."""
        libraries.require(f"form {self.name}", self.libraries)


class Steps:
    """Report how much of the patches of all archives has been read."""

    def __init__(self, source: Source, progress: OnFraction) -> None:
        names = source.names(S1)
        self._total = max(1, len(source.rows) + len(names) - names.null_count)
        self._done, self._progress = 0, progress

    def step(self) -> None:
        """Count a patch of S2 with its map, or of S1."""
        self._done += 1
        if self._done % 256 == 0 or self._done == self._total:
            self._progress(self._done / self._total)


def write_note(folder: Path, form: PatchForm, source: Source, options: Options, progress: OnFraction) -> None:
    """Write the note of a form that is complete; the same dataset and options give the same bytes.

    `progress` receives the fraction of the form that has been read, for the CRC-32 of its files.
    """
    listed = {name: str(file) for name, file in files_of(folder, NOTE, progress=progress).items()}
    note = {**_said(form, source), "options": form.made_with(options), _FILES: listed}
    (folder / NOTE).write_text(_text(note), encoding="utf-8", newline="")


def _said(form: PatchForm, source: Source) -> dict[str, Any]:
    """Return what a note says that follows from the dataset and its selection."""
    about = source.form.about
    return {
        "form": form.name,
        "dataset": {"name": about.name, "version": about.version},
        "patches": len(source.rows),
        "selection": dict(source.selection),
        "kinds": list(form.kinds(source)),
        **({"left_out": list(source.left_out)} if source.left_out else {}),
    }


def _text(note: Mapping[str, Any]) -> str:
    """Return the note with its own CRC-32."""
    crc32 = deflate.crc32(json.dumps(note, sort_keys=True).encode())
    return json.dumps({**note, _CRC32: crc32}, indent=1, sort_keys=True) + "\n"


def read_note(folder: Path) -> Note:
    """Return the note of a form. Raise DamagedFile if there is none that can be read."""
    try:
        text = read_bytes(folder / NOTE, _MOST_BYTES).decode()
        note = json.loads(text)
        selection = {str(option): str(word) for option, word in note["selection"].items()}
        left_out = tuple(str(archive) for archive in note.get("left_out", ()))
        files = {name: Listed.parse(told) for name, told in note[_FILES].items()} if _FILES in note else None
        as_written = _text({key: value for key, value in note.items() if key != _CRC32}) if _CRC32 in note else ""
        is_as_written = text == as_written if _CRC32 in note else _FILES not in note
        kinds = tuple(str(kind) for kind in note["kinds"])
        dataset = str(note["dataset"]["name"]), str(note["dataset"]["version"])
        return Note(str(note["form"]), selection, int(note["patches"]), left_out, files, is_as_written, kinds, dataset)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedFile(
            folder / NOTE,
            expected="the note of an exported form",
            found=reason(error) if isinstance(error, OSError | ValueError) else "JSON of another content",
            remedy="name a folder that ben-luigi export has made, or export it again",
        ) from error
