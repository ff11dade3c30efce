"""Allow one configuration at a time per data folder: otherwise two runs would undo each other's work.

Every process in a data folder holds a shared lock on `configuration.lock` there, which contains the configuration of
the first of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ben_luigi.domain import locks, waiting
from ben_luigi.domain.errors import BadInput, some

_LOCK = "configuration.lock"
_MOST_BYTES = 2**20
_POLL_S = 0.05
_held: dict[Path, int] = {}


def enter(folder: Path, configuration: Callable[[], Mapping[str, Any]]) -> None:
    """Register a configuration in `folder` until this process and all that it forks have ended.

    `configuration` returns the values of options by section and name; a process that was forked from one in the folder
    does not ask for it. Raise BadInput if others run there with other values.
    """
    if folder in _held:
        return
    descriptor = locks.opened(folder / _LOCK)
    asked = json.loads(json.dumps(dict(configuration()), default=str))
    try:
        agreed: list[dict[str, Any]] = []

        def is_known() -> bool:
            found = _agreed(descriptor, asked)
            agreed.extend([] if found is None else [found])
            return bool(agreed)

        what = f"the configuration of those who work in {folder}"
        waiting.wait_for(is_known, what, lambda: locks.holders(descriptor), _POLL_S)
        _require_same(folder, asked, agreed[0])
    except OSError:  # a file system without locks: this cannot be checked
        pass
    except BaseException:
        os.close(descriptor)
        raise
    _held[folder] = descriptor


def _agreed(descriptor: int, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of the processes at work, once this process is one of them; None while it is unknown.

    The first process writes its own. To change its lock from exclusive to shared it has to release it for a moment
    (flock), in which another may take it.
    """
    if locks.try_take(descriptor, locks.ALONE):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"by": waiting.name(), "configuration": asked}).encode(), 0)
    if not locks.try_take(descriptor, locks.SHARED):
        return None
    try:
        found = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
    except (ValueError, RecursionError):  # it is being written, or damaged
        return None
    is_whole = isinstance(found, dict) and isinstance(found.get("by"), str)
    return found if is_whole and isinstance(found.get("configuration"), dict) else None


def _require_same(folder: Path, asked: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    theirs = others["configuration"]
    differing = sorted(option for option in {*asked, *theirs} if asked.get(option) != theirs.get(option))
    if differing:
        said = (
            f"[{'] '.join(option.split('.', 1))} = {theirs.get(option)}, here {asked.get(option)}"
            for option in differing
        )
        raise BadInput(
            f"data folder {folder}",
            expected="one configuration at a time",
            found=f"{waiting.described(others['by'])} works there with {some(said, 3)}",
            remedy="wait until it has ended, stop it, or name another [dataset] data_dir",
        )
