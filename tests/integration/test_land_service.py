"""CORINE's GeoPackage with a service key, from the land service on loopback: whole and proven, or an error in words."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadInput, BadOption, ServiceError
from ben_luigi.domain.fetching import land_package
from ben_luigi.domain.fetching.land_service import LandService, Polling
from ben_luigi.domain.fetching.service_key import read_service_key
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.sample import signing
from ben_luigi.sample.land_server import LandServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.loopback import Fault
from tests.integration.running import ROOT, command, environment

NAME = "U2018_CLC2018_V2020_20u1.gpkg"
CONTENT = random.Random(2).randbytes(300_000)
PINNED = PinnedFile(NAME, "https://land.copernicus.eu/", sha256=hashlib.sha256(CONTENT).hexdigest())
QUICK = Patience(tries=3, first_pause_s=0.001, longest_pause_s=0.01, connect_timeout_s=5, read_timeout_s=30)
POLLING = Polling(pause_s=0.001)


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


INNER = _zip({"DATA/": b"", f"u2018/DATA/{NAME}": CONTENT, "u2018/Legend/CLC_legend.csv": b"1,2\n"})
SHAPES = {
    "a zip in a zip": _zip({"Results/raster.zip": _zip({"a.tif": b"x"}), "Results/u2018_geoPackage.zip": INNER}),
    "stored": _zip({"Results/u2018_geoPackage.zip": INNER}, zipfile.ZIP_STORED),
    "a folder": _zip({f"Results/u2018/DATA/{NAME}": CONTENT}),
    "flat": _zip({NAME: CONTENT}),
}
ZIPPED = SHAPES["a zip in a zip"]


@dataclass
class Asked:
    """The land service, and what a user of it has: a key and a folder."""

    server: LandServer
    folder: Path

    def fetch(self, polling: Polling = POLLING) -> Path:
        path = self.folder / "key.json"
        path.write_text(json.dumps(self.server.service_key()))
        path.chmod(0o600)
        note = self.folder / "requested.json"
        with LandService(read_service_key(path), path, note, self.server.api_url, QUICK, polling) as service:
            return land_package.fetch(service, PINNED, self.folder / "inputs", patience=QUICK)

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "inputs").iterdir())


@contextmanager
def asked(folder: Path, *faults: Fault, zipped: bytes = ZIPPED) -> Iterator[Asked]:
    with LandServer(zipped, faults) as server:
        yield Asked(server, folder)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_geopackage_is_taken_out_of_what_comes(shape: str, tmp_path: Path) -> None:
    with asked(tmp_path, zipped=SHAPES[shape]) as service:
        assert service.fetch().read_bytes() == CONTENT
        assert service.left() == [NAME] and not (tmp_path / "requested.json").exists()
        assert service.fetch().read_bytes() == CONTENT  # what is there is verified, and asked for no more
        assert service.server.counts["token"] == service.server.requests == service.server.counts["whole"] == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_no_zip_is_decompressed_twice(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seek(member: zipfile.ZipExtFile, *to: int) -> int:
        pytest.fail(f"{member.name} is decompressed again up to {to}")

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", seek)
    with asked(tmp_path, zipped=SHAPES[shape]) as service:
        assert service.fetch().read_bytes() == CONTENT


TWICE = ("500", "503 html", "html", "empty", "429 seconds", "429 busy")
PLACES = ("token", "@search", "@datarequest_post", "@datarequest_status_get")


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", TWICE)
def test_what_passes_is_asked_again(kind: str, where: str, tmp_path: Path) -> None:
    with asked(tmp_path, Fault(kind, where, 2)) as service:
        assert service.fetch().read_bytes() == CONTENT
        assert service.server.requests == 1


GOES_ON = {
    "not ready at once": Fault("working", "@datarequest_status_get", 5),
    "the token expires": Fault("expired token", "@datarequest_status_get"),
    "the catalogue lists nothing": Fault("nothing listed", "@search"),
    "cut off": Fault("short", "whole"),
    "cut off twice": Fault("short", "", 2),
}


@pytest.mark.parametrize("kind", GOES_ON)
def test_what_the_service_does_now_and_then_is_borne(kind: str, tmp_path: Path) -> None:
    with asked(tmp_path, GOES_ON[kind]) as service:
        assert service.fetch().read_bytes() == CONTENT
        assert service.server.requests == 1


STOPS = {
    "refused assertion": (
        Fault("refused", "token", None),
        BadOption,
        "found: HTTP 400 Bad Request, application/json, invalid_grant",
    ),
    "no token": (Fault("no token", "token", None), ServiceError, "expected: an access token"),
    "refused request": (Fault("refused", "@datarequest_post", None), ServiceError, "HTTP 400"),
    "no task": (Fault("no task", "@datarequest_post", None), ServiceError, "the number of a request"),
    "failing request": (Fault("failed", "@datarequest_status_get", None), ServiceError, "found: that it has failed"),
    "unknown task": (Fault("unknown task", "@datarequest_status_get", None), ServiceError, "that it has failed"),
    "away": (Fault("503 html", "@datarequest_post", None), ServiceError, "HTTP 503"),
    "elsewhere": (Fault("redirect", "@search", None), ServiceError, "an address at http://127.0.0.1"),
    "file away": (Fault("503 html", "whole", None), ServiceError, "HTTP 503"),
    "page as file": (Fault("html", "whole", None), BadInput, "no whole zip: BadZipFile; it is kept as"),
    "damaged file": (Fault("flipped bit", "whole", None), BadInput, "it is kept as"),
}


@pytest.mark.parametrize("kind", STOPS)
def test_what_does_not_pass_is_said_in_words(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fault, error, words = STOPS[kind]
    with asked(tmp_path, fault) as service:
        with pytest.raises(error) as caught, caplog.at_level(logging.DEBUG):
            service.fetch()
        said = str(caught.value)
        assert words in said and "next: " in said, said
        told = said + caplog.text
        _assert_no_secret(told, service.server)
        assert NAME not in (service.left() if (tmp_path / "inputs").exists() else [])


def _assert_no_secret(told: str, server: LandServer) -> None:
    """Neither the key, nor an assertion, nor a token is in what is told."""
    assert "eyJ" not in told and "PRIVATE KEY" not in told and signing.pem().splitlines()[3] not in told
    assert not any(token in told for token in server.tokens)


def test_a_request_that_never_ends_is_waited_for_within_bounds_and_kept(tmp_path: Path) -> None:
    with asked(tmp_path, Fault("working", "@datarequest_status_get", 8)) as service:
        with pytest.raises(ServiceError, match=r"found: In_progress after 0\.0 h; next: run again later: a request"):
            service.fetch(Polling(0.001, 0.0))
        assert service.fetch().read_bytes() == CONTENT
        assert service.server.requests == 1


def test_an_address_that_has_expired_is_replaced(tmp_path: Path) -> None:
    """What came from it counts no more if the new zip has other bytes."""
    with asked(tmp_path, Fault("short", "whole"), Fault("503 html", "rest", 3)) as service:
        with pytest.raises(ServiceError, match="what has come is kept"):
            service.fetch()
        assert service.left() == [f".partial-{NAME}.zip"]
        service.server.expire()
        service.server.zipped = SHAPES["a folder"]
        assert service.fetch().read_bytes() == CONTENT
        assert service.server.requests == 2 and service.left() == [NAME]


def test_another_file_is_kept_aside_and_requested_anew_by_the_next_run(tmp_path: Path) -> None:
    with asked(tmp_path, zipped=_zip({NAME: CONTENT[::-1]})) as service:
        with pytest.raises(BadInput, match=f"sha256 {PINNED.sha256}; found: {NAME} of 300,000 bytes with sha256"):
            service.fetch()
        assert service.left() == [f"{NAME}.zip.bad"]
        service.server.zipped = _zip({"readme.txt": b"", "a.gdb.zip": _zip({"a.gdb/a": b""})})
        with pytest.raises(BadInput, match=r"found: a zip with readme\.txt, a\.gdb\.zip; it is kept"):
            service.fetch()
        service.server.zipped = ZIPPED
        assert service.fetch().read_bytes() == CONTENT
        assert service.server.requests == 3


def test_the_key_is_used_by_its_task_and_planned(sample_world: World, tmp_path: Path) -> None:
    content = sample_world.clc_gpkg.read_bytes()
    table = tmp_path / "inputs.toml"
    rows = ["[[clc_gpkg]]", f'file = "{NAME}"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"']
    table.write_text("\n".join([*rows, 'url = "https://land.copernicus.eu/"', 'by_hand = "log in"']) + "\n")
    with LandServer(_zip({"u2018_geoPackage.zip": _zip({NAME: content})})) as server:
        key, own = tmp_path / "key.json", tmp_path / "own.cfg"
        key.write_text(json.dumps(server.service_key()))
        key.chmod(0o644)
        own.write_text(f"[land_cover]\nservice_key = {key}\napi_url = {server.api_url}\n")
        code, said = command("plan", tmp_path, own, "FetchInput", "--option", "clc_gpkg")
        assert code == 20 and f"type: chmod 600 {key}" in said, said
        assert "GeoPackage of CORINE   1 file, about 8.2 GB" in said, said
        key.chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", RUN, table, "FetchInput", "--option", "clc_gpkg"],
            cwd=tmp_path,
            env=environment(LUIGI_CONFIG_PATH=str(own), PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "data" / "inputs" / NAME).read_bytes() == content
        for path in [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".gpkg"]:
            with suppress(FileNotFoundError):  # of the database, whose last process may be ending only now
                _assert_no_secret(path.read_text(errors="replace"), server)
        _assert_no_secret(done.stdout + done.stderr, server)


RUN = """
import sys
from pathlib import Path
from ben_luigi.commands import run
from ben_luigi.domain import inputs
pins = inputs.read_pinned(Path(sys.argv[1]))
inputs.read_pinned = lambda tracked: pins
sys.exit(run.main(sys.argv[2:]))
"""
"""`ben-luigi run` with the pin of another GeoPackage, since the real one is not at hand."""
