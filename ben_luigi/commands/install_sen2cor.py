"""`ben-luigi install-sen2cor FOLDER [FILE]`: fetch the installer of Sen2Cor 2.11, verify it by its hash, and run it.

Then it says what to write into the configuration.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.domain import inputs, surroundings
from ben_luigi.domain.errors import BadInput, PipelineError, Sen2CorError
from ben_luigi.domain.products import sen2cor

INSTALLER = inputs.PinnedFile(Path(sen2cor.SOURCE).name, sen2cor.SOURCE, sha256=sen2cor.SHA256)


def install(folder: Path, file: Path | None = None, pinned: inputs.PinnedFile = INSTALLER) -> Path:
    """Install into `folder`, which must be absent or empty; return the path of L2A_Process.

    Raise BadInput if the installer is not the pinned one, Sen2CorError if it does not install the program.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Sen2CorError(folder, expected="an absent or empty folder", found="files in it", remedy="name another")
    if file is None:
        file = inputs.fetch(pinned, folder.absolute().parent)
    expected, found = pinned.matches(file)
    if found != expected:
        raise BadInput(file, expected=f"sha256 {expected}", found=found, remedy=f"fetch it again from {pinned.url}")
    command = ["bash", str(file), "--target", str(folder.absolute())]
    done = subprocess.run(command, env=surroundings.of_child(), stdin=subprocess.DEVNULL, check=False)
    program = folder.absolute() / "bin" / sen2cor.PROGRAM
    if done.returncode or not program.is_file():
        raise Sen2CorError(
            file,
            expected=f"an installer that leaves {program}",
            found=f"exit code {done.returncode}",
            remedy="look at what it printed above; it needs several GB of disk",
        )
    return program


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    used = command.parser("ben-luigi install-sen2cor", __doc__)
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where to install it; absent or empty")
    used.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the installer, if you have it already")
    return used


def main(arguments: Sequence[str]) -> int:
    """Install, and say how to go on."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        program = install(options.folder, options.file)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error)
    print(f"Sen2Cor {sen2cor.version(str(program))} is installed. Write into your configuration:\n")
    print(f"[sen2cor]\nexecutable = {program}")
    return 0
