"""The finished recipes beside the default one, each run on its sample world, all three in one data folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
from pyproj import Transformer

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.formats import shards
from ben_luigi.domain.recipe.reading import packaged
from ben_luigi.exit_codes import ExitCode
from tests.integration.running import Run, command, pipeline

TWIN, REGION, SOUTH = "collection1_twin", "region_year", "southern_summer"
TILES = {TWIN: "31UGR_20171015", REGION: "32TQM_20250422,32TQM_20250716", SOUTH: "21HUB_20250314"}
"""What is run of each: all of a time series that is needed to see one."""

NAMES = {recipe: recipe.replace("_", "-") for recipe in TILES}
WORDS = ("bigearthnet v2", "bigearthnet-v2", "2407.03653", "reben", "ten countr")
CSV_RULE = 'rule = "csv"\nfile = "splits.csv"'
TEXTS = {".json", ".md", ".toml", ".csv", ".html", ".js", ".css", ""}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The runs of all three recipes, one after the other, in one data folder."""
    folder = tmp_path_factory.mktemp("finished")
    made = {}
    for recipe, tiles in TILES.items():
        made[recipe] = pipeline(folder, "--recipe", recipe, "--dataset-tiles", tiles)
        assert made[recipe].code == 0, made[recipe].said
    return made


def dataset(runs: dict[str, Run], recipe: str) -> Path:
    return runs[recipe].data / "recipes" / NAMES[recipe] / "dataset"


def table(runs: dict[str, Run], recipe: str, name: str = "patches.parquet") -> pd.DataFrame:
    return pd.DataFrame(pq.read_table(dataset(runs, recipe) / name).to_pandas())


def test_these_are_all_that_are_packaged_beside_the_default_one() -> None:
    assert packaged(TRACKED_ARTIFACTS).keys() == {"bigearthnet_v2", *TILES}


