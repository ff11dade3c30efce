"""What all commands share."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ben_luigi.commands import arguments, command, export, publish, unpack
from ben_luigi.domain import files
from ben_luigi.domain.errors import BadArgument
from ben_luigi.domain.forms.source import Source
from ben_luigi.exit_codes import ExitCode


@pytest.mark.parametrize("named", [".", "../dataset", "inner/..", "{folder}", "linked"])
def test_what_is_made_from_a_folder_goes_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    folder = tmp_path / "dataset"
    (folder / "inner").mkdir(parents=True)
    (folder / "linked").symlink_to(folder)
    monkeypatch.chdir(folder)
    beside = folder / "dataset-zarr" if named == "linked" else tmp_path / "dataset-zarr"
    assert command.beside(Path(named.format(folder=folder)), "-zarr") == beside


def test_nothing_lies_beside_the_root() -> None:
    with pytest.raises(BadArgument, match="/; expected: a folder that another can lie beside"):
        command.beside(Path("/"), ".csv")


def test_a_link_is_followed_to_where_something_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert command.target(Path("link"), Path("dataset"), "-zarr") == tmp_path / "elsewhere"
    assert command.target(Path(), tmp_path / "dataset", "-zarr") == tmp_path
    assert command.target(None, Path("dataset"), "-zarr") == tmp_path / "dataset-zarr"


@pytest.mark.parametrize("to", ["/", "dataset", "dataset/form", "in", "dataset/../dataset/form"])
def test_nothing_goes_into_the_dataset_that_it_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "dataset" / "form")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadArgument, match="--to; expected: a folder outside of the dataset"):
        command.target(Path(to), Path("dataset"), "-zarr")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("s3 --quota-gb 3", "--quota-gb makes no difference to s3; leave it out: it counts for zenodo"),
        ("huggingface --sandbox", "--sandbox makes no difference to huggingface"),
        (
            "s3 --token-file t",
            "leave it out: it counts for zenodo, huggingface",
        ),
        ("s3 --endpoint nonsense", "found: nonsense"),
        ("zenodo --endpoint http://", "found: http://"),
        ("zenodo --endpoint http://[::1", "found: http://[::1"),
    ],
)
def test_an_option_of_publish_that_makes_no_difference_is_refused(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        publish.main(words.split())
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (
            {"countries": "Portugal", "splits": "test"},
            "--countries Portugal --splits test; expected: patches",
        ),
        ({"countries": "Oz"}, "--countries; expected: some of"),
        ({"area": "200, 0, 201, 1"}, "--area 200, 0, 201, 1; expected: west, south, east, north"),
    ],
)
def test_what_selects_nothing_is_named_as_it_was_typed(finished: Path, conditions: dict[str, str], said: str) -> None:
    with pytest.raises(BadArgument) as raised:
        export._selected(Source.open(finished), conditions)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("name", ["verify", "view", "publish", "new", "unpack"])
def test_options_may_stand_anywhere(name: str, tmp_path: Path) -> None:
    """Before, between and behind what has no name."""
    option = {"verify": ["--form"], "new": ["--like"], "unpack": ["--from"]}.get(name, ["--to"])
    named = {"publish": ["s3"], "new": ["other"]}.get(name, [])
    given = [*option, "x", *named, str(tmp_path)]
    expected = arguments.PARSERS[name]().parse_args([*named, str(tmp_path), *option, "x"])
    for words in (given, [*named, *option, "x", str(tmp_path)]):
        assert arguments.PARSERS[name]().parse_args(words) == expected


@pytest.mark.parametrize("words", [["--to", "{to}", "lmdb", "{none}"], ["lmdb", "--to", "{to}", "{none}"]])
def test_options_of_an_export_may_stand_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    none = tmp_path / "none"
    assert export.main([word.format(to=tmp_path / "to", none=none) for word in words]) == ExitCode.WRONG_ARGUMENTS
    assert f"{none}; expected: the folder of a dataset; found: no folder" in capsys.readouterr().err


def test_arguments_of_a_command_are_not_called_those_of_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        export.main(["webdataset", "--countries", "Oz"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("ben-luigi export: arguments; expected: those of ben-luigi export; found: --countries")
    assert said.endswith("next: type: ben-luigi export --help\n")


def test_patches_are_not_unpacked_into_the_finished_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has nothing but what is to be published."""
    monkeypatch.chdir(tmp_path)
    assert unpack.main(["data/dataset/patches"]) == 2
    assert "expected: a folder outside of the finished dataset; found: one in it" in capsys.readouterr().err


def test_an_error_about_an_unfinished_folder_names_in_full_what_it_was_to_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    work = files.unfinished(Path("zarr"))
    error = OSError(errno.ENOTEMPTY, "Directory not empty", str(work))
    code = command.refuse(command.parser("ben-luigi export", ""), error)
    assert f"ben-luigi export: {tmp_path / 'zarr'}; expected: " in capsys.readouterr().err
    assert code == ExitCode.WRONG_ARGUMENTS
