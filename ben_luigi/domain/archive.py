"""From shards and the S1 folder to the `.tar.zst` archives, part by part.

A *part* holds the members of one tile (S2, reference maps), or of one S1 acquisition over one MGRS square (S1), as one
zstd frame with its content size and a checksum. Each is compressed by one thread of zstd's own, whose bytes are those
of any number of threads, and up to a quarter faster than without threads (zstd 1.5.7). Frames may be joined end to end:
an archive is its parts in order, and a last frame that ends the tar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, repeat, zip_longest
from pathlib import Path
from typing import BinaryIO

import zstandard

from ben_luigi.domain import frames, shards, tarball
from ben_luigi.domain.errors import BadArchive, BadInput, some
from ben_luigi.domain.files import published
from ben_luigi.domain.grid import Square
from ben_luigi.domain.names import s1_tile
from ben_luigi.domain.tiffheader import read_header

S1_ARCHIVE = "BigEarthNet-S1"
S1_BANDS = ("VH", "VV")
"""The files of an S1 patch, in the order of the archive."""

S1_SOURCE = "BigEarthNet-S1 v1.0, zenodo.org/records/12687186/files/BigEarthNet-S1-v1.0.tar.gz"

SAME_PLACE_M = 0.01
"""Corners closer than this are the same."""


@dataclass(frozen=True)
class Part:
    """A part that was written: its number of members, and its length in bytes before and after compression."""

    members: int
    tar_bytes: int
    compressed_bytes: int


@dataclass(frozen=True)
class ArchiveHashes:
    """Length in bytes, md5 and sha256 (hexadecimal) of an archive: of the tar, and of the compressed file."""

    tar_bytes: int
    tar_md5: str
    tar_sha256: str
    compressed_bytes: int
    compressed_md5: str
    compressed_sha256: str


def write_shard_part(shard: Path, index: Path, keep: Collection[str], out: Path, level: int) -> Part:
    """Compress the members of the patches `keep` of a shard to `out`.

    BadArchive if the shard is damaged or lacks one of them.
    """
    table = shards.read_index(index)
    runs = shards.ranges(table, keep)
    kept = set(keep)
    members = sum(patch_id in kept for patch_id in table["patch_id"].to_pylist())
    return _compress(_read_runs(shard, runs), members, sum(size for _, size in runs), out, level)


def shard_members(shard: Path, index: Path, keep: Collection[str]) -> Iterator[bytes]:
    """What `write_shard_part` compresses, in chunks of at most 1 MiB. BadArchive as there."""
    yield from _read_runs(shard, shards.ranges(shards.read_index(index), keep))


def _read_runs(shard: Path, runs: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    with shard.open("rb") as file:
        for offset, size in runs:
            file.seek(offset)
            left = size
            while left:
                chunk = file.read(min(left, frames.CHUNK_BYTES))
                if not chunk:
                    raise BadArchive(shard, expected=f"{size} bytes at {offset}", found="the end of the file")
                left -= len(chunk)
                yield chunk


def packer(level: int, content_bytes: int) -> zstandard.ZstdCompressionObj:
    """What compresses a part of that length: `compress` for each of its chunks, and then `flush`, give its frame."""
    compressor = zstandard.ZstdCompressor(level=level, threads=1, write_checksum=True, write_content_size=True)
    return compressor.compressobj(size=content_bytes)


def _compress(chunks: Iterable[bytes], members: int, tar_bytes: int, out: Path, level: int) -> Part:
    packed = packer(level, tar_bytes)
    with published(out) as work:
        with work.open("wb") as file:
            for chunk in chunks:
                file.write(packed.compress(chunk))
            file.write(packed.flush())
        return Part(members, tar_bytes, work.stat().st_size)


def parts_of_s1(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """S1 patch names by acquisition and MGRS square, parts and names in the order of the archive.

    That is the byte order of the source paths `<S1 name>/<S1 name>_VH.tif`: `X_1_4` stands before `X_1_45`.
    """
    ordered = sorted(names, key=lambda name: f"{name}/")
    return [(key, list(group)) for key, group in groupby(ordered, lambda name: name.rsplit("_", 2)[0])]


def write_s1_part(
    s1_dir: Path, names: Sequence[str], out: Path, level: int, *, expected: Mapping[str, Square] | None = None
) -> Part:
    """Compress the files of S1 patches from the extracted BigEarthNet-S1 to `out`.

    With `expected`, the square of each S1 name's S2 patch, a patch that does not cover it is a BadInput, as is one that
    lacks a file; missing files are all known before anything is written.
    """
    files = [
        (f"{S1_ARCHIVE}/{s1_tile(name)}/{name}/{name}_{band}.tif", s1_dir / name / f"{name}_{band}.tif", name)
        for name in names
        for band in S1_BANDS
    ]
    sizes = _s1_sizes(s1_dir, [path for _, path, _ in files])
    tar_bytes = sum(
        len(tarball.header(member, size)) + size + len(tarball.padding(size))
        for (member, _, _), size in zip(files, sizes, strict=True)
    )
    blocks = (
        _s1_block(member, path, size, expected[name] if expected is not None else None)
        for (member, path, name), size in zip(files, sizes, strict=True)
    )
    return _compress(blocks, len(files), tar_bytes, out, level)


def _s1_sizes(s1_dir: Path, paths: Sequence[Path]) -> list[int]:
    sizes, missing = [], []
    for path in paths:
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            missing.append(path.relative_to(s1_dir))
    if missing:
        raise BadInput(
            f"S1 patches in {s1_dir}",
            expected="_VV.tif and _VH.tif of every patch that is kept",
            found=f"no {some(missing)}",
            remedy=f"extract {S1_SOURCE} there, or set the folder that holds its patches",
        )
    return sizes


def _s1_block(member: str, path: Path, size: int, square: Square | None) -> bytes:
    remedy = f"restore it from {S1_SOURCE}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"S1 patch {path.stem}: {path}", found=str(error), remedy=remedy) from error
    if len(data) != size:
        raise BadInput(f"S1 patch {path.stem}: {path}", expected=f"{size} bytes", found=f"{len(data)}", remedy=remedy)
    if square is not None:
        _check_s1(data, path, square, remedy)
    return b"".join((tarball.header(member, size), data, tarball.padding(size)))


def _check_s1(data: bytes, path: Path, square: Square, remedy: str) -> None:
    subject = f"S1 patch {path.stem}: {path}"
    try:
        header = read_header(data, subject)
    except BadInput as error:
        raise BadInput(subject, expected=error.expected, found=error.found, remedy=remedy) from error
    sides_m = {header.width * header.pixel_m, header.height * header.pixel_m}
    apart_m = max(abs(header.left - square.left), abs(header.top - square.top))
    if header.epsg != square.epsg or sides_m != {square.side_m} or apart_m > SAME_PLACE_M:
        raise BadInput(
            subject,
            expected=f"the square of its S2 patch: {_place(square.left, square.top, square.side_m, square.epsg)}",
            found=_place(header.left, header.top, max(sides_m), header.epsg),
            remedy=remedy,
        )


def _place(left: float, top: float, side_m: float, epsg: int | None) -> str:
    return f"{side_m:.15g} m from ({left:.15g}, {top:.15g}) in {f'EPSG:{epsg}' if epsg else 'an unknown CRS'}"


def join(
    parts: Sequence[Path],
    out: Path,
    *,
    keep_tar: Path | None = None,
    members: Sequence[Iterable[bytes]] | None = None,
) -> ArchiveHashes:
    """Write the archive of `parts`, which are in order, to `out`, and its tar to `keep_tar`; hash both on the way.

    Every part is decompressed once, and so checked; or, which is faster, the bytes of the tar are read once more from
    where they came, as `members` gives them for each part, and only their length is checked. BadArchive names a part
    that is damaged. Hashing and writing run in threads beside that. Memory: a few chunks of 1 MiB.
    """
    with ExitStack() as stack:
        out_file = _open(stack, out)
        tar_file = _open(stack, keep_tar) if keep_tar is not None else None
        pool = stack.enter_context(ThreadPoolExecutor(thread_name_prefix="join"))
        packed, tar = _Flow(pool, out_file), _Flow(pool, tar_file)
        for part, source in zip(parts, repeat(None) if members is None else members, strict=members is not None):
            _append(part, source, packed, tar)
        closing = tarball.end(tar.size)
        tar.put(closing)
        packed.put(zstandard.ZstdCompressor(write_checksum=True).compress(closing))
        tar.wait()
        packed.wait()
    return ArchiveHashes(
        tar_bytes=tar.size,
        tar_md5=tar.md5.hexdigest(),
        tar_sha256=tar.sha256.hexdigest(),
        compressed_bytes=packed.size,
        compressed_md5=packed.md5.hexdigest(),
        compressed_sha256=packed.sha256.hexdigest(),
    )


def _open(stack: ExitStack, path: Path) -> BinaryIO:
    work = stack.enter_context(published(path))
    return stack.enter_context(work.open("wb"))


class _Flow:
    """A stream of bytes that a pool's threads hash, and write if there is a file, one chunk behind `put`."""

    def __init__(self, pool: ThreadPoolExecutor, file: BinaryIO | None) -> None:
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()
        self._pool = pool
        self._sinks: list[Callable[[bytes], object]] = [self.md5.update, self.sha256.update]
        if file is not None:
            self._sinks.append(file.write)
        self._busy: list[Future[object]] = []

    def put(self, chunk: bytes) -> None:
        """Take the next bytes, once the last ones are dealt with."""
        self.wait()
        self.size += len(chunk)
        self._busy = [self._pool.submit(sink, chunk) for sink in self._sinks]

    def wait(self) -> None:
        """Return when all is hashed and written."""
        for future in self._busy:
            future.result()
        self._busy = []


def _append(part: Path, members: Iterable[bytes] | None, packed: _Flow, tar: _Flow) -> None:
    try:
        with part.open("rb") as file:
            (frame,) = frames.find(file)
            if members is None:
                for chunk in frames.unpack(file, frame, packed.put):
                    tar.put(chunk)
            else:
                before = tar.size
                for packed_chunk, chunk in zip_longest(_chunks(file), members, fillvalue=b""):
                    packed.put(packed_chunk)
                    tar.put(chunk)
                if not frame.whole or tar.size - before != frame.content_bytes:
                    raise ValueError(f"one of {frame.content_bytes} bytes for {tar.size - before} bytes of members")
    except (FileNotFoundError, ValueError, zstandard.ZstdError) as error:
        raise BadArchive(
            f"part {part}",
            expected="one whole zstd frame",
            found=str(error),
            remedy="remove the part and run again",
        ) from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(frames.CHUNK_BYTES):
        yield chunk
