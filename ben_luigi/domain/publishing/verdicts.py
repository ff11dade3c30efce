"""Note what `ben-luigi verify` found in a folder, and refuse to publish what was never verified or is not whole.

A verdict holds as long as the files of the folder have the length and the time that they had when it was noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.forms.form import read_note
from ben_luigi.domain.publishing.package import Item, exported, listed

State = dict[str, list[int]]
_SHOWN = 3


@dataclass(frozen=True)
class Noted:
    """What was found in a folder: the findings, and length and time (ns) of each file when it was looked at."""

    findings: Sequence[str]
    state: State


def state_of(folder: Path, without: Sequence[str] = ()) -> State:
    """Return length and time (ns) of each file of a dataset, by name; `without` are the unpacked archives."""
    return _state(listed(folder, without))


def state_of_form(folder: Path) -> State:
    """Return the same of the files of a form that are published. Raise DamagedFile or BadInput as `of_form` does."""
    return _state(exported(folder, read_note(folder)))


def _state(items: Iterable[Item]) -> State:
    return {item.name: [item.size_bytes, item.path.stat().st_mtime_ns] for item in items}


def note(notes: Path, folder: Path, noted: Noted) -> None:
    """Note the verdict about a folder in the folder `notes`. Raise OSError if that cannot be written."""
    content = {"folder": str(folder.resolve()), "findings": list(noted.findings), "files": noted.state}
    files.write_json(_path(notes, folder), content)


def read(notes: Path, folder: Path) -> Noted | None:
    """Return the verdict about a folder; None if there is none that can be read."""
    try:
        found: Mapping[str, Any] = json.loads(_path(notes, folder).read_text(encoding="utf-8"))
        return Noted([str(one) for one in found["findings"]], dict(found["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require(noted: Noted | None, folder: Path, state: State, command: str) -> None:
    """Raise BadInput unless a folder was verified as it is now, and nothing was found; `command` verifies it."""
    changed = (
        sorted(name for name in {*state, *noted.state} if state.get(name) != noted.state.get(name)) if noted else []
    )
    if noted is None:
        found = "one that was never verified"
    elif changed:
        found = f"files that have changed since it was verified: {some(changed, _SHOWN)}"
    elif noted.findings:
        found = f"{len(noted.findings)} finding{'s' * (len(noted.findings) > 1)}: {some(noted.findings, _SHOWN)}"
    else:
        return
    raise BadInput(
        folder,
        expected="what was verified, without findings, as it is now",
        found=found,
        remedy=f"type: {command}; nothing was sent",
    )


def _path(notes: Path, folder: Path) -> Path:
    return notes / f"{files.text_hash(str(folder.resolve()))[:24]}.json"
