"""What `md5sum` says of a file, and the lines of a list."""

from __future__ import annotations

import subprocess
from pathlib import Path


def md5_of(path: Path) -> str:
    return subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


def lines_of(path: Path, end: bytes) -> list[str]:
    text = path.read_bytes()
    assert text.endswith(end)
    assert text.count(b"\n") == text.count(end)
    return text.decode().splitlines()
