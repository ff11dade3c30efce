"""What all forms of a finished dataset have in common: their bytes, selections, and datasets of any kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms import listed, stac_geoparquet, webdataset
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import NOTE, Options
from ben_luigi.domain.forms.source import KINDS, S1, Source
from ben_luigi.domain.placement.footprints import polygons
from ben_luigi.domain.publishing import card, verdicts
from ben_luigi.domain.publishing.package import of_dataset, of_form
from ben_luigi.domain.recipe.model import OF_PRODUCT
from ben_luigi.domain.vocabulary import PIXELS
from tests.unit.exports import SMALL, call_s1_by_patch_id, hashes_of, in_big_endian, varied_dataset


def test_it_is_told_how_much_of_a_form_was_read_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the CRC-32 of its files, and to compare them with those: one of them may have hundreds of gigabytes."""
    monkeypatch.setattr(listed, "_CHUNK_BYTES", 2**12)
    told: list[float] = []
    export(FORMS["lmdb"], Source.open(finished), tmp_path / "lmdb", SMALL, told.append)
    assert told == sorted(told) and told[-1] == 1
    assert len([part for part in told if 0.9 < part < 1]) > 10
    found = listed.files_of(tmp_path / "lmdb", NOTE)
    lengths: list[int] = []
    assert not [*listed.changes(tmp_path / "lmdb", found, lengths.append)]
    assert sum(lengths) == sum(file.length for file in found.values()) and len(lengths) > 10


def test_working_out_the_places_in_shards_is_told(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of millions of patches it takes minutes, before any of them is written."""
    of, told = webdataset._Layout.of, []

    def noting(*given: Any) -> Any:
        told.append("waiting" in {thread.name for thread in threading.enumerate()})
        return of(*given)

    monkeypatch.setattr(webdataset._Layout, "of", noting)
    export(FORMS["webdataset"], Source.open(finished), tmp_path / "webdataset", SMALL)
    assert told == [True]


def test_the_squares_of_a_geoparquet_are_made_by_row_group(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all patches would take more memory than all else; their bounds are known without them, too."""
    made = list[int]()

    def noting(epsg: Any, *rest: Any) -> Any:
        made.append(len(epsg))
        return polygons(epsg, *rest)

    monkeypatch.setattr(stac_geoparquet, "polygons", noting)
    monkeypatch.setattr(stac_geoparquet, "_ROWS_A_GROUP", 2)
    source = Source.open(finished)
    export(FORMS["geoparquet"], source, tmp_path / "geoparquet", SMALL)
    assert len(made) > 2 and max(made) == 2
    monkeypatch.undo()
    assert verify(source, tmp_path / "geoparquet") == []


@pytest.mark.parametrize("name", FORMS)
def test_folders_may_have_names_that_are_not_utf_8(
    name: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Of the dataset, and of the form; Arrow opens no such name by itself."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffad"))
    shutil.copytree(finished, odd / "dataset")
    source = Source.open(odd / "dataset")
    export(FORMS[name], source, odd / name, SMALL)
    assert not verify(source, odd / name)
    written = {path.name: path.read_bytes() for path in (odd / name).iterdir() if path.is_file()}
    assert written == {path.name: path.read_bytes() for path in exported[name].iterdir() if path.is_file()}
    package = of_form(odd / name, odd / "dataset", FORM_V2)
    assert card.text(package, FORM_V2) == card.text(of_form(exported[name], finished, FORM_V2), FORM_V2)
    noted = verdicts.Noted([], verdicts.state_of_form(odd / name))
    verdicts.note(tmp_path / "notes", odd / name, noted)
    assert verdicts.read(tmp_path / "notes", odd / name) == noted
    assert of_dataset(odd / "dataset", FORM_V2).patches == package.patches


def test_the_seed_alone_orders_the_shards(finished: Path, tmp_path: Path) -> None:
    orders = []
    for seed in (1, 1, 2):
        export(FORMS["webdataset"], Source.open(finished), tmp_path / "out", replace(SMALL, seed=seed))
        orders.append(pa.parquet.read_table(tmp_path / "out" / "index.parquet")["patch_id"].to_pylist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@pytest.mark.parametrize("name", FORMS)
def test_the_same_dataset_gives_the_same_bytes(
    name: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """In another process, and from the folders that tar unpacks."""
    for archive in finished.glob("*.tar.zst"):
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tmp_path], check=True)
    for table in finished.glob("*.parquet"):
        (tmp_path / table.name).symlink_to(table)
    code = (
        "import sys; from pathlib import Path; from ben_luigi.domain.forms.export import *; "
        "export(FORMS[sys.argv[1]], Source.open(Path(sys.argv[2])), Path(sys.argv[3]), "
        f"{SMALL!r})"
    )
    subprocess.run([sys.executable, "-c", code, name, tmp_path, tmp_path / "again"], check=True, env=dict(os.environ))
    assert hashes_of(tmp_path / "again") == hashes_of(exported[name])


