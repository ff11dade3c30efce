"""What all forms of a finished dataset have in common: their bytes, what verify finds, and bad input."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ben_luigi.domain import files
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadArchive, BadInput, DamagedFile
from ben_luigi.domain.forms import listed, stac_geoparquet, webdataset
from ben_luigi.domain.forms.export import FORMS, export, verify
from ben_luigi.domain.forms.form import NOTE, Options
from ben_luigi.domain.forms.selecting import selected
from ben_luigi.domain.forms.source import KINDS, S1, Source
from ben_luigi.domain.placement.footprints import polygons
from ben_luigi.domain.publishing import card, verdicts
from ben_luigi.domain.publishing.package import of_dataset, of_form
from ben_luigi.domain.recipe.model import OF_PRODUCT
from ben_luigi.domain.vocabulary import ARRAY
from tests.unit.exports import SMALL, call_s1_by_patch_id, files_of, in_big_endian, varied_dataset
from tests.unit.small_dataset import Dataset

READ = [
    (name, archive)
    for name in FORMS
    for archive in ("BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1")
    if (name, archive) != ("lmdb", "Reference_Maps")
]
"""The archives that each form is made from."""


def _limited(code: str, *arguments: Path) -> str:
    """Run code with `Source`, `export`, `read` and `limit`, which leaves 6 MB of address space; return its error."""
    begin = """
