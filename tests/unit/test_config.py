"""The configuration takes what is written literally, shows nothing secret, and says what is wrong in its file."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser
from luigi.scheduler import Scheduler

import ben_luigi.pipeline  # noqa: F401  # which declares the tasks
from ben_luigi import config
from ben_luigi.commands import usage
from ben_luigi.configuration import loading
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.errors import BadName, PipelineError
from ben_luigi.stages.land_cover import FetchLandCover
from ben_luigi.stages.resolve import FindMissing

SECRET = "s3cret"


@pytest.fixture
def settings() -> Iterator[Any]:
    """Luigi's configuration, to be written to."""
    parser = luigi.configuration.get_config()
    before = {section: dict(parser._sections[section]) for section in parser.sections()}
    yield parser
    parser._sections.clear()
    parser.read_dict(before)
    config.given_input.cache_clear()
    config.is_sample.cache_clear()


def test_options_that_were_typed_count_for_all_of_a_command(settings: Any, tmp_path: Path) -> None:
    """What is said of the result, too, is said of the one that was asked for."""
    named = ["--dataset-data-dir", str(tmp_path), "--inputs-clc-gpkg", "a.gpkg", "--archive-level", "5"]
    task, options = usage.task_of(["FinalizeDataset", "--subset-splits", "test", "--subset-name", "few", *named])
    assert (task.task_family, config.result_folder()) == ("FinalizeDataset", "dataset")
    config.take_typed(options)
    assert (config.data_dir(), config.result_folder()) == (tmp_path, "subsets/few")
    assert config.given_input("clc_gpkg") == Path("a.gpkg").absolute()
    assert (config.value("archive.level"), config.selection()) == (5, {"splits": "test"})


def test_what_luigi_takes_from_our_options_follows_from_those_that_were_typed(settings: Any, tmp_path: Path) -> None:
    """The places of the local scheduler, and the folder of Luigi's lock; what its own sections say stays."""
    settings.set("resources", "sen2cor", "7")
    typed = ["--dataset-data-dir", str(tmp_path), "--dataset-world", "real", "--cdse-parallel", "3"]
    config.take_typed(usage.task_of(["FinalizeDataset", *typed, "--sen2cor-parallel", "2"])[1])
    assert Path(luigi.interface.core().lock_pid_dir) == config.lock_folder()
    assert config.lock_folder().is_relative_to(tmp_path)
    assert Scheduler()._resources["cdse"] == config.downloads_at_once() == 3
    assert config.sen2cor_at_once() == 2
    assert luigi.interface.core().local_scheduler, "as the configuration says"


def test_a_task_is_checked_by_what_was_typed_with_it(settings: Any) -> None:
    config.is_sample.cache_clear()
    tile, others = ["DownloadL1C", "--tile", "33UUP_20170613"], ["--dataset-world", "real", "--dataset-tiles"]
    assert usage.task_of([*tile, *others, "33UUP_20170613"])[0].task_family == "DownloadL1C"
    with pytest.raises(BadName, match="tile 33UUP_20170613; expected: one of 29SNB_20170818"):
        usage.task_of([*tile, *others, "29SNB_20170818"])


@pytest.mark.parametrize("text", ["50%off", "%(tiles)s", "%%", "a%41b", "$HOME", "p@ss'w\"o rd", "${HOME", "${NAME}%"])
def test_only_variables_of_the_environment_mean_something(
    text: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "50%${HOME}")
    settings.read_string(f"[cdse]\nuser = {text}\npassword = {text}\n[database]\nurl = postgresql://{text}\n")
    expected = text.replace("${NAME}", "50%${HOME}")
    assert {config.cdse().user, config.cdse().password} == {expected}
    assert config.database().url == f"postgresql://{expected}"


def test_a_section_is_read_again_when_what_it_comes_from_changes(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "/one")
    settings.set("dataset", "data_dir", "$PLACE/data")
    first = config.dataset()
    assert (config.dataset() is first, first.data_dir) == (True, "/one/data")
    monkeypatch.setenv("PLACE", "/two")
    assert config.dataset().data_dir == "/two/data"
    settings.set("dataset", "data_dir", "here")
    assert (config.dataset().data_dir, config.tile().threads) == ("here", 1)
    settings.set("tile", "threads", "3")
    assert config.tile().threads == 3
    with CmdlineParser.global_instance(["--module", "ben_luigi", "FinalizeDataset", "--dataset-data-dir", "there"]):
        assert config.dataset().data_dir == "there"
    assert config.dataset().data_dir == "here"


