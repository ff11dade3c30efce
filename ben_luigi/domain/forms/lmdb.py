"""Write and read an LMDB of safetensors, as rico-hdl writes it, so that ConfigILM reads it.

The key of each value is the name of a patch of S2 or S1 in UTF-8, the value its bands as safetensors: the name of the
band, then its pixels (row, col). Reference maps are not in it: rico-hdl does not take them, either. The file
`data.mdb` has the page size of the machine, 4 KiB on most.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ben_luigi.domain.errors import DamagedFile, DiskError
from ben_luigi.domain.forms.form import Options, Shown, Steps
from ben_luigi.domain.forms.pixels import pixels_of
from ben_luigi.domain.forms.source import KINDS, S1, S2, Patch, Source
from ben_luigi.domain.progress import OnFraction

if TYPE_CHECKING:
    import lmdb

LIBRARIES = ("lmdb", "safetensors")
DATA, LOCK = "data.mdb", "lock.mdb"
_AT_ONCE = 256
"""Patches per transaction, whose pages stay in memory until its end: 45 MB."""
_SPARE_BYTES = 2**26
_PAGES_BYTES = 2**13
"""More than what the pages of a value take beyond its length."""


def kinds(source: Source) -> tuple[str, ...]:
    """Return the kinds of files that it has: the bands of S2 and S1, no maps."""
    return tuple(kind for name in (S2, S1) if name in source.archives for kind in KINDS[name])


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the database. Memory: the patches of a transaction."""
    import lmdb

    steps = Steps(source, progress)
    pixels = source.form.patch_m**2 // 100
    most = len(source.rows) * (14 * 4 * pixels + 2 * _PAGES_BYTES) + _SPARE_BYTES
    # The file is made durable once, at the end, since half a database is of no use.
    with closing(lmdb.open(str(folder), map_size=most, sync=False, metasync=False)) as database:
        try:
            # In the order of the keys, which all ascend: then pages are filled one after the other.
            for archive in (S1, S2):
                _write_archive(database, source, archive, steps)
            database.sync(True)
        except lmdb.Error as error:
            raise _on_disk(folder / DATA, error) from error
    (folder / LOCK).unlink(missing_ok=True)  # it is made again by who opens it, and differs each time


def _write_archive(database: lmdb.Environment, source: Source, archive: str, steps: Steps) -> None:
    from safetensors.numpy import save

    names = source.names(archive)
    transaction: Any = None
    waiting, before = 0, ""
    for patch in source.patches(archive):
        name = names[patch.row].as_py()
        steps.step()
        if name == before:  # a patch of S1 that several patches share
            continue
        before = name
        transaction = transaction or database.begin(write=True)
        value = save(pixels_of(_in_order(patch, archive), source.form.patch_m, name))
        transaction.put(name.encode(), value, overwrite=False)
        waiting += 1
        if waiting == _AT_ONCE:
            transaction.commit()
            transaction, waiting = None, 0
    if transaction:
        transaction.commit()


def _in_order(patch: Patch, archive: str) -> dict[str, bytes]:
    return {kind: patch.files[kind] for kind in KINDS[archive]}


def _on_disk(path: Path, error: Exception) -> DiskError:
    """Return an error of LMDB while it writes. Raise OSError if the disk is full.

    LMDB calls a full disk an input/output error, so what is full is found out by asking for room.
    """
    with path.with_name("room").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _SPARE_BYTES)
    return DiskError(
        path,
        expected="a disk that keeps what is written",
        found=str(error),
        remedy="look after that disk, or export to another one",
    )


def read(folder: Path) -> Iterator[Shown]:
    """Yield the bands of all values, in the order of the keys. Raise DamagedFile if one cannot be read."""
    import lmdb
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with (
            closing(lmdb.open(str(folder), readonly=True, lock=False, create=False)) as database,
            database.begin() as txn,
        ):
            _require_whole(folder / DATA, (int(database.info()["last_pgno"]) + 1) * int(database.stat()["psize"]))
            for key, value in txn.cursor():
                for band, pixels in load(value).items():
                    yield Shown(key.decode(), band, pixels)
    except (lmdb.Error, SafetensorError, ValueError) as error:
        raise DamagedFile(folder / DATA, expected="a database of safetensors", found=str(error)) from error


def _require_whole(path: Path, size_bytes: int) -> None:
    """Raise DamagedFile if a database is shorter than its first page says.

    LMDB maps the file, so that reading a page behind its end would kill the process by SIGBUS.
    """
    found = path.stat().st_size
    if found < size_bytes:
        remedy = "fetch or export it again"
        raise DamagedFile(path, expected=f"{size_bytes:,} bytes", found=f"{found:,} bytes", remedy=remedy)
