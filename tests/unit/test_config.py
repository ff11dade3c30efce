"""The configuration takes what is written literally, shows nothing secret, and says what is wrong in its file."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import pytest

from ben_luigi import config, config_file
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.errors import BadInput, PipelineError

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cret"


@pytest.fixture
def settings() -> Iterator[Any]:
    """Luigi's configuration, to be written to."""
    parser = luigi.configuration.get_config()
    before = {section: dict(parser._sections[section]) for section in parser.sections()}
    yield parser
    parser._sections.clear()
    parser.read_dict(before)


@pytest.mark.parametrize("text", ["50%off", "%(tiles)s", "%%", "a%41b", "$HOME", "p@ss'w\"o rd", "${HOME", "${NAME}%"])
def test_only_variables_of_the_environment_mean_something(
    text: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "50%${HOME}")
    settings.read_string(f"[cdse]\nuser = {text}\npassword = {text}\n[database]\nurl = {text}\n")
    settings.set("dataset", "data_dir", text)
    expected = text.replace("${NAME}", "50%${HOME}")
    assert {config.cdse().user, config.cdse().password, config.database().url, config.dataset().data_dir} == {expected}


def test_a_variable_that_is_not_there_tells_nothing_of_the_value(settings: Any) -> None:
    settings.read_string(f"[database]\nurl = postgresql://ben:{SECRET}${{NOWHERE}}@h/n\n")
    with pytest.raises(ValueError, match="'url'") as caught:
        config.database()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_nobody_who_prints_a_section_or_an_account_sees_a_password(settings: Any) -> None:
    url = f"postgresql://ben:{SECRET}@h/n"
    settings.read_dict(
        {"cdse": {"user": "ben", "password": SECRET}, "database": {"url": url}, "cron": {"webhook": SECRET}}
    )
    for shown in (config.cdse(), config.database(), config.cron(), Credentials("ben", SECRET)):
        assert SECRET not in f"{shown} {shown!r} {[shown]}"
    assert "user=ben" in repr(config.cdse())
    assert config.account_environment() == {"CDSE_USER": "ben", "CDSE_PASSWORD": SECRET}, "and nothing else of ours"


def test_an_option_that_is_none_is_named_without_its_value(settings: Any, recwarn: pytest.WarningsRecorder) -> None:
    settings.read_dict({"cdse": {"pasword": SECRET, "pause-s": "3"}, "database": {"URL": SECRET}})
    assert config.unknown_options() == ["[cdse] pasword", "[database] URL"]
    config.cdse()
    assert not [warning for warning in recwarn if SECRET in str(warning.message)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"[cdse]\npassword {SECRET}\n", "number 2"),
        (f"password = {SECRET}\n", "number 1"),
        (f"[cdse]\npassword = {SECRET}\npassword = {SECRET}\n", "number 3"),
        (f"[database]\n\nurl = postgresql://ben:{SECRET}${{NOWHERE}}@h/n\n", "NOWHERE"),
        (f"[cdse]\npassword = {SECRET}\xff".encode("latin-1"), "bytes that are no"),
        (None, "No such file"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_and_not_quoted(text: str | bytes | None, found: str, tmp_path: Path) -> None:
    """By every command, and by Luigi's own."""
    path = tmp_path / "own.cfg"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(path), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "ben_luigi.status"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert found in done.stderr and str(path) in done.stderr and "next: " in done.stderr
    assert done.stderr.count("\n") == 1 and SECRET not in done.stderr


def test_a_file_without_errors_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.cfg"
    path.write_text(f"[cdse]\npassword = 50%{SECRET}${{NAME}}\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(path))
    with pytest.raises(BadInput, match="NAME"):
        config_file.own()
    monkeypatch.setenv("NAME", "")
    assert config_file.own() == path
    monkeypatch.delenv("LUIGI_CONFIG_PATH")
    assert config_file.own() is None


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
    ],
)
def test_which_files_tell_secrets(text: str, tells: bool, tmp_path: Path) -> None:
    path = tmp_path / "own.cfg"
    path.write_text(text)
    path.chmod(0o640)
    assert config_file.tells_secrets(path) == tells
    path.chmod(0o600)
    assert not config_file.tells_secrets(path)


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
