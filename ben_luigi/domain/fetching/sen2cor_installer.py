"""Fetch ESA's installer of Sen2Cor, verify it by its hash, and run it into a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ben_luigi.domain import surroundings
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadInput, Sen2CorError
from ben_luigi.domain.fetching.pinned import PATIENCE, fetch
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.domain.products import sen2cor
from ben_luigi.domain.progress import OnBytes, ignore_bytes

INSTALLER = PinnedFile(Path(sen2cor.SOURCE).name, sen2cor.SOURCE, sha256=sen2cor.SHA256)
LICENCE = "https://step.esa.int/main/snap-supported-plugins/sen2cor/"
"""The page of ESA that says under what terms Sen2Cor is given out."""


def install(
    folder: Path,
    file: Path | None = None,
    pinned: PinnedFile = INSTALLER,
    *,
    log: Path | None = None,
    progress: OnBytes = ignore_bytes,
    patience: Patience = PATIENCE,
) -> Path:
    """Install into `folder`, which must be absent or empty; gives the path of L2A_Process.

    The installer is `file`, or fetched beside the folder. What it prints goes to `log`, or where this process prints.
    Raises BadInput if the installer is not the pinned one, Sen2CorError if it does not leave the program.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise Sen2CorError(folder, expected="an absent or empty folder", found="files in it", remedy="name another")
    if file is None:
        file = fetch(pinned, folder.parent, progress, patience)
    expected, found = pinned.matches(file)
    if found != expected:
        raise BadInput(file, expected=f"sha256 {expected}", found=found, remedy=f"fetch it again from {pinned.url}")
    code = _run(["bash", str(file), "--target", str(folder)], log)
    program = folder / "bin" / sen2cor.PROGRAM
    if code or not program.is_file():
        where = f"look at {log}" if log else "look at what it printed above"
        raise Sen2CorError(
            file,
            expected=f"an installer that leaves {program}",
            found=f"exit code {code}",
            remedy=f"{where}; it needs several GB of disk",
        )
    return program


def _run(command: list[str], log: Path | None) -> int:
    if log is None:
        done = subprocess.run(command, env=surroundings.of_child(), stdin=subprocess.DEVNULL, check=False)
        return done.returncode
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            env=surroundings.of_child(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode
