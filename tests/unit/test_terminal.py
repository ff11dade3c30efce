"""Bars of several processes on one pseudo-terminal, read as a terminal would show them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, PROCESSES, STEPS = 100, 3, 20

WORKERS = f"""
import logging, multiprocessing, os, signal, sys, time
import terminal  # the module alone, without all that the package imports

log = logging.getLogger()
logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)

def work(number):
    for step in range({STEPS} + 1):
        terminal.show(f"key {{number}}", f"download of tile {{number}}", step * 5e6, {STEPS} * 5e6, "B")
        log.info("line %d of process %d", step, number)
        drawn.wait()
        time.sleep(0.01)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    terminal.end(f"key {{number}}")

with terminal.opened():
    context = multiprocessing.get_context("fork")
    drawn = context.Event()
    processes = [context.Process(target=work, args=(number,)) for number in range({PROCESSES})]
    for process in processes:
        process.start()
    sys.stdin.readline()
    drawn.set()
    for process in processes:
        process.join()
    log.info("the last line")
print("the end")
"""

BAR = re.compile(r"download of tile (\d) +\d+ %\|.*\| [\d.]+M?/100MB ([\d.]+[kMG]?B/s|\?B/s), [\d:?]+ left")
LINE = re.compile(r"line \d+ of process \d|the last line|the end")


def _on_a_terminal(
    program: str, columns: int, at_once: int = 2**16, then: Callable[[str, int], None] = lambda said, terminal: None
) -> str:
    """All that the program writes to a terminal that is so wide, and slow if it takes few bytes `at_once`.

    After each piece `then` is given what was written so far, and the terminal.
    """
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (30, columns))
    attributes = termios.tcgetattr(its)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    process = _started(program, its, its)
    os.close(its)
    said = b""
    try:
        while chunk := os.read(ours, at_once):
            said += chunk
            then(said.decode(errors="replace"), ours)
            if at_once < 2**12:
                time.sleep(0.0005)
    except OSError:  # the last process has closed it
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, said
    return said.decode()


def _started(program: str, stdin: int, output: int) -> subprocess.Popen[bytes]:
    # A standard error without a buffer has no lock, and nothing to be tested.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=stdin,
        stdout=output,
        stderr=output,
        env={**buffered, "PYTHONPATH": str(ROOT / "ben_luigi")},
    )


def _screen(said: str) -> list[str]:
    """What stands on an endless screen at the end: carriage return, line feed, cursor up and clearing are obeyed."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for token in re.findall(r"\x1b\[[AJ]|\r|\n|[^\x1b\r\n]+", said):
        if token == "\x1b[A":
            row -= 1
        elif token == "\x1b[J":
            rows[row:] = [rows[row][:column]]
        elif token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append([])
        else:
            rows[row] += [" "] * (column + len(token) - len(rows[row]))
            rows[row][column : column + len(token)] = token
            column += len(token)
    return [text for text in ("".join(row).rstrip() for row in rows) if text]


@pytest.mark.parametrize("columns", [COLUMNS, 0])
def test_bars_of_several_processes_garble_neither_each_other_nor_the_lines(columns: int) -> None:
    seen: set[str] = set()

    def then(said: str, terminal: int) -> None:
        if not seen and all(f"download of tile {number}" in said for number in range(PROCESSES)):
            seen.add("all")
            os.write(terminal, b"\n")

    said = _on_a_terminal(WORKERS, columns, then=then)
    pieces = [piece.strip() for piece in re.split(r"\x1b\[[AJ]|\r|\n", said) if piece.strip()]
    assert [piece for piece in pieces if not BAR.fullmatch(piece) and not LINE.fullmatch(piece)] == []
    drawn = {match[1] for piece in pieces if (match := BAR.fullmatch(piece))}
    assert drawn == {"0", "1", "2"}
    assert max(map(len, pieces)) <= COLUMNS

    expected = {f"line {step} of process {number}" for step in range(STEPS + 1) for number in range(PROCESSES)}
    left = _screen(said)
    assert set(left) == {*expected, "the last line", "the end"}
    assert len(left) == len(expected) + 2
    assert left[-2:] == ["the last line", "the end"]


FORKS = """
import logging, multiprocessing, sys, threading, time
import terminal

log = logging.getLogger()
fork = multiprocessing.get_context("fork")

def write(stop):
    number = 0
    while not stop.is_set():
        number += 1
        for bar in range(4):
            terminal.show(f"key {bar}", f"bar {bar}", number % 1000, 1000, "B")
        log.info("line %d", number)
        time.sleep(0.002)

def fork_and_fork():
    for number in range(200):
        child = fork.Process(target=int)
        child.start()
        child.join(60)
        if child.exitcode is None:
            child.kill()
            sys.exit(f"child {number} does not end")
"""

BARS = f"""{FORKS}
logging.basicConfig(level=logging.INFO, force=True)
with terminal.opened():
    stop = fork.Event()
    other = fork.Process(target=write, args=(stop,))
    other.start()
    try:
        fork_and_fork()
    finally:
        stop.set()
        other.join()
"""

THREAD = f"""{FORKS}
terminal.outlive_readers()
logging.basicConfig(level=logging.INFO, force=True)
stop = threading.Event()
thread = threading.Thread(target=write, args=(stop,))
thread.start()
try:
    fork_and_fork()
finally:
    stop.set()
    thread.join()
"""


@pytest.mark.parametrize("program", [BARS, THREAD], ids=["bars", "a thread that logs"])
def test_a_child_ends_though_it_was_forked_while_a_slow_terminal_was_written_to(program: str) -> None:
    """Two hundred of them: a lock that the one that writes held when they were forked is never free again in them."""
    _on_a_terminal(program, COLUMNS, at_once=64)


WIDTHS = """
import sys
import terminal

with terminal.opened():
    terminal.show("a", "a bar with a name", 30, 100, "B")
    terminal.show("b", "a bar with a long name, of which nobody knows how long it will take", 3, None, "patches")
    sys.stdin.readline()
    terminal.show("a", "a bar with a name", 60, 100, "B")
    sys.stdin.readline()
"""


def test_no_bar_breaks_in_two_where_a_terminal_becomes_narrower_or_shows_what_is_typed() -> None:
    """A terminal that is 60 letters wide, then 40. Its cursor rests where a `^C` fits in."""
    told: list[int] = []

    def then(said: str, terminal: int) -> None:
        if not told and "long name" in said:
            termios.tcsetwinsize(terminal, (30, 40))
            told.append(len(said))
            os.write(terminal, b"\n")
        if len(told) == 1 and "60 %" in said[told[0] :]:
            told.append(len(said))
            os.write(terminal, b"\n")

    said = _on_a_terminal(WIDTHS, 60, then=then)
    frames = [frame for frame in said.split("\r\x1b[J") if "bar" in frame]
    assert len(told) == 2 and len(frames) >= 2, said
    for frame, columns, name in ((frames[0], 60, "a bar with a name "), (frames[-1], 40, "a ba...ame ")):
        rows = re.split(r"\r\n|\x1b\[A|\r", frame)
        assert rows[0].startswith(name) and rows[1].startswith("a bar with a long"), frame
        assert max(map(len, rows)) < columns, frame
        assert frame.replace("\r\n", "").endswith("\x1b[A\r"), frame


OVERALL = """
import os, sys
import terminal

with terminal.opened():
    terminal.expect({"CutPatches": 3600, "ConvertToL2A": 7200}, {"": 4, "ConvertToL2A": 1})
    for number in range(85):
        terminal.task(f"t{number}", "ConvertToL2A" if number < 5 else "CutPatches", "waits")
    for number in range(49, 80):
        terminal.task(f"t{number}", "CutPatches", "runs")
        terminal.task(f"t{number}", "CutPatches", "done", 1800.0)
        terminal.task(f"t{number}", "CutPatches", "waits")  # as another task that needs it finds it
    for number in range(4):
        terminal.task(f"t{number}", "ConvertToL2A", "runs")
    terminal.task("t84", "CutPatches", "failed")
    terminal.show("a", "download of 33UUP_20170613", 45e7, 1e9, "B")
    terminal.show("b", "compressing S1A_IW_GRDH_1SDV_20170613T165043_33UUP of BigEarthNet-S1", 4e6, 8e6, "B")
    sys.stdin.readline()
    if not os.fork():
        terminal.task("t4", "ConvertToL2A", "runs")  # and ends without a word
        os._exit(0)
    os.wait()
    sys.stdin.readline()
"""


def test_one_line_tells_of_the_whole_run_and_bars_can_be_read_on_80_columns() -> None:
    """Ten hours: five conversions of two hours, one at a time, while the other tasks take half an hour by now."""
    whole = "31 of 85 tasks, 4 running, 1 failed, about 10 h left"
    answered: list[int] = []

    def then(said: str, terminal: int) -> None:
        frames = said.split("\r\x1b[J")[:-1]
        moments = [
            bool(frames) and "compressing" in frames[-1] and whole in frames[-1],
            bool(answered) and whole in said[answered[0] :].partition("5 running")[2],
        ]
        if any(moments[len(answered) :][:1]):
            answered.append(len(said))
            os.write(terminal, b"\n")

    said = _on_a_terminal(OVERALL, 80, then=then)
    frame = next(frame for frame in said.split("\r\x1b[J") if "compressing" in frame and whole in frame)
    rows = re.split(r"\r\n|\x1b\[A|\r", frame)
    assert rows[0] == whole
    assert re.fullmatch(r"download of 33UUP_20170613 +45 %\|.{10,}\| .*left", rows[1])
    assert re.fullmatch(r"compressing S1A_IW.*\.\.\..*BigEarthNet-S1 +50 %\|.{10,}\| .*left", rows[2])
    assert max(map(len, rows)) < 80
    assert whole not in "".join(_screen(said)), "it goes with the bars"


ASKS = """
import logging, sys, time
import terminal

log = logging.getLogger()
logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
with terminal.opened():
    terminal.show("key", "download of tile 0", 5e6, 100e6, "B")
    sys.stdin.readline()
    with terminal.asking():
        log.info("a line meanwhile")
        terminal.show("key", "download of tile 0", 50e6, 100e6, "B")
        print("the question: ", end="", flush=True)
        sys.stdin.readline()
    log.info("the last line")
"""


def test_nothing_is_drawn_into_a_question() -> None:
    """Neither the bar that was there, nor what happens until the answer."""
    answers: list[int] = []

    def answer(said: str, screen: int) -> None:
        if not answers and "download of tile 0" in said:
            answers.append(os.write(screen, b"go on\n"))
        elif len(answers) == 1 and "the question: " in said:
            time.sleep(0.5)  # in which a bar would come
            answers.append(os.write(screen, b"an answer\n"))

    said = _on_a_terminal(ASKS, COLUMNS, then=answer)
    before, _, after = said.partition("the question: ")
    assert before.endswith("\x1b[J") and "a line meanwhile" not in before
    assert "download of tile 0" not in after.partition("a line meanwhile")[0]
    assert after.index("a line meanwhile") < after.index("the last line")
    assert len(answers) == 2


def test_lines_are_written_though_the_process_that_draws_was_killed() -> None:
    said = _on_a_terminal(
        """
import logging, subprocess
import terminal

logging.basicConfig(level=logging.INFO, format="%(message)s")
started = []
popen = subprocess.Popen
subprocess.Popen = lambda *what, **how: started.append(popen(*what, **how)) or started[-1]
with terminal.opened():
    logging.info("before")
    started[0].kill()
    started[0].wait()
    logging.info("after")
    terminal.show("a", "a bar", 1, 2, "B")
""",
        COLUMNS,
    )
    assert "after" in _screen(said)


@pytest.mark.parametrize("merged", [False, True])
def test_a_command_goes_on_though_nobody_reads_what_it_prints(tmp_path: Path, merged: bool) -> None:
    """As in `command | head -1`, with what it logs too or without: no word of it, and the usual exit code."""
    program = f"""
import logging, pathlib, sys
import terminal
terminal.outlive_readers()
logging.basicConfig(level=logging.INFO, format="%(message)s")
for number in range(100_000):
    print("line", number)
    logging.info("logged %d", number)
pathlib.Path({str(tmp_path / "end")!r}).touch()
sys.exit(20)
"""
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT / "ben_luigi")},
        )
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 20
    assert (tmp_path / "end").exists()
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert lines == ([] if merged else [f"logged {number}" for number in range(100_000)])
