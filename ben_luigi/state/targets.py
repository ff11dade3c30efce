"""Luigi targets that exist only if they were made from what is asked for now.

`MadeFile` is a file with a record, in `<data_dir>/made_from/`, of what it was made from, its size and its content; the
rows of a tile in a table are such a target too (`tile_rows.py`). Both keep a digest of their content, by which later
targets tell whether they are still true. So a changed setting, input or content causes exactly what depends on it to be
made again.

Only `stages/task.py` writes records and markers.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import luigi
from luigi.parameter import ParameterException
from luigi.task_register import TaskClassException

from ben_luigi import config
from ben_luigi.domain import fence, files
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.storing.store import Overtaken
from ben_luigi.state import cache, records, stored
from ben_luigi.state.luigi_internals import load_task
from ben_luigi.state.snapshot import snapshot

MadeFrom = Mapping[str, Any]
_SMALL_BYTES = 2**20
_MOST_DAMAGED = 2
"""How often a result damaged on the disk is made again automatically; after that a person has to check the disk."""


class Maker(Protocol):
    """The task that makes a target."""

    @property
    def task_family(self) -> str:
        """Its name."""

    def adopts(self) -> bool:
        """Return whether a result of an older version counts, which recorded less."""

    def to_str_params(self) -> dict[str, str]:
        """Return its parameters."""

    def fingerprint(self) -> MadeFrom:
        """Return everything that its result is made from, as asked for now, in the types of JSON."""


class MadeFile(luigi.LocalTarget):
    """A file in the data folder, and the record of what it was made from; without a `maker` it can only be read."""

    def __init__(self, relative: str, maker: Maker | None = None) -> None:
        super().__init__(f"{config.data_dir()}/{relative}")
        self._relative = relative
        self._maker = maker
        self._replaces: stored.Tags | None = None

    @property
    def file(self) -> Path:
        """The path of the file, which need not exist."""
        return Path(self.path)

    @property
    def _record(self) -> Path:
        """The path of its record."""
        return records.path_of(self._relative)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder instead of a file."""
        return False

    def exists(self) -> bool:
        """Return whether it was made from what is asked for now, and exists with the recorded size.

        One that lives in the store exists there as it was uploaded, or has its place in the data folder.
        """
        size = self._size()
        is_here = size is not None and size == self.recorded().get("bytes", size)
        if not is_here and not stored.is_cached(self.relative):
            return False
        return self.is_recorded() and (is_here or self._is_in_store())

    def _is_in_store(self) -> bool:
        return stored.is_cached(self.relative) and stored.holds(self.relative, stored.files_of(self.recorded()))

    @property
    def relative(self) -> str:
        """Its path in the data folder."""
        return self.file.relative_to(config.data_dir()).as_posix()

    def is_recorded(self) -> bool:
        """Return whether it was made from what is asked for now, even if the file itself has been removed since."""
        recorded = self.recorded()
        if recorded and "task" not in recorded:  # recorded by an older version
            return self._maker is not None and self._maker.adopts()
        made_from = recorded.get("made_from")
        return made_from is not None and self._maker is not None and made_from == self._maker.fingerprint()

    def withdraw(self) -> dict[str, Any]:
        """Remove the record, durably, before the file is made again; return what was recorded.

        An entry of the wrong kind, such as a folder in the place of a file, is moved out of the way.
        """
        recorded = self.recorded()
        for place in (self.file.parent, self._record.parent):  # of a process that was taken for dead, and may come back
            files.clear(place)
        records.remove(self._record)
        records.make_way(self.file, for_folder=self.is_folder)
        if stored.is_taken(self.relative):
            self._replaces = stored.tags(self.relative, of_folder=self.is_folder)
        return recorded

    def discard(self) -> None:
        """Remove the file and its record, so that it is made again."""
        records.remove(self._record)
        files.withdraw(self.file)

    def record(self, digest: str = "", **more: Any) -> None:
        """Record that the file, which was put in place just now, was made from what its maker is asked for.

        Before, it is uploaded to the store, if there is one. There it replaces only what was there when the work began.
        `digest` identifies its content; the default is its sha256. A large file with a digest gets no sha256, since
        reading it takes long: its readers check the parts that they read.
        """
        assert self._maker is not None, f"{self.path} has no maker"
        size = self._size()
        sha256 = self.content() if not digest or (size or 0) <= _SMALL_BYTES else ""
        note = {
            "made_from": self._maker.fingerprint(),
            "bytes": size,
            "task": self._maker.task_family,
            "parameters": self._maker.to_str_params(),
            "digest": digest or sha256,
            "sha256": sha256,
            **more,
        }
        in_store = self._uploaded() if stored.is_taken(self.relative) else {}
        records.write(self._record, {**note, **stored.note(in_store)})
        if in_store:
            cache.trim()

    def _uploaded(self) -> stored.Files:
        try:
            return stored.upload(self.relative, self._replaces)
        except Overtaken:
            fence.require(self.file)  # who has lost its turn is told so
            raise

    def read_json(self) -> Any:
        """Return the JSON in the file, after checking it. Raise DamagedFile if it is not valid."""
        try:
            return json.loads(self.check().read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DamagedFile(self.file, expected="JSON, as when it was made", found=str(error)) from error

    def read_object(self) -> dict[str, Any]:
        """Return the JSON object in the file, as `read_json` does. Raise DamagedFile if it is another value, too."""
        found = self.read_json()
        if not isinstance(found, dict):
            raise DamagedFile(self.file, expected="a JSON object, as when it was made", found=type(found).__name__)
        return found

    def check(self) -> Path:
        """Return the file, after checking that its content is the recorded one. Raise DamagedFile if it is not.

        One that is only in the store is checked when it is fetched.
        """
        if not self.file.exists() and self._is_in_store():
            return self.file
        if expected := self.recorded().get("sha256"):
            try:
                found = self.content()
            except OSError as error:
                found = str(error)
            if found != expected:
                raise DamagedFile(self.file, expected=f"sha256 {expected}, as when it was made", found=found)
        return self.file

    def is_withdrawn(self) -> bool:
        """Return whether the file is still there as it was when it was found damaged: the next run replaces it."""
        return self.file.exists() and records.is_withdrawn(self._record)

    def content(self) -> str:
        """Return what identifies the content: the sha256 of the file."""
        return files.file_hash(self.file)

    def digest(self) -> str:
        """Return the recorded digest of the content; empty if there is none."""
        return str(self.recorded().get("digest", ""))

    def size_bytes(self) -> int:
        """Return its length in bytes: as recorded, since it may be in the store alone."""
        return int(self.recorded().get("bytes") or self._size() or 0)

    def recorded(self) -> dict[str, Any]:
        """Return the content of the record; empty if none can be read."""
        with snapshot() as seen:
            if self.path not in seen.records:
                seen.records[self.path] = records.read(self._record)
            return seen.records[self.path]

    def _size(self) -> int | None:
        """Return the length in bytes of a regular file; None if there is none."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  Path.stat() makes a Path first, for each of thousands
        except (OSError, ValueError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None


class MadeFolder(MadeFile):
    """A folder in the data folder that appears as a whole."""

    @property
    def is_folder(self) -> bool:
        """Always true."""
        return True

    def content(self) -> str:
        """Return what identifies the content: the names of all files in it, and their sha256."""
        return files.text_hash(
            "\n".join(f"{path.relative_to(self.file)} {files.file_hash(path)}" for path in self._files())
        )

    def _size(self) -> int | None:
        """Return the length in bytes of all files in it; None if there is no folder."""
        return sum(path.stat().st_size for path in self._files()) if self.file.is_dir() else None

    def _files(self) -> list[Path]:
        return sorted(path for path in self.file.rglob("*") if path.is_file())


class MadeProduct(MadeFile):
    """A product in the data folder, either a zip or a folder, whichever its maker has made; each has its own record.

    After the product has been removed, the form that has a record counts.
    """

    def __init__(self, zipped: str, folder: str, maker: Maker) -> None:
        self._forms = MadeFile(zipped, maker), MadeFolder(folder, maker)
        super().__init__(zipped, maker)

    @property
    def form(self) -> MadeFile:
        """The existing one of the two."""
        zipped, folder = self._forms
        gone = not zipped.file.exists() and folder.recorded()
        return folder if folder.file.is_dir() or gone else zipped

    @property
    def file(self) -> Path:
        """The path of the product."""
        return self.form.file

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.form.is_folder

    def content(self) -> str:
        """Return what identifies the content."""
        return self.form.content()

    def _size(self) -> int | None:
        return self.form._size()

    def recorded(self) -> dict[str, Any]:
        """Return the content of the record of that form."""
        return self.form.recorded()

    @property
    def _record(self) -> Path:
        return self.form._record


def withdraw_damaged(error: DamagedFile) -> luigi.Task | None:
    """Remove the record of a damaged file; return the task that makes it again, or None if that has not helped before.

    Files that are not results of the pipeline are not made again.
    """
    try:
        relative = str(error.file.relative_to(config.data_dir()))
    except ValueError:
        return None
    # Read before it is removed: it names the task that makes the file again.
    recorded = records.read(records.path_of(relative))
    records.remove(records.path_of(relative))
    if records.note_damage(relative, error.found) >= _MOST_DAMAGED or "task" not in recorded:
        return None
    try:
        task: luigi.Task = load_task("ben_luigi", recorded["task"], recorded["parameters"])
    except (ParameterException, TaskClassException, ValueError):  # no such task, parameter or value any more
        return None
    return task
