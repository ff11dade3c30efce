"""Record failed tasks and their errors: one small file each in `failed/`, removed when the task succeeds.

These are files, not rows, since the failure may be that of the database; on a shared file system all hosts see them.
"""

from __future__ import annotations

import json
import logging
import mmap
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import luigi

from ben_luigi import config
from ben_luigi.domain import private, refused
from ben_luigi.domain.errors import (
    BadDatabase,
    BadInput,
    DiskError,
    PermanentError,
    PipelineError,
    RestingError,
    may_pass,
)
from ben_luigi.state import records
from ben_luigi.state.locks import data_folder

_log = logging.getLogger(__name__)
_unrecorded = mmap.mmap(-1, 1)  # shared with processes that are forked from this one
_of_scheduling: list[BaseException] = []
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Failure:
    """The last failure of a task. `task` is its name as Luigi shows it, `tile` a tile key or empty, `at` in UTC.

    `needs_person` tells whether it will fail until a person acts; `family` and `arguments` identify the task, and are
    empty in files of older versions.
    """

    task: str
    tile: str
    kind: str
    error: str
    needs_person: bool
    at: str
    host: str
    family: str = ""
    arguments: dict[str, str] = field(default_factory=dict, compare=False)


def note(task: luigi.Task, error: BaseException, needs_person: bool = False) -> None:
    """Record that a task failed.

    On a full disk, or once the data folder has gone, nothing can be recorded: the error is in the log only, and
    `is_unrecorded` tells of it.
    """
    error = refused.explained(error, config.data_dir())
    message = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
    lasting = isinstance(error, PermanentError | DiskError | BadDatabase) and not isinstance(error, RestingError)
    failure = Failure(
        task=str(task),
        tile=str(getattr(task, "tile", "")),
        kind=type(error).__name__,
        error=message,
        needs_person=needs_person or lasting,
        at=f"{datetime.now(UTC):{_TIME}}",
        host=socket.gethostname(),
        family=task.task_family,
        arguments=task.to_str_params(),  # type: ignore[no-untyped-call]
    )
    try:
        data_folder.require_same(config.data_dir())
        records.make_way(_path(task))
        private.write_text(_path(task), json.dumps(asdict(failure), indent=1) + "\n")
    except (OSError, DiskError, BadInput):
        _unrecorded[0] = _unrecorded[0] or failure.needs_person


def is_unrecorded() -> bool:
    """Return whether what needs a person could not be recorded, in this process or one that was forked from it."""
    return bool(_unrecorded[0])


def note_scheduling(error: BaseException) -> None:
    """Keep, in this process, why a task could not be scheduled: Luigi tells its exit code only."""
    _of_scheduling.append(error)


def forget_scheduling() -> None:
    """Forget that, before Luigi schedules once more."""
    _of_scheduling.clear()


def may_be_scheduled_later() -> bool:
    """Return whether all that kept tasks from being scheduled may pass, as a database that did not answer."""
    return bool(_of_scheduling) and all(may_pass(error) for error in _of_scheduling)


def forget(task: luigi.Task) -> None:
    """Remove the record of a task that has succeeded."""
    _remove(_path(task))


def forget_all() -> None:
    """Remove all records, once everything that is asked for is complete."""
    for path in _folder().glob("*.json"):
        _remove(path)


def noted() -> list[Failure]:
    """Return the failures of all tasks that have not succeeded since, oldest first."""
    found = []
    for path in _folder().glob("*.json"):
        try:
            found.append(Failure(**json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue  # the task has succeeded in the meantime
        except (OSError, ValueError, TypeError) as error:
            _log.warning("skipping %s, which cannot be read: %s", path, error)
    return sorted(found, key=lambda failure: (failure.at, failure.task))


def _remove(path: Path) -> None:
    records.make_way(path)
    path.unlink(missing_ok=True)


def _path(task: luigi.Task) -> Path:
    return _folder() / f"{task.task_id}.json"


def _folder() -> Path:
    return config.data_dir() / "failed"
