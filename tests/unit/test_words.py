"""What people read of the program: options, parameters, configuration and errors all say what they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import luigi
import pytest
from luigi.task_register import Register

from ben_luigi import config
from ben_luigi.commands import task_arguments, usage
from ben_luigi.configuration import luigi_options
from ben_luigi.domain import errors
from ben_luigi.domain.cdse import errors as cdse_errors
from ben_luigi.domain.errors import BadName, PipelineError

ROOT = Path(__file__).resolve().parents[2]
CODE = [*(ROOT / "ben_luigi").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
OURS = [path for path in CODE if "sample" not in path.parts]
TAKES_CARE_OF_ITSELF = {"TransientError", "RateLimitError", "DamagedFile"}
"""What is tried or made again by itself leaves a person nothing to do, or always the same."""


def _calls(paths: list[Path]) -> Iterator[tuple[str, str, ast.Call]]:
    """Place, name of the function, and call."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                yield f"{path.relative_to(ROOT)}:{node.lineno}", name, node


def test_every_option_of_a_command_says_what_it_is() -> None:
    options = [(place, call) for place, name, call in _calls(OURS) if name == "add_argument"]
    assert len(options) > 20
    for place, call in options:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert "help" in given, place
        if given["help"] == "argparse.SUPPRESS":
            continue  # of a parser that prints nothing
        assert given.keys() & {"metavar", "choices", "action"}, place


def test_every_command_has_the_same_kind_of_help() -> None:
    """Made by `command.parser`, but for L2A_Process, which the sample world stands in for."""
    assert [place for place, name, _ in _calls(OURS) if name == "ArgumentParser"] == [
        place for place, name, _ in _calls([ROOT / "ben_luigi" / "commands" / "command.py"]) if name == "ArgumentParser"
    ]


def test_every_error_says_what_was_expected_and_found_and_what_to_do() -> None:
    kinds = {
        name
        for module in (errors, cdse_errors)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, PipelineError)
    }
    raised = [(place, call) for place, name, call in _calls(OURS) if name in kinds - TAKES_CARE_OF_ITSELF]
    assert len(raised) > 100
    for place, call in raised:
        said = {keyword.arg for keyword in call.keywords}
        assert {"expected", "found", "remedy"} <= said, place


@pytest.mark.parametrize("task", usage.tasks().values(), ids=usage.tasks())
def test_every_parameter_of_a_task_says_what_it_is(task: type[luigi.Task]) -> None:
    assert (task.__doc__ or "").splitlines()[0].endswith("."), "the line in `ben-luigi run --help`"
    for name, parameter in task.get_params():
        assert parameter.description, name


@pytest.mark.parametrize("task", usage.tasks().values(), ids=usage.tasks())
def test_every_parameter_of_a_task_can_be_given(task: type[luigi.Task]) -> None:
    """Luigi reads the line twice, first without the task: there it takes `--archive` for the beginning of an option."""
    options = [
        f"{section}-{name}".replace("_", "-")
        for section in Register.task_names()
        for name, _ in Register.get_task_cls(section).get_params()
    ]
    for name, _ in task.get_params():
        assert not [option for option in options if option.startswith(name.replace("_", "-"))], name


def test_the_configuration_explains_every_option_and_no_other() -> None:
    """`luigi.cfg` and `config.py` know the same ones; their defaults are the same."""
    text = (ROOT / "luigi.cfg").read_text(encoding="utf-8")
    written = ConfigParser(interpolation=None)
    written.read_string(re.sub(r"^# (\w+ =)", r"\1", text, flags=re.MULTILINE))
    luigis = set(luigi_options.DEFAULTS)
    in_file = {(section, name) for section in set(written.sections()) - luigis for name in written[section]}
    known = {}
    for section, declared in config.SECTIONS.items():
        for option, parameter in config.options_of(declared).items():
            assert parameter.description, (section, option)
            known[section, option] = parameter.parse, parameter._default
    assert in_file == set(known)
    set_there = ConfigParser(interpolation=None)
    set_there.read_string(text)
    for section in set(set_there.sections()) - luigis:
        for option, value in set_there[section].items():
            parse, default = known[section, option]
            assert (parse(value) if value else value) == (parse(str(default)) if value else default), (section, option)
    assert {section: dict(set_there[section]) for section in luigis} == luigi_options.DEFAULTS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Rendertile", "did you mean RenderTile?"),
        ("Nonsense", "ben-luigi run --help"),
        ("RenderTile", "requires the 'tile' parameter"),
        ("RenderTile --tile", "expected one argument"),
        ("RenderTile --tiles 33UUP_20170613", "unrecognized arguments: --tiles 33UUP_20170613; did you mean --tile?"),
        (
            "RenderTile 33UUP_20170613",
            "33UUP_20170613; did you mean --tile 33UUP_20170613?; next: type: ben-luigi run R",
        ),
        ("CutLayer --tile 33UUP_20170613 dem", "dem; did you mean --layer dem?"),
        ("RenderTile --tile 33UUP_20170613 x", "unrecognized arguments: x; next"),
        ("RenderTile --url postgresql://u:secret@h/db", "unrecognized arguments: --url postgresql://h/db; next"),
        ("FinalizeDataset --worl sample", "--worl sample; did you mean --world?; next: type: ben-luigi run --help"),
        ("FinalizeDataset --tile=x", "--tile=x; did you mean --dataset-tiles or --subset-tiles?"),
        ("FinalizeDataset --data_dir x", "--data_dir x; did you mean --dataset-data-dir?"),
        ("FinalizeDataset x -v", "unrecognized arguments: x -v; next: type: ben-luigi run --help"),
        ("RenderPatches --flagged rain", "--flagged: found 'rain'; allowed: any, cloud, no, snow"),
        ("FinalizeDataset --archive-level 99", "--archive-level: found '99'; allowed: a whole number from 1 to 22"),
        ("FinalizeDataset --workers 0", "--workers: found '0'; allowed: a whole number of 1 or more"),
        ("FinalizeDataset --workers -1", "--workers: found '-1'; allowed: a whole number of 1 or more"),
        ("FinalizeDataset --scheduler-port x", "--scheduler-port: found 'x'; allowed: a whole number from 1 to 65535"),
        ("FinalizeDataset --subset-seasons sumer --cdse-tries 0", "--cdse-tries: found '0'"),
    ],
)
def test_a_command_line_that_asks_for_no_task_is_told_so(line: str, said: str) -> None:
    with pytest.raises(BadName, match=re.escape(said)):
        usage.task_of(line.split())


def test_the_help_of_a_task_has_its_parameters_only(capsys: pytest.CaptureFixture[str]) -> None:
    usage.task_of(["RenderTile", "--tile", "33UUP_20170613"])
    task_arguments.run(["RenderTile", "--help"]).print_help()
    said = capsys.readouterr().out
    assert "ben-luigi run --help lists the options that every task takes" in said
    assert said.startswith("usage: ben-luigi run RenderTile")
    assert set(re.findall(r"--[\w-]+", said)) == {"--help", "--tile", "--format"}


def test_no_task_is_left_out_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    task_arguments.run().print_help()
    said = capsys.readouterr().out
    for name, task in usage.tasks().items():
        assert f"  {name} " in said and (task.__doc__ or "").splitlines()[0] in said
