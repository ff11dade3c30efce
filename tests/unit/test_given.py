"""Folders and files that a user gives: what is there is said as what it is, and nothing is waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ben_luigi.domain import given
from ben_luigi.domain.dataset import version1
from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.domain.formats import hashes
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.products import l1c, product


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


THINGS: dict[str, Callable[[Path], object]] = {
    "a file": Path.touch,
    "a folder": Path.mkdir,
    "nothing": lambda path: None,
    "a FIFO": os.mkfifo,
    "a socket": bound_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("gone"),
    "a link that leads in a circle": lambda path: path.symlink_to(path.name),
}
LISTED: dict[str, Callable[[Path], object]] = {
    "l1c_dir": l1c.find_products,
    "l2a_dir": product.find_products,
    "v1_spatial_dir": alignment.spatial_files,
    "v1_s2_dir": lambda path: version1.extract(path, path.parent),
    "a folder to hash": hashes.of_folder,
}


@pytest.mark.parametrize("what", THINGS)
def test_what_lies_at_a_path(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    THINGS[what](Path("x"))
    assert given.kind(tmp_path / "x") == what
    if what == "a file":
        given.open_file(tmp_path / "x").close()
    else:
        with pytest.raises(OSError, match="No such file" if what == "nothing" else f"^{what}, not a file$"):
            given.open_file(tmp_path / "x")


@pytest.mark.parametrize("option", LISTED)
@pytest.mark.parametrize("what", THINGS.keys() - {"a folder", "a socket"})
def test_what_is_no_folder_is_said_by_name(option: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    THINGS[what](path)
    with pytest.raises(BadInput) as caught:
        LISTED[option](path)
    assert caught.value.subject == str(path) and caught.value.remedy
    assert option == "a folder to hash" or caught.value.found == f"{what}, not a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
@pytest.mark.parametrize("option", LISTED)
def test_a_folder_that_must_not_be_read_is_said_by_name(option: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.mkdir(0)
    with pytest.raises((PipelineError, OSError), match=f"{path}.*Permission denied|Permission denied.*{path}"):
        LISTED[option](path)


def test_hidden_entries_are_not_listed(tmp_path: Path) -> None:
    for name in ("b", "a", "._a", ".DS_Store", ".nfs00"):
        (tmp_path / name).touch()
    assert given.entries(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert given.find(tmp_path, "*") == [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "v1").mkdir()
    for name in ("bigearthnet_v1_spatial_32633.parquet", "._bigearthnet_v1_spatial_32634.parquet"):
        (tmp_path / "v1" / name).touch()
    assert list(alignment.spatial_files(tmp_path / "v1")) == [32633]
    (tmp_path / "tiffs" / ".hidden").mkdir(parents=True)
    for name in ("a.tif", "._a.tif", ".hidden/b.tif"):
        (tmp_path / "tiffs" / name).touch()
    assert [name for name, _ in hashes.of_folder(tmp_path / "tiffs")] == ["a"]


def test_what_a_name_or_a_file_says_does_not_forge_lines_or_break_the_log(tmp_path: Path) -> None:
    """Escapes, ends of lines, bytes that are no UTF-8, and letters that turn the direction of reading."""
    error = BadInput(
        os.fsdecode(b"/l1c/\xff\x1b[2J\nERROR all is lost.zip"), expected="a\tb", found="\u202e", remedy="\r\0"
    )
    for text in (str(error), error.subject, error.found):
        assert text.isprintable()
        text.encode()
    assert error.subject == r"/l1c/\udcff\x1b[2J ERROR all is lost.zip"
    assert str(BadInput("Größe", found="日本")) == "Größe; found: 日本"


def test_lines_are_those_of_python(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa\r\nü\n\nc\rd".encode())
    assert list(given.lines(path)) == ["a", "ü", "", "c", "d"]
