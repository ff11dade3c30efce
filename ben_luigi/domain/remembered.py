"""Cache what was read from a file in this process, for as long as the file stays the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ben_luigi.domain.errors import PipelineError

T = TypeVar("T")
P = ParamSpec("P")
State = tuple[tuple[str, int, int, int, int], ...]


def state(*paths: Path) -> State:
    """Return the path, device, inode, size and mtime (ns) of each existing file, and of the entries of each folder."""
    found: list[tuple[str, int, int, int, int]] = []
    for path in paths:
        with suppress(OSError, ValueError):  # the function that reads the file reports it
            own = (str(path), *_identity(path.stat()))
            found += [own, *(_entries(path) if path.is_dir() else ())]
    return tuple(found)


def _entries(folder: Path) -> list[tuple[str, int, int, int, int]]:
    """Return the same of the entries of a folder; of a link that leads nowhere, its own."""
    with os.scandir(folder) as entries:
        return sorted((entry.path, *_identity(_stat(entry))) for entry in entries)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def remembered(
    *beside: str,
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[Path, P], T]]:
    """Decorate a function of a path, so that it is called again only when the file, or another argument, has changed.

    A PipelineError about the content is cached too. One with a cause, such as a lock, is not, since the cause may
    vanish. `beside` are suffixes of files beside it that count as well, such as `-wal` of SQLite. Only the latest file
    is cached.
    """

    def decorate(read: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
        last: list[tuple[object, T | PipelineError]] = []

        @wraps(read)
        def look(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
            file = Path(os.path.realpath(path))
            now = state(file, *(file.with_name(file.name + ending) for ending in beside))
            asked = now, args, kwargs
            if not last or not now or last[0][0] != asked:
                last[:] = [(asked, _result(lambda: read(path, *args, **kwargs)))]
            result = last[0][1]
            if isinstance(result, PipelineError):
                if result.__cause__ is not None:
                    last.clear()
                raise result.with_traceback(None)
            return result

        return look

    return decorate


def _result(read: Callable[[], T]) -> T | PipelineError:
    try:
        return read()
    except PipelineError as error:
        return error.with_traceback(None)  # a traceback keeps the frames alive, and with them everything that was read
