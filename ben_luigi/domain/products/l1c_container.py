"""Open an L1C product, a zip or a `.SAFE` folder, and read its files, and nothing outside of it.

Data from the network is not trusted: a container is refused if it has more than one folder at its top, or a member that
is absolute, leaves the folder, is a link, is duplicate, or cannot be a file name. Hidden files, and the `__MACOSX` that
macOS adds to a zip, are not part of the product.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadName, BadProduct, some
from ben_luigi.domain.names import ProductName, is_old_format

PRODUCT_BYTES = 2**35
"""More than any product, packed or unpacked."""

ANEW = "remove the file and run again, so that it is fetched again"

_CHUNK_BYTES = 2**20
_NAME_BYTES, _PATH_BYTES = 255, 1000
_DIRECTORY_BYTES, _MEMBERS = 2**22, 20_000
"""More than any product: bytes of a zip's directory, number of files and folders."""
_RATIO, _SPARED_BYTES = 4, 2**28
"""No product unpacks to more than this multiple of its zip, plus this."""
_MACOS = "__MACOSX"
_ENCRYPTED, _LENGTH_FOLLOWS = 0x01, 0x08
_END_BYTES = 22
_LOCAL = struct.Struct("<4s5H3I2H")
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
Taken = Mapping[tuple[int, int], tuple[int, str]]


class MemberDigests:
    """Compute CRC-32 and MD5 of the members of an uncompressed zip while it streams by; call `update` with all bytes.

    `taken` has them by (offset, length) of a member's data, in bytes. A member that cannot be followed (compressed, or
    with its length only in a data descriptor behind it; APPNOTE 4.3.9) ends the list.
    """

    def __init__(self) -> None:
        self.taken: dict[tuple[int, int], tuple[int, str]] = {}
        self._header = bytearray()
        self._following = True
        self._position = self._left = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes of the zip."""
        view = memoryview(data)
        while view and self._following:
            view = self._take_data(view) if self._left else self._take_header(view)

    def _take_header(self, view: memoryview) -> memoryview:
        lacking = _local_length(self._header) - len(self._header)
        self._header += view[:lacking]
        if len(self._header) == _local_length(self._header):
            self._begin()
        return view[lacking:]

    def _begin(self) -> None:
        signature, _, flags, method, _, _, _, packed, length, *_ = _LOCAL.unpack_from(self._header)
        plain = signature == b"PK\3\4" and method == zipfile.ZIP_STORED and packed == length < 2**32 - 1
        self._following = plain and not flags & (_ENCRYPTED | _LENGTH_FOLLOWS)
        self._position += len(self._header)
        self._header.clear()
        self._start, self._left = self._position, length
        self._crc, self._md5 = 0, hashlib.md5(usedforsecurity=False)

    def _take_data(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        self._crc = zlib.crc32(piece, self._crc)
        self._md5.update(piece)
        self._position += len(piece)
        self._left -= len(piece)
        if not self._left:
            self.taken[self._start, self._position - self._start] = (self._crc, self._md5.hexdigest())
        return view[len(piece) :]


def _local_length(header: bytes | bytearray) -> int:
    """Return the length in bytes of a zip's local header, as far as its beginning tells."""
    if len(header) < _LOCAL.size:
        return _LOCAL.size
    *_, name_length, extra_length = _LOCAL.unpack_from(header)
    return _LOCAL.size + int(name_length) + int(extra_length)


@dataclass(frozen=True)
class Container:
    """An opened product: its files and folders, as paths relative to the product's folder."""

    path: Path
    name: ProductName
    folders: frozenset[str]
    _openers: Mapping[str, Callable[[], IO[bytes]]]
    _md5: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._openers)

    def chunks(self, file: str) -> Iterator[bytes]:
        """Yield the content of a file. Raise BadProduct if it cannot be read or does not match its CRC."""
        with _readable(self.path, file), self._openers[file]() as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    def digest(self, file: str, algorithm: str) -> str:
        """Return the hexadecimal hash of a file. Raise BadProduct as `chunks` does."""
        if algorithm == "md5" and file in self._md5:
            return self._md5[file]
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for chunk in self.chunks(file):
            digest.update(chunk)
        return digest.hexdigest()


