"""Keep files in a file system that fsspec knows: another disk (`file`), `sftp`, `gs`, `abfs` and so on.

A file is written under a temporary name in its folder, read again and compared by its sha256, and renamed. fsspec finds
credentials and options where it usually does: in the variables of the library, and in the files of `~/.config/fsspec/`.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec

from ben_luigi.domain import fence, files, surroundings, waiting
from ben_luigi.domain.errors import BadInput, NoRoomError, PipelineError, TransientError, reason
from ben_luigi.domain.storing.store import OPTION, Held, Overtaken

T = TypeVar("T")
_TAGS = ("etag", "ETag", "generation", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "modified")
"""What file systems say of a file that changes with its content, the best first."""
_ATTEMPTS, _PAUSE_S, _CHUNK_BYTES = 4, 0.5, 2**20
_FIRST_S = 60.0
"""After so long, what a process asks first is not asked again."""
_LIBRARY_VARIABLES = "(AWS|AZURE|OSS|SWIFT)_.*"


class FilesystemStore:
    """The folder `place` of the file system of a protocol."""

    def __init__(self, protocol: str, place: str) -> None:
        self.place = f"{protocol}://{place}"
        self._is_local = protocol in ("file", "local")
        named = f"{OPTION} = {self.place}"
        try:
            fsspec.get_filesystem_class(protocol)
            self._fs, self._root = _asked(named, self._connected, patience_s=_FIRST_S)
        except ImportError as error:
            raise BadInput(
                named,
                expected=f"the library with which fsspec speaks {protocol}://",
                found="none",
                remedy=f"install it with pip: {error}",
            ) from error
        except ValueError as error:
            raise BadInput(named, expected="a protocol of fsspec", found=protocol, remedy="correct it") from error
        except FileNotFoundError as error:
            remedy = "correct the store, or what its library finds in variables and ~/.config/fsspec/"
            raise BadInput(named, expected="a place that is there", found=str(error), remedy=remedy) from error

    def _connected(self) -> tuple[Any, str]:
        """Return the file system and the path of the folder there. Some libraries connect here, others when asked."""
        with surroundings.given_back(_LIBRARY_VARIABLES):
            fs, root = fsspec.core.url_to_fs(self.place)
        return fs, str(root)

    def reach(self) -> None:
        """Ask for the folder, which need not be there."""
        with suppress(FileNotFoundError):
            _asked(self.place, lambda: self._fs.info(self._root), patience_s=_FIRST_S)

    def put(self, path: Path, key: str, sha256: str, replaces: str | None) -> Held:
        """Store a file: copied beside its place, compared, and renamed."""
        target = self._path(key)
        work = str(files.unfinished(PurePosixPath(target)))
        try:
            self._uploaded(path, work, key, sha256)
            before = self.look(key)
            if replaces is not None and not self._is_tag(replaces, key, before):
                raise Overtaken(f"{self.place}/{key}", replaces, before)
            fence.require(f"{self.place}/{key}")
            self._renamed(work, key, path.stat().st_size, sha256)
        except FileNotFoundError as error:
            self._dropped(work)
            expected, remedy = "the file that was copied there", "something else has removed it: run again"
            raise TransientError(f"{self.place}/{key}", expected=expected, found=str(error), remedy=remedy) from error
        except BaseException:
            self._dropped(work)
            raise
        held = self.look(key)
        if held is None or held.size_bytes != path.stat().st_size:
            raise Overtaken(f"{self.place}/{key}", f"{path.stat().st_size} bytes", held)
        return held

    def _uploaded(self, path: Path, work: str, key: str, sha256: str) -> None:
        """Copy a file beside its place. Raise NoRoomError if there is no room for it."""
        try:
            self._asked(key, lambda: self._copied(path, work, sha256), "the upload of")
        except OSError as error:
            if not files.is_full(error):
                raise
            there = Path(self._root) if self._is_local else None
            raise NoRoomError(
                f"{self.place}/{key}",
                expected="room in the store to write it",
                found="; ".join([reason(error), *([files.free(there)] if there and there.is_dir() else [])]),
                remedy=f"make room there, or name another place in {OPTION}, and run again: what is complete stays",
            ) from error

    def _is_tag(self, tag: str, key: str, held: Held | None) -> bool:
        """Return whether a file has this tag: the one that `look` finds or, as some libraries differ, `listed`."""
        if held is None or held.tag == tag:
            return tag == (held.tag if held else "")
        folder = key.rpartition("/")[0]
        listed = self._asked(folder, lambda: self._fs.ls(self._path(folder), detail=True))
        return bool(tag) and tag in [_held(info).tag for info in listed if info["name"].endswith(f"/{key}")]

    def _renamed(self, work: str, key: str, size: int, sha256: str) -> None:
        """Rename a file. When the answer to a rename is lost, its repeat fails, since there is nothing left to rename.

        Some libraries raise FileNotFoundError then, others errors of their own.
        """
        target = self._path(key)
        try:
            self._asked(key, lambda: self._fs.mv(work, target))
        except (FileNotFoundError, TransientError):
            held = self.look(key)
            if held is None or held.size_bytes != size or self._asked(key, lambda: self._digest(target)) != sha256:
                raise

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._fs.open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def _copied(self, path: Path, work: str, sha256: str) -> None:
        self._fs.makedirs(str(PurePosixPath(work).parent), exist_ok=True)
        self._fs.put_file(str(path), work)
        if self._is_local:
            files.sync(Path(work))
        if (found := self._digest(work)) != sha256:
            raise OSError(f"sha256 {found} of what has arrived, instead of {sha256}")

    def _dropped(self, work: str) -> None:
        with suppress(Exception):  # it was not made, or cannot be reached: `sweep` removes it later
            self._fs.rm_file(work)

    def get(self, key: str, held: Held, path: Path) -> str:
        """Write the file to `path`."""
        if not held.is_same(self.look(key)):
            raise FileNotFoundError(f"{self.place}/{key}")
        return self._asked(key, lambda: self._fetched(key, path), "the download of")

    def _fetched(self, key: str, path: Path) -> str:
        """Copy a file over one of its length, which stays as long, since the cache counts it; return its sha256."""
        digest = hashlib.sha256()
        with self._fs.open(self._path(key), "rb") as source, path.open("r+b") as file:
            while chunk := source.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
            file.truncate()
        return digest.hexdigest()

    def look(self, key: str) -> Held | None:
        """Return what is there under a key, None for nothing."""
        self._fs.invalidate_cache()
        try:
            info = self._asked(key, lambda: self._fs.info(self._path(key)))
        except FileNotFoundError:
            return None
        return _held(info) if info.get("type") == "file" else None

    def listed(self, folder: str) -> Mapping[str, Held]:
        """Return all files in a folder and below, by key."""
        self._fs.invalidate_cache()
        try:
            found = self._asked(folder, lambda: self._fs.find(self._path(folder), detail=True))
        except FileNotFoundError:
            return {}
        start = len(self._root.rstrip("/")) + 1
        return {path[start:]: _held(info) for path, info in found.items()}

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files; those that are not there are left out."""
        for key in keys:
            if self.look(key) is not None:
                self._removed(key)

    def _removed(self, key: str) -> None:
        """Remove a file. As of a rename, the answer may be lost, and the repeat fails."""
        try:
            self._asked(key, lambda: self._fs.rm_file(self._path(key)))
        except FileNotFoundError:
            return
        except TransientError:
            if self.look(key) is not None:
                raise

    def sweep(self, keys: Collection[str]) -> int:
        """Remove what was being copied for these keys."""
        own: dict[str, set[str]] = {}
        for folder, _, name in (key.rpartition("/") for key in keys):
            own.setdefault(folder, set()).add(name)
        left = [
            f"{folder}/{name}".lstrip("/")
            for folder, names in own.items()
            for name in self._names(folder)
            if files.made_for(name) in names
        ]
        self.remove(left)
        return len(left)

    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        self._fs.invalidate_cache()
        try:
            found = self._asked(folder, lambda: self._fs.ls(self._path(folder), detail=False))
        except FileNotFoundError:
            return []
        return [PurePosixPath(path).name for path in found]

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}".rstrip("/")

    def _asked(self, key: str, ask: Callable[[], T], awaited: str = "an answer about") -> T:
        return _asked(f"{self.place}/{key}", ask, awaited)


