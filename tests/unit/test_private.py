"""What may hold secrets is for its owner alone, whatever the umask."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest

from ben_luigi import config
from ben_luigi.commands import cron_rerun
from ben_luigi.domain import private, surroundings
from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.state import failures


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders(tmp_path: Path) -> None:
    private.write_text(tmp_path / "a" / "text", "März")
    assert (tmp_path / "a" / "text").read_bytes() == "März".encode()
    private.make_folder(tmp_path / "b" / "c")
    (tmp_path / "log").write_text("of before")
    with private.open_anew(tmp_path / "log") as file:
        file.write(b"now")
    assert (tmp_path / "log").read_bytes() == b"now"
    assert [mode(tmp_path / name) for name in ("a/text", "b/c", "log")] == [0o600, 0o700, 0o600]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "goal")
    with pytest.raises(OSError, match="symbolic links"):
        private.open_anew(tmp_path / "link")
    private.write_text(tmp_path / "link", "text")
    assert not (tmp_path / "goal").exists()
    assert mode(tmp_path / "link") == 0o600


def test_who_owns_and_who_may_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    private.check(path)
    with pytest.raises(PipelineError, match=f"where user {os.geteuid()} runs"):
        private.check(path, owners=frozenset({os.geteuid() + 1}))
    path.chmod(0o602)
    with pytest.raises(PipelineError, match="mode 602"):
        private.check(path)


def test_failures_logs_and_locks_of_cron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "data_dir", lambda: tmp_path)
    failures.note(luigi.Task(), BadInput("postgresql://ben:secret@h", expected="a", found="b", remedy="c"))
    with cron_rerun._lock() as lock:
        assert lock is not None
        monkeypatch.setattr(subprocess, "Popen", _Ended)
        log, code = cron_rerun._run([], lock)
    cron_rerun._tell(30, failures.noted(), failures.noted(), log)
    assert code == 0
    kept = {path: mode(path) for path in tmp_path.rglob("*") if path.is_file()}
    host = socket.gethostname()
    assert {path.relative_to(tmp_path).parts[0] for path in kept} == {"failed", "logs", "cron"}
    assert {f"{host}.lock", f"{host}.json"} <= {path.name for path in kept}
    assert {*kept.values()} == {0o600}


class _Ended:
    """A run that is over at once."""

    def __init__(self, command: list[str], **how: object) -> None:
        assert how["env"] == surroundings.as_found(), "our own program is told all that we were told"

    def wait(self) -> int:
        return 0
