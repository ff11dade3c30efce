"""What a result was made from, changed in each way that once went unnoticed: it is made again, or it is refused.

One data folder of one tile goes through all of it, in this order; after each test it holds the first dataset again.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import luigi
import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.files import file_hash
from ben_luigi.exit_codes import ExitCode
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.state import database, server
from tests.integration.running import Run, configuration, dataset_digests
from tests.integration.stopping import RECORD, Launcher, StoppingRun

TILE = "31UGR_20171015"
IMAGES = ("B02", "B03")


@dataclass
class Folder:
    """A data folder, and the user's inputs and configuration beside it."""

    launcher: Launcher
    folder: Path
    world: World
    cdse: CdseServer
    whole: dict[str, str] = field(default_factory=dict)
    provenance: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def later(self) -> Path:
        """Where an optional input will be."""
        return self.folder / "published_tile_ids.csv"

    def begin(self, folder: Path | None = None, *stop: str, **options: Any) -> StoppingRun:
        """Begin a run with some options changed, by section; in a fresh folder, if one is given."""
        folder = folder or self.folder
        cdse: dict[str, object] = {name: getattr(self.cdse, name) for name in ("catalogue_url", "token_url")}
        cdse |= {"download_url": self.cdse.download_url, "pause_s": 0.1, "user": "sample", "password": "sample"}
        given: dict[str, dict[str, object]] = {
            "core": {"workers": 1},
            "dataset": {"data_dir": folder / "data", "tiles": TILE},
            "inputs": {"tile_names_csv": self.world.tile_names_csv, "published_tile_ids_csv": self.later},
            "cdse": cdse,
            "sen2cor": {"executable": self.world.l2a_process},
        }
        sections = {name: {**given.get(name, {}), **options.get(name, {})} for name in {*given, *options}}
        config = configuration(folder, self.world, **sections)
        (folder / "said").unlink(missing_ok=True)
        return StoppingRun(self.launcher, folder, *stop, config=config)

    def run(self, folder: Any = None, code: Any = 0, **options: Any) -> Run:
        """The same, to its end."""
        run = self.begin(folder, **options)
        assert run.ended() == code, run.said
        assert "Traceback" not in run.said, run.said
        return Run(code, run.said, (folder or self.folder) / "data")

    def ran(self, **options: Any) -> set[str]:
        """Run to the end, and give the families of what made something."""
        return {task.partition("(")[0] for task in self.run(**options).tasks()}

    def mishap(self, what: str, family: str) -> None:
        """What is to happen when a task of a family is about to record what it has put in place."""
        (self.folder / what).write_text(family + RECORD)


