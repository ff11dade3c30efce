"""Record how long each task took: one line in `times/<host>.jsonl`, for the report."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import luigi

from ben_luigi import config


def folder() -> Path:
    """Return the folder of the recorded times."""
    return config.data_dir() / "times"


def note(task: luigi.Task, seconds: float) -> None:
    """Record that a task has just ended; a failure to do so is ignored.

    Each line is written by one call, so that it stays whole.
    """
    record = {"task": str(task), "family": task.task_family, "began": time.time() - seconds, "seconds": seconds}
    line = json.dumps({name: round(text, 3) if isinstance(text, float) else text for name, text in record.items()})
    path = folder() / f"{socket.gethostname()}.jsonl"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)
