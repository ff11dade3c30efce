from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain import inputs
from ben_luigi.domain.errors import BadInput

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
    pinned = inputs.PinnedFile("list.csv", f"{url}/list.csv", sha256=SHA256)
    seen: list[tuple[int, int | None]] = []
    path = inputs.fetch(pinned, tmp_path / "inputs", lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT
    assert seen == [(len(CONTENT), len(CONTENT))]
    (tmp_path / "served" / "list.csv").unlink()
    assert inputs.fetch(pinned, tmp_path / "inputs") == path


def test_git_knows_the_blob_id_that_we_compute(tmp_path: Path, url: str) -> None:
    git = subprocess.run(["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True, check=True)
    pinned = inputs.PinnedFile("list.csv", f"{url}/list.csv", git_blob=git.stdout.decode().strip())
    assert inputs.fetch(pinned, tmp_path / "inputs").exists()


def test_a_wrong_hash_keeps_the_bad_file_aside(tmp_path: Path, url: str) -> None:
    pinned = inputs.PinnedFile("list.csv", f"{url}/list.csv", sha256="0" * 64)
    with pytest.raises(BadInput, match=SHA256):
        inputs.fetch(pinned, tmp_path / "inputs")
    assert _names(tmp_path / "inputs") == ["list.csv.bad"]
    assert (tmp_path / "inputs" / "list.csv.bad").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/missing.csv", ":1/list.csv"])
def test_what_cannot_be_fetched_leaves_nothing(tmp_path: Path, url: str, path: str) -> None:
    address = url + path if path.startswith("/") else "http://127.0.0.1" + path
    with pytest.raises(BadInput, match=r"list\.csv"):
        inputs.fetch(inputs.PinnedFile("list.csv", address, sha256=SHA256), tmp_path / "inputs")
    assert _names(tmp_path / "inputs") == []


def test_the_tracked_table_pins_every_file() -> None:
    table = inputs.read_pinned(TRACKED_ARTIFACTS / "inputs.toml")
    fetched = [file for listed in table.values() for file in listed if not file.by_hand]
    assert len(fetched) == 14
    for file in fetched:
        assert file.url.endswith(f"/{file.file}")
        assert len(file.sha256) == 64 or len(file.git_blob) == 40
    assert {name for name, listed in table.items() if listed[0].by_hand} == {"clc_gpkg", "s1_dir"}


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
