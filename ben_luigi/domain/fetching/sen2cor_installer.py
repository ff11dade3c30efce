"""Fetch ESA's installer of Sen2Cor, verify it by its hash, and run it into a folder."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from ben_luigi.domain import children, fence, files, surroundings
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadArgument, BadInput, Sen2CorError
from ben_luigi.domain.fetching.pinned import PATIENCE, fetch
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.domain.products import sen2cor
from ben_luigi.domain.progress import OnBytes, ignore_bytes

INSTALLER = PinnedFile(Path(sen2cor.SOURCE).name, sen2cor.SOURCE, sha256=sen2cor.SHA256)
LICENCE = "https://step.esa.int/main/snap-supported-plugins/sen2cor/"
"""The page of ESA that says under what terms Sen2Cor is given out."""

_GRACE_S = 10.0


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
    If it fails, or this process is stopped, nothing of it goes on, and the folder is removed.
    Raises BadArgument if folder or file are not as they must be, BadInput if the installer is not the pinned one or
    cannot be had, Sen2CorError if it does not leave the program.
    """
    folder = folder.absolute()
    _require_empty(folder)
    if file is None:
        file = fetch(pinned, folder.parent, progress, patience)
    elif not file.is_file():
        raise BadArgument(file, expected="the installer", found="no file", remedy="correct the path, or leave it out")
    expected, found = pinned.matches(file)
    if found != expected:
        raise BadInput(file, expected=f"sha256 {expected}", found=found, remedy=f"fetch it again from {pinned.url}")
    # It is run into the folder itself: what it writes there may contain the path.
    try:
        code = _run(["bash", str(file), "--target", str(folder)], log, folder)
        program = folder / "bin" / sen2cor.PROGRAM
        if code or not program.is_file():
            raise _failed(file, program, code, log)
    except BaseException:
        with suppress(OSError):
            files.withdraw(folder)
        raise
    return program


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadArgument(
            folder,
            expected="an absent or empty folder",
            found="files in it" if folder.is_dir() else "a file",
            remedy="name another; or remove it, if an installation has broken off there",
        )


def _failed(file: Path, program: Path, code: int, log: Path | None) -> Sen2CorError:
    where = f"look at {log}" if log else "look at what it printed above"
    return Sen2CorError(
        file,
        expected=f"an installer that leaves {program}",
        found=f"exit code {code}",
        remedy=f"{where}; it needs several GB of disk",
    )


def _run(command: list[str], log: Path | None, folder: Path) -> int:
    """Run the installer; if this process is killed, it ends with all that it has started, and the folder is removed.

    Within a turn the folder stays: another process may have taken over, and the next turn begins by removing it.
    """
    unfinished = [] if fence.current() else [folder]
    with _opened(log) as output:
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output and subprocess.STDOUT}
        env = surroundings.of_child()
        with children.running(command, env=env, grace_s=_GRACE_S, unfinished=unfinished, **how) as process:
            return process.wait()


def _opened(log: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    if log is None:
        return nullcontext()
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("wb")