@pytest.fixture(scope="module")
def truth(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("truth")
    own = World(shutil.copytree(world.folder, folder / "world"))
    with ExitStack() as stack:
        cdse = stack.enter_context(CdseServer(json.loads(own.catalogue.read_text()), own.folder))
        launcher = Launcher()
        stack.callback(launcher.close)
        truth = Folder(launcher, folder, own, cdse)
        truth.run()
        truth.provenance = (truth.data / "dataset" / "provenance.json").read_text()
        truth.whole = dataset_digests(truth.data)
        yield truth


@pytest.fixture(autouse=True)
def _whole_again(truth: Folder) -> Iterator[None]:
    yield
    truth.run()
    assert (truth.data / "dataset" / "provenance.json").read_text() == truth.provenance
    assert dataset_digests(truth.data) == truth.whole


@pytest.mark.parametrize(
    ("section", "option", "other", "family", "mishap", "code"),
    [
        ("archive", "level", 9, "CompressPart", "die", ExitCode.FAILED),
        ("metadata", "unlabeled_limit", 0.01, "WriteMetadata", "full", ExitCode.WAITS_FOR_PERSON),
    ],
)
def test_what_was_put_in_place_and_not_recorded_is_not_taken_for_what_was_before(
    truth: Folder, section: str, option: str, other: float, family: str, mishap: str, code: int
) -> None:
    """The task is killed, or finds no space, between the two; then the option is what it was."""
    truth.mishap(mishap, family)
    run = truth.run(code=code, **{section: {option: other}})
    assert not (truth.folder / mishap).read_text(), run.said
    assert family in truth.ran()


def test_a_tar_that_is_to_be_kept_is_made_until_it_is_there_and_goes_once_it_is_out_of_date(truth: Folder) -> None:
    kept: dict[str, Any] = {"archive": {"keep_tar": "true"}}
    tars = [truth.data / "archives" / f"{name}.tar" for name in ("BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps")]
    made = truth.ran(**kept)
    assert "HashTar" in made and not made & {"CompressPart", "JoinParts", "VerifyDataset"}
    whole = [file_hash(tar) for tar in tars]
    tars[0].unlink()
    with tars[1].open("r+b") as file:
        file.truncate(10_240)
    assert truth.run(**kept).said.count("s  HashTar(") == 2
    assert [file_hash(tar) for tar in tars] == whole
    assert not truth.ran(**kept)
    assert not truth.ran() and all(tar.exists() for tar in tars)
    truth.run(metadata={"unlabeled_limit": 0.01})
    assert not any(tar.exists() for tar in tars)


def _in_database(folder: Path, statement: str) -> None:
    settings = luigi.configuration.get_config()
    settings.set("dataset", "data_dir", str(folder))
    try:
        with database.transaction() as cursor:
            cursor.execute(statement)
    finally:
        database.forget()
        server.close_server(folder / "database")
        settings.remove_option("dataset", "data_dir")


def test_rows_that_somebody_has_deleted_are_made_again_before_anything_is_made_from_them(truth: Folder) -> None:
    """Those of patches went with all that refers to them."""
    for family, statement in (
        ("LabelPatches", "DELETE FROM label WHERE patch_id = (SELECT max(patch_id) FROM label)"),
        ("GridPatches", "DELETE FROM patch WHERE patch_id = (SELECT max(patch_id) FROM label)"),
        ("AssignSplits", "TRUNCATE split, country, scene_class"),
    ):
        _in_database(truth.data, statement)
        mapping = truth.data / "metadata" / "patch_id_label_mapping.csv"
        before = mapping.read_text()
        mapping.unlink()
        made = truth.ran()
        assert {family, "MapLabels"} <= made and "WriteMetadata" not in made
        assert mapping.read_text() == before


def _swap_land_cover(path: Path) -> None:
    """Forest becomes arable land, and arable land forest."""
    with sqlite3.connect(path) as layer:
        (table,) = layer.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'").fetchone()
        (column,) = (
            name for _, name, *_ in layer.execute(f"PRAGMA table_info('{table}')") if name.lower() == "code_18"
        )
        for (trigger,) in layer.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            layer.execute(f'DROP TRIGGER "{trigger}"')  # they call functions of SpatiaLite, on geometries only
        swapped = f"CASE {column} WHEN '211' THEN '312' WHEN '312' THEN '211' ELSE {column} END"
        assert layer.execute(f"UPDATE {table} SET {column} = {swapped} WHERE {column} IN ('211', '312')").rowcount
    layer.close()


def _swap_images(path: Path) -> None:
    """Another product of the same name: two of its images change places, and so they do in its manifest."""

    def swapped(text: str) -> str:
        first, second = IMAGES
        return text.replace(f"_{first}.", "_?.").replace(f"_{second}.", f"_{first}.").replace("_?.", f"_{second}.")

    work = path.with_name("work")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(work, "w") as after:
        for member in before.infolist():
            content = before.read(member)
            after.writestr(
                swapped(member.filename),
                swapped(content.decode()) if member.filename.endswith("manifest.safe") else content,
            )
    work.replace(path)


def test_inputs_that_are_changed_in_place_count_by_their_content(truth: Folder) -> None:
    """At last the dataset is that of a fresh folder; and what is only touched makes nothing anew."""
    products = {"inputs": {"l1c_dir": truth.world.products}}
    assert not truth.ran(**products) & {"ConvertToL2A", "CutPatches"}  # given later, and the same
    clc, (product,) = truth.world.clc_gpkg, truth.world.products.glob("*_T31UGR_20171015*.zip")
    kept = {path: shutil.copy(path, truth.folder / f"kept-{path.name}") for path in (clc, product)}
    _swap_land_cover(clc)
    made = truth.ran(**products)
    assert {"MakeReferenceMaps", "LabelPatches", "VerifyDataset"} <= made
    assert not made & {"ConvertToL2A", "CutPatches"}
    provenance = json.loads((truth.data / "dataset" / "provenance.json").read_text())
    assert file_hash(clc) in json.dumps(provenance["inputs"])
    _swap_images(product)
    assert {"ConvertToL2A", "CutPatches"} <= truth.ran(**products)
    fresh = truth.run(truth.folder / "fresh", **products)
    assert dataset_digests(truth.data) == dataset_digests(fresh.data) != truth.whole
    for path, before in kept.items():
        shutil.copy(before, path)
    truth.run(**products)
    clc.touch()
    assert truth.ran(**products) <= {"ProcessTiles", "FinalizeDataset"}  # which leave nothing of their own


def test_a_patch_that_counts_for_another_part_is_counted_again_and_not_compressed(truth: Folder) -> None:
    snow = truth.world.snow_csv
    before, folder = snow.read_bytes(), truth.data / "dataset"
    whole = json.loads((truth.data / "archives" / "statistics.json").read_text())
    moved = pq.read_table(folder / "metadata.parquet").to_pylist()[0]
    snow.write_bytes(before + f"{moved['s2v1_name']}\r\n".encode())
    made = truth.ran()
    assert {"WriteMetadata", "CountPixels", "WriteStatistics", "VerifyDataset"} <= made
    assert not made & {"CompressPart", "CutPatches"}
    said = json.loads((truth.data / "archives" / "statistics.json").read_text())
    assert said["patches"]["flagged"] == whole["patches"]["flagged"] + 1
    assert said["bands"]["B02"]["statistics"]["flagged"]["pixels"] == said["patches"]["flagged"] * 120**2
    snow.write_bytes(before)


def test_another_product_that_is_given_later_takes_the_place_of_the_one_that_came(truth: Folder) -> None:
    folder = truth.folder / "own products"
    folder.mkdir()
    (product,) = truth.world.products.glob("*_T31UGR_20171015*.zip")
    _swap_images(Path(shutil.copy(product, folder)))
    assert {"FindL1C", "ConvertToL2A", "CutPatches"} <= truth.ran(inputs={"l1c_dir": folder})
    assert "ConvertToL2A" in truth.ran()


def test_another_version_of_sen2cor_converts_anew(truth: Folder) -> None:
    program = truth.folder / "L2A_Process"
    program.write_text(truth.world.l2a_process.read_text() + "# another\n")
    program.chmod(0o755)
    other = truth.folder / "Sen2Cor-02.10.01"
    other.write_text(f'#!/bin/sh\nexec {program} "$@" | sed -u s/02.11.00/02.10.01/\n')
    other.chmod(0o755)
    options = {"sen2cor": {"executable": other, "any_version": "true"}}
    assert "ConvertToL2A" in truth.ran(**options)
    made_with = json.loads((truth.data / "dataset" / "provenance.json").read_text())["tiles"][TILE]
    assert "2.10" in json.dumps(made_with)


def test_an_optional_input_that_comes_later_is_compared_with(truth: Folder) -> None:
    def compared() -> dict[str, str]:
        content = json.loads((truth.data / "dataset" / "comparison.json").read_text())
        return {line["what"]: line["state"] for line in content["compared"]}

    before = compared()
    shutil.copy(truth.data / "tiles" / "bigearthnet_s2_tile_ids.csv", truth.later)
    assert "CompareWithPublished" in truth.ran()
    assert compared() != before
    truth.later.unlink()


def _change_three_values(path: Path) -> None:
    """The first line, and the last two, each take the value of a line that has another."""
    rows = [line.rpartition(",") for line in path.read_text().splitlines()]
    for at in (1, -2, -1):
        other = next(value for *_, value in rows[1:] if value != rows[at][2])
        rows[at] = (*rows[at][:2], other)
    path.write_text("".join("".join(row) + "\n" for row in rows))


def test_mappings_whose_values_were_changed_are_not_taken(truth: Folder) -> None:
    """Each value is one that there is."""
    paths = [truth.data / "metadata" / f"patch_id_{name}_mapping.csv" for name in ("split", "country", "s2v1", "label")]
    before = [path.read_text() for path in paths]
    for path in paths:
        _change_three_values(path)
    assert all(path.read_text() != text for path, text in zip(paths, before, strict=True))
    (truth.data / "dataset" / "metadata.parquet").unlink()
    truth.run()
    assert [path.read_text() for path in paths] == before


def test_what_an_input_that_changes_while_it_is_used_went_into_is_made_once_more(truth: Folder) -> None:
    """Nobody can tell what went in: what was made does not count, in the same run."""
    clc = truth.world.clc_gpkg
    kept = shutil.copy(clc, truth.folder / "kept")
    for path in truth.data.glob(f"reference_maps/{TILE}*"):
        path.unlink()
    run = truth.begin(None, "MakeReferenceMaps")
    assert run.stopped() == "MakeReferenceMaps"
    _swap_land_cover(clc)
    run.go_on()
    assert run.ended() == 0, run.said
    assert run.said.count("s  MakeReferenceMaps(") == 2
    shutil.copy(kept, clc)
