"""Geometries and labels from a folder of v1 patches, held against the sample world's and the real ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from ben_luigi.domain.dataset import version1
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.names import v1_sensing_time
from ben_luigi.domain.tiles.nomenclature import CLC_CODES, read_nomenclature
from ben_luigi.sample.layout import World
from tests.conftest import ROOT
from tests.unit.v1_folder import V1Folder, write_all, write_sample_world

NAME = "S2A_MSIL2A_20170613T101031_{}_57"
PATCHES = [V1Folder(NAME.format(x), 32633, 331_200 + 1200 * x, 5_331_600) for x in range(3)]


def test_the_sample_world_s_files_come_out(world: World, tmp_path: Path) -> None:
    patches = write_sample_world(tmp_path / "v1")
    (tmp_path / "out").mkdir()
    assert version1.extract(tmp_path / "v1", tmp_path / "out") == len(patches)
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == sorted([version1.LABELS, *(path.name for path in world.v1_spatial_dir.iterdir())])
    for path in world.v1_spatial_dir.iterdir():
        ours, theirs = pq.read_table(tmp_path / "out" / path.name), pq.read_table(path)
        assert ours.equals(theirs)
        assert ours.schema.equals(theirs.schema, check_metadata=True)
    (square,) = shapely.from_wkb(ours["geom"][0].as_py()).geoms
    left, bottom, right, top = square.bounds
    ring = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    assert list(square.exterior.coords) == ring  # in the order of the published files
    labels = pq.read_table(tmp_path / "out" / version1.LABELS).to_pylist()
    assert labels == [
        {
            "patch_name": patch.name,
            "labels": list(patch.labels),
            "tile_source": patch.product,
            "acquisition_date": v1_sensing_time(patch.name).replace(tzinfo=UTC),
        }
        for patch in patches
    ]


def test_the_real_files_come_out_for_the_patches_that_are_there(published: Path, tmp_path: Path) -> None:
    """Every 53rd real patch as a folder of its own: names, times, geometries, types and GeoParquet metadata."""
    real = {}
    for path in sorted((published / "v1_spatial").iterdir()):
        table = pq.read_table(path)
        real[path.name] = table.take(list(range(0, len(table), 53)))
        for row in real[path.name].to_pylist():
            left, _, _, top = shapely.from_wkb(row["geom"]).bounds
            V1Folder(row["patch_name"], int(path.stem[-5:]), left, top).write(tmp_path / "v1")
    (tmp_path / "out").mkdir()
    version1.extract(tmp_path / "v1", tmp_path / "out")
    assert len(real) == 3
    for name, theirs in real.items():
        ours = pq.read_table(tmp_path / "out" / name)
        assert ours.equals(theirs)
        assert ours.schema.equals(theirs.schema, check_metadata=False)
        ours_geo, theirs_geo = (json.loads(table.schema.metadata[b"geo"]) for table in (ours, theirs))
        for geo in (ours_geo, theirs_geo):
            geo["columns"]["geom"].pop("bbox")  # of fewer patches
            geo["columns"]["geom"]["crs"] = geo["columns"]["geom"]["crs"]["id"]  # told by another version of PROJ
        assert ours_geo == theirs_geo


def _spoil(path: Path, **changed: Any) -> None:
    said = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"coordinates": None}, "KeyError: 'coordinates'"),
        ({"coordinates": {"ulx": 0, "uly": 0, "lrx": 1200, "lry": -600}}, "1200 m x 600 m"),
        ({"projection": "nonsense"}, "CRSError"),
        ({"projection": 'LOCAL_CS["here"]'}, "no UTM zone|CRSError"),
        ({"acquisition_date": "yesterday"}, "ValueError: Invalid isoformat"),
        ({"labels": None}, "KeyError: 'labels'"),
        ({"tile_source": None}, "KeyError: 'tile_source'"),
    ],
)
def test_a_patch_whose_json_is_not_right_is_named(tmp_path: Path, changed: dict[str, Any], found: str) -> None:
    write_all(PATCHES, tmp_path / "v1")
    _spoil(tmp_path / "v1" / PATCHES[1].name / f"{PATCHES[1].name}_labels_metadata.json", **changed)
    with pytest.raises(BadInput, match=found) as caught:
        version1.extract(tmp_path / "v1", tmp_path)
    assert PATCHES[1].name in caught.value.found
    assert PATCHES[0].name not in caught.value.found
    assert not list(tmp_path.glob("*.parquet"))


def test_a_patch_without_json_and_a_folder_without_patches_are_named(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    with pytest.raises(BadInput, match="found: none"):
        version1.extract(tmp_path / "v1", tmp_path)
    (tmp_path / "v1" / PATCHES[0].name).mkdir()
    with pytest.raises(BadInput, match=f"{PATCHES[0].name} .FileNotFoundError"):
        version1.extract(tmp_path / "v1", tmp_path)


def test_hidden_entries_and_files_are_no_patches(tmp_path: Path) -> None:
    write_all(PATCHES, tmp_path / "v1")
    (tmp_path / "v1" / f"._{PATCHES[0].name}").write_bytes(b"of macOS")
    (tmp_path / "v1" / f".{PATCHES[0].name}").mkdir()
    (tmp_path / "v1" / "S2_readme.txt").touch()
    assert version1.extract(tmp_path / "v1", tmp_path) == len(PATCHES)


def test_a_folder_whose_name_is_no_patch_s_is_named(tmp_path: Path) -> None:
    write_all(PATCHES, tmp_path / "v1")
    (tmp_path / "v1" / f"{PATCHES[0].name} copy").mkdir()
    with pytest.raises(BadInput, match=f"{tmp_path / 'v1'}; .*names of v1 patches; found: {PATCHES[0].name} copy"):
        version1.extract(tmp_path / "v1", tmp_path)


def test_a_patch_that_lies_elsewhere_by_its_tiff_is_named(tmp_path: Path) -> None:
    write_all([PATCHES[0]], tmp_path / "v1")
    moved = replace(PATCHES[0], left=PATCHES[0].left + 1200)
    (tmp_path / "v1" / moved.name / f"{moved.name}_labels_metadata.json").write_text(json.dumps(moved.json()))
    with pytest.raises(BadInput, match=f"{moved.name}_B02.tif; expected: the corner that its JSON says"):
        version1.extract(tmp_path / "v1", tmp_path)


def test_labels_are_counted_by_class_where_both_have_the_patch(tmp_path: Path) -> None:
    write_all([replace(patch, labels=("Pastures", "Salines")) for patch in PATCHES], tmp_path / "v1")
    version1.extract(tmp_path / "v1", tmp_path)
    ours = [
        (NAME.format(1), 231, 14_000),
        (NAME.format(1), 999, 400),
        (NAME.format(2), 312, 14_400),
        (NAME.format(9), 231, 1),
    ]
    counts = pd.DataFrame(ours, columns=["v1_name", "code", "pixels"])
    nomenclature = read_nomenclature(ROOT / "tracked_artifacts" / "nomenclature.toml")
    table = version1.compare_labels(pq.read_table(tmp_path / version1.LABELS), counts, nomenclature)
    assert len(table) == len(CLC_CODES)
    assert table["label"].is_monotonic_increasing
    numbers: Any = table.set_index("label")[["in_v1", "in_ours", "in_both"]]
    assert numbers.loc["Pastures"].tolist() == [2, 1, 1]
    assert numbers.loc["Salines"].tolist() == [2, 0, 0]
    assert numbers.loc["Coniferous forest"].tolist() == [0, 1, 0]
    assert int(numbers.sum().sum()) == 7
