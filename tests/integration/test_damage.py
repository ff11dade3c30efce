"""Damage to each kind of file in the data folder: noticed, repaired, and never passed on.

A data folder of one tile, with all that a user's run on real sources has: inputs that are fetched, a download, a
conversion, Sentinel-1 from a `.tar.gz`. It is damaged, and a run repairs it, again and again; and each time the dataset
must be that of an undisturbed run. Each kind is damaged while what was made of it is there, and while it is not.
"""

from __future__ import annotations

import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.domain.files import file_hash
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SIDE_M
from ben_luigi.state.server import close_server, open_server
from tests.integration.damaging import DAMAGES, KINDS, NAMED, PASSED_ON, REPAIRED, UNREAD, Damaged, Kind, drop, outcomes
from tests.integration.running import dataset_digests
from tests.integration.stopping import Launcher, StoppingRun

TILE = "35VNJ_20180204"
FETCHED = ("tile_names_csv", "countries_geojson", "v1_spatial_dir", "s1s2_mapping_csv", "snow_csv", "cloud_csv")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _pins(world: World, url: str, table: Path) -> None:
    """A table of pinned inputs that are fetched from a server of the sample world."""
    lines = []
    for option in FETCHED:
        given: Path = getattr(world, option)
        for path in sorted(given.iterdir()) if given.is_dir() else [given]:
            place = f"{url}/{path.relative_to(world.folder)}"
            lines += [f"[[{option}]]", f'file = "{path.name}"', f'sha256 = "{file_hash(path)}"', f'url = "{place}"']
    table.write_text("\n".join(lines) + "\n")
    ids = {record["Name"]: record["Id"] for record in json.loads(world.catalogue.read_text())}
    products = [f"{name},{ids[str(name)]},{'0' * 64}" for name in read_tile_names(world.tile_names_csv)]
    table.with_name("products.csv").write_text("\n".join(["name,id,sha256", *products]) + "\n")


def _configuration(folder: Path, world: World, cdse: CdseServer) -> Path:
    """A user's own, on sources that seem real, with one worker in one process."""
    s1 = folder / "BigEarthNet-S1-v1.0.tar.gz"
    with tarfile.open(s1, "w:gz", compresslevel=1) as tar:
        tar.add(world.s1_dir, "BigEarthNet-S1-v1.0")
    sections: dict[str, dict[str, object]] = {
        "core": {"workers": 1},
        "dataset": {"data_dir": "data", "tiles": TILE},
        "inputs": {"clc_gpkg": world.clc_gpkg, "s1_dir": s1, "s1_md5": file_hash(s1, "md5")},
        "sen2cor": {"executable": world.l2a_process},
        "tile": {"side_m": SIDE_M},
        "cdse": {
            "catalogue_url": cdse.catalogue_url,
            "token_url": cdse.token_url,
            "download_url": cdse.download_url,
            "user": "sample",
            "password": "sample",
        },
    }
    lines = [
        line
        for section, options in sections.items()
        for line in (f"[{section}]", *(f"{name} = {value}" for name, value in options.items()))
    ]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


@dataclass
class Patient:
    """A data folder that is damaged and repaired."""

    launcher: Launcher
    folder: Path
    config: Path
    whole: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, task: str = "") -> tuple[int, str]:
        """Exit code of a run, and what it said."""
        said = self.folder / "said"
        said.unlink(missing_ok=True)
        run = StoppingRun(self.launcher, self.folder, config=self.config)
        code = run.ended()
        assert "Traceback" not in run.said, run.said
        return code, run.said

    def forget_rows(self, tasks: set[str]) -> None:
        """The markers of rows go."""
        if not tasks:
            return
        address = open_server(self.data / "database")
        with psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database) as own:
            own.cursor().execute("DELETE FROM marker WHERE task = ANY(%s)", (list(tasks),))
        own.close()
        close_server(self.data / "database")

    def survive(self, ways: dict[str, str], kinds: list[Kind], *, drops: bool) -> dict[str, str]:
        """Damage the kinds, run, and tell what became of each; what was not read is then made whole by us."""
        rows = drop(self.data, kinds) if drops else set()
        self.forget_rows(rows)
        left = [kind for kind in kinds if not drops or any(self.data.glob(kind.pattern))]
        damaged = [Damaged.by(DAMAGES[ways[kind.name]], kind, self.data) for kind in left]
        code, said = self.run()
        assert code == 0, said
        found = outcomes(damaged, dataset_digests(self.data) == self.whole, said)
        for one in damaged:
            one.restore()
        for counted in (self.data / "made_from").rglob("*.damaged"):
            counted.unlink()
        return found


@pytest.fixture(scope="module")
def patient(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    folder = tmp_path_factory.mktemp("patient")
    with ExitStack() as stack:
        served = partial(_Quiet, directory=str(world.folder))
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), served))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        cdse = stack.enter_context(CdseServer(json.loads(world.catalogue.read_text()), world.folder))
        _pins(world, f"http://127.0.0.1:{server.server_port}", folder / "pinned.toml")
        launcher = Launcher(BEN_PINNED=str(folder / "pinned.toml"))
        stack.callback(launcher.close)
        patient = Patient(launcher, folder, _configuration(folder, world, cdse))
        code, said = patient.run()
        assert code == 0, said
        patient.whole = dataset_digests(patient.data)
        yield patient


@pytest.mark.parametrize("first", range(len(DAMAGES) if os.environ.get("BEN_ALL_DAMAGES") else 1))
def test_each_kind_of_file_is_repaired_or_named_and_never_passed_on(
    patient: Patient, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind is damaged in one way with what was made of it, and in another without.

    With BEN_ALL_DAMAGES in the environment each is damaged in all ways, which takes ten minutes.
    """
    found: dict[tuple[str, str], str] = {}
    for drops in (False, True):
        for turn in (1, 2):
            kinds = [kind for kind in KINDS if kind.turn == turn]
            ways = {kind.name: [*DAMAGES][(at + first + drops) % len(DAMAGES)] for at, kind in enumerate(kinds)}
            outcome = patient.survive(ways, kinds, drops=drops)
            found |= {(ways[name], f"{name}{' alone' * drops}"): what for name, what in outcome.items()}
            unread = {name for name, what in outcome.items() if what == UNREAD}
            assert not drops or unread <= {kind.name for kind in kinds if kind.may_go}
    with capsys.disabled():
        print(f"\n{'damage':<11}{REPAIRED:>10}{NAMED:>10}{UNREAD:>10}{PASSED_ON:>11}", end="")
        for way in DAMAGES:
            ended = [what for (damage, _), what in found.items() if damage == way]
            told = "".join(f"{ended.count(what):>10}" for what in (REPAIRED, NAMED, UNREAD, PASSED_ON))
            print(f"\n{way:<11}{told}", end="")
    assert not [where for where, what in found.items() if what == PASSED_ON]
