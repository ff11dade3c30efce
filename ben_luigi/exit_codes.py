"""Define the exit codes of all commands in one table, from which their help and `docs/troubleshooting.md` are made."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """How a command has ended; `meaning` says it in words."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Return an integer with words."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done, or nothing was to be done"
    FINDINGS = 1, "checked, and something in the data is wrong, which is named"
    WRONG_ARGUMENTS = 2, "wrong arguments; the message says what is right"
    ALREADY_RUNNING = 10, "the same command is already running; the message says where"
    WAITS_FOR_PERSON = 20, "waits for a person: an input is missing, or an option or a file is wrong"
    FAILED = 30, "failed, and will be tried again by the next run"
    TERMINAL_CLOSED = 129, "stopped: its terminal was closed"
    INTERRUPTED = 130, "stopped by Ctrl-C"
    TERMINATED = 143, "stopped by SIGTERM"


STOPPED = (ExitCode.TERMINAL_CLOSED, ExitCode.INTERRUPTED, ExitCode.TERMINATED)


def table() -> str:
    """Return all of them as a Markdown table; `python -m ben_luigi.exit_codes` prints it."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| Exit code | Meaning |", "| --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
