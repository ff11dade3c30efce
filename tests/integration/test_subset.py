"""A subset of a finished run: the same files and rows for its patches, and nothing cut again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import shapely

from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from ben_luigi.domain.forms.export import verify
from ben_luigi.domain.forms.source import Source
from tests.integration.running import Run, command, pipeline

SIZE = 12
ASKED = {"seasons": "spring, winter", "labels": "Pastures; Arable land", "sample": str(SIZE)}


@pytest.fixture(scope="module")
def subset_run(sample_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("subset")
    sample_run.copy_to(folder)
    own = folder / "own.cfg"
    asked = "\n".join(f"{option} = {text}" for option, text in {"name": "small", **ASKED}.items())
    own.write_text(f"[dataset]\ndata_dir = data\n[forms]\nmake = geoparquet\n[subset]\n{asked}\n")
    run = pipeline(folder, config=own)
    assert run.code == 0, run.said
    return run


def test_nothing_is_cut_again_and_the_whole_stays(sample_run: Run, subset_run: Run) -> None:
    made = {task.partition("(")[0] for task in subset_run.tasks()}
    assert made == {
        "WriteMetadata",
        "WritePatches",
        "WriteProvenance",
        "CompressPart",
        "HashTar",
        "JoinParts",
        "ListHashes",
        "ListS1Hashes",
        "ArchiveS1",
        "ArchiveS2",
        "ArchiveReferenceMaps",
        "WriteStac",
        "WriteCroissant",
        "WriteReadme",
        "VerifyDataset",
        "ExportForm",
        "CompareWithPublished",
        "ProcessTiles",
        "FinalizeDataset",
    }
    for path in (sample_run.data / "dataset").glob("*.*"):
        assert (subset_run.data / "dataset" / path.name).read_bytes() == path.read_bytes()
    again = pipeline(subset_run.data.parent)
    assert "Nothing to do" in again.said, again.said


def test_the_forms_that_are_wanted_are_made_of_the_subset(subset_run: Run) -> None:
    form = subset_run.data / "forms" / "subsets" / "small" / "geoparquet"
    assert json.loads((form / "form.json").read_text())["patches"] == SIZE
    assert verify(Source.open(subset_run.data / "subsets" / "small"), form) == []


def test_rows_and_files_are_those_of_the_whole(
    sample_run: Run, subset_run: Run, extracted: Path, tmp_path: Path
) -> None:
    folder, whole = subset_run.data / "subsets" / "small", sample_run.data / "dataset"
    rows = pq.read_table(folder / "patches.parquet").to_pylist()
    assert len(rows) == SIZE
    all_rows = pq.read_table(whole / "patches.parquet").to_pylist()
    assert [row for row in all_rows if row in rows] == rows
    asked = [row for row in all_rows if row["season"] != "fall" and {"Pastures", "Arable land"} & set(row["labels"])]
    assert all(row in asked for row in rows)
    assert {label for row in rows for label in row["labels"]} == {label for row in asked for label in row["labels"]}
    for name in (METADATA, FLAGGED):
        kept = {row["patch_id"] for row in rows}
        expected = [row for row in pq.read_table(whole / name).to_pylist() if row["patch_id"] in kept]
        assert pq.read_table(folder / name).to_pylist() == expected
    for archive in sorted(folder.glob("*.tar.zst")):
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tmp_path], check=True)
    files = list(tmp_path.rglob("*.tif"))
    assert len(files) == SIZE * (12 + 2 + 1)
    for path in files:
        assert path.read_bytes() == (extracted / path.relative_to(tmp_path)).read_bytes()
    assert {path.parent.name for path in files} == {str(row[key]) for row in rows for key in ("patch_id", "s1_name")}


def test_provenance_comparison_and_descriptions_say_what_it_is(subset_run: Run) -> None:
    folder = subset_run.data / "subsets" / "small"
    assert json.loads((folder / "provenance.json").read_text())["settings"]["subset"] == ASKED
    comparison = json.loads((folder / "comparison.json").read_text())
    assert comparison["subset"] == ASKED
    assert {line["state"] for line in comparison["compared"]} == {"not comparable"}
    notes = {line["note"] for line in comparison["compared"]}
    assert notes == {
        f"only a subset was selected: seasons = spring, winter; labels = Pastures; Arable land; sample = {SIZE}"
    }
    assert "subset small" in json.loads((folder / "croissant.json").read_text())["alternateName"]
    assert "subset small" in json.loads((folder / "stac" / "collection.json").read_text())["title"]
    readme = (folder / "README.md").read_text()
    assert "subset small" in readme.splitlines()[0] and f"There are {SIZE} patches" in readme
    assert "report" not in readme
    assert str(folder) in subset_run.said
    assert str(folder) in subset_run.said and "report" not in subset_run.said
    rows = pq.read_table(folder / "patches.parquet").to_pylist()
    keys = {f"{row['patch_id'].split('_')[5][1:]}_{row['patch_id'].split('_')[2][:8]}" for row in rows}
    assert comparison["tiles"] == sorted(keys)
    assert sorted(json.loads((folder / "provenance.json").read_text())["tiles"]) == sorted(keys)
    assert f"tiles: {', '.join(sorted(keys))}\n" in subset_run.said


def test_the_area_of_a_file_is_told_itself_however_its_path_was_typed(sample_run: Run, tmp_path: Path) -> None:
    """So no path of somebody's is published, and the bytes do not depend on it."""
    sample_run.copy_to(tmp_path)
    area, own = tmp_path / "my area.geojson", tmp_path / "own.cfg"
    box = shapely.box(-10, 30, 40, 70)

    def run(typed: Path | str, shape: shapely.Geometry) -> list[Run]:
        area.write_text(shapely.to_geojson(shape))
        own.write_text(f"[dataset]\ndata_dir = data\n[subset]\nsample = {SIZE}\narea = {typed}\n")
        made = [pipeline(tmp_path, task, config=own) for task in ("WriteProvenance", "CompareWithPublished")]
        assert [run.code for run in made] == [0, 0], made
        return made

    run(area, box)
    folder = tmp_path / "data" / "subsets" / "subset"
    for name in ("provenance.json", "comparison.json"):
        text = (folder / name).read_text()
        told = json.loads(text).get("settings", json.loads(text))["subset"]
        assert shapely.from_geojson(told["area"]).equals(box) and "my area" not in text
    notes = {line["note"] for line in json.loads(text)["compared"]}
    assert notes == {f"only a subset was selected: area = GeoJSON; sample = {SIZE}"}
    assert [again.tasks() for again in run(area.name, box)] == [[], []]
    assert "WriteProvenance()" in run(area.name, shapely.box(-9, 30, 40, 70))[0].tasks()


