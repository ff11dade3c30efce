"""Pinned files from servers that fail as Zenodo, ESA's site and hosts of raw files do: whole and proven, or named."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random
from pathlib import Path

import pytest

from ben_luigi.domain import files
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.fetching import pinned
from ben_luigi.domain.fetching.sen2cor_installer import install
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.sample.file_server import ESA, ZENODO, FileServer
from ben_luigi.sample.loopback import Fault

CONTENT = random.Random(1).randbytes(200_000)
NAME = "BigEarthNet-S1-v1.0.tar.gz"
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(tries=4, first_pause_s=0.001, longest_pause_s=0.01, connect_timeout_s=5, read_timeout_s=30)
ONCE = Patience(tries=1, waits=1)
HALF = len(CONTENT) // 2
FROM_THE_LAST_BYTE = [0, HALF - 1, HALF + HALF // 2 - 2, HALF + HALF // 2 + HALF // 4 - 2]
"""Where it is gone on with if half of what is to come breaks off each time: the last byte is requested again."""


def _archive(server: FileServer) -> PinnedFile:
    return PinnedFile(NAME, server.url(ZENODO), md5_of_archive=MD5)


@pytest.mark.parametrize("kind", ["500", "503 html", "429 busy", "429 seconds", "short"])
def test_what_passes_is_asked_again_and_gone_on_with(kind: str, tmp_path: Path) -> None:
    with FileServer({ZENODO: CONTENT}, [Fault(kind, times=3)]) as server:
        path = pinned.fetch(_archive(server), tmp_path, patience=QUICK)
    assert path.read_bytes() == CONTENT
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    assert server.asked_from == (FROM_THE_LAST_BYTE if kind == "short" else [0] * 4)


@pytest.mark.parametrize(
    "kind", ["range ignored", "range shifted", "range misstated", "range of another total", "416", "flipped bit"]
)
def test_a_wrong_rest_is_not_taken(kind: str, tmp_path: Path) -> None:
    with FileServer({ZENODO: CONTENT}, [Fault("short", "whole"), Fault(kind, "rest")]) as server:
        path = pinned.fetch(_archive(server), tmp_path, patience=QUICK)
    assert path.read_bytes() == CONTENT


def test_the_next_run_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    with FileServer({ZENODO: CONTENT}, [Fault("short")]) as server:
        with pytest.raises(BadInput, match=r"zenodo|127\.0\.0\.1.*what has come is kept"):
            pinned.fetch(_archive(server), tmp_path, patience=ONCE)
        assert [one.name for one in tmp_path.iterdir()] == [f".partial-{NAME}"]
        seen: list[tuple[int, int | None]] = []
        pinned.fetch(_archive(server), tmp_path, lambda *at: seen.append(at), patience=ONCE)
    assert server.asked_from == [0, HALF - 1]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_changes_while_it_is_resumed_is_fetched_anew(tmp_path: Path) -> None:
    with FileServer({ZENODO: bytes(len(CONTENT))}, [Fault("short")]) as server:
        with pytest.raises(BadInput):
            pinned.fetch(_archive(server), tmp_path, patience=ONCE)
        server.files[ZENODO] = CONTENT
        assert pinned.fetch(_archive(server), tmp_path, patience=ONCE).read_bytes() == CONTENT
    assert server.asked_from == [0, HALF - 1, 0]


def test_what_has_come_whole_is_not_fetched_again(tmp_path: Path) -> None:
    """Its process was killed before it gave it its name."""
    (tmp_path / f".partial-{NAME}").write_bytes(CONTENT)
    with FileServer({ZENODO: CONTENT}) as server:
        assert pinned.fetch(_archive(server), tmp_path, patience=ONCE).read_bytes() == CONTENT
    assert server.asked_from == [len(CONTENT) - 1]


def test_what_has_come_whole_of_another_file_is_fetched_anew(tmp_path: Path) -> None:
    (tmp_path / f".partial-{NAME}").write_bytes(bytes(len(CONTENT)))
    with FileServer({ZENODO: CONTENT}) as server:
        assert pinned.fetch(_archive(server), tmp_path, patience=ONCE).read_bytes() == CONTENT
    assert server.asked_from == [len(CONTENT) - 1, 0]


@pytest.mark.parametrize("kind", ["404", "500", "html", "flipped bit", "trailing junk", "short"])
def test_another_address_is_asked(kind: str, tmp_path: Path) -> None:
    """The hash decides, not the address."""
    with FileServer({"/a/x.csv": CONTENT}, [Fault(kind, times=None)]) as bad, FileServer({"/b/x.csv": CONTENT}) as good:
        file = PinnedFile("x.csv", bad.url("/a/x.csv"), also=[good.url("/b/x.csv")], sha256=SHA256)
        assert pinned.fetch(file, tmp_path, patience=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize(("packed", "ending"), [(bz2.compress, ".bz2"), (gzip.compress, ".gz")])
def test_a_packed_copy_does_as_well(packed: object, ending: str, tmp_path: Path) -> None:
    path = f"/x.csv{ending}"
    with FileServer({path: packed(CONTENT)}) as server:  # type: ignore[operator]
        file = PinnedFile("x.csv", server.url("/x.csv"), also=[server.url(path)], sha256=SHA256)
        assert pinned.fetch(file, tmp_path, patience=QUICK).read_bytes() == CONTENT
    assert [one.name for one in tmp_path.iterdir()] == ["x.csv"]


def test_what_came_from_an_address_that_failed_is_gone_once_another_has_it(tmp_path: Path) -> None:
    path, packed = "/x.csv", bz2.compress(CONTENT)
    with FileServer({path: CONTENT, f"{path}.bz2": packed}, [Fault("short"), Fault("500", "rest", None)]) as server:
        file = PinnedFile("x.csv", server.url(path), also=[server.url(f"{path}.bz2")], sha256=SHA256)
        assert pinned.fetch(file, tmp_path, patience=QUICK).read_bytes() == CONTENT
    assert [one.name for one in tmp_path.iterdir()] == ["x.csv"]


def test_what_another_process_begins_once_the_file_is_there_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked for the file before: without its partial file it would end with an error of the system."""
    sync, partial = files.sync, tmp_path / f".partial-{NAME}"

    def begun(path: Path) -> None:
        sync(path)
        if path == tmp_path:
            partial.write_bytes(b"begun")

    monkeypatch.setattr(files, "sync", begun)
    with FileServer({ZENODO: CONTENT}) as server:
        pinned.fetch(_archive(server), tmp_path, patience=ONCE)
    assert partial.read_bytes() == b"begun"


