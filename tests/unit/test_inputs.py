from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain import files, given, inputs
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.fetching import pinned

CONTENT = b"patch,tile\r\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A real HTTP server that serves `list.csv`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "list.csv").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_an_input_is_fetched_once_and_verified(tmp_path: Path, url: str) -> None:
    file = inputs.PinnedFile("list.csv", f"{url}/list.csv", sha256=SHA256)
    seen: list[tuple[int, int | None]] = []
    path = pinned.fetch(file, tmp_path / "inputs", lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT
    assert seen == [(len(CONTENT), len(CONTENT))]
    (tmp_path / "served" / "list.csv").unlink()
    assert pinned.fetch(file, tmp_path / "inputs") == path


def test_git_knows_the_blob_id_that_we_compute(tmp_path: Path, url: str) -> None:
    git = subprocess.run(["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True, check=True)
    file = inputs.PinnedFile("list.csv", f"{url}/list.csv", git_blob=git.stdout.decode().strip())
    assert pinned.fetch(file, tmp_path / "inputs").exists()


def test_a_wrong_hash_keeps_the_bad_file_aside(tmp_path: Path, url: str) -> None:
    file = inputs.PinnedFile("list.csv", f"{url}/list.csv", sha256="0" * 64)
    with pytest.raises(BadInput, match=SHA256):
        pinned.fetch(file, tmp_path / "inputs")
    assert _names(tmp_path / "inputs") == ["list.csv.bad"]
    assert (tmp_path / "inputs" / "list.csv.bad").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/missing.csv", ":1/list.csv"])
def test_what_cannot_be_fetched_leaves_nothing(tmp_path: Path, url: str, path: str) -> None:
    address = url + path if path.startswith("/") else "http://127.0.0.1" + path
    with pytest.raises(BadInput, match=r"list\.csv"):
        pinned.fetch(
            inputs.PinnedFile("list.csv", address, sha256=SHA256), tmp_path / "inputs", patience=Patience(tries=1)
        )
    assert _names(tmp_path / "inputs") == []


def test_the_tracked_table_pins_every_file() -> None:
    table = inputs.read_pinned(TRACKED_ARTIFACTS / "inputs.toml")
    fetched = [file for listed in table.values() for file in listed if not file.by_hand]
    assert len(fetched) == 15
    for file in fetched:
        assert file.url.endswith(f"/{file.file}")
        assert len(file.sha256) == 64 or len(file.git_blob) == 40 or len(file.md5_of_archive) == 32
        for address in file.also:
            assert address.endswith((f"/{file.file}", f"/{file.file}.bz2")) and address != file.url
    assert {name for name, listed in table.items() if listed[0].by_hand} == {"clc_gpkg"}


def test_what_a_person_must_provide_is_said(tmp_path: Path) -> None:
    clc = inputs.read_pinned(TRACKED_ARTIFACTS / "inputs.toml")["clc_gpkg"][0]
    with pytest.raises(BadInput, match=r"log in.*land\.copernicus\.eu.*\[inputs\] clc_gpkg"):
        inputs.require("clc_gpkg", Path(), clc)
    with pytest.raises(BadInput, match="nothing at"):
        inputs.require("clc_gpkg", tmp_path / "none.gpkg", clc)
    assert inputs.require("clc_gpkg", tmp_path, clc) == tmp_path


def test_published_files_have_the_pinned_hashes(published: Path) -> None:
    table = inputs.read_pinned(TRACKED_ARTIFACTS / "inputs.toml")
    checked = 0
    for name in ("cloud_csv", "snow_csv", "published_tile_ids_csv", "published_l1c_hashes_csv", "v1_spatial_dir"):
        for file in table[name]:
            path = published / ("v1_spatial" if name.endswith("_dir") else "") / file.file
            if path.exists():
                expected, found = file.matches(path)
                assert found == expected, file.file
                checked += 1
    assert checked >= 7


TABLE = """
[[list_csv]]
file = "list.csv"
url = "https://x/list.csv"
sha256 = "{sha256}"
[[v1_spatial_dir]]
file = "a.parquet"
url = "https://x/a.parquet"
git_blob = "{git_blob}"
[[v1_spatial_dir]]
file = "b.parquet"
url = "https://x/b.parquet"
sha256 = "{sha256}"
[[s1_dir]]
file = "S1"
url = "https://x/S1.tar.gz"
md5_of_archive = "{md5}"
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Pins of CONTENT, each way in which a hash can be known."""
    git_blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    text = TABLE.format(sha256=SHA256, git_blob=git_blob, md5=hashlib.md5(CONTENT).hexdigest())
    (tmp_path / "inputs.toml").write_text(text)
    return tmp_path / "inputs.toml"


def _put(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def test_a_file_is_compared_with_its_pin_whatever_its_name(tmp_path: Path, table: Path) -> None:
    folder = _put(
        tmp_path / "own", mine_csv=CONTENT, mine_csv_bz2=bz2.compress(CONTENT), mine_csv_gz=gzip.compress(CONTENT)
    )
    for path in folder.iterdir():
        assert inputs.compare_with_pin("list_csv", path, table) == inputs.Proof({"list.csv": (SHA256, SHA256)})
    path = folder / "mine.csv"
    for place in (0, len(CONTENT) // 2, len(CONTENT) - 1):
        changed = bytearray(CONTENT)
        changed[place] ^= 1
        path.write_bytes(changed)
        proof = inputs.compare_with_pin("list_csv", path, table)
        found = hashlib.sha256(changed).hexdigest()
        assert (proof.state, proof.hashes) == (inputs.DIFFERENT, {"list.csv": (SHA256, found)})
        problem = proof.problem("list_csv", path)
        assert problem and str(path) in str(problem) and SHA256 in problem.expected and found in problem.found


def test_a_file_is_hashed_once(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _put(tmp_path / "own", a_parquet=CONTENT, b_parquet=CONTENT, list_csv=CONTENT)
    opened: list[Path] = []
    open_file = given.open_file

    def spied(path: Path) -> io.BufferedReader:
        opened.append(path)
        return open_file(path)

    for module in (given, files):
        monkeypatch.setattr(module, "open_file", spied)
    inputs.compare_with_pin("list_csv", folder / "list.csv", table)
    inputs.compare_with_pin("v1_spatial_dir", folder, table)
    assert sorted(path.name for path in opened if path != table) == ["a.parquet", "b.parquet", "list.csv"]


def test_a_folder_is_proven_only_if_all_in_it_is(tmp_path: Path, table: Path) -> None:
    def proof(**contents: bytes) -> inputs.Proof:
        return inputs.compare_with_pin("v1_spatial_dir", _put(tmp_path / "v1", **contents), table)

    assert (proof().state, proof().problem("x", tmp_path)) == (inputs.UNPROVEN, None)
    assert proof(b_parquet=CONTENT).state == inputs.EQUAL
    assert proof(a_parquet=CONTENT).state == inputs.EQUAL
    assert proof(**{"._a_parquet": b"of macOS"}).state == inputs.EQUAL
    other = proof(c_parquet=CONTENT)
    assert other.state == inputs.UNPROVEN and "c.parquet" in other.unproven
    changed = proof(a_parquet=b"other")
    assert (changed.state, changed.differing) == (inputs.DIFFERENT, ["a.parquet"])


def test_what_there_is_nothing_to_compare_with_is_said(tmp_path: Path, table: Path) -> None:
    folder = _put(tmp_path / "S1", some_tif=CONTENT)
    extracted = inputs.compare_with_pin("s1_dir", folder, table)
    assert extracted.state == inputs.UNPROVEN and "compare_with_dir" in extracted.unproven
    assert inputs.compare_with_pin("s1_dir", folder / "some.tif", table).state == inputs.EQUAL  # the archive itself
    unknown = inputs.compare_with_pin("l1c_dir", folder / "some.tif", table)
    assert unknown.state == inputs.UNPROVEN and "some.tif" in unknown.unproven


@pytest.mark.parametrize("option", ["list_csv", "v1_spatial_dir"])
def test_what_cannot_be_read_is_said(tmp_path: Path, table: Path, option: str) -> None:
    path = tmp_path / ("a.parquet" if option.endswith("_dir") else "none.csv")
    os.mkfifo(path)
    with pytest.raises(BadInput, match=f"input {option}: {path}; .*found: a FIFO, not a file"):
        inputs.compare_with_pin(option, path, table)


@pytest.mark.parametrize("what", ["a FIFO", "a link to nothing", "a link that leads in a circle"])
def test_what_is_neither_file_nor_folder_is_said(tmp_path: Path, what: str) -> None:
    path = tmp_path / "given"
    if what == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if "nothing" in what else "given")
    with pytest.raises(BadInput, match=f"found: {what} at {path}"):
        inputs.require("clc_gpkg", path, None)
