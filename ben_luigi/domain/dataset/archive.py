"""Make the `.tar.zst` archives from shards, part by part.

A *part* holds the members of one tile (S2, reference maps), or of one S1 acquisition over one MGRS square (S1), as zstd
frames with their content sizes and checksums. zstd frames may be concatenated (RFC 8878, 3.1): an archive is its parts
in order, and a last frame that ends the tar.

md5 cannot be computed in parallel: one core hashes the tar of an archive from end to end, at the speed at which three
to five cores compress. So the tar is hashed straight from the shards, while the parts are being compressed and joined,
instead of afterwards.
"""

from __future__ import annotations

import errno
import hashlib
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import deflate
import zstandard

from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.fanout import FanOut
from ben_luigi.domain.files import atomic_write, keeping_up
from ben_luigi.domain.formats import frames, packing, shards, tarball
from ben_luigi.domain.progress import OnBytes, ignore_bytes

"""Called with the bytes that are dealt with, and those in all; None where that is not known."""

_CHUNKS_AHEAD = 4
"""Chunks that may queue for each thread: enough to keep all of them busy."""


@dataclass(frozen=True)
class Part:
    """A part that was written: its number of members, and its length in bytes before and after compression.

    `crc32` (hexadecimal) is that of the compressed part; it is checked when the part is joined.
    """

    members: int
    tar_bytes: int
    compressed_bytes: int
    crc32: str


@dataclass(frozen=True)
class Hashes:
    """Length in bytes, md5 and sha256 (hexadecimal) of a file."""

    size_bytes: int
    md5: str
    sha256: str


def write_shard_part(
    shard: Path, index: Path, keep: Collection[str], out: Path, level: int, progress: OnBytes = ignore_bytes
) -> Part:
    """Compress the members of the patches `keep` of a shard to `out`.

    Raise DamagedFile if the shard is damaged, BadArchive if it lacks one of them.
    """
    rows = shards.kept_rows(shards.read_index(index), keep)
    runs = shards.runs(rows)
    sample = b"".join(_read_runs(shard, _spread(runs)))
    contents = shards.read_batches(shard, list(shards.batches(rows, packing.FRAME_BYTES)))
    return write_part(contents, len(rows), sum(size for _, size in runs), out, level, sample, progress)