def test_all_addresses_are_named_when_none_has_it(tmp_path: Path) -> None:
    with FileServer({"/b/x.csv": b"another"}) as server:
        file = PinnedFile("x.csv", server.url("/a/x.csv"), also=[server.url("/b/x.csv")], sha256=SHA256)
        with pytest.raises(
            BadInput, match=rf"/a/x\.csv: HTTP 404.*/b/x\.csv: {hashlib.sha256(b'another').hexdigest()}"
        ):
            pinned.fetch(file, tmp_path, patience=QUICK)
    assert [one.name for one in tmp_path.iterdir()] == ["x.csv.bad"]


def test_the_installer_is_resumed_from_a_site_that_breaks_off(tmp_path: Path) -> None:
    script = b'#!/bin/sh\nmkdir -p "$2/bin" && echo "#!/bin/sh" > "$2/bin/L2A_Process"\n' + b"#" * 10_000
    with FileServer({ESA: script}, [Fault("503 html"), Fault("short", times=2)]) as server:
        file = PinnedFile(Path(ESA).name, server.url(ESA), sha256=hashlib.sha256(script).hexdigest())
        program = install(tmp_path / "2.11", pinned=file, log=tmp_path / "install.log", patience=QUICK)
    assert program == tmp_path / "2.11" / "bin" / "L2A_Process" and program.is_file()
    assert sorted(set(server.asked_from)) == server.asked_from[1:] != [0]
