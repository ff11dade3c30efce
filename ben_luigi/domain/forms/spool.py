"""Keep the files of Sentinel-1 in one temporary file until their patches come: archives are in different orders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ben_luigi.domain.forms.form import Steps
from ben_luigi.domain.forms.source import KINDS, S1, Source


class Spool:
    """The files of S1 by row. Memory: 32 bytes per row."""

    def __init__(self, file: BinaryIO, rows: int) -> None:
        self._file = file
        self._places = np.zeros((rows, len(KINDS[S1]), 2), dtype="int64")

    def fill(self, source: Source, steps: Steps) -> None:
        """Take all patches of S1, in the order of their archive."""
        at = 0
        for patch in source.patches(S1):
            for number, data in enumerate(patch.files.values()):
                self._file.write(data)
                self._places[patch.row, number] = at, len(data)
                at += len(data)
            steps.step()
        self._file.flush()

    def files(self, row: int) -> dict[str, bytes]:
        """Return the files of a row's patch by kind; none if it has no partner in Sentinel-1."""
        places = zip(KINDS[S1], self._places[row].tolist(), strict=True)
        return {kind: os.pread(self._file.fileno(), size, at) for kind, (at, size) in places if size}


@contextmanager
def spooled(source: Source, folder: Path, steps: Steps) -> Iterator[Spool]:
    """Yield the files of S1, which take 115 KB per patch on the disk of `folder` in the meantime."""
    path = folder / "spool"
    with path.open("w+b") as file:
        path.unlink()  # it is gone with this process, however that ends
        spool = Spool(file, len(source.rows))
        spool.fill(source, steps)
        yield spool
