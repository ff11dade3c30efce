"""The base of all tasks: what a result is made from is computed, and it is published in one way.

A task says which `options` and `code` go into its result; what it requires, or `made_of()` where that is not the same,
goes in by its content, inputs among it. From that the base takes a *fingerprint*. A result is *true* as long as its
record has the fingerprint that is asked for now, and all that it is made of is true. `make()` only does the work;
`run()` holds the lock of the task, looks once more, withdraws the old record, and records what has been put in place.

Luigi asks a task whether it is complete before anything runs, and never again. So a task whose result is there counts
as incomplete while something that it is made of is: it is then run in its turn, and makes its result anew only if what
it is made of has changed by then.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import luigi
import sqlalchemy as sa
from luigi.task import flatten

from ben_luigi import config, signals
from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput, DamagedFile, PipelineError
from ben_luigi.state import code, database, identity, turns
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile, MadeFolder, withdraw_damaged
from ben_luigi.state.tile_rows import TileRows

_log = logging.getLogger(__name__)
STARTED, RUN = time.time(), secrets.token_hex(8)
"""When this run began, and its name; workers, which are forked, know them too."""
Digests = Mapping[str, str]
"""What tells the content of results, by their names in `output()`."""


class PipelineTask(luigi.Task):
    """A task of the pipeline."""

    options: ClassVar[tuple[str, ...]] = ()
    """Options that go into the result, as `archive.level`."""
    code: ClassVar[tuple[ModuleType | Path, ...]] = ()
    """Modules, templates and tables whose content goes into the result: where it is made again within minutes."""
    revision: ClassVar[int] = 1
    """Raised by one when a result that takes long is to be made again, since the code makes it otherwise."""
    product: ClassVar[str] = ""
    """What it brings, where another task may bring the same: what is made of it does not tell them apart."""
    may_go: ClassVar[tuple[str, ...]] = ()
    """Names in `output()` of what need not stay when it has been used: what was made of it stays true."""

    unchanged = False
    """Whether the last run found its result true still."""
    _taken: Mapping[str, Any] | None = None
    _just_published = False

    def made_of(self) -> list[PipelineTask]:
        """The tasks whose results go into this one: by default all that it requires."""
        return [task for task in self.deps() if isinstance(task, PipelineTask)]

    def settings(self) -> dict[str, Any]:
        """What else goes into the result."""
        return {}

    def adopts(self) -> bool:
        """Whether what an older checkout has made counts, of which less was recorded: where making it takes hours."""
        return False

    def needs(self) -> list[luigi.Task]:
        """Tasks that can be told only when all that is required is there."""
        return []

    def make(self) -> Digests | None:
        """Do the work; give digests of results whose content something else tells than their own sha256."""
        raise NotImplementedError

    def check_arguments(self) -> None:
        """BadName or BadArgument if it cannot be asked for like this, as far as that can be told before."""

    def result_lines(self) -> list[str]:
        """What a person is told of the result when the task was asked for: by default where it is."""
        return [str(target.file) for target in self.targets().values() if isinstance(target, MadeFile)]

    def file(self, relative: str) -> MadeFile:
        """A file of this task's, at a path relative to the data folder."""
        return MadeFile(relative, self)

    def folder(self, relative: str) -> MadeFolder:
        """A folder of this task's, at a path relative to the data folder."""
        return MadeFolder(relative, self)

    def targets(self) -> dict[str, Any]:
        """All results by name; a single one has none."""
        found = self.output()
        return dict(found) if isinstance(found, dict) else dict.fromkeys([""], found) if found else {}

    def fingerprint(self) -> Mapping[str, Any]:
        """All that the result is made from, as it is asked for now; while it is being made, as it was before."""
        if self._taken is not None:
            return self._taken
        with snapshot() as seen:
            key = self.task_id, "fingerprint"
            if key not in seen.answers:
                seen.answers[key] = self._fingerprint()
            found: Mapping[str, Any] = seen.answers[key]
            return found

    def _fingerprint(self) -> dict[str, Any]:
        of: dict[str, list[str]] = {}
        for task in self.made_of():
            which = " ".join(task.to_str_params().values())
            of.setdefault(task.product or task.task_family, []).append(f"{which} {task.digest()}")
        made_from = {
            "revision": self.revision,
            "made_of": {family: files.text_hash("\n".join(sorted(set(each)))) for family, each in of.items()},
            **{option: config.value(option) for option in self.options},
            **({"code": code.code_version(*self.code)} if self.code else {}),
            **self.settings(),
        }
        return dict(json.loads(json.dumps(made_from, default=str)))

    def digest(self) -> str:
        """What tells the content of its results; for a task that leaves none, of those that it is made of."""
        with snapshot() as seen:
            key = self.task_id, "digest"
            if key not in seen.answers:
                seen.answers[key] = self.content()
            return str(seen.answers[key])

    def content(self) -> str:
        """The same, found out anew."""
        return files.text_hash("\n".join(one.digest() for one in flatten(self.output()) or self.made_of()))

    def is_true(self) -> bool:
        """Whether its result was made from what is asked for now, and so was all that it is made of."""
        with snapshot() as seen:
            key = self.task_id, "true"
            if key not in seen.answers:
                before = {task.task_id: task for task in [*self.deps(), *self.made_of()]}.values()
                of = (task for task in before if isinstance(task, PipelineTask))
                seen.answers[key] = all(task.is_true() for task in of) and self._is_made(self.may_go)
            return bool(seen.answers[key])

    def is_there(self) -> bool:
        """Whether its own result is there, made from what is asked for now."""
        return self._is_made(())

    def _is_made(self, may_go: tuple[str, ...]) -> bool:
        targets = self.targets().items()
        return all(target.is_recorded() if name in may_go else target.exists() for name, target in targets)

    def complete(self) -> bool:
        """Whether its result is there, made from what is asked for now, and so was all that it is made of.

        Luigi looks right after a run, too: then it is, though what it was made of may just be being made anew. Whoever
        needs it looks once more.
        """
        if self._just_published:
            self._just_published = False
            return True
        with snapshot():
            return self.is_true() and self.is_there()

    def run(self) -> Iterator[Any]:
        """Make the result, unless it turns out to be true still: what is missing for it first, alone with it."""
        identity.enter(config.data_dir(), config.result_options())
        yield from self._missing(self.deps())
        yield from self._missing(self.needs())
        try:
            with turns.alone_with(self.task_id):
                self.publish()
            return
        except DamagedFile as error:
            again = withdraw_damaged(error)
            if again is None:
                raise
            found = f"{error.file}; expected: {error.expected}; found: {error.found}"
            _log.warning("%s; it is made again by %s", found, again)
        yield again

    @staticmethod
    def _missing(tasks: list[luigi.Task]) -> Iterator[list[luigi.Task]]:
        with snapshot():
            missing = [task for task in tasks if not task.complete()]
        if missing:
            yield missing

    def publish(self) -> None:
        """Make the result unless it is true, given all that it needs: withdraw the record, make it anew, record it."""
        self._taken, targets = self.fingerprint(), self.targets()
        try:
            self.unchanged = bool(targets) and self.is_there()
            if self.unchanged:
                self._just_published = True
                return
            self._check_sources()
            made = {name: target for name, target in targets.items() if isinstance(target, MadeFile)}
            before = {name: target.withdraw() for name, target in made.items()}
            digests = self.remake(before) or {}
            for name, target in made.items():
                target.record(digests.get(name, ""), by=RUN, made_with=code.versions())
            self._just_published = bool(targets) and self.is_there()
        finally:
            taken, self._taken = self._taken, None
        self._require_same(taken)

    def _check_sources(self) -> None:
        """DamagedFile if a file that the work may read is not what was recorded of it.

        Files too large for that are held against something else while they are read.
        """
        for task in {task.task_id: task for task in [*self.deps(), *self.made_of(), *self.needs()]}.values():
            if isinstance(task, PipelineTask):
                for name, target in task.targets().items():
                    if isinstance(target, MadeFile) and name not in task.may_go:
                        target.check()

    def _require_same(self, taken: Mapping[str, Any]) -> None:
        """What a person has changed meanwhile may have gone in, or not: nobody can tell.

        What other tasks have made anew meanwhile went in as it was recorded: who looks next finds it out.
        """
        now = self.fingerprint()
        changed = sorted(name for name in {*taken, *now} - {"made_of"} if taken.get(name) != now.get(name))
        if changed:
            raise BadInput(
                str(self),
                expected="that what it is made from stays as it is while it is made",
                found=f"a change of {', '.join(changed)}",
                remedy="run again: it is then made anew",
            )

    def remake(self, before: Mapping[str, Mapping[str, Any]]) -> Digests | None:
        """`make()`, knowing what was recorded of earlier results, by their names."""
        return self.make()


def _share(*_: luigi.Task) -> None:
    """What all tasks need is had once, by the process that schedules them; what cannot be had, the tasks say."""
    code.versions()
    with suppress(PipelineError):
        database.share()


PipelineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)(signals.raised_again(_share))


class TileTask(PipelineTask):
    """A task of one tile."""

    tile: str = luigi.Parameter(description="tile key, MGRS square and sensing date, as in 33UUP_20170613")

    def rows(self, table: sa.Table) -> TileRows:
        """The tile's rows in a table."""
        return TileRows(table, self.tile, self)