class UnreadableProduct(BadProduct):
    """A product that may be valid, but cannot be read because of the disk or its permissions."""


@contextmanager
def opened(path: Path, taken: Taken | None = None) -> Iterator[Container]:
    """Open a zip or `.SAFE` folder. Raise BadProduct. `taken` are digests of members from a MemberDigests."""
    if given.kind(path) == given.FOLDER:
        with _readable(path):
            container = _folder(given.product_within(path))
        yield container
        return
    with ExitStack() as stack:
        with _readable(path):
            stream = stack.enter_context(_Bounded(given.open_file(path).detach()))
            archive = stack.enter_context(zipfile.ZipFile(stream))
            _check_end(path, archive, stream)
            container = _archive(path, archive, stream, taken or {})
        yield container


class _Bounded(io.BufferedReader):
    """A file that never reads more at once than a zip's directory may have, since the zip itself states that length."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes, where at most {_DIRECTORY_BYTES:,} are allowed")
        return super().read(size)


@contextmanager
def _readable(path: Path, file: str = "") -> Iterator[None]:
    """Raise BadProduct for any error that a damaged zip causes, UnreadableProduct for an error of the disk."""
    try:
        yield
    except (*_UNREADABLE, OSError) as error:
        subject = f"{path}, member {file}" if file else str(path)
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            remedy = "check the path, the disk, and who may read it"
            raise UnreadableProduct(
                subject, expected="a file that can be read", found=str(error), remedy=remedy
            ) from error
        found = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise BadProduct(subject, expected="a readable zip or .SAFE folder", found=found, remedy=ANEW) from error


def _check_end(path: Path, archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Raise BadProduct if data follows the zip, which the zip reader would ignore."""
    end_bytes = len(archive.comment) + _END_BYTES
    stream.seek(-end_bytes, io.SEEK_END)
    if not stream.read().startswith(b"PK\5\6"):
        raise BadProduct(path, expected="nothing after the end of the zip", found="more bytes", remedy=ANEW)


def _archive(path: Path, archive: zipfile.ZipFile, stream: IO[bytes], taken: Taken) -> Container:
    listed = archive.infolist()
    infos = [info for info in listed if _is_data(info.filename)]
    for info in listed:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, info.filename, "a link or device")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & _ENCRYPTED:
            raise _refused(path, info.filename, "encrypted, or compressed in an unusual way")
    _check_size(path, sum(info.file_size for info in listed), len(listed), os.fstat(stream.fileno()).st_size)
    names = [info.filename for info in infos]
    _check_names(path, [info.filename for info in listed])
    top = _only_top(path, names)
    files = {info.filename.removeprefix(f"{top}/"): info for info in infos if not info.is_dir()}
    return Container(
        path=path,
        name=_product_name(path, top),
        folders=_folders(path, names, top),
        _openers={file: partial(archive.open, info) for file, info in files.items()},
        _md5=dict(_known(archive, stream, files, taken)),
    )


def _is_data(member: str) -> bool:
    """Return whether a member is part of a product: neither hidden nor added by macOS.

    Unsafe names are not judged here.
    """
    parts = [part for part in member.split("/") if part not in (".", "..")]
    return parts[:1] != [_MACOS] and not any(map(given.is_hidden, parts))


def _check_size(path: Path, unpacked_bytes: int, members: int, packed_bytes: int) -> None:
    most_bytes = min(PRODUCT_BYTES, _RATIO * packed_bytes + _SPARED_BYTES)
    if unpacked_bytes > most_bytes or members > _MEMBERS:
        raise BadProduct(
            path,
            expected=f"at most {_MEMBERS:,} members and {most_bytes:,} bytes unpacked",
            found=f"{members:,} members and {unpacked_bytes:,} bytes",
            remedy=ANEW,
        )


