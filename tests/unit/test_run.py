"""How long a run stays where other hosts are at work; the hosts themselves are in `tests/integration/test_hosts.py`."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest
from luigi.rpc import RPCError

from ben_luigi import config
from ben_luigi.commands import run
from ben_luigi.stages.finalize import FinalizeDataset

ARGV = ["--module", "ben_luigi", "FinalizeDataset"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A central scheduler is configured; nobody sleeps, nothing is complete."""
    slept: list[float] = []
    settings = luigi.configuration.get_config()
    before = settings.get("core", "local_scheduler", "false")
    settings.set("core", "local_scheduler", "false")
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(FinalizeDataset, "complete", lambda self: False)
    yield slept
    settings.set("core", "local_scheduler", before)


def _script(monkeypatch: pytest.MonkeyPatch, codes: list[int], running: list[list[str]]) -> list[list[str]]:
    """Let Luigi's runs end with `codes`, the scheduler say what is `running`; gives the arguments of the runs."""
    asked: list[list[str]] = []

    def luigi_run(argv: list[str]) -> int:
        asked.append(argv)
        return codes.pop(0)

    monkeypatch.setattr(run, "_luigi_run", luigi_run)
    monkeypatch.setattr(run, "_running", lambda settings: running.pop(0))
    return asked


def test_help_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "configure", lambda: None)
    with pytest.raises(SystemExit) as end:
        run.main(["--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert said.startswith("usage")
    assert "The dataset is complete" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_host_stays_until_the_others_have_ended(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody at work for a moment is no end: between two tasks it looks like that, and the wait is told as well."""
    caplog.set_level("INFO", logger="ben_luigi")
    at_work = ["ConvertToL2A(tile=33UUP_20170613)"]
    asked = _script(monkeypatch, [25, *[10] * 9, 0], [at_work, [], *[at_work] * 8])
    assert run._run(ARGV) == 0
    assert asked == [ARGV, *[[*ARGV, "--no-lock"]] * 10], "the first run holds the lock for all"
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert "waiting for tasks that other hosts run: none now; looking once more" in caplog.messages


def test_what_nobody_works_on_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    asked = _script(monkeypatch, [25, 25], [[], []])
    assert run._run(ARGV) == 25
    assert len(asked) == 2, "once more, since a host may have died just before"


@pytest.mark.parametrize("code", [0, 30, 35, 40, 143])
def test_a_run_that_has_left_nothing_to_others_ends(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], code: int
) -> None:
    asked = _script(monkeypatch, [code], [])
    assert run._run(ARGV) == code
    assert asked == [ARGV]
    assert pauses == []


@pytest.mark.parametrize(
    ("error", "said", "luigis"),
    [
        (
            RPCError("no answer of http://me:s3cret@h/", sub_exception=OSError("Connection refused")),
            "luigid does not answer: no answer of http://h/ (OSError: Connection refused); start it",
            40,
        ),
        (KeyError("oops"), "oops", 40),
        (
            OSError(errno.ENOSPC, "No space left on device", "/none/a.pid"),
            "/none/a.pid; expected: room on the disk",
            35,
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "found: [Errno 12] Cannot allocate memory; next:", 40),
    ],
)
def test_why_luigi_has_ended_early_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    said: str,
    luigis: int,
) -> None:
    def fail(argv: list[str]) -> None:
        raise error

    settings = luigi.configuration.get_config()
    before = settings.get("retcode", "unhandled_exception", "40")
    settings.set("retcode", "unhandled_exception", "40")
    monkeypatch.setattr(luigi.interface, "_run", fail)
    code = run._run(ARGV)
    settings.set("retcode", "unhandled_exception", before)
    assert code == luigis
    assert said in caplog.text
    ours = [record for record in caplog.records if record.name == "ben_luigi"]
    assert any(record.exc_info for record in ours) == isinstance(error, KeyError), "a traceback of a bug alone"
    assert pauses == []


def test_the_same_command_on_the_same_host_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(luigi.lock, "acquire_for", lambda *_: False)
    config.lock_this_command()
    try:
        with pytest.raises(SystemExit) as end:
            run._run(ARGV)
    finally:
        luigi.configuration.get_config().set("core", "no_lock", "true")
    assert end.value.code == luigi.retcodes.retcode().already_running
    assert pauses == []
