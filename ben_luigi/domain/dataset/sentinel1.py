"""Read Sentinel-1 patches from the extracted BigEarthNet-S1 v1.0 and write them to parts of the archive.

A *part* of S1 holds the patches of one acquisition over one MGRS square.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path, PurePosixPath

from ben_luigi.domain import given
from ben_luigi.domain.dataset.archive import Part, write_part
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.files import atomic_write
from ben_luigi.domain.formats import packing, tarball
from ben_luigi.domain.formats.tiffheader import read_header
from ben_luigi.domain.names import s1_part, s1_tile
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.progress import OnBytes, ignore_bytes
from ben_luigi.domain.vocabulary import MOST_PATCH_FILE_BYTES, S1_ARCHIVE

ARCHIVE = S1_ARCHIVE
BANDS = ("VH", "VV")
"""The files of an S1 patch, in the order of the archive."""

SOURCE = "BigEarthNet-S1 v1.0, zenodo.org/records/12687186/files/BigEarthNet-S1-v1.0.tar.gz"

SAME_PLACE_M = 0.01
"""Corners closer than this are equal."""


def member_name(name: str, band: str) -> str:
    """Return the name of a patch's file in the archive."""
    return f"{ARCHIVE}/{s1_tile(name)}/{name}/{name}_{band}.tif"


def archive_order(name: str) -> str:
    """Return a key that sorts S1 names as the paths `<S1 name>/<S1 name>_VH.tif`, where `X_1_4` precedes `X_1_45`."""
    return f"{name}/"


def parts_of(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Group S1 patch names by part (`names.s1_part`); parts and names are in the order of the archive."""
    ordered = sorted(names, key=archive_order)
    return [(key, list(group)) for key, group in groupby(ordered, s1_part)]


def write_folder_part(
    s1_dir: Path,
    names: Sequence[str],
    out: Path,
    level: int,
    *,
    expected: Mapping[str, Square] | None = None,
    folder_of: Callable[[str], Path] | None = None,
    progress: OnBytes = ignore_bytes,
) -> Part:
    """Compress the files of S1 patches from the extracted BigEarthNet-S1, or another folder, to `out`.

    `expected` is the square of each S1 name's S2 patch, `folder_of` its folder; by default it lies in `s1_dir`. Raise
    BadInput if a patch does not cover that square, or lacks a file; missing files are found before anything is written.
    """
    at = folder_of or s1_dir.joinpath
    files = [(member_name(name, band), at(name) / f"{name}_{band}.tif", name) for name in names for band in BANDS]
    sizes = _sizes(s1_dir, [path for _, path, _ in files])
    lengths = [
        len(tarball.header(member, size)) + size + len(tarball.padding(size))
        for (member, _, _), size in zip(files, sizes, strict=True)
    ]
    blocks = [
        partial(_block, member, path, size, expected[name] if expected is not None else None)
        for (member, path, name), size in zip(files, sizes, strict=True)
    ]
    sample = b"".join(_read(blocks, lengths, *piece) for piece in packing.sampled(sum(lengths)))
    patches = (b"".join(block() for block in pair) for pair in zip(*[iter(blocks)] * len(BANDS), strict=True))
    return write_part(packing.frames(patches), len(files), sum(lengths), out, level, sample, progress)


def _read(blocks: Sequence[Callable[[], bytes]], lengths: Sequence[int], start: int, size: int) -> bytes:
    """Return `size` bytes from `start` of the content of all `blocks`; blocks outside of that range are not read."""
    stops = list(accumulate(lengths))
    first, last = bisect_right(stops, start), bisect_left(stops, start + size)
    before = stops[first - 1] if first else 0
    return b"".join(block() for block in blocks[first : last + 1])[start - before :][:size]


def _sizes(s1_dir: Path, paths: Sequence[Path]) -> list[int]:
    sizes, missing = [], []
    for path in paths:
        what = given.kind(path)
        if what == given.FILE:
            sizes.append(path.stat().st_size)
        else:
            relative = path.relative_to(s1_dir)
            missing.append(relative if what == given.NOTHING else f"{relative} (it is {what})")
    if missing:
        raise lacking(s1_dir, missing, f"extract {SOURCE} there, or set the folder that holds its patches")
    return sizes


def lacking(source: Path, missing: Sequence[object], remedy: str) -> BadInput:
    """Return the error that `source` lacks the files `missing`."""
    return BadInput(
        f"S1 patches in {source}",
        expected="_VV.tif and _VH.tif of every patch that is kept",
        found=f"no {some(missing)}",
        remedy=remedy,
    )


def export(
    s1_dir: Path,
    squares: Mapping[str, Square],
    folder: Path,
    folder_of: Callable[[str], Path] | None = None,
) -> int:
    """Copy S1 patches from the extracted BigEarthNet-S1 to `folder`, in the layout of the archive; return their number.

    `squares` has the square of each S1 name's S2 patch, `folder_of` is as for `write_folder_part`. Raise
    BadInput as that does. The folder of a patch appears complete or not at all, and replaces an existing one.
    """
    at = folder_of or s1_dir.joinpath
    paths = {name: [at(name) / f"{name}_{band}.tif" for band in BANDS] for name in squares}
    sizes = iter(_sizes(s1_dir, [path for pair in paths.values() for path in pair]))
    for name, pair in paths.items():
        target = (folder / member_name(name, BANDS[0])).parent
        with atomic_write(target) as work:
            work.mkdir()
            for path in pair:
                (work / path.name).write_bytes(_data(path, next(sizes), squares[name]))
    return len(paths)


def _block(member: str, path: Path, size: int, square: Square | None) -> bytes:
    return b"".join((tarball.header(member, size), _data(path, size, square), tarball.padding(size)))


def _data(path: Path, size: int, square: Square | None) -> bytes:
    remedy = f"restore it from {SOURCE}"
    try:
        data = given.read_bytes(path, MOST_PATCH_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise BadInput(f"S1 patch {path.stem}: {path}", expected="a file", found=str(error), remedy=remedy) from error
    if len(data) != size:
        raise BadInput(f"S1 patch {path.stem}: {path}", expected=f"{size} bytes", found=f"{len(data)}", remedy=remedy)
    if square is not None:
        check_place(data, path, square, remedy)
    return data


def check_place(data: bytes, path: Path | PurePosixPath, square: Square, remedy: str) -> None:
    """Raise BadInput if the S1 file at `path` does not cover `square`, that of its S2 patch."""
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
