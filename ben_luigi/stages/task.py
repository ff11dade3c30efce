"""The base of all tasks: it computes what a result is made from, and writes every result in the same way.

A task declares which `options` and `code` affect its result; the content of what it requires (or of `made_of()`, where
that differs), inputs included, affects it too. From these the base computes a *fingerprint*. A result is *true* as long
as its record has the fingerprint asked for now, and everything that it is made of is true. `make()` only does the work;
`run()` holds the lock of the task, checks once more, withdraws the old record, and records what has been written.

Luigi asks a task whether it is complete before anything runs, and never again. So a task with an existing result counts
as incomplete while something that it is made of does: it is then run in its turn, and makes its result again only if
what it is made of has changed by then.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import luigi

from ben_luigi import config, signals
from ben_luigi.configuration.kinds import Declared
from ben_luigi.domain import deferred, fence, files
from ben_luigi.domain.errors import ChangedMeanwhile, DamagedFile, PipelineError, TakenOver
from ben_luigi.state import cache, code, database, failures, luigi_internals, worlds
from ben_luigi.state.locks import configuration, data_folder
from ben_luigi.state.locks.task import alone_with
from ben_luigi.state.scheduling import QuickScheduler
from ben_luigi.state.snapshot import snapshot
from ben_luigi.state.targets import MadeFile, MadeFolder, withdraw_damaged
from ben_luigi.state.tile_rows import TileRows

_log = logging.getLogger(__name__)
STARTED, RUN = time.time(), secrets.token_hex(8)
"""When this run began, and its name; forked workers know them too."""
Digests = Mapping[str, str]
"""What identifies the content of results, by their names in `output()`."""


class PipelineTask(Declared):
    """A task of the pipeline."""

    options: ClassVar[tuple[str, ...]] = ()
    """Options that affect the result, such as `archive.level`."""
    recipe: ClassVar[tuple[str, ...]] = ()
    """Sections and keys of the recipe that affect it, such as `split` or `patches.side_m`; see `config.recipe_part`."""
    code: ClassVar[tuple[ModuleType | Path, ...]] = ()
    """Modules, templates and tables whose content affects the result: for results that take minutes to make."""
    revision: ClassVar[int] = 1
    """Raised by one when changed code requires a result that takes long to be made again."""
    product: ClassVar[str] = ""
    """What it provides, if another task may provide the same: results do not distinguish the two."""
    may_go: ClassVar[tuple[str, ...]] = ()
    """Names in `output()` that may be removed after use without affecting what was made from them."""

    unchanged = False
    """Whether the last run found its result still true."""
    _taken: Mapping[str, Any] | None = None
    _just_published = False

    def made_of(self) -> list[PipelineTask]:
        """Return the tasks whose results affect this one: by default all that it requires."""
        return [task for task in self.deps() if isinstance(task, PipelineTask)]

    def settings(self) -> dict[str, Any]:
        """Return what else affects the result."""
        return {}

    def adopts(self) -> bool:
        """Return whether a result of an older version, which recorded less, counts.

        It does if making it takes hours.
        """
        return False

    def needs(self) -> list[luigi.Task]:
        """Return tasks that are known only once everything required is complete."""
        return []

    def make(self) -> Digests | None:
        """Do the work; return digests of results that are identified by something else than their own sha256."""
        raise NotImplementedError

    def check_arguments(self) -> None:
        """Raise BadName or BadArgument if the arguments are invalid, as far as that is known before a run."""

    def result_lines(self) -> list[str]:
        """Return what to print about the result when a user asked for the task: by default its path."""
        return [str(target.file) for target in self.targets().values() if isinstance(target, MadeFile)]

    def file(self, relative: str) -> MadeFile:
        """Return a file of this task, at a path relative to the data folder."""
        return MadeFile(relative, self)

    def folder(self, relative: str) -> MadeFolder:
        """Return a folder of this task, at a path relative to the data folder."""
        return MadeFolder(relative, self)

    def targets(self) -> dict[str, Any]:
        """Return all results by name; a single result has an empty name."""
        found = self.output()
        return dict(found) if isinstance(found, dict) else dict.fromkeys([""], found) if found else {}

    def fingerprint(self) -> Mapping[str, Any]:
        """Return everything that the result is made from, as asked for now.

        While it is being made, as it was at the start.
        """
        if self._taken is not None:
            return self._taken
        found: Mapping[str, Any] = self._seen("fingerprint", self._fingerprint)
        return found

    def _seen(self, what: str, find: Callable[[], Any]) -> Any:
        """Return what `find` says about this task: it is asked once per snapshot."""
        with snapshot() as seen:
            key = self.task_id, what
            if key not in seen.answers:
                seen.answers[key] = find()
            return seen.answers[key]

    def _fingerprint(self) -> dict[str, Any]:
        of: dict[str, list[str]] = {}
        for task in self._seen("made of", self.made_of):
            which = " ".join(task.to_str_params().values())
            of.setdefault(task.product or task.task_family, []).append(f"{which} {task.digest()}")
        made_from = {
            "revision": self.revision,
            "made_of": {family: files.text_hash("\n".join(sorted(set(each)))) for family, each in of.items()},
            **{option: config.value(option) for option in self.options},
            **({"code": code.code_version(*self.code)} if self.code else {}),
            **config.recipe_part(self.recipe),
            **self.settings(),
        }
        return dict(json.loads(json.dumps(made_from, default=str)))

    def digest(self) -> str:
        """Return what identifies the content of its results; without results, of those that it is made of."""
        return str(self._seen("digest", self.content))

    def content(self) -> str:
        """Return the same as `digest`, computed again."""
        of = self._seen("targets", self.targets).values() or self._seen("made of", self.made_of)
        return files.text_hash("\n".join(one.digest() for one in of))

    def is_true(self) -> bool:
        """Return whether its result, and everything that it is made of, was made from what is asked for now."""
        return bool(self._seen("true", self._is_true))

    def _is_true(self) -> bool:
        before = {task.task_id: task for task in [*self.deps(), *self._seen("made of", self.made_of)]}.values()
        of = (task for task in before if isinstance(task, PipelineTask))
        return all(task.is_true() for task in of) and self._is_made(self.may_go)

    def is_there(self) -> bool:
        """Return whether its own result exists and was made from what is asked for now."""
        return self._is_made(())

    def _is_made(self, may_go: tuple[str, ...]) -> bool:
        targets = self._seen("targets", self.targets).items()
        return all(target.is_recorded() if name in may_go else target.exists() for name, target in targets)

    def complete(self) -> bool:
        """Return whether its result exists and is true, and so is everything that it is made of.

        Luigi also asks right after a run: the task is complete then, though its sources may be being made again. Any
        task that needs it checks once more.
        """
        if self._just_published:
            self._just_published = False
            return True
        try:
            with snapshot():
                return self.is_true() and self.is_there()
        except Exception as error:
            failures.note_scheduling(error)
            raise

    def run(self) -> Iterator[Any]:
        """Make the result, after everything that is missing for it, holding its lock.

        Do nothing if it is still true.
        """
        data_folder.require_same(config.data_dir())
        configuration.enter(config.data_dir(), config.result_options)
        worlds.enter(config.data_dir(), is_sample=config.is_sample())
        yield from self._missing(self.deps())
        yield from self._missing(self.needs())
        try:
            self._publish_in_turn()
            return
        except DamagedFile as error:
            if cache.dropped(error.file):
                self._publish_in_turn()
                return
            again = withdraw_damaged(error)
            if again is None:
                raise
            found = f"{error.file}; expected: {error.expected}; found: {error.found}"
            _log.warning("%s; it is made again by %s", found, again)
        yield again

    def _publish_in_turn(self) -> None:
        """Hold the lock and publish; if another process has taken the task over, come late, and find its result."""
        while True:
            try:
                with alone_with(self.task_id):
                    self.publish()
                return
            except TakenOver as error:
                _log.warning("%s", error)

    @staticmethod
    def _missing(tasks: list[luigi.Task]) -> Iterator[list[luigi.Task]]:
        with snapshot():
            missing = {task.task_id: task for task in tasks if not task.complete()}
            # Luigi goes through all that a task requires: what another of them requires comes with that one.
            required = {task.task_id for of in missing.values() for task in of.deps()}
        if missing:
            yield [task for task_id, task in missing.items() if task_id not in required]

    def publish(self) -> None:
        """Make the result unless it is true, once all that it needs exists: withdraw the record, make it, record it."""
        self._taken, targets = self.fingerprint(), self.targets()
        try:
            self.unchanged = bool(targets) and self.is_there()
            if self.unchanged:
                self._just_published = True
                return
            fence.begin()
            self._check_sources()
            made = {name: target for name, target in targets.items() if isinstance(target, MadeFile)}
            # Withdrawn before the work: after a crash in between, no record can describe a file that is half replaced.
            before = {name: target.withdraw() for name, target in made.items()}
            digests = self.remake(before) or {}
            for name, target in made.items():
                target.record(digests.get(name, ""), by=RUN, made_with=code.versions())
            self._just_published = bool(targets) and self.is_there()
        finally:
            taken, self._taken = self._taken, None
        self._require_same(taken)

    def _check_sources(self) -> None:
        """Raise DamagedFile if a file that the work may read differs from its record.

        Files too large for that are checked while they are read.
        """
        for task in {task.task_id: task for task in [*self.deps(), *self.made_of(), *self.needs()]}.values():
            if isinstance(task, PipelineTask):
                for name, target in task.targets().items():
                    if isinstance(target, MadeFile) and name not in task.may_go:
                        target.check()

    def _require_same(self, taken: Mapping[str, Any]) -> None:
        """Raise ChangedMeanwhile if a source has changed during the work, as when a person replaces a file.

        Its content may or may not be in the result.

        A source that another task has made again in the meantime went in as it was recorded; the next check notices it.
        """
        now = self.fingerprint()
        changed = sorted(name for name in {*taken, *now} - {"made_of"} if taken.get(name) != now.get(name))
        if changed:
            raise ChangedMeanwhile(
                str(self),
                expected="that what it is made from does not change while it is made",
                found=f"a change of {', '.join(changed)}",
                remedy="run again: it is then made again",
            )

    def remake(self, before: Mapping[str, Mapping[str, Any]]) -> Digests | None:
        """Call `make()` with the records of earlier results, by their names."""
        return self.make()


def _share(*tasks: luigi.Task) -> None:
    """Prepare what all tasks share in the scheduling process."""
    if signals.came:
        return  # this is called for each dependency: what was stopped would begin again and again
    code.versions()
    deferred.load_all()
    for task in tasks:
        if isinstance(task, PipelineTask):
            code.code_version(*task.code)
    data_folder.enter(config.data_dir())  # so that those forked from this process notice if it becomes another one
    try:
        database.share()
    except PipelineError as error:
        _log.error("what needs the database will fail: %s", error)


luigi_internals.schedule_here_by(QuickScheduler)
PipelineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)(signals.raised_again(_share))


class TileTask(PipelineTask):
    """A task of one tile."""

    tile: str = luigi.Parameter(description="tile key, MGRS square and sensing date, as in 33UUP_20170613")

    def rows(self, table: str) -> TileRows:
        """Return the tile's rows in a table."""
        return TileRows(table, self.tile, self)
