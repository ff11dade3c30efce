"""List, open and read the files and folders that a user gives, within bounds.

Names that begin with a dot are not data: `._S2A_....SAFE` and `.DS_Store` come from macOS, `.nfs0123` from an NFS
client. Only regular files are opened, since opening a FIFO or a device may block for ever.
"""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import hashlib
import io
import logging
import os
import stat
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ben_luigi.domain.errors import BadInput, some

_log = logging.getLogger(__name__)

FILE, FOLDER, NOTHING = "a file", "a folder", "nothing"
"""The common answers of `kind`."""

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_SHOWN = 120
_CHUNK_BYTES = 2**20
_LINE_CHARACTERS = 2**16
_TEXT_CHARACTERS = 2**33


def kind(path: Path) -> str:
    """Return what lies at a path, following links: FILE, FOLDER, NOTHING, "a FIFO", "a link to nothing" and so on."""
    try:
        return _KINDS.get(stat.S_IFMT(path.stat().st_mode), "something else")
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else NOTHING
    except OSError as error:
        return "a link that leads in a circle" if error.errno == errno.ELOOP else str(error.strerror)
    except ValueError as error:
        return f"no path ({error})"


class _Unfit(OSError):
    """What lies at a path is not of the expected kind."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        return _Unfit, (Path(str(self.filename)), str(self.strerror))  # as raised in another process


def is_hidden(name: str) -> bool:
    """Return whether a name begins with a dot, so that its file is not data."""
    return name.startswith(".")


def listed(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name, without hidden ones. Raise OSError if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError as error:
        what = kind(folder)
        raise _Unfit(folder, str(error.strerror) if what == FOLDER else f"{what}, not a folder") from error
    except ValueError as error:
        raise _Unfit(folder, str(error)) from error


def others(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Yield what lies in a folder besides the files `names`, sorted, without hidden entries.

    A folder in which none of the files should be is yielded with a slash, and not looked into, so that no link that
    leads elsewhere is followed. Raise OSError if a folder cannot be listed.
    """
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}

    def within(inner: Path) -> Iterator[str]:
        for path in listed(inner):
            name = path.relative_to(folder).as_posix()
            if name in folders and path.is_dir():
                yield from within(path)
            elif name not in names:
                yield f"{name}/" if path.is_dir() else name

    yield from within(folder)


def entries(folder: Path, expected: str = "a folder that can be listed") -> list[Path]:
    """Return the entries of a user's folder as `listed` does. Raise BadInput if it cannot be listed."""
    try:
        return listed(folder)
    except OSError as error:
        raise BadInput(
            folder, expected=expected, found=str(error), remedy="correct the path, or who may read it"
        ) from error


def products(folder: Path, what: str) -> list[Path]:
    """Return the entries of a user's folder of products; `what` describes them in messages.

    Raise BadInput if the folder cannot be listed, or if it is itself a product.
    """
    if folder.suffix == ".SAFE" or kind(folder / "manifest.safe") == FILE:
        remedy = f"name the folder that it lies in: {folder.absolute().parent}"
        raise BadInput(folder, expected=f"a folder of {what}", found="a product itself", remedy=remedy)
    return entries(folder, f"a folder of {what}")


def products_within(folder: Path, suffixes: Sequence[str] = (".SAFE",)) -> list[str]:
    """Return the names of the products in a folder, chosen by suffix; an empty list if it cannot be listed."""
    try:
        return [path.name for path in listed(folder) if path.suffix in suffixes]
    except OSError:
        return []


def product_within(path: Path) -> Path:
    """Return the `.SAFE` folder that is the only entry of `path`, as `unzip -d` leaves it; else `path` itself."""
    try:
        inner = listed(path) if kind(path) == FOLDER else []
    except OSError:
        return path
    return inner[0] if len(inner) == 1 and inner[0].suffix == ".SAFE" and kind(inner[0]) == FOLDER else path


