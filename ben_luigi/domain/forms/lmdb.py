"""Write and read an LMDB of safetensors, as rico-hdl writes it, so that ConfigILM reads it.

The key of each value is the name of a patch of S2 or S1 in UTF-8, the value its bands as safetensors: the name of the
band, then its pixels (row, col). Where a patch of S1 has the name of one of S2, as in datasets whose Sentinel-1 was cut
for their patches, the value of that name has the bands of both. Reference maps are not in it: rico-hdl does not take
them, either. The file `data.mdb` has the page size of the machine, 4 KiB on most.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ben_luigi.domain import files
from ben_luigi.domain.errors import DamagedFile, DiskError, TooLittleMemory
from ben_luigi.domain.forms.form import Options, Shown, Steps
from ben_luigi.domain.forms.pixels import pixels_in
from ben_luigi.domain.forms.source import KINDS, S1, S2, Patch, Source
from ben_luigi.domain.forms.spool import Spool, empty_spool
from ben_luigi.domain.progress import OnFraction

if TYPE_CHECKING:
    import lmdb

LIBRARIES = ("lmdb", "safetensors")
DATA, LOCK = "data.mdb", "lock.mdb"
_AT_ONCE = 64
"""Patches per transaction, whose pages stay in memory until its end: 11 MB."""
_SPARE_BYTES = 2**26
_PAGES_BYTES = 2**13
"""More than what the pages of a value take beyond its length."""
_NONE = -1
_LEAST_BYTES = 2**20
"""The length that is mapped of a file that is shorter, which is damaged."""


def kinds(source: Source) -> tuple[str, ...]:
    """Return the kinds of files that it has: the bands of S2 and S1, no maps."""
    return tuple(kind for name in (S2, S1) if name in source.archives for kind in KINDS[name])


def write(source: Source, folder: Path, options: Options, progress: OnFraction) -> None:
    """Write the database. Memory: the patches of a transaction, and 40 bytes per row. Disk: see `empty_spool`.

    Raise TooLittleMemory if the address space is limited, DiskError if the disk does not keep what is written.
    """
    import lmdb

    steps = Steps(source, progress)
    pixels = source.form.patch_m**2 // 100
    most = len(source.rows) * (14 * 4 * pixels + 2 * _PAGES_BYTES) + _SPARE_BYTES
    # The file is made durable once, at the end, since half a database is of no use.
    try:
        with (
            closing(_opened(folder, most, sync=False, metasync=False)) as database,
            empty_spool(source, folder) as radar,
        ):
            # In the order of the keys, which all ascend: then pages are filled one after the other.
            values = _Values(database, source)
            _write_s1(values, source, radar, steps)
            _write_s2(values, source, radar, steps)
            values.commit()
            database.sync(True)
    except lmdb.Error as error:
        raise _on_disk(folder / DATA, error) from error
    (folder / LOCK).unlink(missing_ok=True)  # it is made again by who opens it, and differs each time


def _opened(folder: Path, size_bytes: int, **options: bool) -> lmdb.Environment:
    """Open the database in a folder, mapped whole. Raise TooLittleMemory if the address space is too small for it."""
    import lmdb

    try:
        return lmdb.open(os.fsencode(folder), map_size=size_bytes, **options)
    except lmdb.MemoryError as error:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        raise TooLittleMemory(
            folder / DATA,
            expected=f"address space to map {size_bytes:,} bytes, besides that of the program",
            found=str(error) if limit == resource.RLIM_INFINITY else f"a limit of {limit:,} bytes (ulimit -v)",
            remedy="raise that limit (ulimit -v unlimited), or that of the job; or use another form",
        ) from error


class _Values:
    """The values of a database, each of a name of its own, which are written many per transaction."""

    def __init__(self, database: lmdb.Environment, source: Source) -> None:
        self._database, self._source = database, source
        self._transaction: Any = None
        self._waiting = 0

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write the bands in these TIFFs, by kind."""
        from safetensors.numpy import save

        value = save(pixels_in(self._source, files, name))
        self._transaction = self._transaction or self._database.begin(write=True)
        self._transaction.put(name.encode(), value)
        self._waiting += 1
        if self._waiting == _AT_ONCE:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        if self._transaction:
            self._transaction.commit()
        self._transaction, self._waiting = None, 0


def _write_s1(values: _Values, source: Source, radar: Spool, steps: Steps) -> None:
    """Write the patches of S1, and spool those that have the name of a patch of S2, for its value."""
    names = source.names(S1)
    namesake = pc.fill_null(pc.index_in(names, source.names(S2)), _NONE).to_numpy()
    before = ""
    for patch in source.patches(S1):
        name = names[patch.row].as_py()
        steps.step()
        if name == before:  # a patch of S1 that several patches share
            continue
        before = name
        if namesake[patch.row] == _NONE:
            values.put(name, _in_order(patch, S1))
        else:
            radar.put(int(namesake[patch.row]), patch.files)


def _write_s2(values: _Values, source: Source, radar: Spool, steps: Steps) -> None:
    """Write the patches of S2, with the bands of S1 that have their names."""
    names = source.names(S2)
    for patch in source.patches(S2):
        steps.step()
        values.put(names[patch.row].as_py(), {**_in_order(patch, S2), **radar.files(patch.row)})


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
    """Yield the bands of all values, in the order of the keys.

    Raise DamagedFile if one cannot be read, TooLittleMemory if the address space is limited.
    """
    import lmdb
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        size = max(files.size(folder / DATA), _LEAST_BYTES)
        with (
            closing(_opened(folder, size, readonly=True, lock=False, create=False)) as database,
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
