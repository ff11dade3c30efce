"""Hash lists as the published run has them: a CSV `name,hash-sha256`, file names without suffix, ascending."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, pairwise
from pathlib import Path

from ben_luigi.domain import files, given
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.given import is_hidden

COLUMNS = ("name", "hash-sha256")
EXPECTED = f"a CSV with the columns {' and '.join(COLUMNS)}"
"""What a list must be, in the words of an error."""

_SUFFIX = ".tif"
_NOT_LISTED = re.compile('[,"\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]')
_AT_ONCE = 512
"""Number of files per batch that a process receives."""


def write_list(rows: Iterable[tuple[str, str]], path: Path) -> str:
    """Write a hash list atomically from rows of (name, sha256), and return the sha256 of the list.

    Raise BadArchive unless the names are strictly ascending.
    """
    digest = hashlib.sha256()
    last = ""
    with files.atomic_write(path) as work, work.open("wb") as file:
        for name, sha256 in chain([COLUMNS], rows):
            if last != COLUMNS[0] and not last < name:
                raise BadArchive(
                    "hash list",
                    expected="names in ascending order",
                    found=f"{name} after {last}",
                    remedy="remove the shard that it comes from, and run again",
                )
            line = f"{name},{sha256}\n".encode()
            file.write(line)
            digest.update(line)
            last = name
    return digest.hexdigest()


def read_list(path: Path, remedy: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, name and sha256 of each row of a hash list, in its order."""
    try:
        for number, (name, sha256) in given.rows(path, COLUMNS):
            yield number, name, sha256
    except (OSError, ValueError) as error:
        expected = f"{EXPECTED}, and a row per file"
        raise BadInput(path, expected=expected, found=str(error), remedy=remedy) from error


def of_folder(folder: Path, processes: int = 1) -> list[tuple[str, str]]:
    """Return name and sha256 of every `.tif` below a folder, ascending by name, without hidden files.

    `processes` hash at the same time; threads would be slower than a single one with files this small. Raise BadInput
    if there is no such file, if two have the same name, or a name has no place in a list, OSError if one cannot be
    read. Memory: 0.5 KB per file.
    """
    if not folder.is_dir():
        raise BadInput(folder, expected="a folder of TIFFs", found="no folder there", remedy="correct the path")
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, fork) as pool:
        rows = sorted(row for batch in pool.map(_hash_all, _batches(folder)) for row in batch)
    if not rows:
        raise BadInput(
            folder, expected=f"at least one {_SUFFIX} below it", found="none", remedy="name a folder with TIFFs in it"
        )
    for (name, _), (following, _) in pairwise(rows):
        if name == following:
            raise BadInput(
                folder,
                expected="files with names of their own",
                found=f"{name}{_SUFFIX} more than once",
                remedy="hash the folders of the two apart",
            )
    return rows


def _batches(folder: Path) -> Iterator[list[str]]:
    batch: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        listed = [name for name in names if name.endswith(_SUFFIX) and not is_hidden(name)]
        for name in listed:
            _require_listable(parent, name)
        batch += [f"{parent}/{name}" for name in listed]
        while len(batch) >= _AT_ONCE:
            yield batch[:_AT_ONCE]
            del batch[:_AT_ONCE]
    yield batch


def _require_listable(parent: str, name: str) -> None:
    """Raise BadInput for a name that a row of a list cannot have: the lists quote nothing."""
    if _NOT_LISTED.search(name):
        raise BadInput(
            ascii(f"{parent}/{name}"),
            expected="a name of printable characters in UTF-8, without commas and quotation marks",
            found="another",
            remedy="rename the file",
        )


def _unreadable(error: OSError) -> None:
    raise error


def _hash_all(paths: list[str]) -> list[tuple[str, str]]:
    return [(path.rpartition("/")[2].removesuffix(_SUFFIX), files.file_hash(Path(path))) for path in paths]