@pytest.mark.parametrize("recipe", TILES)
def test_a_recipe_can_be_read_in_two_minutes(recipe: str) -> None:
    """At 200 words a minute."""
    text = (TRACKED_ARTIFACTS / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")
    assert len(text.split()) <= 400 and max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("recipe", TILES)
def test_products_are_found_and_fetched_as_esa_made_them(runs: dict[str, Run], recipe: str) -> None:
    families = {task.partition("(")[0] for task in runs[recipe].tasks()}
    assert {"SearchProducts", "FetchL2A", "WriteTimeSeries", "VerifyDataset"} <= families
    assert not {"DownloadL1C", "ConvertToL2A", "FindSen2Cor", "InstallSen2Cor"} & families
    chosen = pd.read_csv(runs[recipe].data / "recipes" / NAMES[recipe] / "tiles" / "products.csv")
    expected = {TWIN: (4, {"N0500"}), REGION: (4, {"N0511"}), SOUTH: (1, {"N0511"})}[recipe]
    assert (len(chosen), set(chosen["product"].str[27:32])) == expected, "no other baseline, no cloudier date"


@pytest.mark.parametrize("recipe", TILES)
def test_the_provenance_says_how_each_product_was_proven(runs: dict[str, Run], recipe: str) -> None:
    """The first product has a damaged band in the bucket, which CDSE repairs."""
    provenance = json.loads((dataset(runs, recipe) / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["tiles"].keys() == set(TILES[recipe].split(","))
    catalogue = runs[recipe].data / "recipes" / NAMES[recipe] / "sample" / "products.json"
    ids = {entry["Name"]: entry["Id"] for entry in json.loads(catalogue.read_text(encoding="utf-8"))}
    for tile, facts in provenance["tiles"].items():
        fetched = facts["l2a"]
        assert fetched["name"] == facts["l2a_name"]
        rows = table(runs, recipe)
        of_tile = rows[rows["product"] == fetched["name"]]
        assert set(of_tile["product_id"]) == {fetched["id"]} == {ids[fetched["name"]]}
        assert fetched["proven_by"] and set(fetched["verified_by"]) >= {"manifest"}
        first = tile == min(provenance["tiles"])
        assert [path.rpartition("_B04")[2] for path in fetched.get("repaired", {})] == ["_10m.jp2"] * first
        assert set(fetched["sources"]) == ({"google", "cdse"} if first else {"cdse"})
    assert "Sen2Cor" not in (dataset(runs, recipe) / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", TILES)
def test_the_report_shows_sentinel1_where_there_is_any(runs: dict[str, Run], recipe: str) -> None:
    report = dataset(runs, recipe) / "report"
    has_radar = "s1_name" in pq.read_schema(dataset(runs, recipe) / "metadata.parquet").names
    assert bool(sorted(report.rglob("*_s1.webp"))) == has_radar
    assert ("VV" in (report / "viewer.html").read_text(encoding="utf-8")) == has_radar
    assert sorted((report / "viewer").glob("*.webp"))


@pytest.mark.parametrize("recipe", TILES)
def test_each_dataset_is_whole_by_the_recipe_in_it(runs: dict[str, Run], recipe: str, tmp_path: Path) -> None:
    """Anywhere; and it is not if a date is lost from the time series."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(dataset(runs, recipe), folder)
    code, said = command("verify", tmp_path, None, str(folder))
    assert code == 0 and "whole" in said, said
    series = pq.read_table(folder / "time_series.parquet")
    pq.write_table(series.slice(1), folder / "time_series.parquet")
    code, said = command("verify", tmp_path, None, str(folder))
    assert code == ExitCode.FINDINGS and "time_series.parquet: not what follows from patches.parquet" in said, said


@pytest.mark.parametrize("recipe", TILES)
def test_none_calls_itself_bigearthnet_v2(runs: dict[str, Run], recipe: str) -> None:
    folder = dataset(runs, recipe)
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").lower()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in TEXTS
    }
    assert {"README.md", "LICENSE", "stac/collection.json", "croissant.json", "provenance.json"} <= texts.keys()
    for word in WORDS:
        assert [name for name, text in texts.items() if word in text] == [], word
    title = read_toml(TRACKED_ARTIFACTS / "recipes" / f"{recipe}.toml")["title"].lower()
    spoken = ("README.md", "LICENSE", "stac/collection.json", "croissant.json", "provenance.json", "report/index.html")
    assert [name for name in spoken if title not in texts[name]] == []


@pytest.mark.parametrize("recipe", TILES)
def test_croissant_describes_the_time_series(runs: dict[str, Run], recipe: str) -> None:
    folder = dataset(runs, recipe)
    document = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    (file,) = (part for part in document["distribution"] if part["@id"] == "time_series.parquet")
    assert file["sha256"] == file_hash(folder / "time_series.parquet")
    records = {part["@id"]: part for part in document["recordSet"]}
    assert [field["name"] for field in records["time_series"]["field"]] == list(
        table(runs, recipe, "time_series.parquet")
    )
    assert "boa_offset" in {field["name"] for field in records["patches"]["field"]}


def test_recipes_in_one_data_folder_keep_apart(runs: dict[str, Run]) -> None:
    data = runs[TWIN].data
    assert [path.name for path in data.iterdir()] == ["recipes"]
    assert {path.name for path in (data / "recipes").iterdir()} == set(NAMES.values())
    for recipe, other in ((TWIN, REGION), (REGION, SOUTH), (SOUTH, TWIN)):
        assert not set(table(runs, recipe)["patch_id"]) & set(table(runs, other)["patch_id"])
    again = pipeline(data.parent, "--recipe", SOUTH, "--dataset-tiles", TILES[SOUTH])
    assert again.code == 0 and again.tasks() == [], again.said
    code, said = command("status", data.parent, None)
    assert code == 0 and "0 tiles" in said, said


def test_all_dates_of_a_square_are_in_one_split(runs: dict[str, Run]) -> None:
    """And on the same ground, each as a patch of its own."""
    patches = table(runs, REGION)
    series = table(runs, REGION, "time_series.parquet")
    assert list(series) == ["square", "patch_id", "datetime", "tile", "row", "column"]
    assert sorted(series["patch_id"]) == sorted(patches["patch_id"])
    joined = series.merge(patches, on="patch_id", validate="one_to_one")
    squares = joined.groupby("square")
    assert set(squares["sensing_time"].nunique()) == {1, 2}, "one date of a square is under a cloud"
    for column in ("split", "left_m", "top_m", "epsg", "country"):
        assert set(squares[column].nunique(dropna=False)) == {1}, column
    assert set(joined["split"]) == {"train", "validation", "test"}
    first = joined.iloc[0]
    assert first["square"] == f"{first['mgrs']}_{first['column']:02d}_{first['row']:02d}"
    assert (joined["left_m"] == joined["left_m"].min() + 2400 * joined["column"]).all()
    assert (joined["top_m"] == joined["top_m"].max() - 2400 * joined["row"]).all()
    assert (joined["datetime"] == joined["sensing_time"]).all()


def test_patches_have_the_region_that_they_touch_or_none(runs: dict[str, Run]) -> None:
    """By corners, which decide it here: borders are meridians and a parallel."""
    found = table(runs, REGION)
    assert set(found["country"].dropna()) == {"Maremma", "Tuscia"} and found["country"].isna().any()
    for patch in found.to_dict("records"):
        bounds = patch["bbox"]
        if pd.isna(patch["country"]):
            assert bounds["xmin"] > 11.49 and bounds["ymax"] < 42.38
        else:
            assert bounds["xmin"] < 11.51 if patch["country"] == "Maremma" else bounds["ymax"] > 42.36
    assert set(found["boa_offset"]) == {0} and set(found["baseline"]) == {"05.11"}


def test_the_twin_has_the_same_patches_as_the_published_dataset(runs: dict[str, Run], sample_run: Run) -> None:
    """The stand-in for Sen2Cor and the made-up Collection-1 have the same surface, so even the pixels are the same."""
    columns = ["place", "labels", "split", "country", "s1_name", "s2v1_name", "reference_map_sha256"]
    of, pixels = {}, {}
    for name, path in (("twin", dataset(runs, TWIN)), ("default", sample_run.data / "dataset")):
        hashes = pd.read_csv(path / "patch_hashes.csv")
        hashes = hashes[hashes["name"].str.contains("20171015")]
        pixels[name] = dict(zip(hashes["name"].str[-9:], hashes["hash-sha256"], strict=True))
        rows = pq.read_table(path / "patches.parquet").to_pandas()
        rows = rows[rows["product"].str.contains("20171015")]
        rows["place"] = rows["patch_id"].str[-5:]
        rows["labels"] = rows["labels"].map(tuple)
        of[name] = rows.sort_values("place", ignore_index=True)
    pd.testing.assert_frame_equal(of["twin"][columns], of["default"][columns])
    assert pixels["twin"] == pixels["default"] and len(pixels["twin"]) >= 12 * len(of["twin"])
    assert set(of["twin"]["product"].str[:10]) == {"S2B_MSIL2A"} and len(of["twin"]) > 50
    assert not set(of["twin"]["patch_id"]) & set(of["default"]["patch_id"])


def codes_of(runs: dict[str, Run], patch: str, folder: Path) -> Iterator[tuple[np.ndarray, rasterio.DatasetReader]]:
    """The reference map of a patch, and the raster of land cover."""
    data = runs[SOUTH].data / "recipes" / NAMES[SOUTH]
    index = data / "reference_maps" / f"{TILES[SOUTH]}.parquet"
    shards.export(index.with_suffix(".tar"), index, folder, [patch])
    (path,) = folder.rglob("*_reference_map.tif")
    with rasterio.open(path) as made, rasterio.open(data / "sample" / "land_cover.tif") as raster:
        assert made.crs.to_epsg() == 32721
        yield made.read(1), raster


def test_southern_maps_have_the_code_of_the_raster_at_each_pixel(runs: dict[str, Run], tmp_path: Path) -> None:
    patches = table(runs, SOUTH)
    patch = patches.iloc[40]
    assert patch["epsg"] == 32721 and patch["top_m"] == 6_200_020 - 1200 * int(patch["patch_id"][-2:])
    x = patch["left_m"] + 10 * (np.arange(120) + 0.5)
    y = patch["top_m"] - 10 * (np.arange(120) + 0.5)
    xs, ys = (part.ravel() for part in np.meshgrid(x, y))
    degrees = np.column_stack(Transformer.from_crs(32721, 4326, always_xy=True).transform(xs, ys))
    for codes, raster in codes_of(runs, patch["patch_id"], tmp_path):
        expected = np.array(list(raster.sample(degrees.tolist())), dtype="uint16").reshape(120, 120)
        assert (codes == expected).mean() > 0.999, "points on the edge of a pixel may round either way"
        assert len(np.unique(codes)) > 1


def test_the_southern_dataset_has_no_sentinel_1_and_keeps_the_offset(runs: dict[str, Run]) -> None:
    folder, patches = dataset(runs, SOUTH), table(runs, SOUTH)
    metadata = table(runs, SOUTH, "metadata.parquet")
    assert list(metadata) == ["patch_id", "labels", "split"]
    assert not list(folder.glob("*S1*")) and not (folder / "s1_hashes.csv").exists()
    assert set(patches["boa_offset"]) == {-1000}
    assert {label for labels in metadata["labels"] for label in labels} >= {"Cropland", "Tree cover", "Water"}
    clouded = f"{patches['tile'][0]}_06_04"
    assert clouded not in set(patches["patch_id"]), "its middle is that of the cloud"
    assert f"{patches['tile'][0]}_01_08" in set(patches["patch_id"])


def test_patches_that_the_csv_of_splits_does_not_list_are_left_out(tmp_path: Path) -> None:
    """As those that no split of a publication names: the run does not end in the middle for want of their splits."""
    whole = (TRACKED_ARTIFACTS / "recipes" / "southern_summer.toml").read_text()
    south = whole.replace('"southern-summer"', '"listed"').replace('rule = "blocks"\nblock_km = 5\nseed = 1', CSV_RULE)
    assert south.count(CSV_RULE) == 1
    (tmp_path / "listed.toml").write_text(south)
    tile = "S2C_MSIL2A_20250314T134221_N0511_R024_T21HUB"
    listed = {f"{tile}_{x:02d}_{y:02d}": ("train", "validation", "test")[y % 3] for x in range(4) for y in range(10)}
    rows = "".join(f"{patch},{split}\n" for patch, split in listed.items())
    (tmp_path / "splits.csv").write_text(f"patch_id,split\n{rows}")
    run = pipeline(tmp_path, "WriteMetadata", "--world", "sample", "--recipe", "listed.toml")
    assert run.code == 0, run.said
    assert f"tile 21HUB_20250314: 60 of 100 patches are not in {tmp_path / 'splits.csv'}, and are left out" in run.said
    made = pd.read_parquet(run.data / "recipes" / "listed" / "dataset" / "metadata.parquet")
    assert len(made) > 30
    assert [listed.get(patch) for patch in made["patch_id"]] == made["split"].tolist()
