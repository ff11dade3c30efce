"""Files that hold secrets or are trusted without a further check: only their owner can read or change them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ben_luigi.domain import files
from ben_luigi.domain.errors import PipelineError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ONLY_OWNER = 0o600


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8, readable by its owner only; an existing file is replaced."""
    with files.atomic_write(path) as work:
        work.touch(_ONLY_OWNER, exist_ok=False)
        work.write_text(text, encoding="utf-8", newline="")


def open_anew(path: Path) -> BinaryIO:
    """Open an empty file for writing, for its owner only, in place of an older one. Raise OSError if that is a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _ONLY_OWNER), "wb")
    os.fchmod(file.fileno(), _ONLY_OWNER)
    return file


def make_folder(path: Path) -> None:
    """Make a folder for its owner only, unless it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def check(*paths: Path, owners: frozenset[int] | None = None) -> None:
    """Raise PipelineError if anybody but `owners` owns one of `paths`, or if others can write to it.

    `owners` are user ids, by default that of this process. Links are checked themselves, not what they lead to, and are
    refused.
    """
    trusted = owners or {os.geteuid()}
    for path in paths:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise _untrusted(path, "a link")
        if found.st_uid not in trusted:
            raise _untrusted(path, f"one of user {found.st_uid}, where user {os.geteuid()} runs")
        if found.st_mode & _OTHERS_WRITE:
            raise _untrusted(path, f"mode {stat.S_IMODE(found.st_mode):o}")


def is_open_to_others(path: Path) -> bool:
    """Return whether anybody but the owner of a file may do anything with it. Raise OSError if it is not there."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _untrusted(path: Path, found: str) -> PipelineError:
    return PipelineError(
        path,
        expected="a file or folder that nobody else can change",
        found=found,
        remedy=f"look at what is there, and remove it; or, if you trust it: chmod -R go-w {path}",
    )