def find(folder: Path, *patterns: str) -> list[Path]:
    """Return the paths below a folder whose names match the patterns, one pattern per level, without hidden ones.

    Raise OSError if a folder cannot be listed.
    """
    found = [folder]
    for pattern in patterns:
        folders = [path for path in found if path.is_dir()]
        found = [path for parent in folders for path in listed(parent) if fnmatchcase(path.name, pattern)]
    return found


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Raise OSError, without blocking, if anything else lies there."""
    what = kind(path)
    if what == NOTHING:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if what != FILE:
        raise _Unfit(path, f"{what}, not a file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced between stat and open
        file.close()
        raise _Unfit(path, "something else, not a file")
    return file


def check_file(path: Path) -> None:
    """Raise OSError unless `path` is a regular file that can be read, before a library opens it by name."""
    open_file(path).close()


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Read a whole file. Raise OSError as `open_file` does, ValueError if it has more than `most_bytes`."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= most_bytes else b""
    if size > most_bytes or len(data) > most_bytes:
        raise ValueError(f"{max(size, len(data)):,} bytes, where at most {most_bytes:,} are allowed")
    return data


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file, plain, `.bz2` or `.gz`, without their line ends.

    Raise OSError if it cannot be read or unpacked; ValueError if it contains a NUL or another encoding, or if a line
    (64 Ki characters) or the text (8 Gi characters) exceeds its bound.
    """
    with open_file(path) as file:
        try:
            yield from _lines(io.TextIOWrapper(_unpacked(path, file), "utf-8-sig", "surrogateescape"))
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error


def file_hash_unpacked(path: Path, algorithm: str) -> str:
    """Return the hexadecimal hash of a file; of a `.bz2` or `.gz` file, the hash of its unpacked content.

    Raise OSError if it cannot be read or unpacked.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open_file(path) as file:
        stream = _unpacked(path, file)
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error
    return digest.hexdigest()


def _unpacked(path: Path, file: io.BufferedReader) -> IO[bytes]:
    if path.suffix == ".bz2":
        return cast(IO[bytes], bz2.BZ2File(file))
    return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    characters = 0
    for number, line in enumerate(iter(lambda: text.readline(_LINE_CHARACTERS), ""), start=1):
        characters += len(line)
        if len(line) == _LINE_CHARACTERS:
            raise ValueError(f"line {number} has {_LINE_CHARACTERS:,} characters or more")
        if characters > _TEXT_CHARACTERS:
            raise ValueError(f"more than {_TEXT_CHARACTERS:,} characters")
        if "\0" in line or not (line.isascii() or _is_text(line)):
            raise ValueError(f"line {number} is not text in UTF-8: {line[:_SHOWN]!r}")
        yield line.rstrip("\n")


def _is_text(line: str) -> bool:
    """Return whether a line was decoded completely, without surrogate escapes for stray bytes."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def rows(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the values of each row of a CSV with exactly this header.

    Raise OSError as `lines` does; ValueError for another header, or a row with another number of values.
    """
    reader = csv.reader(lines(path))
    try:
        if (first := next(reader, [])) != list(header):
            found = ",".join(first)[:_SHOWN] or "nothing"
            raise ValueError(f"{found} in line 1, where {','.join(header)} is the header")
        for row in reader:
            if len(row) != len(header):
                raise ValueError(f"{','.join(row)[:_SHOWN]!r} in line {reader.line_num}")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{error} in line {reader.line_num}") from error


class PassedOver:
    """Collect the entries of a user's folder that are skipped, and warn of them once, one warning per reason."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, list[str]] = defaultdict(list)

    def note(self, path: Path, reason: str) -> None:
        """Remember a skipped entry and the reason."""
        self._names[reason].append(path.name)

    def reasons(self) -> list[str]:
        """Return one sentence per reason, with the names of the skipped entries."""
        return [f"{reason}: {some(names)}" for reason, names in self._names.items()]

    def say(self) -> None:
        """Log a warning for each reason, unless this process has logged it before."""
        for reason in self.reasons():
            _warn_once(f"{self._folder}: passed over {reason}")


@lru_cache(maxsize=4096)
def _warn_once(text: str) -> None:
    _log.warning("%s", text)
