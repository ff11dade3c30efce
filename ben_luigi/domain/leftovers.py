"""Work that lasts over turns: each turn has a name of its own for it, and takes over what earlier ones have left.

So a process whose work was taken over, and which comes back, writes to no file that a later turn uses: not by its name,
and not by a file that it has open (`fence`). Outside of a turn the name is the plain one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ben_luigi.domain import fence, files, locks


def kept(path: Path) -> Path:
    """Return this turn's name of a partial file or folder, `<stem>.<mark><suffix>`, with what earlier turns have left.

    A file that its process may still have open is copied. Raise TakenOver if this turn is over.
    """
    own, earlier = _named(path)
    for left in sorted(earlier, key=lambda one: one.stat().st_mtime, reverse=True):
        if not own.exists():
            _take(left, own)
        files.remove(left)
    return own


def fresh(path: Path) -> Path:
    """Return this turn's name of a work file or folder, `<stem>.<mark><suffix>`; neither it nor earlier ones exist.

    Raise TakenOver if this turn is over.
    """
    own, earlier = _named(path)
    for left in (own, *earlier):
        files.remove(left)
    return own


def _named(path: Path) -> tuple[Path, list[Path]]:
    turn = fence.current()
    if turn is None:
        return path, []
    turn.require(path)
    own = path.with_name(f"{path.stem}.{turn.mark}{path.suffix}")
    turn.named(own)
    return own, list(_earlier(path, turn.mark))


def _earlier(path: Path, mark: fence.Mark) -> Iterator[Path]:
    """Yield what earlier turns have left, and what was left outside of any."""
    if path.exists():
        yield path
    before, after = f"{path.stem}.", path.suffix
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        middle = entry.name.removeprefix(before).removesuffix(after)
        if entry.name == f"{before}{middle}{after}" and mark.is_after(middle):
            yield entry


def _take(left: Path, own: Path) -> None:
    turn = fence.current()
    if turn and turn.took_over and left.is_file():
        shutil.copyfile(left, own)
    else:
        left.rename(own)


def put_in_place(own: Path, path: Path) -> None:
    """Give a complete file or folder, which has the name of `kept`, its final name. Raise TakenOver as `files` does."""
    if fence.current() is None:
        files.put_in_place(own, path)  # in one step, so that a kill leaves a complete file under one of the two names
        return
    work = files.unfinished(path)
    own.rename(work)
    files.put_in_place(work, path)


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Hold a lock beside `path` while a command makes it, and remove first what killed ones have left of it.

    Raise BadInput if another process makes it now. On a file system without locks nothing is held or removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.held_while("makes", path, path.with_name(f".{path.name}.lock")) as has_locks:
        for left in files.unfinished_of(path) if has_locks else ():
            files.remove(left)
        yield
