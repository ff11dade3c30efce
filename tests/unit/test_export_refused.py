"""What stops an export: a damaged dataset, a full disk, too little memory; each is named, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ben_luigi.domain.errors import BadArchive, BadInput, DamagedFile
from ben_luigi.domain.forms.export import FORMS, export
from ben_luigi.domain.forms.source import S1, Source
from tests.unit.exports import SMALL, files_of, varied_dataset

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


def test_what_is_no_form_is_not_replaced(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="something else, which is kept"):
        export(FORMS["webdataset"], Source.open(finished), tmp_path / "out", SMALL)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("note", "found"),
    [
        ('{"questions": ["name"]}', "a form.json that is not of a form (JSON of another content), which is kept"),
        ("x", "a form.json that is not of a form ("),
        (None, "what no export has put there, mine.txt, sub/, which is kept"),
    ],
)
def test_what_others_have_put_beside_a_note_is_not_removed(
    note: str | None, found: str, finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(exported["zarr"], folder)
    (folder / "mine.txt").write_text("mine")
    (folder / "sub").mkdir()
    if note is not None:
        (folder / "form.json").write_text(note)
    with pytest.raises(BadInput) as raised:
        export(FORMS["webdataset"], Source.open(finished), folder, SMALL)
    assert raised.value.found.startswith(found)
    assert (folder / "mine.txt").read_text() == "mine" and (folder / "zarr.json").is_file()


def test_a_form_whose_readers_have_left_a_lock_is_replaced(
    finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(exported["lmdb"], tmp_path / "out")
    (tmp_path / "out" / "lock.mdb").write_bytes(bytes(8))
    export(FORMS["zarr"], Source.open(finished), tmp_path / "out", SMALL)
    assert not list((tmp_path / "out").glob("*.mdb"))


def test_a_damaged_form_in_the_folder_of_the_pipeline_is_made_again(
    finished: Path, exported: Mapping[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(exported["zarr"], tmp_path / "out")
    (tmp_path / "out" / "form.json").write_text("")
    export(FORMS["zarr"], Source.open(finished), tmp_path / "out", SMALL, is_own=True)
    assert (tmp_path / "out" / "form.json").read_bytes() == (exported["zarr"] / "form.json").read_bytes()


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
