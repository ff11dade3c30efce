"""What all forms have in common: how one is written from a dataset and read again, and the note that lies in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ben_luigi.domain import libraries
from ben_luigi.domain.bounded import read_json
from ben_luigi.domain.errors import DamagedFile, reason
from ben_luigi.domain.forms.source import S1, Source
from ben_luigi.domain.progress import OnFraction
from ben_luigi.domain.vocabulary import TIFF

NOTE = "form.json"
"""The file in the folder of a form that tells which one it is, and how it was made."""
MB = 10**6


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
    """Pixels (row, col) that a form has: of a patch, by patch id or S1 name, and the kind of its file."""

    name: str
    kind: str
    pixels: np.ndarray


class Note(NamedTuple):
    """What the note in a form says.

    It is the name of the form, name and version of its dataset, by which options its patches were selected, how many
    they are, and which archives were left out.
    """

    form: str
    dataset: tuple[str, str]
    selection: Mapping[str, str]
    patches: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PatchForm:
    """A form: its name, what it is, the libraries that it needs, and the functions that write and read it.

    `write` writes the form of a dataset to a new folder, and reports the fraction that is done. `read` yields all
    pixels that it has. It may raise DamagedFile. `options` are those of `[forms]` that make a difference to it.
    """

    name: str
    title: str
    libraries: tuple[str, ...]
    write: Callable[[Source, Path, Options, OnFraction], None]
    read: Callable[[Path], Iterator[Shown]]
    kinds: Callable[[Source], tuple[str, ...]] = lambda source: source.kinds
    options: tuple[str, ...] = ()

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


def write_note(folder: Path, form: PatchForm, source: Source, options: Options) -> None:
    """Write the note of a form; the same dataset and options give the same bytes."""
    about = source.form.about
    note = {
        "form": form.name,
        "dataset": {"name": about.name, "version": about.version},
        "patches": len(source.rows),
        "selection": dict(source.selection),
        "kinds": list(form.kinds(source)),
        "options": form.made_with(options),
        **({"left_out": list(source.left_out)} if source.left_out else {}),
    }
    (folder / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_note(folder: Path) -> Note:
    """Return the note of a form. Raise DamagedFile if there is none that can be read."""
    try:
        note = read_json(folder / NOTE)
        dataset = (str(note["dataset"]["name"]), str(note["dataset"]["version"]))
        selection = {str(option): str(text) for option, text in note["selection"].items()}
        left_out = tuple(str(archive) for archive in note.get("left_out", ()))
        return Note(str(note["form"]), dataset, selection, int(note["patches"]), left_out)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedFile(
            folder / NOTE,
            expected="the note of an exported form",
            found=repr(error) if isinstance(error, KeyError) else reason(error),
            remedy="name a folder that ben-luigi export has made, or export it again",
        ) from error
