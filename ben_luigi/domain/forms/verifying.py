"""Compare a form with its dataset: its files with its note, pixels and words with the dataset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.errors import DamagedFile, PipelineError, TooLittleMemory
from ben_luigi.domain.forms.form import NOTE, Check, Note, PatchForm, Truth
from ben_luigi.domain.forms.listed import changes
from ben_luigi.domain.forms.pixels import Digests, Places, pixels_in, place_in
from ben_luigi.domain.forms.rows_by_name import RowsByName
from ben_luigi.domain.forms.source import S1, S2, Source
from ben_luigi.domain.given import others
from ben_luigi.domain.progress import OnFraction

Read = TypeVar("Read")
_OF_FILES = 0.2
"""The part of the work that is reading the files of the form to compare them with the note."""
_NAMES_KEPT = 1024


class Verification:
    """What is wrong with the form in `folder`, which is one of the patches of `source`; `findings` receive it."""

    def __init__(self, form: PatchForm, source: Source, folder: Path, findings: Findings) -> None:
        self._form, self._source, self._folder, self._findings = form, source, folder, findings

    def run(self, note: Note, progress: OnFraction) -> None:
        """Read the files of the form, the archives of the dataset, and the patches of the form.

        Memory: 10 bytes per file of a patch, 18 where the form has TIFFs, and 500 bytes per patch. Raise errors about
        the dataset itself.
        """
        self._compare_note(note)
        is_damaged = self._compare_files(note, lambda part: progress(part * _OF_FILES))
        places = Places(len(self._source.rows))
        digests = self._digests(places, lambda part: progress(_OF_FILES + part * (1 - _OF_FILES)))
        if is_damaged and self._form.is_mapped:
            return  # a damaged page can end the process that reads it
        rows = _rows_by_name(self._source)
        if self._compare_pixels(digests, rows):
            patch_ids = self._source.rows["patch_id"]
            for row, kind in digests.missing():
                self._findings.add(self._form.name, "missing", f"{patch_ids[row].as_py()} {kind}")
        del digests  # comparing words may take as much memory again
        # With another number of patches, which is a finding, most of what is compared row by row would differ.
        if self._form.check is not None and note.patches == len(self._source.rows):
            self._compare_words(self._form.check, Truth(self._source, places, rows))

    def _compare_note(self, note: Note) -> None:
        """Compare what the note says with the dataset. What it was exported with cannot be compared with anything."""
        about = self._source.form.about
        for what, expected, found in (
            ("dataset", (about.name, about.version), note.dataset),
            ("kinds of files", self._form.kinds(self._source), note.kinds),
        ):
            if found != expected:
                self._findings.differ(NOTE, f"another {what}", what, ", ".join(expected), ", ".join(found))
        if unknown := [name for name in note.left_out if name != S1]:
            self._findings.add(NOTE, "leaves out what cannot be left out", *unknown)

    def _compare_files(self, note: Note, progress: OnFraction) -> bool:
        """Return whether a file is not as it was exported."""
        if not note.is_as_written:
            self._findings.add(NOTE, "other bytes than were exported")
        if note.files is None:
            self._findings.skip(
                f"bytes of {self._folder} that its readers do not show, such as statistics in Parquet and free pages: "
                f"its {NOTE} lists no files; export it again"
            )
            return False
        self._note_others(note.files)
        total, done = max(1, sum(file.length for file in note.files.values())), 0

        def read(length: int) -> None:
            nonlocal done
            done += length
            progress(done / total)

        found = list(changes(self._folder, note.files, read))
        for name, what in found:
            self._findings.add(name, what)
        return bool(found)

    def _note_others(self, files: Collection[str]) -> None:
        """Say what lies there that was not exported; in a folder of the form, where its readers look, it is surplus."""
        for name in others(self._folder, {*files, NOTE}):
            folder, _, rest = name.partition("/")
            if rest:
                self._findings.add(folder, "surplus", rest)
            else:
                self._findings.skip(f"{name}: it is no part of the form")

    def _digests(self, places: Places, progress: OnFraction) -> Digests:
        """Read all files of the dataset, and note where its patches lie."""
        source, kinds = self._source, self._form.kinds(self._source)
        digests = Digests(len(source.rows), kinds, of_tiffs=self._form.has_tiffs)
        total, done = max(1, len(source.rows) * len(source.archives)), 0
        for archive in source.archives:
            names = source.names(archive)
            for patch in source.patches(archive):
                wanted = {kind: data for kind, data in patch.files.items() if kind in kinds}
                name = names[patch.row].as_py()
                pixels = pixels_in(source, wanted, name)
                for kind, values in pixels.items():
                    digests.note(patch.row, kind, values, wanted[kind])
                if archive == S2 and self._form.check is not None:
                    places.note(patch.row, place_in(source, patch.files, name))
                done += 1
                progress(done / total)
        return digests

    def _compare_pixels(self, digests: Digests, rows: Callable[[str], tuple[int, ...]]) -> bool:
        """Return whether all of the form could be read."""
        try:
            for shown in self._guarded(self._form.read(self._folder)):
                judged = [digests.judge(row, shown.kind, shown.pixels, shown.tiff) for row in rows(shown.name)]
                for what in dict.fromkeys(filter(None, judged or ["surplus"])):
                    self._findings.add(self._form.name, what, f"{shown.name} {shown.kind}")
        except TooLittleMemory:
            raise  # it is no fault of the form
        except PipelineError as error:
            self._cannot_read(error)
            return False
        return True

    def _compare_words(self, check: Check, truth: Truth) -> None:
        """Compare what the form says of its patches."""
        try:
            for file, what, name in self._guarded(check(truth, self._folder)):
                self._findings.add(file, what, *filter(None, [name]))
        except PipelineError as error:
            self._cannot_read(error)

    def _cannot_read(self, error: PipelineError) -> None:
        if isinstance(error, DamagedFile) and error.file != self._folder:
            file = error.file.relative_to(self._folder) if error.file.is_relative_to(self._folder) else error.file
            self._findings.add(str(file), f"cannot be read further ({error.found})")
        else:
            self._findings.add(self._form.name, f"cannot be read further ({error.subject}: {error.found})")

    def _guarded(self, read: Iterator[Read]) -> Iterator[Read]:
        """Yield what a form has. Raise DamagedFile if it cannot be read."""
        try:
            yield from read
        except (PipelineError, MemoryError):
            raise
        except Exception as error:  # a damaged byte can make the readers of others raise anything
            found = f"{type(error).__name__}: {error}"
            raise DamagedFile(self._folder, expected="a form that can be read", found=found) from error


def _rows_by_name(source: Source) -> Callable[[str], tuple[int, ...]]:
    """Return a function that finds the row of a patch id, or the rows of an S1 name; none of any other name."""
    patches, radar = (RowsByName(source.names(archive)) for archive in (S2, S1))

    @lru_cache(maxsize=_NAMES_KEPT)
    def rows(name: str) -> tuple[int, ...]:
        of_patch = patches.of(name)
        return (*of_patch, *(row for row in radar.of(name) if row not in of_patch))

    return rows
