"""Unpack the archives of a finished dataset into folders of TIFFs, and count the files against the metadata.

One thread per archive reads it, others write the folders of patches. The folder of a patch appears with all of its
files or not at all, so an attempt that was killed is continued: what is there already is compared with the archive. A
patch is written when the checksum of its zstd frame has been found right. The published archives are one frame each;
there patches are written before its end.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from ben_luigi.domain import files, given, locks
from ben_luigi.domain.dataset import members
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.verify_archives import Contents, contents_of
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_rows import read_rows
from ben_luigi.domain.errors import (
    BadArchive,
    BadArgument,
    BadInput,
    BadName,
    DamagedFile,
    NoRoomError,
    counted,
    printable,
    some,
)
from ben_luigi.domain.formats import packing
from ben_luigi.domain.progress import OnBytes, ignore_bytes

LOCK = ".unpack.lock"
_WRITERS = 4
_SHOWN = 3
_AHEAD = 16
"""Patches per archive that may wait for a writer: some 5 MB."""

_HELD_BYTES = 2 * packing.FRAME_BYTES
"""What is held of a frame until its end is read; the frames of our own archives have less."""

_FETCH_AGAIN = "fetch the archive again; what is unpacked already stays, and the next attempt continues there"
_Patch = dict[str, bytes]
"""The files of a patch by name."""


@dataclass(frozen=True)
class Unpacked:
    """What is there of an archive: how many patches, how many files, and how many patches were there before."""

    archive: str
    patches: int
    files: int
    kept: int


@dataclass(frozen=True)
class Room:
    """What unpacking takes: inodes, and bytes on the disk."""

    inodes: int
    size_bytes: int


def archives_of(dataset: Path, form: Form, only: Sequence[str] = ()) -> list[Contents]:
    """Return what the archives in the folder of a dataset must hold by its metadata, of `only` these or all of them.

    Raise BadInput if metadata or an archive are missing, or the metadata cannot be used, BadArgument if `only` names
    what is no archive.
    """
    findings, form = Findings(), form.with_lacking_in(dataset)
    rows = read_rows(dataset, findings, form, free_pairs=True)
    if wrong := findings.lines():
        raise BadInput(
            dataset,
            expected="the metadata of a dataset, by which the files are counted",
            found=some(wrong, 2),
            remedy="fetch or make these files again",
        )
    if unknown := sorted(set(only) - set(form.archives)):
        raise BadArgument(
            f"--only {' '.join(unknown)}",
            expected=f"archives of the dataset: {' '.join(form.archives)}",
            found="no such archives",
            remedy="correct the names",
        )
    found = [contents for contents in contents_of(rows, form) if contents.name in (only or form.archives)]
    # Several patches may share one of Sentinel-1, which is in the archive once, and others have none.
    found = [replace(contents, keys=np.unique(contents.keys[contents.keys != b""])) for contents in found]
    for contents in found:
        if not (dataset / contents.file).is_file():
            raise BadInput(
                dataset / contents.file,
                expected="an archive of the dataset",
                found="no file",
                remedy="fetch it, or name the archives that are there by --only",
            )
    return found


def room_for(dataset: Path, archives: Sequence[Contents], folder: Path) -> Room:
    """Return the room that the archives take in `folder`, by the sizes of the files of the first patch of each.

    What is there already takes no more.
    """
    block = os.statvfs(_existing(folder)).f_frsize
    inodes = size_bytes = 0
    for contents in archives:
        read = _patches(dataset / contents.file, contents, _Wrong(), members.unseen)
        _, first = next((found for found in read if isinstance(found, tuple)), ("", _Patch()))
        tiles = {contents.tile_of(key.decode()) for key in contents.keys}
        lacking = len(contents.keys) - _present(folder / contents.name)
        inodes += lacking * (1 + len(contents.kinds)) + len(tiles) + 1
        size_bytes += lacking * (block + sum(-(-len(data) // block) * block for data in first.values()))
    return Room(max(inodes, 0), max(size_bytes, 0))


def check_room(folder: Path, room: Room) -> None:
    """Raise NoRoomError unless the disk of `folder` has room for so many files and bytes."""
    disk = os.statvfs(_existing(folder))
    free_bytes = disk.f_bavail * disk.f_frsize
    # Btrfs and some network file systems state 0: they have no fixed number of inodes.
    free_inodes = disk.f_favail if disk.f_files else room.inodes
    if free_bytes < room.size_bytes or free_inodes < room.inodes:
        raise NoRoomError(
            folder,
            expected=f"room for {room.inodes:,} files and folders of {room.size_bytes:,} bytes",
            found=f"{free_inodes:,} free inodes, {free_bytes:,} free bytes",
            remedy="make room, name another folder, or unpack less by --only; nothing has been written",
        )


def unpack(
    dataset: Path, archives: Sequence[Contents], folder: Path, progress: OnBytes = ignore_bytes
) -> list[Unpacked]:
    """Unpack the archives side by side into `folder`, and count what is there.

    `progress` gets the bytes of all archives that have been read, and their sum. Raise BadArchive if an archive is
    damaged, or has not exactly the files of the metadata: what could be read of it is unpacked all the same. Raise
    DamagedFile if a file that is there is not the archive's, and BadInput if another process unpacks to `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reached: dict[str, int] = {}
    total = sum((dataset / contents.file).stat().st_size for contents in archives)

    is_stopped = Event()

    def reach(name: str, position: int) -> None:
        if is_stopped.is_set():
            raise InterruptedError
        reached[name] = position
        progress(sum(list(reached.values())), total)

    with (
        locks.held_while("unpacks to", folder, folder / LOCK),
        ThreadPoolExecutor(_WRITERS, "write") as writers,
        ThreadPoolExecutor(len(archives)) as readers,
    ):
        running = [
            readers.submit(_Unpacking(contents, folder, writers).run, dataset / contents.file, reach)
            for contents in archives
        ]
        try:
            wait(running)
        except BaseException:  # a signal: else the pools would unpack all of it first
            is_stopped.set()
            raise
    failed = [error for one in running if (error := one.exception()) is not None]
    if failed:
        raise failed[0]
    os.sync()  # fsync of each of eight million files would take a day
    return [one.result() for one in running]


