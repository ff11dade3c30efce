"""Read the files of single patches of a finished dataset, without reading the rest of its archives.

A frame of an archive made here holds whole patches (`formats/packing.py`), and patches are in order. So the frame of a
patch is found by the first member of a few frames, and only that one is unpacked. In the folder that was unpacked from
an archive the files are read by their names. An archive in which single patches cannot be found, such as one of a
single frame, is read as a stream, once for all patches that are wanted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import zstandard

from ben_luigi.domain import given
from ben_luigi.domain.dataset import members
from ben_luigi.domain.dataset.sentinel1 import BANDS
from ben_luigi.domain.errors import BadArchive, DamagedFile, reason
from ben_luigi.domain.formats import frames, packing, tarball
from ben_luigi.domain.names import MAP_SUFFIX, s1_tile, tile_name_of
from ben_luigi.domain.vocabulary import MAPS_ARCHIVE, MOST_PATCH_FILE_BYTES, RESOLUTION_M, S1_ARCHIVE, S2_ARCHIVE

_FRAME_BYTES = 32 * packing.FRAME_BYTES
"""More than any frame of an archive made here: a few patches of the largest side that a recipe may give to them."""
_HEAD_BYTES = 4 * tarball.BLOCK_BYTES
"""The header of a member, also of one with a long name."""
_UNPACK = "unpack the whole archive, or remove what is unpacked of it"
_FETCH_AGAIN = (
    "fetch that archive again, if the dataset was downloaded; one of the pipeline's own is made again once "
    "ben-luigi verify has noted it"
)
_KINDS = {
    S2_ARCHIVE: frozenset(RESOLUTION_M),
    MAPS_ARCHIVE: frozenset((MAP_SUFFIX.removeprefix("_"),)),
    S1_ARCHIVE: frozenset(BANDS),
}
"""The files that a patch has in each archive, by what follows its name in theirs."""
_AFTER_ALL = "\U0010ffff"
"""The key of the frame that ends the tar."""

Files = dict[str, bytes]
"""The files of a patch: the bytes of each by what follows the patch's name in its own, such as `B04`."""