def test_a_variable_that_is_not_there_tells_nothing_of_the_value(settings: Any) -> None:
    settings.read_string(f"[database]\nurl = postgresql://ben:{SECRET}${{NOWHERE}}@h/n\n")
    with pytest.raises(ValueError, match="'url'") as caught:
        config.database()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_nobody_who_prints_a_section_or_an_account_sees_a_password(settings: Any) -> None:
    url = f"postgresql://ben:{SECRET}@h/n"
    settings.read_dict(
        {
            "cdse": {"user": "ben", "password": SECRET},
            "database": {"url": url},
            "cron": {"webhook": f"https://{SECRET}"},
        }
    )
    for shown in (config.cdse(), config.database(), config.cron(), Credentials("ben", SECRET)):
        assert SECRET not in f"{shown} {shown!r} {[shown]}"
    assert "user=ben" in repr(config.cdse())
    assert config.account_environment() == {"CDSE_USER": "ben", "CDSE_PASSWORD": SECRET}, "and nothing else of ours"


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("[cdse]\npassword = x\n", True),
        ("[cdse]\npassword = $x\n", True),
        ("[cdse]\npassword = ${NAME}\n", False),
        ("[cdse]\npassword =\n", False),
        ("[cron]\nwebhook = https://hooks.example.org/x\n", True),
        ("[database]\nurl = postgresql://ben:x@h/n\n", True),
        ("[database]\nurl = postgresql://ben:x@y@h/n\n", True),
        ("[database]\nurl = postgresql://h/n?user=ben&password=x\n", True),
        ("[database]\nurl = postgresql://ben@h/n\n", False),
        ("[database]\nurl = postgresql://ben:${NAME}@h/n\n", False),
        ("[database]\nurl = ${NAME}\n", False),
        ("[core]\nscheduler_url = http://ben:x@h\n", True),
        ("[sources]\nmirrors = https://h/{name}, https://ben:x@h/{name}\n", True),
        ("[sources]\nmirrors = https://h/{name}, https://ben:${NAME}@h/{name}\n", False),
        ("[land_cover]\nservice_url = https://ben:x@h/MapServer/0\n", True),
        ("[smtp]\npassword = x\n", True),
        ("[task_history]\ndb_connection = mysql://ben:x@h/n\n", True),
        ("[task_history]\ndb_connection = sqlite:///n\n", False),
    ],
)
def test_which_files_tell_secrets(text: str, tells: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.cfg"
    path.write_text(text)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(path))
    path.chmod(0o640)
    assert [*loading.files_that_tell_secrets()] == ([path] if tells else [])
    path.chmod(0o600)
    assert not [*loading.files_that_tell_secrets()]


def test_the_lock_of_a_command_is_in_a_folder_that_nobody_else_enters(settings: Any, tmp_path: Path) -> None:
    settings.set("dataset", "data_dir", str(tmp_path / "data"))
    config.set_defaults()
    assert Path(luigi.interface.core().lock_pid_dir).is_relative_to(tmp_path / "data")
    assert luigi.interface.core().no_lock, "plain luigi does not make the folder"
    assert not (tmp_path / "data").exists()
    config.lock_this_command()
    folder = Path(luigi.interface.core().lock_pid_dir)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not luigi.interface.core().no_lock
    (folder / "elsewhere").mkdir()
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))
    with pytest.raises(PipelineError, match="a link"):
        config.lock_this_command()
    folder.unlink()
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(PipelineError, match="mode 777"):
        config.lock_this_command()


def test_what_a_result_was_made_from_has_no_password(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written to files, one of which is published."""
    url = f"https://ben:{SECRET}@h"
    settings.read_dict(
        {
            "dataset": {"world": "real"},
            "sources": {"google_url": f"{url}/bucket", "mirrors": f"{url}/{{name}}"},
            "land_cover": {"service_url": f"{url}/MapServer/0"},
        }
    )
    config.is_sample.cache_clear()
    monkeypatch.setattr(FetchLandCover, "_box", lambda self: (0.0, 0.0, 1.0, 1.0))
    assert FindMissing().settings()["sources"][1:] == ["https://h/bucket", ["https://h/{name}"]]
    assert FetchLandCover(mgrs="31UGR").settings()["service"] == "https://h/MapServer/0"
