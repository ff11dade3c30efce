"""CORINE from the EEA's service on loopback: the same maps as from the GeoPackage, whatever goes wrong on the way."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import ServiceError
from ben_luigi.domain.fetching import land_cover
from ben_luigi.domain.fetching.asking import Asker
from ben_luigi.domain.fetching.land_cover import Kept
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.tiles import clc
from ben_luigi.domain.tiles.reference_maps import make_maps
from ben_luigi.sample.eea_server import EeaServer
from ben_luigi.sample.land_cover import land_cover as parcels
from ben_luigi.sample.land_cover import write_clc
from ben_luigi.sample.layout import World
from ben_luigi.sample.loopback import Fault
from ben_luigi.sample.scenes import SCENES, SQUARES
from tests.integration.running import Run, command, pipeline

QUICK = Patience(tries=4, first_pause_s=0.001, longest_pause_s=0.01, connect_timeout_s=5, read_timeout_s=30)
SQUARE = "31UGR"


@pytest.fixture(scope="module")
def geopackage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clc") / "clc.gpkg"
    write_clc(path, parcels())
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kept, str]:
    """What is kept of a square when nothing goes wrong, and the hash of the file."""
    path = tmp_path_factory.mktemp("undisturbed") / "kept.gpkg"
    with EeaServer() as server:
        kept = _fetch(server, path)
    return kept, file_hash(path)


def _fetch(
    server: EeaServer,
    path: Path,
    square: Square = SQUARES[SQUARE],
    others: tuple[Path, ...] = (),
    patience: Patience = QUICK,
) -> Kept:
    with Asker(patience) as asker:
        of = land_cover.layer(server.layer_url, asker)
        return land_cover.fetch(of, clc.bounds(square), path, subject="the square", others=others)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.product.tile_key)
def test_the_maps_are_those_of_the_geopackage(scene: object, geopackage: Path, tmp_path: Path) -> None:
    square, name = scene.square, scene.product.converted().tile_name  # type: ignore[attr-defined]
    with EeaServer(most=7) as server:
        _fetch(server, tmp_path / "kept.gpkg", square)
    grid = PatchGrid(name, square)
    written = np.arange(grid.patches_a_side**2)
    made = {}
    for source, polygons in (
        ("geopackage", clc.read_polygons(geopackage, square)),
        ("service", clc.read_polygons(tmp_path / "kept.gpkg", square, whole=False)),
    ):
        folder = tmp_path / source
        folder.mkdir()
        counts = make_maps(polygons, grid, written, folder / "maps.tar", folder / "maps.parquet")
        made[source] = (file_hash(folder / "maps.tar"), file_hash(folder / "maps.parquet"), counts.to_csv())
    assert made["service"] == made["geopackage"]


@pytest.mark.parametrize("where", ["count", "ids", "features"])
@pytest.mark.parametrize(
    "kind", ["500", "503 html", "html", "empty", "429 seconds", "error as 200", "cut json", "short", "redirect"]
)
def test_what_passes_is_asked_again(kind: str, where: str, tmp_path: Path, undisturbed: tuple[Kept, str]) -> None:
    with EeaServer([Fault(kind, where, 2)]) as server:
        kept = _fetch(server, tmp_path / "kept.gpkg")
    assert (kept.sha256, file_hash(tmp_path / "kept.gpkg")) == (undisturbed[0].sha256, undisturbed[1])
    assert server.counts[where] >= 3


@pytest.mark.parametrize(
    "fault",
    [
        *(
            Fault(kind, "features", times)
            for kind, times in (
                ("repeats features", None),
                ("repeats a feature otherwise", 1),
                ("leaves features out", 3),
                ("leaves all features out", 1),
                ("other features", 1),
                ("polygon without rings", 1),
                ("null geometry", 1),
                ("unknown code", 1),
                ("other order", None),
                ("busy above 20", None),
            )
        ),
        Fault("some ids", "ids", None),
        Fault("wrong count", "count", 1),
        Fault("ids left out", "ids", 1),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_bad_page_changes_nothing(fault: Fault, tmp_path: Path, undisturbed: tuple[Kept, str]) -> None:
    with EeaServer([fault]) as server:
        _fetch(server, tmp_path / "kept.gpkg")
    assert file_hash(tmp_path / "kept.gpkg") == undisturbed[1]


@pytest.mark.parametrize("most", [1, 13, 1000])
def test_pages_of_any_size_give_the_same_bytes(most: int, tmp_path: Path, undisturbed: tuple[Kept, str]) -> None:
    with EeaServer(most=most) as server:
        kept = _fetch(server, tmp_path / "kept.gpkg")
    assert file_hash(tmp_path / "kept.gpkg") == undisturbed[1]
    assert kept.polygons == len(server.sent_ids) == len(set(server.sent_ids))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("503 html", "", None), "503 Service Unavailable"),
        (
            Fault("error as 200", "count", None),
            r"HTTP 200 with an error in it: 400 Unable to complete operation\. Unable",
        ),
        (Fault("html", "ids", None), "expected: JSON; found: <html>.*Maintenance"),
        (Fault("redirect", "", None), "302.*leads to https://elsewhere"),
        (Fault("wrong count", "count", None), "ids, as were counted"),
        (Fault("ids left out", "ids", None), "ids, as were counted"),
        (Fault("leaves all features out", "features", None), "expected: features 1.*found: an answer without them"),
        (Fault("other features", "features", None), "OBJECTID 1 among them"),
        (Fault("polygon without rings", "features", None), r"OBJECTID 1\d+, ID EU_\d+; .*found: one without rings"),
        (Fault("null geometry", "features", None), "found: one without rings"),
        (Fault("unknown code", "features", None), "Code_18 of CLC 2018; found: .*777"),
        (Fault("degrees", "features", None), "polygons that meet .* in EPSG:3035; found: .* has the bounds"),
        (Fault("repeats a feature otherwise", "features", None), "two of OBJECTID 1.*, which differ"),
    ],
    ids=lambda value: f"{value.kind} in {value.where or 'all'}" if isinstance(value, Fault) else "",
)
def test_what_does_not_pass_is_named_and_leaves_nothing(fault: Fault, said: str, tmp_path: Path) -> None:
    with EeaServer([fault]) as server, pytest.raises(ServiceError, match=said) as caught:
        _fetch(server, tmp_path / "kept.gpkg")
    assert "the square" in caught.value.subject
    assert "[inputs] clc_gpkg" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_nobody_answers_for_is_named(tmp_path: Path) -> None:
    with EeaServer() as server:
        pass
    with pytest.raises(ServiceError, match="Connection refused"):
        _fetch(server, tmp_path / "kept.gpkg")


def test_neighbours_share_polygons_without_doubles(tmp_path: Path) -> None:
    west = SQUARES[SQUARE]
    east = Square(west.left + 6_000, west.top, west.side_m, west.epsg)
    with EeaServer() as server:
        _fetch(server, tmp_path / "alone.gpkg", east)
        server.sent_ids.clear()
        _fetch(server, tmp_path / "west.gpkg", west)
        _fetch(server, tmp_path / "east.gpkg", east, (tmp_path / "west.gpkg",))
    assert len(server.sent_ids) == len(set(server.sent_ids))
    assert file_hash(tmp_path / "east.gpkg") == file_hash(tmp_path / "alone.gpkg")


def test_pages_shrink_to_what_the_service_can_send(tmp_path: Path) -> None:
    """By its answers to large pages, not by a setting."""
    with EeaServer([Fault("busy above 20", "features", None)]) as server:
        kept = _fetch(server, tmp_path / "kept.gpkg")
    assert kept.polygons == len(set(server.sent_ids)) == len(server.sent_ids)


def test_where_there_is_no_land_cover_there_is_none(tmp_path: Path) -> None:
    square = Square(600_000, 6_000_000, 3_660, 32633)
    with EeaServer() as server:
        assert _fetch(server, tmp_path / "kept.gpkg", square).polygons == 0
    assert len(clc.read_polygons(tmp_path / "kept.gpkg", square, whole=False).codes) == 0


def test_the_pipeline_makes_the_same_maps_from_a_service_that_fails_now_and_then(
    sample_run: Run, tmp_path: Path
) -> None:
    sample_run.copy_to(tmp_path)
    run = pipeline(tmp_path, "WriteProvenance", "--land-cover-source", "service", "--workers", "2")
    assert run.code == 0, run.said
    assert sum(task.startswith("MakeReferenceMaps(") for task in run.tasks()) == len(SCENES)
    assert sum(task.startswith("FetchLandCover(") for task in run.tasks()) == len(SQUARES)
    for shard in sorted((sample_run.data / "reference_maps").iterdir()):
        assert file_hash(run.data / "reference_maps" / shard.name) == file_hash(shard), shard.name
    before, after = (
        json.loads((data / "dataset" / "provenance.json").read_text())["inputs"] for data in (sample_run.data, run.data)
    )
    said = after.pop("land_cover_service")
    assert before.pop("clc_gpkg")
    assert before == after
    assert "service" in said["proof"]
    assert {mgrs for mgrs, of in said["squares"].items() if of["polygons"]} == set(SQUARES)
    again = pipeline(tmp_path, "WriteProvenance", "--land-cover-source", "service")
    assert again.code == 0 and not again.tasks(), again.said


def _changed(source: Path, target: Path, *statements: str) -> Path:
    shutil.copy(source, target)
    with closing(sqlite3.connect(target)) as database, database:
        for statement in statements:
            database.execute(statement)
    return target


def test_where_a_geopackage_differs_polygons_and_pixels_are_listed(
    sample_run: Run, sample_world: World, tmp_path: Path
) -> None:
    sample_run.copy_to(tmp_path)
    code, said = command("compare-land-cover", tmp_path, None)
    assert code == 20 and "ben-luigi run FetchLandCover" in said
    fetched = pipeline(tmp_path, "FetchLandCover", "--mgrs", SQUARE, "--land-cover-source", "service")
    assert fetched.code == 0, fetched.said
    code, said = command("compare-land-cover", tmp_path, None)
    assert code == 0 and said.count(" 0 pixels differ") == 2 and "another" not in said, said
    inside = clc.read_polygons(sample_world.clc_gpkg, SQUARES[SQUARE])
    arable, other = inside.ids[inside.codes == 211][0], inside.ids[inside.codes == 311][0]
    table = f'"{sample_world.clc_gpkg.stem}"'
    path = _changed(
        sample_world.clc_gpkg,
        tmp_path / "changed.gpkg",
        *(f"DROP TRIGGER {name}" for name in _triggers(sample_world.clc_gpkg)),
        f"UPDATE {table} SET Code_18 = '523' WHERE ID = '{arable}'",
        f"DELETE FROM {table} WHERE ID = '{other}'",
    )
    tile = "31UGR_20171015"
    code, said = command("compare-land-cover", tmp_path, None, str(path), "--tile", tile, "--json")
    found = json.loads(said)[tile]
    assert code == 1
    assert found["codes"] == {arable: [211, 523]} and found["only_first"] == [other] and not found["outlines"]
    assert {tuple(pixel["codes"]) for pixel in found["pixels"]} <= {(211, 523), (311, 999), (311, 211), (211, 311)}
    assert found["differing_pixels"] >= len(found["pixels"]) > 0
    code, said = command("compare-land-cover", tmp_path, None, str(path), "--tile", "33UUP_20170613")
    assert code == 2 and "expected: one of 31UGR_20171015, 31UGR_20180508" in said


def _triggers(path: Path) -> list[str]:
    """Those of the spatial index, which call functions that only GDAL has."""
    with closing(sqlite3.connect(path)) as database:
        return [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