@pytest.mark.parametrize("name", FORMS)
def test_a_dataset_with_further_layers_has_the_same_forms(
    name: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Their archives are not read."""
    source = Source.open(finished, FORM_V2.with_layers(OF_PRODUCT.values()))
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert hashes_of(tmp_path / "out") == hashes_of(exported[name])
    assert verify(source, tmp_path / "out") == []


@pytest.mark.parametrize("name", FORMS)
def test_only_the_patches_of_a_selection_are_exported(name: str, finished: Path, tmp_path: Path) -> None:
    source = Source.open(finished)
    some = replace(source, rows=source.rows.take([1, 4]))
    export(FORMS[name], some, tmp_path / "some", SMALL)
    assert verify(some, tmp_path / "some") == []
    assert {shown.name for shown in FORMS[name].read(tmp_path / "some")} <= {
        *some.rows["patch_id"].to_pylist(),
        *some.rows["s1_name"].to_pylist(),
    }


@pytest.mark.parametrize("name", FORMS)
def test_a_patch_without_s1_in_the_metadata_has_none_in_the_form(name: str, tmp_path: Path) -> None:
    dataset = varied_dataset()
    dataset.rows[0]["s1_name"] = None
    source = Source.open(dataset.write(tmp_path / "dataset"))
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(source, tmp_path / "out") == []


@pytest.mark.parametrize("options", [replace(SMALL, pixels=pixels) for pixels in PIXELS])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_the_pixels_of_tiffs_of_any_byte_order(
    name: str, options: Options, pixels: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    source = Source.open(in_big_endian(varied_dataset()).write(tmp_path / "dataset"))
    export(FORMS[name], source, tmp_path / "out", options)
    assert verify(source, tmp_path / "out") == []
    s1_name = dict(zip(source.rows["patch_id"].to_pylist(), source.rows["s1_name"].to_pylist(), strict=True))
    for shown in FORMS[name].read(tmp_path / "out"):
        of = s1_name.get(shown.name, shown.name) if shown.kind in KINDS[S1] else shown.name
        assert np.array_equal(shown.pixels, pixels[f"{of}_{shown.kind}"])


@pytest.mark.parametrize("rows", [range(6), (0, 4)])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_both_of_patches_whose_s1_has_their_name(name: str, rows: Sequence[int], tmp_path: Path) -> None:
    """Of all patches, as where S1 is cut from rasters, or of some, as a folder of S1 patches may have them."""
    dataset = varied_dataset()
    call_s1_by_patch_id(dataset, rows)
    source = Source.open(dataset.write(tmp_path / "dataset"))
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(source, tmp_path / "out") == []
    shown = Counter(one.kind for one in FORMS[name].read(tmp_path / "out"))
    assert shown == dict.fromkeys(FORMS[name].kinds(source), len(source.rows))


@pytest.mark.parametrize("name", FORMS)
def test_sentinel1_may_be_left_out_and_need_not_be_there(name: str, finished: Path, tmp_path: Path) -> None:
    """Who fetched Sentinel-2 alone is told how. Verify takes the form for what it is, whether S1 is there or not."""
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for path in finished.iterdir():
        if path.name != f"{S1}.tar.zst":
            (fetched / path.name).symlink_to(path)
    with pytest.raises(BadInput, match=rf"expected: {S1}.tar.zst.*--without-s1"):
        export(FORMS[name], Source.open(fetched), tmp_path / "out", SMALL)
    export(FORMS[name], replace(Source.open(fetched), left_out=(S1,)), tmp_path / "out", SMALL)
    assert not {shown.kind for shown in FORMS[name].read(tmp_path / "out")} & {*KINDS[S1]}
    assert verify(Source.open(fetched), tmp_path / "out") == []
    assert verify(Source.open(finished), tmp_path / "out") == []
    export(FORMS[name], replace(Source.open(finished), left_out=(S1,)), tmp_path / "again", SMALL)
    assert hashes_of(tmp_path / "again") == hashes_of(tmp_path / "out")
