"""Who waits says what for, and for whom; lock files are their owner's alone, and name who has them."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from ben_luigi.domain import locks, waiting


@contextmanager
def on_message(log: logging.Logger, then: Callable[[], object]) -> Iterator[None]:
    """Call `then` after each message of a log."""

    class Calls(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            then()

    handler = Calls()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def test_it_is_said_after_ten_seconds_and_then_each_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    said_at = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    with on_message(logging.getLogger(waiting.__name__), lambda: said_at.append(now[0] - 100)):
        waiting.wait_for(lambda: now[0] > 300, "the turn of X", lambda: ["7@elsewhere ConvertToL2A(tile=a)", "Bob"])
        waiting.wait_for(lambda: True, "nothing", list)
    assert said_at == [10, 70, 130, 190]
    assert caplog.messages[1] == (
        "waiting for the turn of X for 0:01:10; it is held by ConvertToL2A(tile=a) (process 7 on elsewhere), and Bob"
    )


def test_a_wait_that_cannot_ask_in_between_is_told_each_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "_AGAIN_S", 0.01)
    again = threading.Semaphore(0)
    with on_message(logging.getLogger(waiting.__name__), again.release):
        with waiting.told("rows that others write"):
            assert again.acquire(timeout=60) and again.acquire(timeout=60)
        said = len(caplog.messages)
        waiting.pause(0.05, "the time to ask again")
    assert said >= 2 and caplog.messages[0] == "waiting for rows that others write for 0:00:00"
    assert caplog.messages[said].startswith("waiting for the time to ask again for ")
    assert not [thread for thread in threading.enumerate() if thread.name == "waiting"]
    said = len(caplog.messages)
    waiting.pause(0.001, "something short")
    assert len(caplog.messages) == said


def test_a_name_fits_into_what_postgresql_keeps_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_host", lambda: "host")
    monkeypatch.setattr(waiting, "_task", "")
    assert waiting.name() == f"{os.getpid()}@host"
    waiting.at_work_on("Größe(" + 100 * "x")
    assert len(waiting.name()) == 63
    assert waiting.name().startswith(f"{os.getpid()}@host Gr??e(xxx")
    assert waiting.described(waiting.name()).startswith("Gr??e(xxx")


def _hold(path: Path, kind: int, held: Event) -> None:
    waiting.at_work_on("CutPatches(tile=33UUP_20170613)")
    locks.take(locks.opened(path), kind, "nobody")
    held.set()
    signal.pause()


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[multiprocessing.Process]:
    fork = multiprocessing.get_context("fork")
    event = fork.Event()
    process = fork.Process(target=_hold, args=(tmp_path / "a.lock", request.param, event))
    process.start()
    assert event.wait(60)
    yield process  # type: ignore[misc]
    process.kill()
    process.join()


@pytest.mark.parametrize("held", [locks.ALONE, locks.SHARED], indirect=True)
def test_who_has_stopped_with_a_lock_is_named(
    held: multiprocessing.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a lock that several share no file can name all: the kernel knows their processes, as of any other program."""
    assert held.pid
    os.kill(held.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, held.pid, os.WSTOPPED | os.WNOWAIT)
    monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
    descriptor = locks.opened(tmp_path / "a.lock")
    with on_message(logging.getLogger(waiting.__name__), held.kill):
        locks.take(descriptor, locks.ALONE, "a lock")
    os.close(descriptor)
    assert len(caplog.messages) == 1
    assert f"process {held.pid} " in caplog.text
    assert f"which is stopped: `kill -CONT {held.pid}` lets it go on" in caplog.text
    assert "CutPatches(tile=33UUP_20170613)" in caplog.text or "python" in caplog.text


@pytest.mark.parametrize("held", [locks.ALONE], indirect=True)
def test_a_holder_on_another_host_is_named_by_what_it_has_written(
    held: multiprocessing.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This kernel knows nothing of its lock."""
    monkeypatch.setattr(locks, "_lockers", lambda descriptor: iter(()))
    descriptor = locks.opened(tmp_path / "a.lock")
    assert [waiting.described(name) for name in locks.holders(descriptor)] == [
        f"CutPatches(tile=33UUP_20170613) (process {held.pid} on {waiting._host()})"
    ]
    os.close(descriptor)


def test_nobody_but_its_owner_can_open_a_lock_file_old_ones_included(tmp_path: Path) -> None:
    old = tmp_path / "old.lock"
    old.touch(0o644)
    for path in (old, tmp_path / "new.lock"):
        os.close(locks.opened(path))
        assert path.stat().st_mode & 0o777 == 0o600
        if os.geteuid() == 0:
            tmp_path.chmod(0o755)
            others = subprocess.run(["flock", "-n", path, "true"], user="nobody", capture_output=True, check=False)
            assert others.returncode != 0


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        locks.opened(tmp_path / "a.lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_an_error_and_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="not supported"):
        locks.take(locks.opened(tmp_path / "a.lock"), locks.SHARED, "a lock")
    with locks.held_while("makes", tmp_path / "a", tmp_path / "b.lock") as has_locks:
        assert not has_locks


def test_a_lock_that_was_held_leaves_no_descriptor(tmp_path: Path) -> None:
    """A run asks for some once per minute, for days."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        with locks.held(tmp_path / "a.lock", "a lock"):
            other = locks.opened(tmp_path / "a.lock")
            assert not locks.is_free(other)
            os.close(other)
        with (
            locks.held_while("makes", tmp_path / "a", tmp_path / "b.lock"),
            pytest.raises(locks.HeldByAnother, match="that no other process sends it"),
            locks.held_while("sends", tmp_path / "a", tmp_path / "b.lock"),
        ):
            pass
    assert descriptors() == before
    assert not (tmp_path / "b.lock").exists()
