"""Files like those of `numpy.savez`, made from a blank one."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from ben_luigi.domain.forms.npz import Npz


def test_a_file_is_the_one_that_numpy_writes() -> None:
    rng = np.random.default_rng(0)
    arrays = {"B02": rng.integers(0, 9999, (12, 12)).astype("uint16"), "VV": rng.normal(size=(6, 6)).astype("float32")}
    made = Npz({name: np.zeros_like(array) for name, array in arrays.items()})
    expected = io.BytesIO()
    np.savez(expected, **arrays)  # type: ignore[arg-type]
    assert made.filled(arrays) == expected.getvalue()
    assert len(made) == len(expected.getvalue())
    assert made.filled(arrays) == made.filled(arrays), "a file leaves nothing in the blank one"
    with zipfile.ZipFile(expected) as opened:
        assert opened.testzip() is None