_DAMAGED, _NO_PLACE, _LACKING = (
    "places damaged",
    "members at no patch's place",
    "missing or without some of their files",
)
_OF_ONE = {
    _DAMAGED: "place damaged",
    _NO_PLACE: "member at no patch's place",
    _LACKING: "missing or without some of its files",
}


class _Wrong:
    """Count what is wrong with an archive; of each kind the first one is named."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def add(self, what: str, name: str, number: int = 1) -> None:
        """Note that `what` applies to so many patches or members, of which `name` is the first."""
        self._first.setdefault(what, name)
        self._count[what] += number

    def __str__(self) -> str:
        return "; ".join(
            f"{self._count[what]:,} {_OF_ONE.get(what, what) if self._count[what] == 1 else what}: {printable(name)}"
            for what, name in self._first.items()
        )


@dataclass
class _Unpacking:
    """Unpack one archive; `wrong` counts what is wrong with it."""

    contents: Contents
    folder: Path
    writers: ThreadPoolExecutor
    wrong: _Wrong = field(default_factory=_Wrong)
    kept: int = 0
    waiting: set[Future[bool]] = field(default_factory=set)

    def run(self, archive: Path, reach: Callable[[str, int], None]) -> Unpacked:
        """Unpack all of it. Raise as `unpack`."""
        keys = self.contents.keys
        seen = np.zeros(len(keys), dtype=bool)
        for tile in {self.contents.tile_of(key.decode()) for key in keys.tolist()}:
            files.sweep(self.folder / self.contents.name / tile, older_than_s=0)
        try:
            read = _patches(archive, self.contents, self.wrong, partial(reach, self.contents.name))
            for key, found in _confirmed(read):
                rank = bisect_left(keys, key.encode())
                if rank == len(keys) or keys[rank] != key.encode():
                    self.wrong.add("not in the metadata", key)
                elif seen[rank]:
                    self.wrong.add("twice", key)
                elif len(found) == len(self.contents.kinds):
                    seen[rank] = True
                    self._write(self.folder / self.contents.name / self.contents.tile_of(key) / key, found)
        finally:
            wait(self.waiting)
        self._take(self.waiting)
        others = list(_others(self.folder / self.contents.name, self.contents))
        if not seen.all():
            missing = keys[~seen]
            self.wrong.add(_LACKING, missing[0].decode(), len(missing))
        count = len(self.contents.kinds)
        if wrong := str(self.wrong):
            patches, of_each = counted(len(keys), "patches", "patch"), counted(count, "files", "file")
            raise BadArchive(
                archive,
                expected=f"the {patches} of the metadata, with {of_each} each",
                found=wrong,
                remedy=_FETCH_AGAIN,
            )
        if others:
            raise BadInput(
                self.folder / self.contents.name,
                expected="nothing but the patches of the metadata",
                found=some(others, _SHOWN),
                remedy="move away what is not of the archive, and unpack again, which goes on from here",
            )
        return Unpacked(self.contents.name, len(keys), len(keys) * count, self.kept)

    def _write(self, target: Path, found: _Patch) -> None:
        if len(self.waiting) >= _AHEAD:
            done, self.waiting = wait(self.waiting, return_when=FIRST_COMPLETED)
            self._take(done)
        self.waiting.add(self.writers.submit(_write_patch, target, found))

    def _take(self, done: set[Future[bool]]) -> None:
        self.kept += sum(future.result() for future in done)


def _confirmed(read: Iterator[tuple[str, _Patch] | members.Damage | members.Whole]) -> Iterator[tuple[str, _Patch]]:
    """Yield the patches of frames that are whole; after _HELD_BYTES of patches, those of a frame that goes on."""
    held: list[tuple[str, _Patch]] = []
    size_bytes = 0
    for found in read:
        if isinstance(found, members.Damage):
            held, size_bytes = [], 0
        elif isinstance(found, tuple):
            held.append(found)
            size_bytes += sum(map(len, found[1].values()))
        if isinstance(found, members.Whole) or size_bytes > _HELD_BYTES:
            yield from held
            held, size_bytes = [], 0
    yield from held


def _patches(
    archive: Path, contents: Contents, wrong: _Wrong, reached: Callable[[int], None]
) -> Iterator[tuple[str, _Patch] | members.Damage | members.Whole]:
    """Yield the key and the files, by name, of each patch whose files follow each other; and how its frame ends.

    Count damage, and members that are at no patch's place. The whole name of a member is compared, so that none is
    written anywhere else.
    """
    before, found = "", _Patch()
    for member in members.read_frames(archive, reached):
        if not isinstance(member, members.Member):
            if isinstance(member, members.Damage):
                wrong.add(_DAMAGED, member.what)
                before = ""
            elif before and len(found) == len(contents.kinds):
                yield before, found
                before = ""
            yield member
            continue
        name = member.name.removeprefix("./")  # as `tar -c .` writes it
        file = name.rpartition("/")[2]
        if not file or any(map(given.is_hidden, name.split("/"))):  # a folder, or no data
            continue
        if not (key := _key(contents, name, file)):
            wrong.add(_NO_PLACE, member.name)
            continue
        if before != key:
            if before:
                yield before, found
            before, found = key, _Patch()
        found[file] = member.data
    if before:
        yield before, found


def _key(contents: Contents, name: str, file: str) -> str:
    """Return the patch of a member; empty if its name is none that a patch's file has."""
    for kind in contents.kinds:
        if file.endswith(f"_{kind}.tif"):
            key = file.removesuffix(f"_{kind}.tif")
            try:
                return key if name == f"{contents.name}/{contents.tile_of(key)}/{key}/{file}" else ""
            except BadName:
                return ""
    return ""