def _known(
    archive: zipfile.ZipFile, stream: IO[bytes], files: Mapping[str, zipfile.ZipInfo], taken: Taken
) -> Iterator[tuple[str, str]]:
    """Yield the MD5 of the members whose digests are known and match their CRC."""
    if not taken:
        return
    for file, info in files.items():
        if not _fits(archive, info):
            continue
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL.size)
        crc, md5 = taken.get((info.header_offset + _local_length(header), info.file_size), (None, ""))
        if crc == info.CRC:
            yield file, md5


def _fits(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Return whether a member is stored uncompressed, and its own header agrees with the zip's directory."""
    try:
        archive.open(info).close()
    except (*_UNREADABLE, OSError):
        return False
    return info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise BadProduct for every name that is unsafe or duplicate."""
    for name in names:
        parts = name.removesuffix("/").split("/")
        if any(part in ("", ".", "..") or len(part.encode()) > _NAME_BYTES for part in parts):
            raise _refused(path, name, "a path out of its folder, or none at all")
        if len(name.encode()) > _PATH_BYTES:
            raise _refused(path, name, f"a path of more than {_PATH_BYTES:,} bytes")
        if "\\" in name or not name.isprintable():
            raise _refused(path, name, "a name with a backslash or control character")
    duplicates = [name for name, times in Counter(name.removesuffix("/") for name in names).items() if times > 1]
    if duplicates:
        raise _refused(path, some(sorted(duplicates)), "there twice")


def _only_top(path: Path, names: Sequence[str]) -> str:
    """Return the single top folder of all members. Raise BadProduct if there are others, or files."""
    tops = sorted({name.split("/")[0] for name in names})
    if len(tops) != 1 or tops[0] in names:
        raise BadProduct(path, expected="one folder at the top", found=some(tops) or "nothing", remedy=ANEW)
    return tops[0]


def _folders(path: Path, names: Sequence[str], top: str) -> frozenset[str]:
    """Return the folders that are listed or implied. Raise BadProduct if one of them is a file as well."""
    folders = {name.removesuffix("/") for name in names if name.endswith("/")}
    for name in names:
        parts = name.removesuffix("/").split("/")
        folders |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    both = folders.intersection(names)
    if both:
        raise _refused(path, some(sorted(both)), "a file and a folder at once")
    return frozenset(folder.removeprefix(f"{top}/") for folder in folders - {top})


def _folder(path: Path) -> Container:
    """Open a `.SAFE` folder, which may itself be a link; links in it are refused.

    Raise OSError if it cannot be listed.
    """
    name = _product_name(path, path.name)
    files: dict[str, Callable[[], IO[bytes]]] = {}
    folders, waiting = set(), [path]
    while waiting:
        for entry in given.listed(waiting.pop()):
            relative = entry.relative_to(path).as_posix()
            what = given.kind(entry)
            if entry.is_symlink() or what not in (given.FOLDER, given.FILE):
                raise _refused(path, relative, "a link" if entry.is_symlink() else what)
            if what == given.FOLDER:
                folders.add(relative)
                waiting.append(entry)
            else:
                files[relative] = partial(given.open_file, entry)
        if len(files) + len(folders) > _MEMBERS:
            raise BadProduct(path, expected=f"at most {_MEMBERS:,} files and folders", found="more", remedy=ANEW)
    return Container(path, name, frozenset(folders), files)


def _product_name(path: Path, top: str) -> ProductName:
    try:
        return ProductName.parse(top)
    except BadName as error:
        old = "; this is the format of before December 2016, of several tiles" if is_old_format(top) else ""
        raise BadProduct(
            path,
            expected="a folder with a product's name, S2x_MSIL1C_..._Txxxxx_....SAFE",
            found=f"{top[:200]}{old}",
            remedy="take it out of the folder, or replace it by the product of the name expected",
        ) from error


def _refused(path: Path, member: str, found: str) -> BadProduct:
    return BadProduct(
        f"{path}, member {member[:200]!r}",
        expected="files inside the product's folder, each once",
        found=found,
        remedy="do not unpack this file; remove it, and run again to fetch it again",
    )