def _asked(subject: str, ask: Callable[[], T], awaited: str = "an answer about", patience_s: float = math.inf) -> T:
    """Return the answer, asked for several times, and no more after `patience_s`; the wait is told once per minute.

    The libraries of fsspec raise errors of any kind. That a disk is full is raised at once, as the system says it: the
    caller knows which disk, that of the store or the one here.
    """
    began = time.monotonic()
    with waiting.told(f"{awaited} {subject}"):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return ask()
            except (PipelineError, FileNotFoundError, ImportError):
                raise
            except PermissionError as error:
                found, remedy = str(error), "give this user, or the credentials that it has, the right to write there"
                raise BadInput(subject, expected="access", found=found, remedy=remedy) from error
            except Exception as error:
                if isinstance(error, OSError) and files.is_full(error):
                    raise
                if attempt == _ATTEMPTS or time.monotonic() - began > patience_s:
                    raise _unanswered(subject, error) from error
                time.sleep(_PAUSE_S * 2**attempt)
    raise AssertionError


def _unanswered(subject: str, error: Exception) -> TransientError:
    remedy = f"look after the network, that server and its credentials, or correct {OPTION}; then run again"
    return TransientError(
        subject, expected="an answer", found=f"{type(error).__name__}: {error}".removesuffix(": "), remedy=remedy
    )


def _held(info: Mapping[str, Any]) -> Held:
    tag = next((f"{name} {info[name]}" for name in _TAGS if info.get(name)), "")
    return Held(int(info["size"] or 0), tag)
