"""The pinned inputs: a table of what each is, where it comes from, and the hash that proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ben_luigi.domain import files, given
from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.errors import BadInput, some

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PinnedFile:
    """One file of an input. Its hash is a sha256 or, where only that is known, git's blob id (SHA-1).

    `also` are more addresses of the same file, which may be packed there (`.bz2`, `.gz`); `usual_bytes` is about its
    length, where it is large. `by_hand` says how a person fetches it.
    """

    file: str
    url: str
    also: Sequence[str] = ()
    sha256: str = ""
    git_blob: str = ""
    md5_of_archive: str = ""
    by_hand: str = ""
    usual_bytes: int = 0

    @property
    def addresses(self) -> list[str]:
        """Where it can be had, in the order in which they are asked."""
        return [self.url, *self.also]

    @property
    def pin(self) -> dict[str, str]:
        """What proves it, and its name: not where it comes from."""
        return {"file": self.file, "hash": self.sha256 or self.git_blob or self.md5_of_archive}

    def matches(self, path: Path) -> tuple[str, str]:
        """Return the pinned hash, and that of the file at `path`; of a packed file, the hash of its content."""
        if self.sha256:
            plain = path.suffix == Path(self.file).suffix
            return self.sha256, files.file_hash(path) if plain else given.file_hash_unpacked(path, "sha256")
        if self.md5_of_archive:
            return self.md5_of_archive, files.file_hash(path, "md5")
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with given.open_file(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return self.git_blob, digest.hexdigest()


@lru_cache(maxsize=4)
def read_pinned(table: Path) -> dict[str, tuple[PinnedFile, ...]]:
    """Return the table of pinned inputs: name of the input, and its files."""
    try:
        entries = read_toml(table)
        return {name: tuple(PinnedFile(**file) for file in listed) for name, listed in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(
            table, expected="the table of pinned inputs", found=str(error), remedy="restore it from the repository"
        ) from error


EQUAL, DIFFERENT, UNPROVEN = "equal", "different", "unproven"


@dataclass(frozen=True)
class Proof:
    """What the hashes of an input prove: EQUAL to what is pinned, DIFFERENT, or UNPROVEN, since nothing is to compare.

    `hashes` has, for each file that was compared, the hash that was expected and the one that was found; `unproven`
    says what could not be compared, and why.
    """

    hashes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unproven: str = ""

    @property
    def differing(self) -> list[str]:
        """The files whose hash is another one."""
        return [file for file, (expected, found) in self.hashes.items() if found != expected]

    @property
    def state(self) -> str:
        """EQUAL only if all of it is."""
        return DIFFERENT if self.differing else UNPROVEN if self.unproven or not self.hashes else EQUAL

    def problem(self, option: str, path: Path) -> BadInput | None:
        """Return the error that a file differs from the pinned one; None if no file is known to differ."""
        if not self.differing:
            return None
        file = self.differing[0]
        expected, found = self.hashes[file]
        return BadInput(
            f"input {option}: {path}",
            expected=f"{file} with hash {expected}",
            found=f"{found}" + (f"; so are others: {some(self.differing[1:])}" if len(self.differing) > 1 else ""),
            remedy=f"fetch it again, or leave out [inputs] {option}, so that it is fetched",
        )


def compare_with_pin(option: str, path: Path, table: Path) -> Proof:
    """Compare what a user gives as [inputs] `option` with what the table of pinned inputs says. Hashes each file once.

    BadInput if it cannot be read.
    """
    pinned = {file.file: file for file in read_pinned(table).get(option, ())}
    try:
        if given.kind(path) == given.FOLDER:
            return _compare_folder(path, pinned)
        named = pinned if len(pinned) == 1 else {name: file for name, file in pinned.items() if name == path.name}
        hashes = {name: file.matches(path) for name, file in named.items()}
    except OSError as error:
        remedy = f"correct [inputs] {option}, or who may read it"
        expected = "a file or folder that can be read"
        raise BadInput(f"input {option}: {path}", expected=expected, found=str(error), remedy=remedy) from error
    return Proof(hashes, "" if hashes else f"no hash is known of {path.name}")


def _compare_folder(path: Path, pinned: Mapping[str, PinnedFile]) -> Proof:
    if any(file.md5_of_archive for file in pinned.values()):
        return Proof(
            unproven=f"no hash is known of the files in {path.name}, only of the archive that they come from; with "
            "s1_hashes.csv in [inputs] compare_with_dir the comparison names those that differ"
        )
    listed = given.listed(path)
    hashes = {entry.name: pinned[entry.name].matches(entry) for entry in listed if entry.name in pinned}
    others = [entry.name for entry in listed if entry.name not in pinned]
    return Proof(hashes, f"no hash is known of what is in {path.name}: {some(others, 3)}" if others else "")


def require(option: str, path: Path, pinned: PinnedFile | None) -> Path:
    """Return the path that a person gave, if it exists; else raise BadInput with what to fetch and where to put it."""
    what = given.kind(path)
    if path != Path() and what in (given.FILE, given.FOLDER):
        return path
    todo = f"{pinned.by_hand or 'fetch it'}, from {pinned.url}; " if pinned else ""
    raise BadInput(
        f"input {option}",
        expected=pinned.file if pinned else "a file or folder",
        found=f"{what} at {path}" if path != Path() else "no path given",
        remedy=f"{todo}put its path into luigi.cfg: [inputs] {option} = ...",
    )