def _spread(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) in the shard of the pieces of a sample of `runs`; a piece may continue in the next run."""
    stops = list(accumulate(size for _, size in runs))
    for start, left in packing.sampled(stops[-1] if stops else 0):
        run = bisect_right(stops, start)
        while left:
            count = min(left, stops[run] - start)
            yield sum(runs[run]) - (stops[run] - start), count
            start, left, run = start + count, left - count, run + 1


def shard_members(shard: Path, index: Path, keep: Collection[str]) -> Iterator[bytes]:
    """Yield what `write_shard_part` compresses, in chunks of at most 1 MiB. Raise the same errors."""
    rows = shards.kept_rows(shards.read_index(index), keep)
    for block in shards.read_batches(shard, list(shards.batches(rows, packing.FRAME_BYTES))):
        for at in range(0, len(block), frames.CHUNK_BYTES):
            yield block[at : at + frames.CHUNK_BYTES].tobytes()


def shard_bytes(index: Path, keep: Collection[str]) -> int:
    """Return the length in bytes of what `shard_members` yields. Raise the same errors."""
    return sum(size for _, size in shards.runs(shards.kept_rows(shards.read_index(index, alone=True), keep)))


def _read_runs(shard: Path, runs: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    with shard.open("rb") as file:
        for offset, size in runs:
            file.seek(offset)
            left = size
            while left:
                chunk = file.read(min(left, frames.CHUNK_BYTES))
                if not chunk:
                    raise DamagedFile(shard, expected=f"{size} bytes at {offset}", found="the end of the file")
                left -= len(chunk)
                yield chunk


def write_part(
    contents: Iterable[bytes | memoryview],
    members: int,
    tar_bytes: int,
    out: Path,
    level: int,
    sample: bytes,
    progress: OnBytes = ignore_bytes,
) -> Part:
    """Compress `contents`, one item per frame and `tar_bytes` in all, to `out`. `sample` is taken from them."""
    packer = packing.packer(packing.parameters(level, sample))
    crc32 = done = 0
    with atomic_write(out) as work:
        with work.open("wb") as file, keeping_up(file) as wrote:
            for content in contents:
                frame = packer.compress(content)
                file.write(frame)
                wrote()
                crc32 = deflate.crc32(frame, crc32)
                done += len(content)
                progress(done, tar_bytes)
        return Part(members, tar_bytes, work.stat().st_size, f"{crc32:08x}")


def part_members(part: Path) -> Iterator[bytes]:
    """Yield the uncompressed content of a part, in chunks of at most 1 MiB. Raise DamagedFile if it is damaged."""
    with _whole(part) as (file, found):
        try:
            for frame in found:
                yield from frames.unpack(file, frame)
        except zstandard.ZstdError as error:
            raise _bad_part(part, str(error)) from error


def part_bytes(part: Path) -> int:
    """Return the length of a part's content, by its frame headers.

    Raise DamagedFile if the part is not complete; the content itself is not checked.
    """
    with _whole(part) as (_, found):
        return sum(frame.content_bytes or 0 for frame in found)


@contextmanager
def _whole(part: Path) -> Iterator[tuple[BinaryIO, list[frames.Frame]]]:
    """Yield a part, open for reading, and its frames. Raise DamagedFile if frames are damaged or missing."""
    try:
        with part.open("rb") as file:
            found = list(frames.find(file))
            sizes = [frame.content_bytes for frame in found if frame.whole and frame.content_bytes is not None]
            full = [size >= packing.FRAME_BYTES for size in sizes]
            if not found or len(sizes) != len(found) or full != [True] * (len(found) - 1) + [False]:
                raise _bad_part(part, f"{len(found)} frames that do not end it, or one that is not whole")
            file.seek(0)
            yield file, found
    except FileNotFoundError as error:
        raise _bad_part(part, str(error)) from error


def hash_tar(
    parts: Iterable[Iterable[bytes]],
    tar: Path | None = None,
    total_bytes: int | None = None,
    progress: OnBytes = ignore_bytes,
) -> tuple[Hashes, list[int]]:
    """Hash the tar of an archive, given the bytes of its parts in order; also write it to `tar` if that is given.

    Return the hashes, and the length in bytes of each part. `total_bytes` of all parts is only passed to `progress`.
    Memory: a few chunks.
    """
    with ExitStack() as stack:
        flow = _Flow(stack, tar)
        sizes = []
        for part in parts:
            before = flow.size
            for chunk in part:
                flow.put(chunk)
                progress(flow.size, total_bytes)
            sizes.append(flow.size - before)
        # Only an archive has the end of a tar: parts are joined by concatenation, so they have none.
        flow.put(tarball.end(flow.size))
        return flow.hashes(), sizes


def join(
    parts: Iterable[tuple[Path, str]], out: Path, total_bytes: int | None = None, progress: OnBytes = ignore_bytes
) -> tuple[Hashes, list[int]]:
    """Write the archive of `parts`, in order, to `out`; return its hashes, and the uncompressed length of each part.

    Each part comes with the CRC-32 of its `Part`, and is read before the next one is asked for. `total_bytes` of all
    parts is only passed to `progress`. Raise DamagedFile naming a part that has changed or is not complete.
    What is written is read again from the page cache by one thread per hash, a part or two behind. Memory: a few chunks
    of 1 MiB.
    """
    with ExitStack() as stack:
        work = stack.enter_context(atomic_write(out))
        file = stack.enter_context(work.open("wb"))
        behind = Behind(stack, work)
        sizes = []
        for part, expected in parts:
            with _whole(part) as (source, found):
                sizes.append(sum(frame.content_bytes or 0 for frame in found))
                crc32 = _copy(source, file)
            if crc32 != expected:
                raise DamagedFile(part, expected=f"a part with CRC-32 {expected}", found=crc32)
            file.flush()
            behind.go_to(file.tell())
            progress(file.tell(), total_bytes)
        # A frame of its own (RFC 8878, 3.1), since its padding depends on the length of all parts.
        file.write(zstandard.ZstdCompressor(write_checksum=True).compress(tarball.end(sum(sizes))))
        file.flush()
        behind.go_to(file.tell())
        os.fsync(file.fileno())  # while the threads hash the rest
        return behind.hashes(), sizes


def _copy(source: BinaryIO, file: BinaryIO) -> str:
    """Append the rest of `source` to `file`; return its CRC-32."""
    crc32 = 0
    while chunk := source.read(frames.CHUNK_BYTES):
        crc32 = deflate.crc32(chunk, crc32)
        file.write(chunk)
    return f"{crc32:08x}"


def check_sizes(parts: Sequence[Path], joined: Sequence[int], hashed: Sequence[int]) -> None:
    """Raise DamagedFile naming the first part whose content differs in length from the same part of the hashed tar."""
    for part, size, expected in zip(parts, joined, hashed, strict=True):
        if size != expected:
            raise _bad_part(part, f"one of {size} bytes", expected)


def _bad_part(part: Path, found: str, tar_bytes: int | None = None) -> DamagedFile:
    expected = f"a whole part{f' of {tar_bytes} bytes' if tar_bytes is not None else ''}"
    return DamagedFile(part, expected=expected, found=found)


class Behind:
    """Hash a file while it is written or read by others, with one thread per hash, so that its data is still cached."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._size = 0
        self._hashing = [
            (stack.enter_context(ThreadPoolExecutor(1, "hash")), stack.enter_context(path.open("rb")), hashed)
            for hashed in (hashlib.md5(usedforsecurity=False), hashlib.sha256())
        ]
        self._busy: deque[list[Future[None]]] = deque()

    def go_to(self, size: int) -> None:
        """Hash up to `size`, after waiting for all but the latest earlier request."""
        count, self._size = size - self._size, size
        self._busy.append([thread.submit(_hash_next, file, count, hashed) for thread, file, hashed in self._hashing])
        self._wait(2)

    def hashes(self) -> Hashes:
        """Return the hashes of the file up to the last requested position."""
        self._wait(0)
        (_, _, md5), (_, _, sha256) = self._hashing
        return Hashes(self._size, md5.hexdigest(), sha256.hexdigest())

    def _wait(self, most: int) -> None:
        while len(self._busy) > most:
            for future in self._busy.popleft():
                future.result()