import resource, sys
from pathlib import Path
import lmdb, safetensors.numpy
from ben_luigi.domain.errors import TooLittleMemory
from ben_luigi.domain.forms.export import *
from ben_luigi.domain.forms.lmdb import read
def limit():
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 6 * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
one, two = map(Path, sys.argv[1:])
"""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{begin}try:\n    {code}\nexcept TooLittleMemory as error:\n    print(error)",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_lmdb_that_does_not_fit_into_the_address_space_is_told(
    finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    said = _limited(
        f"of = Source.open(one); limit(); export(FORMS['lmdb'], of, two, {SMALL!r})", finished, tmp_path / "to"
    )
    assert re.search(
        r"data.mdb; expected: .* to map [\d,]{10} bytes.*found: a limit of [\d,]+ bytes \(ulimit -v\)", said
    )
    assert not list(tmp_path.iterdir())
    shutil.copytree(exported["lmdb"], tmp_path / "lmdb")
    os.truncate(tmp_path / "lmdb" / "data.mdb", 10**9)
    said = _limited("limit(); [*read(one)]", tmp_path / "lmdb", tmp_path)
    assert "lmdb/data.mdb; expected: address space to map 1,000,000,000 bytes" in said


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
    assert _hashes(tmp_path / "again") == _hashes(exported[name])


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.file_hash(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMS)
def test_verify_finds_nothing_wrong_with_what_was_exported(
    name: str, finished: Path, exported: Mapping[str, Path]
) -> None:
    assert verify(Source.open(finished), exported[name]) == []


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_the_file_of_which_one_pixel_differs(
    name: str, varied: Dataset, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    changed = varied_dataset()
    member = next(name for name in changed.names("BigEarthNet-S2") if name.endswith("_B03.tif"))
    data = bytearray(dict(files_of(changed))[member])
    data[-1] ^= 1
    changed.replace(member, bytes(data))
    found = verify(Source.open(changed.write(tmp_path / "changed")), exported[name])
    stem = Path(member).stem
    assert found == [f"{name}: other pixels than in the dataset: {stem.removesuffix('_B03')} B03"]


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_what_a_form_has_too_much(name: str, finished: Path, exported: Mapping[str, Path]) -> None:
    source = Source.open(finished)
    surplus = source.rows["patch_id"][0].as_py()
    number, line = verify(replace(source, rows=source.rows.slice(1)), exported[name])
    assert number == "form.json: another number of patches: patches (expected 5, found 6)"
    assert line.startswith(f"{name}: surplus: ") and f"{surplus} B0" in line


@pytest.mark.parametrize("name", FORMS)
def test_verify_names_what_a_form_lacks(name: str, finished: Path, tmp_path: Path) -> None:
    source = Source.open(finished)
    lacking = source.rows["patch_id"][0].as_py()
    export(FORMS[name], replace(source, rows=source.rows.slice(1)), tmp_path / "fewer", SMALL)
    number, line = verify(source, tmp_path / "fewer")
    assert number == "form.json: another number of patches: patches (expected 6, found 5)"
    assert line.startswith(f"{name}: missing: {lacking} B01, {lacking} B02") and "(1" in line


@pytest.mark.parametrize("damage", ["byte", "cut", "empty"])
@pytest.mark.parametrize("name", FORMS)
def test_verify_names_a_damaged_file_of_a_form(
    name: str, damage: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Whatever its reader makes of it: LMDB would end the process."""
    shutil.copytree(exported[name], tmp_path / "damaged")
    largest = max((tmp_path / "damaged").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    kept = {"cut": 2 * len(content) // 3, "empty": 0}.get(damage, len(content))
    largest.write_bytes(content[:kept])
    assert verify(Source.open(finished), tmp_path / "damaged")


@pytest.mark.parametrize("file", ["index.parquet", "train-000000.tar"])
def test_what_a_damaged_byte_of_shards_is_read_as_is_named(
    file: str, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Bytes by chance: the readers of zip, NumPy and Parquet raise many kinds of errors."""
    shutil.copytree(exported["webdataset"], tmp_path / "damaged")
    whole, rng = (tmp_path / "damaged" / file).read_bytes(), random.Random(17)
    for _ in range(60):
        content = bytearray(whole)
        content[rng.randrange(min(len(content), 4_000))] = rng.randrange(256)
        (tmp_path / "damaged" / file).write_bytes(content)
        with suppress(DamagedFile):
            assert all(shown.pixels.ndim == 2 for shown in FORMS["webdataset"].read(tmp_path / "damaged"))


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_a_selection_is_verified_by_the_same_selection(name: str, finished: Path, tmp_path: Path) -> None:
    """Season, tile and area by the names, as there is no patches.parquet."""
    whole = Source.open(finished)
    snowy = [row["patch_id"] for row in whole.rows.to_pylist() if row["patch_id"].startswith("S2B_MSIL2A_20180204")]
    west, south, east, north = 13, 40, 30, 50
    options = {"seasons": "winter", "tiles": "34TEN_20180204", "area": f"{west}, {south}, {east}, {north}"}
    source = selected(whole, options)
    assert source.rows["patch_id"].to_pylist() == snowy
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert verify(whole, tmp_path / "out") == []


@pytest.mark.parametrize("name", FORMS)
def test_a_dataset_with_further_layers_has_the_same_forms(
    name: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    """Their archives are not read."""
    source = Source.open(finished, FORM_V2.with_layers(OF_PRODUCT.values()))
    export(FORMS[name], source, tmp_path / "out", SMALL)
    assert _hashes(tmp_path / "out") == _hashes(exported[name])
    assert verify(source, tmp_path / "out") == []


def test_what_is_no_form_is_not_replaced(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="something else, which is kept"):
        export(FORMS["webdataset"], Source.open(finished), tmp_path / "out", SMALL)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


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


@pytest.mark.parametrize("options", [SMALL, replace(SMALL, pixels=ARRAY)])
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
    assert _hashes(tmp_path / "again") == _hashes(tmp_path / "out")


@pytest.mark.parametrize("name", FORMS)
def test_a_patch_whose_s1_is_not_in_the_archive_is_named(name: str, tmp_path: Path) -> None:
    dataset = varied_dataset()
    dataset.parts[S1][0] = dict(list(dataset.parts[S1][0].items())[2:])
    lacking = str(dataset.rows[0]["s1_name"])
    with pytest.raises(BadArchive, match=f"(?s)BigEarthNet-S1.tar.zst.*lacks {lacking}"):
        export(FORMS[name], Source.open(dataset.write(tmp_path / "dataset")), tmp_path / "out", SMALL)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize(("name", "archive"), READ)
def test_a_damaged_archive_is_named_and_nothing_is_left(
    name: str, archive: str, finished: Path, tmp_path: Path
) -> None:
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / f"{archive}.tar.zst"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(DamagedFile, match=f"{archive}.tar.zst"):
        export(FORMS[name], Source.open(tmp_path), tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize(("name", "archive"), READ)
def test_the_archive_of_a_tiff_that_cannot_be_read_is_named(name: str, archive: str, tmp_path: Path) -> None:
    """As from a changed byte in a frame without a checksum."""
    dataset = varied_dataset()
    member = dataset.names(archive)[-1]
    data = bytearray(dict(files_of(dataset))[member])
    start = len(data) // 2 if archive == "Reference_Maps" else 0
    data[start : start + 4] = b"\xff" * 4
    dataset.replace(member, bytes(data))
    source = Source.open(dataset.write(tmp_path / "dataset"))
    stem = Path(member).name if archive != S1 else Path(member).stem.rpartition("_")[2]
    with pytest.raises(BadInput, match=rf"{archive}\.tar\.zst; expected: \S*{stem}"):
        export(FORMS[name], source, tmp_path / "out", SMALL)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", FORMS)
def test_a_full_disk_is_said_and_nothing_is_left(name: str, finished: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from ben_luigi.domain.forms.export import *\n"
        "FORMS[sys.argv[1]].require_libraries(); resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try: export(FORMS[sys.argv[1]], Source.open(Path(sys.argv[2])), Path(sys.argv[3]), Options())\n"
        "except NoRoomError as error: print(error)"
    )
    code = f"from ben_luigi.domain.errors import NoRoomError; {code}".replace(
        "import *", "import *; import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, name, finished, tmp_path / "out"],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert "room on the disk" in ran.stdout, ran
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_missing_is_named_with_what_to_install(finished: Path, tmp_path: Path) -> None:
    form = replace(FORMS["webdataset"], libraries=("no_such_library",))
    with pytest.raises(BadInput, match="pip install no_such_library"):
        export(form, Source.open(finished), tmp_path / "out", SMALL)
    assert not list(tmp_path.iterdir())
