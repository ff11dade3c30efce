"""The table of tasks and options: it is that of the code, and what it refuses is what Luigi would refuse."""

from __future__ import annotations

import pytest

from ben_luigi.commands import tabling, task_arguments, task_table, usage
from ben_luigi.configuration import check, kinds
from ben_luigi.domain import plain_values
from ben_luigi.domain.errors import BadName
from ben_luigi.exit_codes import ExitCode

TILE = "33UUP_20170613"


def test_the_table_is_that_of_the_code() -> None:
    """`python -m ben_luigi.documentation` makes it."""
    assert task_table.PATH.read_text(encoding="utf-8") == tabling.made()


def _refusal(arguments: list[str]) -> str:
    with pytest.raises(BadName) as refused:
        usage.task_of(arguments)
    return str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "FinalizeDataset --nonsense",
        "FinalizeDataset --nonsense 3 more",
        "FinalizeDataset more",
        "FinalizeDataset --workers",
        "FinalizeDataset --dataset",
        "FinalizeDataset --local-scheduler=yes",
        "RenderTile",
        "RenderTile --tile",
        "RenderTile --format png",
        f"RenderTile --tiles {TILE}",
        f"RenderTile --tile {TILE} --patches x",
        f"CutLayer --tile {TILE}",
        "ExportForm --form-name zarr --name x",
        "ExportForm --form-name zar",
        "ExportForm --ExportForm-form-name=zar --workers 0",
        f"RenderTile --tile {TILE} --RenderTile-tile {TILE} --format bmp --archive-lev 99",
        "RenderTile --tile 33UUP --format bmp",
        "RenderTile --RenderTile-tile 33UUP",
        "RenderPatches --tile 33UUP_20170631 --log-level DEBUG",
        "CutPatches --tile 31UGR",
        "FinalizeDataset --dataset-allow-missing no --subset-labels=x;y --cdse-password x --forms-make zarr,zar",
    ],
)
def test_what_it_refuses_is_what_the_pipeline_refuses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadName) as refused:
        task_table.check(line.split())
    monkeypatch.setattr(task_table, "check", lambda arguments: None)
    assert str(refused.value) == _refusal(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "FinalizeDataset",
        "FinalizeDataset --scheduler-hos x --local-scheduler --dataset-tiles=33UUP_20170613",
        f"RenderTile --tile {TILE}",
        f"RenderTile --RenderTile-tile {TILE} --log-level DEBUG",
        f"RenderPatches --tile {TILE} --flagged any",
        f"RenderTile --tile= --RenderTile-tile {TILE} --workers 3 --archive-level 19",
        "FinalizeDataset --subset-seasons= --dataset-allow-missing=TRUE",
    ],
)
def test_what_the_pipeline_takes_it_takes(line: str) -> None:
    task_table.check(line.split())
    usage.task_of(line.split())


@pytest.mark.parametrize(
    "secret",
    [
        "--cdse-password s3cret",
        "--cdse-pass=s3cret",
        "--database-url postgresql://me:s3cret@host/ben",
        "--sources-mirrors=http://me:s3cret@host/{name}",
        "--dataset-store=s3://me:s3cret@bucket",
    ],
)
def test_a_refusal_shows_what_was_typed_without_secrets(secret: str) -> None:
    said = str(task_table.unfit(["FinalizeDataset", *secret.split(), "--workers", "0"], "0"))
    assert said.startswith(f"FinalizeDataset {secret[:9]}") and " --workers 0; expected: " in said
    assert "s3cret" not in said


WRONG = (
    *("?", "", "-1", "0", "0.5", "99999999999999999999", "1e999", "nan", "yes", "Tru", "a b", "wintr, zar, spring"),
    *("33UUP_20170631", "http:/", "mysql://u:p@host/x", "http://host/{nme}", "x" * 60),
)
"""Values each of which several kinds of options do not accept."""


def test_each_plain_option_is_refused_as_by_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """All options at once have a value, so that also the order is compared."""
    flags = [option for option in task_table.table()["values"] if option != "--module"]  # Luigi would load it
    lines = [["FinalizeDataset", *(f"{option}={text}" for option in flags)] for text in WRONG]
    quick = []
    for line in lines:
        with pytest.raises(task_table.Unfit) as refused:
            task_table.check(line)
        quick.append(str(refused.value))
    monkeypatch.setattr(task_table, "check", lambda arguments: None)
    assert quick == [_refusal(line) for line in lines]
    known = {option: plain_values.from_table(task_table.table()["values"][option]) for option in flags}
    any_text = {option for option, kind in known.items() if kind.allowed == "text"} | {"--subset-labels"}
    assert {option for option in flags if not any(f" {option}: found" in said for said in quick)} == any_text


def test_only_these_options_are_left_to_the_pipeline() -> None:
    """Their values are looked up: in the file system, the environment, the recipe; or Luigi has a kind of its own."""
    flags = {option for option, values in task_table.table()["options"].items() if values != "0"}
    looked_up = {
        flag
        for flag, _, _, parameter in check.of_command_line()
        if isinstance(parameter, kinds.PathName | kinds.Countries | kinds.Options | kinds.StoreUrl)
    }
    checked = {flag for flag, _, _, _ in check.of_command_line()} & flags
    assert checked - set(task_table.table()["values"]) == (looked_up & flags) | {
        "--worker-max-keep-alive-idle-duration"
    }


def test_a_value_that_is_looked_up_leaves_all_to_the_pipeline() -> None:
    task_table.check(["FinalizeDataset", "--workers", "0", "--dataset-recipe", "none"])
    task_table.check(["CutPatches", "--tile", "31UGR", "--subset-countries", "Narnia"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--recipe", "none", "--workers", "0"],
        ["cron-rerun", "--workers", "0", "--world", "none"],
        ["run", "--world", "sample", "CutPatches", "--tile", TILE],
    ],
    ids=" ".join,
)
def test_what_it_cannot_judge_is_left_to_the_command(arguments: list[str]) -> None:
    """The run that cron starts is recorded and told, however it ends."""
    task_arguments.check(arguments[0], arguments[1:])


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["run", "--workers", "0"], "--workers: found '0'; allowed: a whole number of 1 or more"),
        (["plan", "CutPatches", "--tile", "31UGR"], "tile 31UGR; expected: a tile key"),
        (["run", "--world", "sample", "--workers", "0"], "FinalizeDataset --workers 0; expected: arguments of Final"),
        (["run", "--workers", "1", "--world=smple"], "--world; expected: one of auto, sample, real; found: 'smple'"),
        (["plan", "--dataset-world"], "--dataset-world; expected: one of auto, sample, real; found: nothing"),
        (["subset", "--seasons", "wintr"], "--seasons: found 'wintr'; allowed: spring, summer, fall, winter; did you"),
        (["submit", "slurm", "--archive-level", "99"], "--archive-level: found '99'; allowed: a whole number from 1"),
        (["export", "zarr", "--file-mb", "x"], "argument --file-mb: expected a whole number of 1 or more; found 'x'"),
        (["export", "zarr", "/tmp", "--pixels", "x"], "argument --pixels: expected tiff, array, raw; found 'x'"),
        (["export", "--tile", "x"], "tile x; expected: a tile key"),
        (["render", "--flagged", "x"], "--flagged: found 'x'; allowed: any, cloud, no, snow"),
    ],
)
def test_a_command_refuses_a_plain_value_by_the_table(
    arguments: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        task_arguments.check(arguments[0], arguments[1:])
    assert end.value.code == ExitCode.WRONG_ARGUMENTS
    assert found in capsys.readouterr().err