def test_its_hash_lists_are_its_own_and_fit(subset_run: Run, sample_run: Run, tmp_path: Path) -> None:
    folder = subset_run.data / "subsets" / "small"
    kept = {row["patch_id"] for row in pq.read_table(folder / "patches.parquet").to_pylist()}
    for name, suffixes in (("patch_hashes.csv", 12), ("reference_map_hashes.csv", 1)):
        header, *whole = (sample_run.data / "dataset" / name).read_text().splitlines()
        own = [line for line in whole if any(line.startswith(f"{patch}_") for patch in kept)]
        assert len(own) == SIZE * suffixes
        assert (folder / name).read_text().splitlines() == [header, *own]
    shutil.copytree(folder, tmp_path / "small")
    code, said = command("verify", tmp_path, None, "small")
    assert code == 0, said
    listed = tmp_path / "small" / "patch_hashes.csv"
    listed.write_text((sample_run.data / "dataset" / "patch_hashes.csv").read_text())
    code, said = command("verify", tmp_path, None, "small")
    assert code == 1 and f"rows (expected {12 * SIZE}, found" in said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("tiles = 31UGR_20171015\nseasons = winter", "next: change tiles or seasons there, or leave it out"),
        ("tiles = 31UGR_20171015\nsample = 1000", "[subset] sample = 1,000 was asked for: there are only "),
    ],
)
def test_what_is_not_there_is_said_with_what_to_change(subset_run: Run, tmp_path: Path, asked: str, said: str) -> None:
    """Of the rows alone: the archives do not matter."""
    own = tmp_path / "own.cfg"
    own.write_text(f"[dataset]\ndata_dir = {subset_run.data}\n[subset]\nname = other\n{asked}\n")
    run = pipeline(tmp_path, "WriteMetadata", config=own)
    assert said in run.said
    assert run.code == (0 if "sample" in asked else 20)
    assert ("Correct what is said above, and run the same command again" in run.said) == ("sample" not in asked)


def test_what_there_is_not_cannot_be_asked_for(subset_run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.cfg"
    own.write_text(f"[dataset]\ndata_dir = {subset_run.data}\n[subset]\ncountries = Atlantis\n")
    run = pipeline(tmp_path, config=own)
    assert run.code == 20
    assert "[subset] countries" in run.said and "Atlantis" in run.said and "Austria, Belgium" in run.said
    assert not (subset_run.data / "subsets" / "subset").exists()
