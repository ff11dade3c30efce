"""What stops a process does so wherever it comes; commands of ours are in `tests/integration/test_signals.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi import signals

ROOT = Path(__file__).resolve().parents[2]
UNDONE = """
import atexit, os, signal, sys, threading, time
import signals  # the module alone

signals.catch()
def undo():
    os.kill(os.getpid(), signal.SIGTERM)  # which does not come in between
    print("undone", flush=True)
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", UNDONE + program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "ben_luigi")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
def test_what_was_begun_is_undone_and_one_line_says_why(name: str) -> None:
    run = _run(f"""
signals.consequence = ": it is not done"
try:
    signal.raise_signal(signal.{name})
finally:
    undo()
""")
    number = signal.Signals[name]
    assert run.returncode == 128 + number
    assert run.stdout == "undone\n"
    assert run.stderr == f"stopped by {signals._SAID[number]}: it is not done\n"


def test_another_thread_may_stop_the_process_for_a_reason_and_with_a_code_of_its_own() -> None:
    """By a signal that is handled: SIGTERM may be ignored."""
    run = _run("""
import sys
threading.Timer(0.05, signals.stop, ["the end of the world", 20]).start()
try:
    time.sleep(60)
except SystemExit as end:
    signals.undo()
    sys.exit(end.code)
""")
    assert (run.returncode, run.stderr) == (20, "stopped by the end of the world\n")


def test_a_signal_that_has_come_before_counts() -> None:
    run = _run("""
try:
    signal.raise_signal(signal.SIGINT)
finally:
    signals.stop("the end of the world", 20)
    sys.exit(signals.undo())
""")
    assert (run.returncode, run.stderr) == (130, "stopped by Ctrl-C\n")


SWALLOWED = {
    "at a fork": "os.register_at_fork(before=come)\nif os.fork() == 0: os._exit(0)",
    "at the end of an object": "Deleted()",
}


@pytest.mark.parametrize("where", SWALLOWED)
def test_it_comes_again_where_python_cannot_pass_it_on(where: str) -> None:
    """As `Exception ignored in ...`, after which the run went on, and no other signal stopped it."""
    run = _run(f"""
come = lambda: signal.raise_signal(signal.SIGINT)
class Deleted:
    def __del__(self): come()
try:
    {SWALLOWED[where].replace(chr(10), chr(10) + "    ")}
    time.sleep(100)
finally:
    undo()
""")
    assert (run.returncode, run.stdout, run.stderr) == (130, "undone\n", "stopped by Ctrl-C\n")


def test_another_thread_ends_the_process_where_the_main_thread_does_not() -> None:
    """It waits in C, where no Python code of its own runs."""
    run = _run("""
import ctypes
signals._PATIENCE_S = 0.1
signals.last_resort = lambda: print("the last resort", flush=True)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
c = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
c.pthread_mutex_lock(mutex)
c.pthread_mutex_lock(mutex)  # which waits for itself
""")
    assert (run.returncode, run.stdout, run.stderr) == (130, "the last resort\n", "stopped by Ctrl-C\n")


def test_another_thread_ends_the_process_where_the_signal_came_while_others_were_to_hear_it_first() -> None:
    """As while a process is started: the signal reaches the one who starts it first, and this module after that."""
    run = _run("""
signals._PATIENCE_S = 0.1
ours = signal.getsignal(signal.SIGINT)
signal.signal(signal.SIGINT, lambda number, frame: ours(number, frame))
try:
    signal.raise_signal(signal.SIGINT)
finally:
    threading.Event().wait()
""")
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "stopped by Ctrl-C\n")


def test_a_signal_that_is_passed_on_ends_the_other_process_alone() -> None:
    run = _run("""
import subprocess
signals._PATIENCE_S = 0.1
other = subprocess.Popen(["sleep", "100"])
with signals.passed_on(other):
    signal.raise_signal(signal.SIGINT)
    print(other.wait())
time.sleep(0.5)  # longer than the thread's patience
""")
    assert (run.returncode, run.stdout, run.stderr) == (0, "-2\n", "")


def test_a_signal_that_was_passed_on_is_no_other_one_to_a_thread_that_comes_late() -> None:
    run = _run("""
import subprocess

class Slow(dict):
    def __contains__(self, number):
        time.sleep(0.3)
        return super().__contains__(number)

signals._SAID = Slow(signals._SAID)
other = subprocess.Popen(["sleep", "100"])
with signals.passed_on(other):
    signal.raise_signal(signal.SIGINT)
    print(other.wait())
signals._PATIENCE_S = 0.1
time.sleep(0.5)  # longer than the thread's patience
""")
    assert (run.returncode, run.stdout, run.stderr) == (0, "-2\n", "")


def test_a_forked_process_is_stopped_by_itself_alone() -> None:
    run = _run("""
child = os.fork()
if not child:
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as end:
        os._exit(end.code)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signals.came)
""")
    assert (run.returncode, run.stdout, run.stderr) == (0, "143 0\n", "")


@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2)])
def test_no_file_takes_the_place_of_a_descriptor_that_is_closed(closed: tuple[int, ...], tmp_path: Path) -> None:
    program = f"""
for number in {closed}: os.close(number)
signals.fill_descriptors()
taken = os.open({str(tmp_path / "file")!r}, os.O_WRONLY | os.O_CREAT)
os.write(1, b"standard output"); os.write(2, b"standard error")
os._exit(taken < 3)
"""
    assert _run(program).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


IN_A_CALLBACK = """
import os, signal
import luigi
from ben_luigi import signals

signals.catch()

@luigi.Task.event_handler(luigi.Event.START)
@signals.raised_again
def started(task):
    os.kill(os.getpid(), signal.SIGINT)

task = luigi.Task()
task.trigger_event(luigi.Event.START, task)
try:
    while True:
        signal.pause()
except SystemExit as end:
    print("raised again", end.code)
    signals.undo()
"""


def test_a_signal_within_a_callback_of_luigi_which_swallows_it_stops_the_run_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "raised again 130\n", done.stderr