def _others(folder: Path, contents: Contents) -> Iterator[str]:
    """Yield what is in the folder of an archive, or of a tile, and is no patch of the metadata."""
    tiles = {contents.tile_of(key.decode()) for key in contents.keys.tolist()}
    for tile in given.listed(folder) if folder.is_dir() else []:
        if tile.name not in tiles or not tile.is_dir():
            yield tile.name
            continue
        names = np.array([os.fsencode(path.name) for path in given.listed(tile)], dtype=bytes)
        yield from (f"{tile.name}/{os.fsdecode(name)}" for name in names[~np.isin(names, contents.keys)].tolist())


def _write_patch(target: Path, found: Mapping[str, bytes]) -> bool:
    """Write the folder of a patch, unless it is there already; return whether it was.

    Raise DamagedFile if what is there is something else.
    """
    if target.exists():
        _compare(target, found)
        return True
    work = files.unfinished(target)
    try:
        work.mkdir(parents=True)
        for name, data in found.items():
            (work / name).write_bytes(data)
        work.rename(target)
    except OSError as error:
        try:
            files.raise_if_full(target, error)
        finally:
            files.remove(work)
        raise
    return False


def _compare(target: Path, found: Mapping[str, bytes]) -> None:
    there = [path.name for path in given.listed(target)] if target.is_dir() else []
    if there != sorted(found):
        lacking, more = sorted({*found} - {*there}), sorted({*there} - {*found})
        told = [f"none of {some(lacking, _SHOWN)}"] * bool(lacking) + [f"{some(more, _SHOWN)} besides"] * bool(more)
        raise _another(target, target, f"the {len(found)} files of the archive", "; ".join(told))
    for name, data in found.items():
        if (target / name).stat().st_size != len(data) or (target / name).read_bytes() != data:
            raise _another(target / name, target, "the bytes of the archive", "others")


def _another(path: Path, target: Path, expected: str, found: str) -> DamagedFile:
    remedy = f"remove the folder {target.name}, and unpack again, which goes on from here; or name another folder"
    return DamagedFile(path, expected=expected, found=found, remedy=remedy)


def _present(folder: Path) -> int:
    """Return the number of patches that are there, whatever is in them."""
    try:
        tiles = [tile for tile in folder.iterdir() if tile.is_dir()]
        return sum(not path.name.startswith(".") for tile in tiles for path in tile.iterdir())
    except FileNotFoundError:
        return 0


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