class ArchivedPatches:
    """The patches in an archive of the dataset in `folder`: in a `.tar.zst`, or `unpacked` in the folder made from it.

    Memory: one frame, and 200 bytes per frame.
    """

    def __init__(self, folder: Path, archive: str, *, unpacked: bool = False) -> None:
        self._path = folder / (archive if unpacked else f"{archive}.tar.zst")
        self._is_unpacked = unpacked
        self._kinds = _KINDS[archive]
        self._stack = ExitStack()
        self._held: dict[str, Files] | None = None
        self._key_of_frame = lru_cache(maxsize=None)(self._first_key)

    def __enter__(self) -> ArchivedPatches:
        if self._is_unpacked:
            return self
        with ExitStack() as stack:
            try:
                self._file = stack.enter_context(self._path.open("rb"))
            except OSError as error:
                raise DamagedFile(
                    self._path, expected="an archive of the dataset", found=reason(error), remedy=_FETCH_AGAIN
                ) from error
            self._frames = [frame for frame in frames.find(self._file) if frame.content_bytes != 0]
            if not all(frame.whole for frame in self._frames):
                raise DamagedFile(self._path, expected="whole frames", found="one that is not", remedy=_FETCH_AGAIN)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, names: Iterable[str]) -> None:
        """Read these patches beforehand, if single ones cannot be read: from an archive that is not one of ours.

        Memory: their files. Raise DamagedFile if one is missing or damaged.
        """
        if not self._is_unpacked and not all(0 < (each.content_bytes or 0) <= _FRAME_BYTES for each in self._frames):
            self._held = dict(self._in_stream(set(names)))

    def _in_stream(self, wanted: set[str]) -> Iterator[tuple[str, Files]]:
        left = {name: set(self._kinds) for name in wanted}
        found: dict[str, Files] = {name: {} for name in wanted}
        for member in members.read(self._path):
            if isinstance(member, members.Damage):
                raise self._damaged(member.what)
            folder, _, file = member.name.rpartition("/")
            name, kind = folder.rpartition("/")[2], _kind(file.removesuffix(".tif"), folder.rpartition("/")[2])
            if kind in left.get(name, ()):
                found[name][kind] = member.data
                left[name].discard(kind)
                if not left[name]:
                    yield name, found.pop(name)
                    del left[name]
            if not left:
                return

    def read(self, names: Iterable[str]) -> dict[str, Files]:
        """Return the files of patches by their names in the archive: patch ids, or S1 names.

        Raise DamagedFile if one is missing or damaged, BadArchive if the archive is not one of ours.
        """
        wanted = set(names)
        if not wanted:
            return {}
        if self._held is not None:
            found = {name: self._held[name] for name in wanted if name in self._held}
        else:
            found = dict(self._in_folder(wanted) if self._is_unpacked else self._in_frames(wanted))
        for name in sorted(wanted):
            if missing := sorted(self._kinds - found.get(name, {}).keys()):
                expected, remedy = f"{name}_{missing[0]}.tif", _UNPACK if self._is_unpacked else _FETCH_AGAIN
                raise DamagedFile(self._path, expected=expected, found="no such file at its place", remedy=remedy)
        return found

    def _in_folder(self, names: Iterable[str]) -> Iterator[tuple[str, Files]]:
        for name in names:
            tile = s1_tile(name) if self._path.name == S1_ARCHIVE else tile_name_of(name)
            paths = sorted((self._path / tile / name).glob(f"{name}_*.tif"))
            try:
                yield name, {_kind(path.stem, name): given.read_bytes(path, MOST_PATCH_FILE_BYTES) for path in paths}
            except (OSError, ValueError) as error:
                folder = self._path / tile / name
                raise DamagedFile(folder, expected="its files", found=str(error), remedy=_UNPACK) from error

    def _in_frames(self, names: Iterable[str]) -> Iterator[tuple[str, Files]]:
        by_frame: dict[int, set[str]] = {}
        for name in names:
            at = bisect_right(range(len(self._frames)), f"{name}/", key=self._key_of_frame) - 1
            if at >= 0:
                by_frame.setdefault(at, set()).add(name)
        for at, wanted in sorted(by_frame.items()):
            found: dict[str, Files] = {name: {} for name in wanted}
            for folder, stem, data in self._members(self._frames[at]):
                if folder in wanted:
                    found[folder][_kind(stem, folder)] = data
            yield from found.items()

    def _first_key(self, at: int) -> str:
        """Return what sorts a frame as its first patch: names that begin alike are in the order of their paths."""
        try:
            head = frames.head(self._file, self._frames[at], _HEAD_BYTES)
            if not any(head[: tarball.BLOCK_BYTES]):
                return _AFTER_ALL
            entry = tarball.entry(head)
        except (zstandard.ZstdError, BadArchive) as error:
            raise self._damaged(error) from error
        if entry is None or entry.name.count("/") < 2:
            raise self._damaged("a frame that does not begin with a member")
        return f"{entry.name.split('/')[-2]}/"

    def _members(self, frame: frames.Frame) -> Iterator[tuple[str, str, bytes]]:
        """Yield the patch, the stem and the data of each file in a frame."""
        size = frame.content_bytes
        if size is None or size > _FRAME_BYTES:
            raise BadArchive(
                self._path,
                expected="frames of a few patches each, as ben_luigi writes them",
                found="one of unknown length" if size is None else f"one of {size:,} bytes",
                remedy="unpack the archive, and name the folder with what was unpacked",
            )
        try:
            content, at = b"".join(frames.unpack(self._file, frame)), 0
            while at < len(content) and (entry := tarball.entry(content, at)) is not None:
                parts = entry.name.removesuffix(".tif").split("/")
                yield parts[-2], parts[-1], content[entry.data : entry.data + entry.size]
                at = entry.stop
        except (zstandard.ZstdError, BadArchive, IndexError) as error:
            raise self._damaged(error) from error

    def _damaged(self, found: object) -> DamagedFile:
        expected = "an archive of patches in whole frames"
        return DamagedFile(self._path, expected=expected, found=str(found), remedy=_FETCH_AGAIN)


def _kind(stem: str, name: str) -> str:
    return stem.removeprefix(f"{name}_")
