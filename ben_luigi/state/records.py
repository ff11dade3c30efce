"""Record what files in the data folder were made from, in `<data_dir>/made_from/` under the paths of the files.

A damaged record counts as none, since it could describe another result. Whatever is in the way of a result, such as a
folder where a file goes, is moved to `<data_dir>/aside/`, since it may belong to somebody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain import files

_log = logging.getLogger(__name__)
_FOLDER, _ASIDE = "made_from", "aside"
_SUM = "record_sha256"
"""The hash of the rest of a record. Records of older versions, which do not name their task either, have none."""


def path_of(relative: str) -> Path:
    """Return the record of a file, given its path in the data folder."""
    return config.data_dir() / _FOLDER / f"{relative}.json"


def all_of() -> Iterator[str]:
    """Yield the paths in the data folder of all files that have a record."""
    folder = config.data_dir() / _FOLDER
    for path in sorted(folder.rglob("*.json")):
        yield path.relative_to(folder).as_posix().removesuffix(".json")


def read(record: Path) -> dict[str, Any]:
    """Return the content of a record; empty if there is none, or a damaged one."""
    content = files.read_object(record)
    stated = content.pop(_SUM, None)
    return content if stated == _sum(content) or (stated is None and "task" not in content) else {}


def write(record: Path, content: Mapping[str, Any]) -> None:
    """Write a record atomically."""
    plain = json.loads(json.dumps(content, default=str))
    make_way(record)
    files.write_json(record, {**plain, _SUM: _sum(plain)})


def remove(record: Path) -> None:
    """Remove a record, durably."""
    if record.is_symlink() or record.exists():
        make_way(record)
        files.withdraw(record)
        files.sync(record.parent)


def note_damage(relative: str, found: str) -> int:
    """Note beside the record of a file that it was found damaged; return how often that had happened before."""
    path = _damages(path_of(relative))
    make_way(path)
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    files.write_text(path, f"{before}{' '.join(found.split())}\n")
    return before.count("\n")


def is_withdrawn(record: Path) -> bool:
    """Return whether the file of this record was found damaged, and has not been made again since."""
    return _damages(record).exists() and not read(record)


def _damages(record: Path) -> Path:
    return record.with_suffix(".damaged")


def make_way(path: Path, *, for_folder: bool = False) -> None:
    """Move an entry of the wrong kind, such as a folder in the place of a file, away from the path of a result."""
    if path.is_symlink():
        if for_folder or not path.exists():
            path.unlink()
    elif path.exists() and path.is_dir() != for_folder:
        aside = _unused(config.data_dir() / _ASIDE / path.relative_to(config.data_dir()))
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        _log.warning("moved what was in the way of %s to %s", path, aside)


def _unused(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())


def _sum(content: Mapping[str, Any]) -> str:
    return files.text_hash(json.dumps(content, sort_keys=True))
