"""`scripts/install-sen2cor`: fetch ESA's installer, verify it, run it, and say what to write into luigi.cfg."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ben_luigi.domain import inputs
from ben_luigi.domain.errors import BadInput, PipelineError, Sen2CorError
from ben_luigi.domain.products import sen2cor

INSTALLER = inputs.PinnedFile(Path(sen2cor.SOURCE).name, sen2cor.SOURCE, sha256=sen2cor.SHA256)


def install(folder: Path, file: Path | None = None, pinned: inputs.PinnedFile = INSTALLER) -> Path:
    """Install into `folder`, which must be absent or empty; gives the path of L2A_Process.

    BadInput if the installer is not the pinned one, Sen2CorError if it does not leave the program.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Sen2CorError(folder, expected="an absent or empty folder", found="files in it", remedy="name another")
    if file is None:
        file = inputs.fetch(pinned, folder.absolute().parent)
    expected, found = pinned.matches(file)
    if found != expected:
        raise BadInput(file, expected=f"sha256 {expected}", found=found, remedy=f"fetch it again from {pinned.url}")
    done = subprocess.run(["bash", file, "--target", folder.absolute()], stdin=subprocess.DEVNULL, check=False)
    program = folder.absolute() / "bin" / sen2cor.PROGRAM
    if done.returncode or not program.is_file():
        raise Sen2CorError(
            file,
            expected=f"an installer that leaves {program}",
            found=f"exit code {done.returncode}",
            remedy="look at what it printed above; it needs several GB of disk",
        )
    return program


def main() -> int:
    """Install, and say how to go on."""
    parser = argparse.ArgumentParser(prog="scripts/install-sen2cor", description=f"Install Sen2Cor {sen2cor.VERSION}.")
    parser.add_argument("folder", type=Path, help="where to install it")
    parser.add_argument("file", type=Path, nargs="?", help="the installer, if you have it already")
    arguments = parser.parse_args()
    try:
        program = install(arguments.folder, arguments.file)
    except (PipelineError, OSError) as error:
        print(f"install-sen2cor: {error}", file=sys.stderr)
        return 1
    print(f"Sen2Cor {sen2cor.version(str(program))} is installed. Write into your configuration:\n")
    print(f"[sen2cor]\nexecutable = {program}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
