"""Read the members of a `.tar.zst` as a stream, or the files of the folder that was unpacked from it.

Damage is reported and skipped. It costs the rest of its zstd frame, and reading continues with the next frame; in the
archives made here a frame is a few patches of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadArchive
from ben_luigi.domain.formats import frames, tarball
from ben_luigi.domain.vocabulary import MOST_PATCH_FILE_BYTES

_CHUNK_BYTES = 2**16
"""The most that is lost before the place of a damage."""


@dataclass(frozen=True)
class Member:
    """A member: its name, its data, and whether the bytes around it are those that GNU tar writes."""

    name: str
    data: bytes
    exact: bool


@dataclass(frozen=True)
class Damage:
    """A description of what is damaged, and where."""

    what: str


@dataclass(frozen=True)
class Whole:
    """The end of a zstd frame whose checksum is right, so that all members since the last one are undamaged."""


@dataclass(frozen=True)
class Unreadable:
    """A file of an unpacked archive that cannot be read, and the reason."""

    name: str
    why: str


def unseen(position: int) -> None:
    """Ignore the position: for a `read` that nobody follows."""


def read(path: Path, reached: Callable[[int], None] = unseen) -> Iterator[Member | Damage]:
    """Yield the members of a `.tar.zst` in order, with any damage between them. Memory: one member, and 64 KiB.

    `reached` is called with the position in the file up to which it has been read.
    """
    yield from (found for found in read_frames(path, reached) if not isinstance(found, Whole))


def read_frames(path: Path, reached: Callable[[int], None] = unseen) -> Iterator[Member | Damage | Whole]:
    """Yield the same as `read`, and the ends of frames that are whole.

    `reached` is called with the position in the file up to which it has been read.
    """
    tar = _Tar()
    with path.open("rb") as file:
        for frame in frames.find(file):
            first = last = ""
            count = 0
            seen = _Seen(frame.start, reached)
            try:
                for chunk in frames.unpack(file, frame, seen.take, chunk_bytes=_CHUNK_BYTES):
                    for found in tar.feed(chunk):
                        if isinstance(found, Member):
                            first, last, count = first or found.name, found.name, count + 1
                        yield found
            except zstandard.ZstdError as error:
                yield Damage(_message(error, tar.pending(), first, last, count))
                tar.restart()
            else:
                yield Whole()
    yield from tar.finish()


def read_part(content: Iterable[bytes]) -> Iterator[Member | Damage]:
    """Yield the members of a part of a tar, whose bytes come piece by piece; it has no end of its own."""
    tar = _Tar()
    for chunk in content:
        yield from tar.feed(chunk)


def read_folder(folder: Path, below: Path) -> Iterator[Member | Unreadable]:
    """Yield the files below `folder` under their names relative to `below`, in byte order, without hidden ones.

    Memory: one file, and the names in one folder.
    """
    try:
        paths = sorted(given.listed(folder), key=lambda path: f"{path.name}/")
    except OSError as error:
        yield Unreadable(folder.relative_to(below).as_posix(), str(error))
        return
    for path in paths:
        name = path.relative_to(below).as_posix()
        if given.kind(path) == given.FOLDER:
            yield from read_folder(path, below)
            continue
        try:
            yield Member(name, given.read_bytes(path, MOST_PATCH_FILE_BYTES), True)
        except (OSError, ValueError) as error:
            yield Unreadable(name, str(error))


class _Seen:
    """Count the bytes of a frame as they are read."""

    def __init__(self, start: int, reached: Callable[[int], None]) -> None:
        self._at = start
        self._reached = reached

    def take(self, packed: bytes) -> None:
        """Count the next bytes."""
        self._at += len(packed)
        self._reached(self._at)


def _message(error: zstandard.ZstdError, pending: str, first: str, last: str, count: int) -> str:
    """Describe where in a frame the damage is. A wrong checksum is noticed only after the last member of the frame."""
    if "checksum" in str(error) and count:
        return f"wrong checksum, so one of these {count} is damaged: {first} to {last}"
    where = f"in {pending} or just after it" if pending else f"after {last}" if last else "at the start of a frame"
    return f"damaged {where} ({error})"


class _Tar:
    """Take the bytes of a tar piece by piece, and yield the members that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = 0
        self._members_end = 0
        self._ended = False
        self._lost = False
        self._whole = True

    def feed(self, chunk: bytes) -> Iterator[Member | Damage]:
        """Take the next bytes."""
        self._size += len(chunk)
        self._buffer += chunk
        at = 0
        while not self._ended:
            if self._is_zero(at):
                self._ended = True
                self._members_end = self._size - len(self._buffer) + at
                break
            try:
                entry = tarball.entry(self._buffer, at)
            except BadArchive as error:
                if not self._lost:
                    yield Damage(f"not a tar: {error.found}")
                self._lost = True
                at += tarball.BLOCK_BYTES
                continue
            if entry is None or entry.stop > len(self._buffer):
                break
            self._lost = False
            data_stop = entry.data + entry.size
            exact = entry.exact and self._buffer[data_stop : entry.stop] == tarball.padding(entry.size)
            with memoryview(self._buffer) as view:
                data = bytes(view[entry.data : data_stop])
            yield Member(entry.name, data, exact)
            at = entry.stop
        if self._ended and any(self._buffer[at:]):
            yield Damage("more after the end of the tar")
        del self._buffer[: len(self._buffer) if self._ended else at]

    def _is_zero(self, at: int) -> bool:
        """Whether there is a block of zero bytes."""
        stop = at + tarball.BLOCK_BYTES
        return len(self._buffer) >= stop and not self._buffer[at] and not any(self._buffer[at:stop])

    def pending(self) -> str:
        """Return the name of the member whose header has been read but whose data is incomplete; else an empty text."""
        try:
            entry = tarball.entry(self._buffer)
        except BadArchive:
            return ""
        return entry.name if entry is not None else ""

    def restart(self) -> None:
        """Start again with the next bytes; the pending member is lost."""
        self._buffer.clear()
        self._ended = False
        self._lost = True
        self._whole = False

    def finish(self) -> Iterator[Damage]:
        """Report whether the tar ended correctly."""
        if not self._ended:
            yield Damage("cut short: the end of the tar is missing")
        elif self._whole and self._size != self._members_end + len(tarball.end(self._members_end)):
            yield Damage(f"the tar does not end with a whole record of {tarball.RECORD_BYTES} bytes")
