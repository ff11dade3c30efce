"""The default recipe leaves everything as it was; another one has results of its own, made as it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats import shards
from ben_luigi.domain.names import PatchId
from ben_luigi.exit_codes import ExitCode
from tests.integration.running import Run, command, pipeline

TILE = "31UGR_20171015"
LONG = {
    "DownloadL1C": ({"made_of", "product", "revision"}, set(), 1),
    "ConvertToL2A": ({"made_of", "revision", "sen2cor"}, {"L1C"}, 1),
    "CutPatches": ({"made_of", "revision"}, {"AlignPatches", "L2A", "ReadProduct"}, 1),
    "MakeReferenceMaps": ({"made_of", "revision", "valid"}, {"GridPatches", "HashInput"}, 1),
    "JoinParts": ({"archive.level", "made_of", "revision"}, {"CutPatches", "WriteMetadata"}, 1),
    "VerifyDataset": ({"made_of", "metadata.unlabeled_limit", "nomenclature", "revision"}, None, 2),
}
"""Of what tasks that take hours on real data are made, as versions before there were recipes have recorded it."""

OWN = """\
name = "own"
title = "A dataset of small patches"
version = "1.0.0"
license = "CC-BY-4.0"
[products]
level = "L1C"
list = "tile_names_csv"
[patches]
side_m = 600
keep = "valid"
max_cloud = 0.5
[seasons]
rule = "calendar"
[countries]
file = "countries_geojson"
names = ["Belgium", "Luxembourg"]
[land_cover]
file = "clc_gpkg"
code = "Code_18"
order = "ID"
nomenclature = "nomenclature.toml"
[split]
rule = "blocks"
block_km = 2
seed = 1
"""


def _records(data: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for path in sorted((data / "made_from").rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(record["task"], []).append(record["made_from"])
    return found


def test_the_default_recipe_adds_nothing_to_what_results_are_made_from(sample_run: Run) -> None:
    """So the finished work of days of an older version stays finished."""
    records = _records(sample_run.data)
    assert not [task for task, made in records.items() for each in made if "recipe" in each]
    for task, (keys, of, revision) in LONG.items():
        made = [each for each in records[task] if of is None or set(dict(each["made_of"])) == of]  # type: ignore[call-overload]
        assert made, task
        own = {"world"} & {*made[0]}  # of the sample world alone: results of the real one do not count there
        assert {frozenset(each) for each in made} == {frozenset({*keys, *own})}, task
        assert not own or {each["world"] for each in made} == {"sample"}, task
        assert {each["revision"] for each in made} == {revision}, task


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One tile of the sample world by another recipe."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.toml").write_text(OWN)
    run = pipeline(folder, "--recipe", "own.toml", "--dataset-tiles", TILE)
    assert run.code == 0, run.said
    return run


def test_another_recipe_has_a_folder_of_its_own_in_the_data_folder(own: Run) -> None:
    assert [path.name for path in own.data.iterdir()] == ["recipes"]
    assert (own.data / "recipes" / "own" / "patches" / f"{TILE}.tar").is_file()
    code, said = command("status", own.data.parent, None)
    assert code == 0 and "0 tiles" in said, "the default recipe takes nothing of it for its own"


def test_patches_are_cut_as_the_recipe_says(own: Run, tmp_path: Path) -> None:
    """Of another side, all that are valid, and none for want of a v1 patch."""
    folder = own.data / "recipes" / "own"
    index = folder / "patches" / f"{TILE}.parquet"
    patches = sorted(set(pq.read_table(index)["patch_id"].to_pylist()))
    positions = {(patch.x, patch.y) for patch in map(PatchId.parse, patches)}
    assert len(positions) > 100 and max(max(position) for position in positions) == 19, "20 a side of 12 km"
    shards.export(index.with_suffix(".tar"), index, tmp_path, patches[:1])
    sizes = {}
    for path in sorted(tmp_path.rglob("*.tif")):
        with rasterio.open(path) as raster:
            sizes[path.stem.rpartition("_")[2]] = raster.shape, raster.bounds.right - raster.bounds.left
    assert sizes["B02"] == ((60, 60), 600) and sizes["B05"] == ((30, 30), 600) and sizes["B01"] == ((10, 10), 600)
    assert "AlignPatches" not in own.said and "SelectPatches" in own.said


def test_only_what_a_result_depends_on_is_recorded_with_it(own: Run) -> None:
    records = _records(own.data / "recipes" / "own")
    assert {"patches.side_m": 600} in [each.get("recipe") for each in records["MakeReferenceMaps"]]
    assert all(set(dict(each["recipe"])) == {"patches"} for each in records["CutPatches"])  # type: ignore[call-overload]
    assert not any("recipe" in each for task in ("DownloadL1C", "ConvertToL2A") for each in records[task])


def test_the_dataset_says_that_it_is_another_one(own: Run) -> None:
    """Its metadata have the columns that the recipe gives, and the recipe lies beside them."""
    dataset = own.data / "recipes" / "own" / "dataset"
    metadata = pq.read_table(dataset / "metadata.parquet").to_pandas()
    assert list(metadata) == ["patch_id", "labels", "split", "country"]
    shares = metadata["split"].value_counts(normalize=True)
    assert dict(shares) == pytest.approx({"train": 0.5, "validation": 0.25, "test": 0.25}, abs=0.1)
    assert (dataset / "recipe.toml").read_text() == OWN
    readme, licence = ((dataset / name).read_text() for name in ("README.md", "LICENSE"))
    assert readme.startswith("# A dataset of small patches\n") and "600 m by 600 m" in readme
    assert "SPDX-License-Identifier: CC-BY-4.0" in licence and "BigEarthNet v2" not in readme + licence


def test_no_text_of_the_dataset_calls_it_bigearthnet_v2(own: Run) -> None:
    """Nothing but the default recipe may have that name, its citation or its sources."""
    dataset = own.data / "recipes" / "own" / "dataset"
    texts = {
        path.relative_to(dataset).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(dataset.rglob("*"))
        if path.suffix in {".json", ".md", ".toml", ".csv", ".html", ".js", ".css", ""} and path.is_file()
    }
    assert {
        "README.md",
        "LICENSE",
        "stac/collection.json",
        "croissant.json",
        "provenance.json",
        "report/index.html",
    } <= texts.keys()
    for word in ("bigearthnet v2", "bigearthnet-v2", "2407.03653", "reben", "CDLA", "ten countr"):
        assert [name for name, text in texts.items() if word.lower() in text.lower()] == [], word
    provenance = json.loads(texts["provenance.json"])
    assert provenance["recipe"]["name"] == "own"
    assert provenance["recipe"]["sha256"] == file_hash(dataset / "recipe.toml")


def test_verify_goes_by_the_recipe_in_the_dataset(own: Run, tmp_path: Path) -> None:
    """Whatever the caller's own configuration says; and it finds a row that was changed."""
    dataset = tmp_path / "elsewhere"
    shutil.copytree(own.data / "recipes" / "own" / "dataset", dataset)
    code, said = command("verify", tmp_path, None, str(dataset))
    assert code == 0, said
    rows = pq.read_table(dataset / "metadata.parquet")
    splits = rows["split"].to_pylist()
    splits[0] = "test" if splits[0] == "train" else "train"
    changed = rows.set_column(rows.column_names.index("split"), "split", pa.array(splits))
    pq.write_table(changed, dataset / "metadata.parquet")
    code, said = command("verify", tmp_path, None, str(dataset))
    assert code == ExitCode.FINDINGS, said
    assert f"split: not that of the patch's place in its tile: {rows['patch_id'][0].as_py()}" in said
    (dataset / "recipe.toml").write_text(OWN.replace("side_m = 600", "side_m = 900"))
    code, said = command("verify", tmp_path, None, str(dataset))
    assert code == ExitCode.FINDINGS and "recipe.toml: not the file that is meant in provenance.json" in said, said


