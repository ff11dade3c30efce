"""Whoever has lost its turn publishes nothing: not by a rename, and not by taking away what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ben_luigi.domain import fence, files, leftovers
from ben_luigi.domain.errors import TakenOver
from ben_luigi.domain.fence import Mark

WORK = "0123456789abcdef"


@dataclass
class Turn:
    """A turn at the one work; `taken_over` is called when it has been told that the turn is its own."""

    number: int
    took_over: bool = True
    is_over: bool = False
    taken_over: Callable[[], object] = lambda: None
    names: set[Path] = field(default_factory=set)
    cleared: set[Path] = field(default_factory=set)

    @property
    def mark(self) -> Mark:
        return Mark(WORK, self.number)

    def begin(self) -> None:
        """It has begun."""

    def require(self, what: str | os.PathLike[str]) -> None:
        if self.is_over:
            raise TakenOver(what)
        self.taken_over()

    def clears(self, folder: Path) -> bool:
        is_due = self.took_over and folder not in self.cleared
        self.cleared.add(folder)
        return is_due

    def named(self, path: Path) -> None:
        self.names.add(path)


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A later turn publishes a file and a folder, once."""
    done: list[bool] = []

    def take() -> None:
        if not done:
            done.append(True)
            with fence.within(Turn(2)):
                files.write_text(tmp_path / "a.csv", "of the taker")
                with files.atomic_write(tmp_path / "folder") as work:
                    work.mkdir()
                    (work / "b").write_text("of the taker")

    yield take
    assert done
    assert (tmp_path / "a.csv").read_text() == "of the taker"
    assert (tmp_path / "folder" / "b").read_text() == "of the taker"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "folder"]


def _folder(path: Path) -> None:
    with files.atomic_write(path) as work:
        work.mkdir()
        (work / "mine").touch()


PUBLISH: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: files.write_text(folder / "a.csv", "late"),
    "a folder": lambda folder: _folder(folder / "folder"),
    "the end of a file": lambda folder: files.withdraw(folder / "a.csv"),
    "the end of a folder": lambda folder: files.withdraw(folder / "folder"),
}


@pytest.mark.parametrize("publish", PUBLISH.values(), ids=PUBLISH)
@pytest.mark.parametrize("is_there", [True, False], ids=["over an earlier one", "anew"])
def test_a_takeover_right_before_the_rename(
    tmp_path: Path, taken: Callable[[], None], publish: Callable[[Path], object], is_there: bool
) -> None:
    """It was told that the turn is its own, and then another one takes over, before it goes on."""
    if is_there:
        files.write_text(tmp_path / "a.csv", "before")
        _folder(tmp_path / "folder")
    with fence.within(Turn(1, taken_over=taken)), suppress(FileNotFoundError):
        publish(tmp_path)
    taken()


@pytest.mark.parametrize("publish", PUBLISH.values(), ids=PUBLISH)
def test_a_turn_that_is_over(tmp_path: Path, taken: Callable[[], None], publish: Callable[[Path], object]) -> None:
    taken()
    with fence.within(Turn(1, is_over=True)), pytest.raises(TakenOver):
        publish(tmp_path)


def test_unfinished_files_of_others_stay(tmp_path: Path) -> None:
    """Those of other work, of a later turn, and of a process without a turn."""
    others = [f".unfinished-{by}-00000000-a" for by in (f"{'f' * 16}-1", f"{WORK}-3", str(os.getpid()))]
    for name in (*others, f".unfinished-{WORK}-1-00000000-a"):
        (tmp_path / name).touch()
    with fence.within(Turn(2)):
        files.unfinished(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    files.sweep(tmp_path, older_than_s=0)
    assert not list(tmp_path.iterdir())


def test_after_a_turn_that_has_ended_nothing_is_looked_for(tmp_path: Path) -> None:
    left = tmp_path / f".unfinished-{WORK}-1-00000000-a"
    left.touch()
    with fence.within(Turn(2, took_over=False)):
        files.unfinished(tmp_path / "b")
    assert left.exists()


def test_what_came_in_part_is_taken_over_and_the_late_one_writes_elsewhere(tmp_path: Path) -> None:
    plain = tmp_path / "a.zip.part"
    plain.write_bytes(b"plain")
    with fence.within(Turn(1, took_over=False)):
        first = leftovers.kept(plain)
        assert first.read_bytes() == b"plain" and not plain.exists()
        assert leftovers.kept(plain) == first
    with first.open("ab") as still_open, fence.within(Turn(2)):
        second = leftovers.kept(plain)
        assert [second] == list(tmp_path.iterdir())
        still_open.write(b"late")
        still_open.flush()
        assert second.read_bytes() == b"plain"
    with fence.within(Turn(3, took_over=False)):
        inode = second.stat().st_ino
        assert leftovers.kept(plain).stat().st_ino == inode, "it is renamed where nobody can have it open"
    with fence.within(Turn(1)):
        assert not leftovers.kept(plain).exists(), "a late turn takes nothing from a later one"


def test_a_work_folder_is_a_turns_own(tmp_path: Path) -> None:
    assert leftovers.fresh(tmp_path / ".work-a") == tmp_path / ".work-a"
    (tmp_path / ".work-a").mkdir()
    with fence.within(Turn(1)):
        first = leftovers.fresh(tmp_path / ".work-a")
        first.mkdir()
    with fence.within(Turn(2)):
        second = leftovers.fresh(tmp_path / ".work-a")
    assert second != first and not list(tmp_path.iterdir())


def test_a_forked_process_has_no_turn() -> None:
    with fence.within(Turn(1, is_over=True)):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                fence.require("nothing")
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(TakenOver):
            fence.require("something")
