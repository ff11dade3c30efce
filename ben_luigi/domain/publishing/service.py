"""What all services have in common to which a dataset is published, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ben_luigi.domain import private
from ben_luigi.domain.errors import BadInput, PermanentError, TransientError
from ben_luigi.domain.publishing.hashing import Held
from ben_luigi.domain.publishing.package import Item, Package

GB = 10**9


class AnotherContent(PermanentError):
    """A service has another content under the name of a file."""


class WrongHash(TransientError):
    """A service tells another hash of a file than it was sent with."""


class UnknownHash(PermanentError):
    """A service tells no hash of a file that it has, so that nobody knows whether it has arrived as it was sent."""


@dataclass(frozen=True)
class Limits:
    """What a service takes: bytes and files in all, bytes of a file; `remedy` says what to do with more."""

    bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    remedy: str = "publish a form or a subset that is smaller, or to another service"

    def check(self, subject: str, names: Sequence[str], package: Package) -> None:
        """Raise BadInput if a package is over one of them; `names` are those of its files as they are sent."""
        largest = max(package.items, key=lambda item: item.size_bytes)
        for limit, found, words in (
            (self.bytes, package.size_bytes, "{:,} bytes in all"),
            (self.files, len(names), "{:,} files"),
            (self.file_bytes, largest.size_bytes, "{:,} bytes per file"),
        ):
            if limit and found > limit:
                raise BadInput(
                    subject,
                    expected=f"at most {words.format(limit)}",
                    found=words.format(found),
                    remedy=f"{self.remedy}; nothing was sent",
                )

    def __str__(self) -> str:
        said = [f"{self.bytes / GB:g} GB in all"] if self.bytes else []
        said += [f"{self.files:,} files"] if self.files else []
        said += [f"{self.file_bytes / GB:g} GB per file"] if self.file_bytes else []
        return ", ".join(said)


class Service(Protocol):
    """A place to publish. Its methods raise TransientError for what may pass, and PermanentError for what will not."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def place(self) -> str:
        """Where the files go, in words."""

    @property
    def limits(self) -> Limits:
        """What it takes at most."""

    @property
    def is_flat(self) -> bool:
        """Whether it has no folders."""

    @property
    def files_at_once(self) -> int:
        """How many files appear there together."""

    def begin(self, package: Package) -> None:
        """Make the place where the files go, with title, licence and so on, unless it is there."""

    def held(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return what it has under the names of files."""

    def send(self, item: Item, moved: Callable[[int], None]) -> Held | None:
        """Send a file, in the place of what is there; report the bytes as they go, and -1 where it starts anew.

        Return what was sent, if it was hashed in passing.
        """

    def complete(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Make the files appear that were sent; return what the service then says that it has."""

    def others(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the names of the files that it has besides these."""

    def read(self, name: str) -> bytes:
        """Return the content of a small file that it has."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; that some are gone already is no error."""

    def finish(self) -> str:
        """Return where the files are, and what is left to do for a person."""


def token_of(service: str, variable: str, value: str, file: Path | None) -> str:
    """Return the token in a file, else `value`, that of an environment variable. The token is in no message.

    Raise BadInput if there is none, or if others than its owner can read the file.
    """
    if file is None:
        token = value.strip()
    elif not file.is_file():
        raise BadInput(file, expected="the file of a token", found="no file", remedy="correct the path")
    elif private.is_open_to_others(file):
        raise BadInput(
            file,
            expected="a file that only its owner can read",
            found="one that others can read",
            remedy=f"type: chmod 600 {file}",
        )
    else:
        token = file.read_text(encoding="utf-8", errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadInput(
            f"token of {service}",
            expected=f"one in {file or f'the environment variable {variable}, or in the file --token-file names'}",
            found="something else, which is not shown" if token else "none",
            remedy=f"make one on the website of {service}, with the right to write",
        )
    return token
