"""Keep files of Sentinel-1 in one temporary file until their patches come: archives are in different orders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ben_luigi.domain import files
from ben_luigi.domain.forms.form import Steps
from ben_luigi.domain.forms.source import KINDS, S1, Source


class Spool:
    """The files of S1 by row. Memory: 32 bytes per row."""

    def __init__(self, file: BinaryIO, rows: int) -> None:
        self._file, self._at = file, 0
        self._places = np.zeros((rows, len(KINDS[S1]), 2), dtype="int64")

    def fill(self, source: Source, steps: Steps) -> None:
        """Take all patches of S1, in the order of their archive."""
        for patch in source.patches(S1):
            self.put(patch.row, patch.files)
            steps.step()

    def put(self, row: int, files: Mapping[str, bytes]) -> None:
        """Take the files of a patch of S1 by kind, for the patch of a row."""
        for number, kind in enumerate(KINDS[S1]):
            self._file.write(files[kind])
            self._places[row, number] = self._at, len(files[kind])
            self._at += len(files[kind])

    def files(self, row: int) -> dict[str, bytes]:
        """Return the files of a row's patch by kind; none if it has no partner in Sentinel-1."""
        self._file.flush()
        places = zip(KINDS[S1], self._places[row].tolist(), strict=True)
        return {kind: os.pread(self._file.fileno(), size, at) for kind, (at, size) in places if size}


@contextmanager
def empty_spool(source: Source, folder: Path) -> Iterator[Spool]:
    """Yield a spool on the disk of `folder`; a patch in it takes 115 KB there in the meantime."""
    path = folder / "spool"
    with path.open("w+b") as file:
        path.unlink()  # it is gone with this process, however that ends
        try:
            yield Spool(file, len(source.rows))
        except OSError as error:
            files.raise_if_full(folder, error)  # before what the spool takes is free again
            raise


@contextmanager
def spooled(source: Source, folder: Path, steps: Steps) -> Iterator[Spool]:
    """Yield the files of S1, which take 115 KB per patch on the disk of `folder` in the meantime."""
    with empty_spool(source, folder) as spool:
        spool.fill(source, steps)
        yield spool