def _hash_next(file: BinaryIO, count: int, hashed: hashlib._Hash) -> None:
    while count:
        chunk = file.read(min(count, frames.CHUNK_BYTES))
        if not chunk:
            raise OSError(errno.EIO, "the data written just before cannot be read", file.name)
        hashed.update(chunk)
        count -= len(chunk)


class _Flow:
    """Hash a stream of bytes, and write it if a path is given, with one thread each, a few chunks behind `put`.

    The file appears at its path when the given stack is closed.
    """

    def __init__(self, stack: ExitStack, path: Path | None) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        sinks: list[Callable[[bytes], object]] = [self._md5.update, self._sha256.update]
        if path is not None:
            sinks.append(_open(stack, path).write)
        self._fan_out = stack.enter_context(FanOut(sinks, _CHUNKS_AHEAD))

    def put(self, chunk: bytes) -> None:
        """Take the next bytes, once all but the last few chunks have been processed."""
        self.size += len(chunk)
        self._fan_out.put(chunk)

    def hashes(self) -> Hashes:
        """Return length and hashes of the stream, once all of it has been processed."""
        self._fan_out.finish()
        return Hashes(self.size, self._md5.hexdigest(), self._sha256.hexdigest())


def _open(stack: ExitStack, path: Path) -> BinaryIO:
    work = stack.enter_context(atomic_write(path))
    return stack.enter_context(work.open("wb"))
