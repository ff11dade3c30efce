"""The forms that are made with the dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import luigi
import pytest
import xarray
from luigi.cmdline_parser import CmdlineParser

from ben_luigi import config
from ben_luigi.commands import export as command
from ben_luigi.commands import verify
from ben_luigi.domain import libraries
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms import form
from ben_luigi.domain.forms.export import FORMS
from ben_luigi.domain.forms.source import Source, without_layers
from ben_luigi.domain.recipe.model import Sentinel1
from ben_luigi.domain.vocabulary import FORMS as NAMES
from ben_luigi.stages.forms import ExportForm, forms_wanted, options
from ben_luigi.stages.statistics import WriteStatistics


def test_no_form_is_made_unless_it_is_wanted() -> None:
    assert forms_wanted() == []
    with CmdlineParser.global_instance(["FinalizeDataset", "--forms-make", "zarr, parquet"]):
        assert forms_wanted() == [ExportForm(form_name="zarr"), ExportForm(form_name="parquet")]


def test_the_words_of_the_configuration_are_the_forms() -> None:
    assert tuple(FORMS) == NAMES


def test_options_of_the_configuration_are_those_of_the_form() -> None:
    arguments = ["ExportForm", "--forms-seed", "7", "--forms-file-mb", "50", "--forms-pixels", "array"]
    with CmdlineParser.global_instance([*arguments, "--form-name", "parquet"]):
        assert options() == form.Options(7, 50, "array")
        assert options().file_bytes == 50_000_000


def test_a_form_is_made_of_the_options_that_make_a_difference_to_it() -> None:
    """So another seed makes no new LMDB."""
    given = form.Options(7, 50, "array")
    assert FORMS["lmdb"].made_with(given) == FORMS["zarr"].made_with(given) == {}
    assert FORMS["webdataset"].made_with(given) == {"seed": 7, "file_mb": 50}
    assert FORMS["parquet"].made_with(given) == {"file_mb": 50, "pixels": "array"}
    with CmdlineParser.global_instance(["ExportForm", "--forms-seed", "7", "--form-name", "webdataset"]):
        assert ExportForm(form_name="webdataset").settings() == {"forms.seed": 7, "forms.file_mb": 1000}
        assert ExportForm(form_name="lmdb").settings() == {}


def test_a_form_that_tells_the_offset_is_made_again_where_other_tiles_carry_it(tmp_path: Path) -> None:
    """So shards that were made before the provenance was there are not taken for true; other forms are.

    Statistics tell it, too.
    """
    arguments = ["ExportForm", "--dataset-data-dir", str(tmp_path), "--form-name", "webdataset"]
    provenance = tmp_path / "dataset" / "provenance.json"
    provenance.parent.mkdir()
    with CmdlineParser.global_instance(arguments):
        before = ExportForm(form_name="webdataset").settings()
        for has_offset, differs in ((False, False), (True, True)):
            tile = {
                "l2a_name": "S2A_MSIL2A_20250314T134221_N0511_R024_T21HUB_20250314T170512.SAFE",
                "boa_offset": has_offset,
            }
            provenance.write_text(json.dumps({"tiles": {"21HUB_20250314": tile}}))
            assert (ExportForm(form_name="webdataset").settings() != before) is differs
            assert bool(WriteStatistics().settings()) is differs
            assert ExportForm(form_name="lmdb").settings() == {}


@pytest.mark.parametrize(("source", "names"), [("rasters", True), ("folder", True), ("v1", False), ("none", False)])
def test_an_lmdb_is_made_again_where_s1_may_have_the_names_of_s2(
    source: str, names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made without their pixels of S2 is not taken for complete; other forms never lacked any."""
    recipe = replace(config.recipe(), sentinel1=Sentinel1(source))
    monkeypatch.setattr(config, "recipe", lambda: recipe)
    assert ("names" in ExportForm(form_name="lmdb").settings()) is names
    assert "names" not in ExportForm(form_name="parquet").settings()


def test_a_form_awaits_all_that_is_read_of_the_dataset_and_is_made_again_for_pixels_and_rows_alone() -> None:
    awaited = {task.task_family for task in ExportForm(form_name="webdataset").requires()}
    made_of = {task.task_family for task in ExportForm(form_name="webdataset").made_of()}
    assert awaited - made_of == {"WriteProvenance", "WriteReadme"}
    assert made_of == {"WriteMetadata", "ArchiveS1", "ArchiveS2", "ArchiveReferenceMaps"}


def test_a_zarr_of_a_folder_with_some_classes_numbers_all_of_the_nomenclature(finished: Path, tmp_path: Path) -> None:
    """As the folder of a subset has: else a class had another number there than in the whole dataset."""
    assert command.main(["zarr", str(finished), "--to", str(tmp_path / "form")]) == 0
    with xarray.open_zarr(tmp_path / "form", consolidated=True, chunks=None) as opened:
        assert len(opened["label"]) == 19
        has = opened["label"].values[opened["labels"].values.any(axis=0)]
    assert list(has) == ["Arable land", "Pastures"]
    assert verify._of_form(finished, tmp_path / "form", False, []) == []
    settings = {name: ExportForm(form_name=name).settings() for name in ("zarr", "lmdb")}
    assert settings["zarr"].keys() - settings["lmdb"].keys() == {"classes"}


def test_labels_that_the_nomenclature_does_not_know_leave_the_others_their_numbers(finished: Path) -> None:
    assert Source.open(finished, FORM_V2, ("Pastures", "Glaciers")).classes == ("Glaciers", "Pastures", "Arable land")


@pytest.mark.parametrize(
    ("name", "option", "counts"),
    [
        ("parquet", "--seed", "webdataset"),
        ("webdataset", "--pixels", "parquet"),
        ("zarr", "--file-mb", "webdataset, parquet, geoparquet"),
    ],
)
def test_an_option_without_effect_is_refused(
    name: str, option: str, counts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = "array" if option == "--pixels" else "7"
    with pytest.raises(SystemExit) as stopped:
        command.main([name, str(tmp_path), option, value])
    assert stopped.value.code == 2
    said = f"{option} makes no difference to {name}; leave it out: it counts for {counts}; next: "
    assert said in capsys.readouterr().err


def test_a_form_without_its_library_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name == "safetensors" else object())
    with pytest.raises(BadInput, match=r"no safetensors; next: type: .* -m pip install safetensors$"):
        ExportForm(form_name="lmdb").requires()
    ExportForm(form_name="zarr").requires()


def test_layers_that_no_form_has_are_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the dataset as its archives tell them, by a command; of our own, by the task."""
    copy = tmp_path / "dataset"
    copytree(finished, copy)
    assert command.main(["webdataset", str(copy), "--to", str(tmp_path / "plain")]) == 0
    assert "without" not in capsys.readouterr().out
    for layer in ("scl", "aot"):
        (copy / f"Layer_{layer}.tar.zst").touch()
    assert command.main(["webdataset", str(copy), "--to", str(tmp_path / "form")]) == 0
    assert capsys.readouterr().out.endswith("\nwithout the layers scl, aot: these are in the archives only\n")
    settings = luigi.configuration.get_config()._sections.setdefault("layers", {})
    monkeypatch.setitem(settings, "of_product", "scl")
    assert ExportForm(form_name="zarr").result_lines()[-1].startswith("without the layers scl")
    assert without_layers(FORM_V2) == []
