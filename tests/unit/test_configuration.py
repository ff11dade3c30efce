"""What is wrong in the configuration is said at once, all of it, before anything starts; and the rest is taken."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import pytest

from ben_luigi import config
from ben_luigi.configuration import check, loading, luigi_options, table
from ben_luigi.configuration.files import ConfigFile, read
from ben_luigi.documentation import parts
from tests.unit.wrong_configurations import SECRET, WRONG

NAMED = "LUIGI_CONFIG_PATH"
ROOT = Path(__file__).resolve().parents[2]
ENCODED = {
    "utf-8-sig": "1: the file: found a byte order mark before the first line",
    "utf-16": "1: the file: found UTF-16",
    "utf-16-le": "1: the file: found zero bytes, as of UTF-16",
    "latin-1": "3: the file: found another encoding, as of Latin-1",
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration, and an environment that names own.cfg there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "own.cfg")
    monkeypatch.setenv("BEN_PASSWORD", SECRET)


@pytest.fixture
def settings() -> Iterator[Any]:
    """Luigi's configuration, put back at the end."""
    parser = luigi.configuration.get_config()
    before = {section: dict(parser._sections[section]) for section in parser.sections()}
    yield parser
    parser._sections.clear()
    parser.read_dict(before)


def _answer(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is said of a wrong configuration, without what always surrounds it."""
    with pytest.raises(SystemExit) as ended:
        loading.load()
    assert ended.value.code == 20
    first, *lines, last = capsys.readouterr().err.splitlines()
    assert first == f"{len(lines)} finding{'s' * (len(lines) > 1)} in the configuration; nothing has been started:"
    assert last == "next: correct them; docs/configuration.md lists every option"
    assert not any(SECRET in line for line in lines)
    assert max(len(line) for line in lines) <= 240, "three lines of a terminal"
    return lines


@pytest.mark.parametrize(("text", "answer"), WRONG.values(), ids=WRONG)
def test_a_wrong_configuration_is_answered(
    text: str, answer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.cfg").write_text(text + "\n", encoding="utf-8")
    assert _answer(capsys) == [f"own.cfg:{line.format(cwd=tmp_path)}" for line in answer]


@pytest.mark.parametrize("encoding", ENCODED)
def test_another_encoding_is_named_and_the_rest_is_read(
    encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.cfg").write_bytes("[cdse]\n\n# é\nparallel = 9\npassword = s3crété\n".encode(encoding))
    assert _answer(capsys) == [
        f"own.cfg:{ENCODED[encoding]}; allowed: UTF-8 without a byte order mark",
        "own.cfg:4: [cdse] parallel: found '9'; allowed: a whole number from 1 to 4",
    ]


@pytest.mark.parametrize(
    ("named", "answer"),
    [
        ("own.cgf", f"{NAMED}: found nothing at own.cgf below the current folder, HERE; "
         "allowed: a configuration file; did you mean own.cfg?"),
        ("/dev/zero", f"{NAMED}: found a device at /dev/zero; allowed: a configuration file"),
        ("folder", f"{NAMED}: found a folder at folder; allowed: a configuration file"),
        ("$NO_HOME/own.cfg", f"{NAMED}: $NO_HOME/own.cfg: "
         "found no variable NO_HOME in the environment; allowed: variables that are set"),
        ("large", "large: found 1,048,577 bytes, where at most 1,048,576 are allowed; allowed: a configuration file"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named(
    named: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.cfg").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(bytes(2**20 + 1))
    monkeypatch.setenv("LUIGI_CONFIG_PATH", named)
    assert _answer(capsys) == [answer.replace("HERE", str(Path.cwd()))]


def test_all_findings_of_all_files_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And in a luigi.cfg that other programs share, sections that are like none of ours are theirs."""
    (tmp_path / "luigi.cfg").write_text("[MyTask]\nx = 1\n[archiv]\n[archive]\nlevel = 40\n")
    (tmp_path / "own.cfg").write_text("[MyTask]\n[archive]\nlevel = 50\n")
    assert [line.split(";")[0] for line in _answer(capsys)] == [
        "luigi.cfg:3: found no such section, [archiv]",
        "luigi.cfg:5: [archive] level: found '40'",
        "own.cfg:1: found no such section, [MyTask]",
        "own.cfg:3: [archive] level: found '50'",
    ]


RIGHT = r"""
# a comment
[dataset]
data_dir: $BEN_PLACE/${BEN_NAME}
tiles = 33UUP_20170613,
  31UGR_20171015

[cdse]
password = 50%${BEN_PASSWORD} #x
pause-s = 0.5
[subset]
labels = Urban fabric ; Pastures
area = -10,36.5, 3 44
[metadata]
unlabeled_limit = 1
[tile]
threads = 3
[core]
workers = 3
default-scheduler-host = h
rpc-retry-attempts = 2
[scheduler]
metrics_collector = prometheus
[resources]
anything = 4
[email]
receiver = a@b
[spark]
master = x
"""


def test_what_is_right_is_taken(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEN_PLACE", str(tmp_path))
    monkeypatch.setenv("BEN_NAME", "my data")
    (tmp_path / "own.cfg").write_text(RIGHT)
    loading.load()
    assert config.data_dir() == tmp_path / "my data"
    assert config.selected_tiles() == ["33UUP_20170613", "31UGR_20171015"]
    assert config.cdse().password == f"50%{SECRET} #x"
    assert (config.cdse().pause_s, config.metadata().unlabeled_limit, config.tile().threads) == (0.5, 1.0, 3)
    assert config.workers() == 3
    assert luigi.interface.core().local_scheduler, "a default of ours"


def test_a_home_is_expanded_in_paths(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.cfg").write_text("[dataset]\ndata_dir = ~/a\n[inputs]\nl1c_dir = $HOME/b\n[cdse]\nuser = $HOME\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "~/own.cfg")
    loading.load()
    assert config.data_dir() == tmp_path / "a"
    assert (config.inputs().l1c_dir, config.cdse().user) == (f"{tmp_path}/b", "$HOME")


def test_only_the_data_folder_that_counts_has_to_be_one(tmp_path: Path) -> None:
    before = ConfigFile("a")
    before.entries += read(_written(tmp_path / "a", "[dataset]\ndata_dir = a/b\n"), "a").entries
    after = read(_written(tmp_path / "b", "[dataset]\ndata_dir = data\n"), "b")
    assert [finding.location for finding in check.data_dir([after, before])] == ["a:2: [dataset] data_dir"]
    assert not check.data_dir([before, after])
    _written(tmp_path / "data", "")
    assert [finding.location for finding in check.data_dir([])] == ["[dataset] data_dir"], "the default"


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_option_of_luigi_that_it_documents_is_known() -> None:
    for section, options in luigi_options.DEFAULTS.items():
        assert set(options) <= set(luigi_options.of(section) or {})
    assert {"core", "cors", "email", "execution_summary", "resources", "retcode", "scheduler", "worker"} <= set(
        luigi_options.SECTIONS
    )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command in the current folder, as a user starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "ben_luigi", "status"],
        [sys.executable, "-m", "ben_luigi", "luigid"],
        [str(Path(sys.executable).with_name("luigi")), "--module", "ben_luigi", "FinalizeDataset"],
    ],
    ids=["status", "luigid", "luigi"],
)
def test_every_command_ends_with_the_answer_alone(command: list[str], tmp_path: Path) -> None:
    """Nothing of Luigi's or configparser's, and nothing is made."""
    text = f"[cdse]\npassword = {SECRET}\npassword = {SECRET}\nnone of it\n[archive]\nlevel = six\n"
    (tmp_path / "own.cfg").write_text(text)
    done = _run(*command)
    assert (done.returncode, done.stdout) == (20, "")
    assert [line.split(";")[0] for line in done.stderr.splitlines()] == [
        "3 findings in the configuration",
        "own.cfg:3: found [cdse] password again, as in own.cfg:2",
        "own.cfg:4: found a line that is neither (not shown)",
        "own.cfg:6: [archive] level: found 'six'",
        "next: correct them",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["own.cfg"]


def test_plain_luigi_has_our_defaults_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No luigid is waited for, and a failed task has its exit code."""
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(_written(tmp_path / "own.cfg", "[dataset]\nworld = real\n")))
    luigis = str(Path(sys.executable).with_name("luigi"))
    done = _run(luigis, "--module", "ben_luigi", "GivenInput", "--option", "clc_gpkg")
    assert done.returncode == 30, done.stderr
    assert "Traceback" not in done.stderr.partition("===== Luigi Execution Summary")[2]


def test_the_page_has_the_table_that_the_code_makes() -> None:
    """`python -m ben_luigi.documentation` writes it."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert parts.replaced(page, {"options": table.text()}) == page
    for name in config.SECTIONS:
        assert f"### [{name}]" in page


def test_a_folder_that_is_named_as_the_file_is_not_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.cfg").mkdir()
    assert _answer(capsys) == [f"{NAMED}: found a folder at own.cfg; allowed: a configuration file"]


def test_what_only_reads_needs_no_right_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may write everywhere, so the question is answered for it."""
    (tmp_path / "own.cfg").write_text(f"[dataset]\ndata_dir = {tmp_path}\n", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for name in ("status", "plan", "verify", "view"):
        monkeypatch.setattr(sys, "argv", ["ben-luigi", name])
        loading.require_data_dir()
    monkeypatch.setattr(sys, "argv", ["ben-luigi", "run"])
    assert _answer(capsys) == [
        f"own.cfg:2: [dataset] data_dir: found {tmp_path}, which cannot be written to; "
        "allowed: a folder that can be made and written to"
    ]


@pytest.mark.parametrize("what", ["a circle", "a folder", "below a file"])
def test_what_is_no_file_where_one_may_lie_is_passed_over(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "shared" / "luigi.cfg"
    if what == "below a file":
        place.parent.touch()
    else:
        place.parent.mkdir()
        place.symlink_to(place.name) if what == "a circle" else place.mkdir()
    monkeypatch.setattr(loading, "_SHARED", (place,))
    monkeypatch.delenv("LUIGI_CONFIG_PATH")
    assert [file.name for file in loading.found()] == [loading._name(loading._CHECKOUT)]


def test_a_place_of_others_that_may_not_be_looked_at_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As /etc/luigi of mode 700; root may look everywhere, so it is refused here."""
    (tmp_path / "own.cfg").write_text("", encoding="utf-8")
    closed, stat = tmp_path / "closed" / "luigi.cfg", Path.stat

    def refused(path: Path, **how: Any) -> os.stat_result:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **how)

    monkeypatch.setattr(loading, "_SHARED", (closed,))
    monkeypatch.setattr(Path, "stat", refused)
    assert _answer(capsys) == [
        "closed/luigi.cfg: found Permission denied, not a file; allowed: a file that can be read"
    ]
