"""Hash lists: of rows, and of any folder of TIFFs, many files at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi.commands import hash_folder
from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.dataset.comparison import read_published
from ben_luigi.domain.errors import BadArchive, BadInput
from ben_luigi.domain.formats import hashes
from ben_luigi.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]


def test_a_hash_list_is_a_sorted_csv_and_its_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    rows = [("a_B01", "1"), ("a_B02", "2"), ("z", "3")]
    assert hashes.write_list(rows, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_text() == "name,hash-sha256\na_B01,1\na_B02,2\nz,3\n"
    with pytest.raises(BadArchive, match="a_B01 after a_B02"):
        hashes.write_list([rows[1], rows[0]], tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


def test_the_published_list_of_l1c_hashes_has_the_published_form(published: Path, tmp_path: Path) -> None:
    text = (published / "ben_s2_l1c_hashes.csv").read_text()
    rows = [(name, sha256) for name, sha256 in (line.split(",") for line in text.splitlines()[1:])]
    expected = read_published(TRACKED_ARTIFACTS / "published.toml").sha256["l1c_hashes"]
    assert hashes.write_list(rows, tmp_path / "l.csv") == expected


@pytest.mark.parametrize("name", [b"a,b.tif", b"a\nb.tif", b'a"b.tif', b"a\xffb.tif"])
def test_a_name_that_no_list_can_have_is_refused(
    name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(BadInput, match=r"a name of printable characters.*next: rename the file"):
        hashes.of_folder(tmp_path)
    assert hash_folder.main([str(tmp_path), str(tmp_path / "list.csv")]) == ExitCode.WAITS_FOR_PERSON
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "list.csv").exists()


def fill(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number % 7}" / f"patch_{number % 50}" / f"patch_{number}_B02.tif" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    (folder / "0" / "readme.txt").write_text("no TIFF")
    return paths


def test_a_folder_of_tiffs_is_listed_as_sha256sum_lists_it(tmp_path: Path) -> None:
    folder = tmp_path / "tiffs"
    paths = fill(folder, 1200)
    module = [sys.executable, "-m", "ben_luigi", "hash-folder", str(folder)]
    done = subprocess.run(module, cwd=ROOT, capture_output=True, text=True, check=True)
    said = subprocess.run(["sha256sum", *paths], capture_output=True, text=True, check=True).stdout
    rows = sorted((Path(path).stem, sha256) for sha256, path in map(str.split, said.splitlines()))
    text = "name,hash-sha256\n" + "".join(f"{name},{sha256}\n" for name, sha256 in rows)
    assert (tmp_path / "tiffs.csv").read_text() == text
    assert f"1200 files; sha256 of the list {hashlib.sha256(text.encode()).hexdigest()}" in done.stdout


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "ben_luigi", "hash-folder", str(tmp_path / "none")]
    refused = subprocess.run(module, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and str(tmp_path / "none") in refused.stderr
    with pytest.raises(BadInput, match="none"):
        hashes.of_folder(tmp_path)
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "same.tif").write_bytes(b"")
    with pytest.raises(BadInput, match=r"same\.tif more than once"):
        hashes.of_folder(tmp_path, 2)


def test_a_fifo_is_named_by_the_process_that_finds_it(tmp_path: Path) -> None:
    """Its error comes from another process, and so must be of a kind that passes."""
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(OSError, match="a FIFO, not a file") as caught:
        hashes.of_folder(tmp_path, 2)
    assert caught.value.filename == str(tmp_path / "pipe.tif")
