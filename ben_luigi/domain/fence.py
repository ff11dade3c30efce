"""Ask, before a result gets its final name, whether it is still this process's turn to make it.

A process that was stopped, or cut off, may wake up after another one has taken its work over. So each turn has a
number, and everything that it writes before it is complete has the turn's *mark* in its name. Whatever publishes a
result, by a rename or an upload, does three things in this order: it completes the work under a name with the mark,
calls `require`, and publishes. A later turn first gets its number, then removes what has the mark of an earlier one,
and then publishes. So an earlier turn either finds that the number is not its own any more, or finds its work removed:
nothing that it does can come over what a later one has published.

Outside of a turn everything is allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

_MARK = re.compile(r"(?P<work>[0-9a-f]{16})-(?P<number>\d{1,18})")


class Mark(NamedTuple):
    """What is in the names of a turn's unfinished files: 16 hexadecimal digits for the work, and the turn's number."""

    work: str
    number: int

    def __str__(self) -> str:
        return f"{self.work}-{self.number}"

    def is_after(self, text: str) -> bool:
        """Return whether `text` is the mark of an earlier turn at the same work."""
        other = _MARK.fullmatch(text)
        return other is not None and other["work"] == self.work and int(other["number"]) < self.number


class Fence(Protocol):
    """The turn of this process."""

    @property
    def mark(self) -> Mark:
        """Its mark."""

    @property
    def took_over(self) -> bool:
        """Whether the turn before has not ended: its process may be dead, or may come back."""

    def begin(self) -> None:
        """Take the number of the turn, before anything is made, unless that is done."""

    def require(self, what: str | os.PathLike[str]) -> None:
        """Raise TakenOver if it is another's turn now, before `what` is published."""

    def clears(self, folder: Path) -> bool:
        """Return whether the unfinished files of earlier turns in `folder` are to be removed now: once, if at all."""

    def named(self, path: Path) -> None:
        """Note the name of an unfinished file or folder, to be removed if the work is taken over."""


_fences: list[tuple[int, Fence]] = []


@contextmanager
def within(fence: Fence) -> Iterator[None]:
    """Have `fence` asked in this process, in all of its threads, as long as the block lasts."""
    _fences.append((os.getpid(), fence))
    try:
        yield
    finally:
        _fences.pop()


def current() -> Fence | None:
    """Return the fence of this process; a forked process has none, since the turn is not its own."""
    return _fences[-1][1] if _fences and _fences[-1][0] == os.getpid() else None


def require(what: str | os.PathLike[str]) -> None:
    """Raise TakenOver if this process has lost its turn."""
    if fence := current():
        fence.require(what)


def begin() -> None:
    """Take the number of this turn, if there is one, before anything is made. Raise TakenOver if it is lost already."""
    if fence := current():
        fence.begin()