def test_a_wrong_recipe_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace("side_m = 600", "side_m = 610").replace("code =", "cod ="))
    (tmp_path / "own.cfg").write_text("[dataset]\nrecipe = own.toml\n[metadata]\nunlabeled_limit = 0.5\n")
    for arguments, config in ((("--recipe", "own.toml"), None), ((), tmp_path / "own.cfg")):
        run = pipeline(tmp_path, *arguments, config=config)
        assert run.code == 20
        assert "own.toml:9: [patches] side_m: found 610; allowed: a multiple of 60" in run.said
        assert "own.toml:19: [land_cover] cod: found no such key" in run.said and "did you mean code?" in run.said
    assert not run.data.exists()


def test_options_that_the_recipe_says_are_refused_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace('level = "L1C"', 'level = "L2A"'))
    text = "[dataset]\nrecipe = own.toml\n[metadata]\nunlabeled_limit = 0.5\n[sen2cor]\naccept_licence = true\n"
    (tmp_path / "own.cfg").write_text(text)
    run = pipeline(tmp_path, config=tmp_path / "own.cfg")
    lines = [line.partition("; allowed")[0] for line in run.said.splitlines() if line.startswith("own.cfg")]
    assert lines == [
        "own.cfg:4: [metadata] unlabeled_limit: found '0.5'",
        "own.cfg:6: [sen2cor] accept_licence: found 'true'",
    ]


def test_new_writes_a_recipe_to_start_from_and_replaces_none(tmp_path: Path) -> None:
    code, said = command("new", tmp_path, None, "my-region")
    assert code == 0 and "ben-luigi plan --recipe my-region.toml" in said
    assert command("status", tmp_path, None, "--recipe", "my-region.toml")[0] == 0
    code, said = command("new", tmp_path, None, "my-region")
    assert code == 2 and "nothing there yet" in said
    code, said = command("new", tmp_path, None, "bigearthnet-v2")
    assert code == 2 and "no name of BigEarthNet v2" in said
