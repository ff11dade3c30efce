"""A run that starts from a folder of BigEarthNet-S2 v1.0 instead of geometries that others computed."""

from __future__ import annotations

import csv
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import rasterio

from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.sample.layout import World
from tests.conftest import ROOT
from tests.integration.running import Run, configuration, pipeline
from tests.unit.v1_folder import write_sample_world

TILE = "31UGR_20171015"


def test_patches_are_the_same_and_labels_are_compared(
    sample_run: Run, sample_world: World, l2a_dir: Path, tmp_path: Path
) -> None:
    v1 = {patch.name: patch for patch in write_sample_world(tmp_path / "v1")}
    given = {"l2a_dir": l2a_dir, "v1_s2_dir": tmp_path / "v1", "v1_spatial_dir": ""}
    config = configuration(tmp_path, sample_world, dataset={"tiles": TILE}, inputs=given)
    run = pipeline(tmp_path, "CompareV1Labels", config=config)
    assert run.code == 0, run.said
    assert "ExtractV1Metadata()" in run.tasks()
    for folder in ("patches", "reference_maps"):
        assert (run.data / folder / f"{TILE}.tar").read_bytes() == (
            sample_run.data / folder / f"{TILE}.tar"
        ).read_bytes()

    rows = list(csv.DictReader((run.data / "metadata" / "v1_label_comparison.csv").open(encoding="utf-8")))
    clc = read_nomenclature(ROOT / "tracked_artifacts" / "nomenclature.toml").clc
    theirs, ours, both = Counter[str](), Counter[str](), Counter[str]()
    mapping = csv.DictReader((sample_run.data / "metadata" / "patch_id_s2v1_mapping.csv").open(encoding="utf-8"))
    names = {row["patch_id"]: row["s2v1_name"] for row in mapping}
    shard = run.data / "reference_maps" / f"{TILE}.tar"
    with tarfile.open(shard) as members:
        maps = members.getnames()
    for member in maps:
        with rasterio.open(f"/vsitar/{shard}/{member}") as raster:
            mine = {clc[code] for code in np.unique(raster.read(1)).tolist() if code in clc}
        said = set(v1[names[Path(member).parent.name]].labels)
        theirs.update(said)
        ours.update(mine)
        both.update(said & mine)
    assert sum(both.values()) > 20
    for row in rows:
        counts = [int(row[column]) for column in ("in_v1", "in_ours", "in_both")]
        assert counts == [counter[row["label"]] for counter in (theirs, ours, both)]
