"""Whatever lies in a file of a user is read right, or is an error that names the file: in bounded memory, at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT
from tests.unit.hostile_files import KINDS
from tests.unit.hostile_versions import ANY, VERSIONS

OWN, PINNED = "S1 archive with its own md5", "S1 archive"
CASES = [
    (kind, version)
    for kind in KINDS
    for version in ("whole", *(ANY if kind != OWN else ()), *VERSIONS.get(kind, {}))
    if (kind, version) != (PINNED, "40 GB of zeros")  # the archive has 55 GB, and all of it is read for its md5
]
MOST_BYTES = 300 * 2**20
"""That a reader may take for any of them."""

_HANGS_S = 1800
"""Nothing waits: this is for a reader that opens a FIFO, and longer than all of them take on any machine."""


class Judged(NamedTuple):
    """What has become of a version, and by how many bytes the memory grew."""

    path: Path
    outcome: str
    error: str
    growth: int


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Judged]:
    """All versions, read one after the other by a process with little memory."""
    paths = {}
    for number, (kind, version) in enumerate(CASES):
        folder = tmp_path_factory.mktemp(f"case{number}")
        path = KINDS[kind].make(folder)
        if version != "whole":
            found = {**ANY, **VERSIONS.get(kind, {})}[version](path)
            path = found if isinstance(found, Path) else path
        paths[kind, version] = path
    lines = "".join(f"{kind}\t{path}\n" for (kind, _), path in paths.items())
    command = [sys.executable, "-m", "tests.unit.hostile_files"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=ROOT, timeout=_HANGS_S, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(paths), f"{CASES[len(found)]} ended the process: {done.returncode}, {done.stderr[-2000:]}"
    return {case: Judged(path, *rest) for (case, path), (_, _, *rest) in zip(paths.items(), found, strict=True)}


@pytest.mark.parametrize(("kind", "version"), CASES, ids=[f"{kind}-{version}" for kind, version in CASES])
def test_it_is_refused_by_name_in_bounded_memory(
    kind: str, version: str, judged: dict[tuple[str, str], Judged]
) -> None:
    if version == "unreadable" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    found = judged[kind, version]
    assert found.outcome != "traceback", found.error
    assert found.growth < MOST_BYTES
    if version == "whole":
        assert found.outcome == "read", found.error
        return
    if found.outcome == "read":
        assert version in KINDS[kind].harmless
        return
    named = next(
        part for part in (found.path.name, *(parent.name for parent in found.path.parents)) if part in found.error
    )
    assert not named.startswith("case")
    assert all(word in found.error for word in ("expected: ", "found: ", "next: "))
    assert len(found.error) < 2000 and found.error.isprintable()
