"""A real run on a fresh machine, with loopback servers in place of the open ones: nothing is put in place by hand."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.files import file_hash
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.eea_server import EeaServer
from ben_luigi.sample.file_server import ESA, ZENODO, FileServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.loopback import Fault
from ben_luigi.sample.scenes import SIDE_M
from tests.integration.running import ROOT, Run, environment

TILE = "31UGR_20171015"
SMALL = ("countries_geojson", "v1_spatial_dir", "s1s2_mapping_csv", "snow_csv", "cloud_csv")
RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from ben_luigi.commands import run
from ben_luigi.domain import inputs
from ben_luigi.domain.fetching import sen2cor_installer as esa
table, address, sha256, *arguments = sys.argv[1:]
pins = inputs.read_pinned(Path(table))
inputs.read_pinned = lambda tracked: pins
esa.INSTALLER = replace(esa.INSTALLER, url=address, sha256=sha256)
sys.exit(run.main(arguments))
"""
"""`ben-luigi run`, with other pins than those of the real files, which are not at hand."""


class Servers:
    """What is openly there: a host of raw files, Zenodo, the EEA, ESA; and CDSE."""

    def __init__(self, world: World, s1: bytes, installer: bytes) -> None:
        raw = {f"/raw/{path.name}": path.read_bytes() for option in SMALL for path in _files(world, option)}
        self.raw = FileServer(raw, [Fault("503 html"), Fault("short")])
        self.zenodo = FileServer({ZENODO: s1}, [Fault("429 busy"), Fault("short", times=2)])
        self.esa = FileServer({ESA: installer}, [Fault("short")])
        self.eea = EeaServer([Fault("error as 200", "features")])
        self.cdse = CdseServer(json.loads(world.catalogue.read_text()), world.folder)
        self.all = (self.raw, self.zenodo, self.esa, self.eea, self.cdse)


def _files(world: World, option: str) -> list[Path]:
    path: Path = getattr(world, option)
    return sorted(path.iterdir()) if path.is_dir() else [path]


@contextmanager
def _served(world: World, s1: bytes, installer: bytes) -> Iterator[Servers]:
    servers = Servers(world, s1, installer)
    with ExitStack() as stack:
        for server in servers.all:
            stack.enter_context(server)
        yield servers


def _pins(servers: Servers, world: World, s1: bytes, table: Path) -> Path:
    """A table with the pins of the sample world's files; each small one has a first address where it is gone."""
    rows = []
    for option in SMALL:
        for path in _files(world, option):
            url, gone = servers.raw.url(f"/raw/{path.name}"), servers.raw.url(f"/gone/{path.name}")
            rows += [f"[[{option}]]", f'file = "{path.name}"', f'url = "{gone}"', f'also = ["{url}"]']
            rows.append(f'sha256 = "{file_hash(path)}"')
    rows += ["[[s1_dir]]", 'file = "BigEarthNet-S1-v1.0.tar.gz"', f'url = "{servers.zenodo.url(ZENODO)}"']
    rows += [f'md5_of_archive = "{hashlib.md5(s1).hexdigest()}"', "usual_bytes = 55_000_000_000"]
    listed = (TRACKED_ARTIFACTS / "inputs.toml").read_text()
    kept = [part for part in listed.split("\n\n") if part.startswith("[[published_")]
    away = (
        f'[[tile_names_csv]]\nfile = "names.csv"\nurl = "{servers.raw.url("/gone/names.csv")}"\nsha256 = "{"0" * 64}"'
    )
    table.write_text("\n\n".join([*kept, away, "\n".join(rows)]) + "\n")
    return table


def _configuration(servers: Servers, path: Path) -> Path:
    path.write_text(
        f"[dataset]\ntiles = {TILE}\n[tile]\nside_m = {SIDE_M}\n[sen2cor]\naccept_licence = true\n"
        f"[land_cover]\nservice_url = {servers.eea.layer_url}\n[cdse]\npause_s = 0.1\n"
        f"catalogue_url = {servers.cdse.catalogue_url}\ntoken_url = {servers.cdse.token_url}\n"
        f"download_url = {servers.cdse.download_url}\n"
    )
    return path


def test_everything_comes_from_where_it_is_openly_there(sample_run: Run, sample_world: World, tmp_path: Path) -> None:
    """Whatever the servers do wrong now and then; and nothing large before all else is known to be there."""
    tar = tmp_path / "s1.tar.gz"
    with tarfile.open(tar, "w:gz", compresslevel=1) as file:
        file.add(sample_world.s1_dir, "BigEarthNet-S1-v1.0")
    program = f'#!/bin/sh\\nexec {sample_world.l2a_process} "$@"\\n'
    installer = f"""#!/bin/sh
mkdir -p "$2/bin" && printf '{program}' > "$2/bin/L2A_Process" && chmod +x "$2/bin/L2A_Process"
""".encode()
    with _served(sample_world, tar.read_bytes(), installer) as servers:
        pins = _pins(servers, sample_world, tar.read_bytes(), tmp_path / "inputs.toml")
        own = _configuration(servers, tmp_path / "own.cfg")
        account = {"CDSE_USER": "sample", "CDSE_PASSWORD": "sample", "HOME": str(tmp_path)}
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                RUN,
                pins,
                servers.esa.url(ESA),
                hashlib.sha256(installer).hexdigest(),
                "--world=real",
            ],
            cwd=tmp_path,
            env=environment(LUIGI_CONFIG_PATH=str(own), PYTHONPATH=str(ROOT), **account),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
    run = Run(done.returncode, done.stdout + done.stderr, tmp_path / "data")
    assert run.code == 0, run.said
    order = run.tasks()
    large = order.index("FetchInput(option=s1_dir)")
    for task in (
        "InstallSen2Cor()",
        "FetchLandCover(mgrs=31UGR)",
        *(f"FetchInput(option={option})" for option in SMALL),
    ):
        assert order.index(task) < large, order
    assert (
        servers.zenodo.asked_from[2:] == sorted(set(servers.zenodo.asked_from[2:]))
        and len(servers.zenodo.asked_from) == 4
    )
    for shard in (f"patches/{TILE}.tar", f"reference_maps/{TILE}.tar"):
        assert file_hash(run.data / shard) == file_hash(sample_run.data / shard), shard
    inputs = json.loads((run.data / "dataset" / "provenance.json").read_text())["inputs"]
    assert inputs["s1_dir"]["proof"] == "equal" and "clc_gpkg" not in inputs
    assert inputs["land_cover_service"]["name"] == servers.eea.layer_url
    assert inputs["tile_names_csv"]["name"] == "products.csv"
    assert inputs["tile_names_csv"]["proof"] == "the list of version 1 cannot be had"
