"""Write the program that runs the stand-in for Sen2Cor with the Python that is at work here."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from ben_luigi.domain.files import atomic_write

_PACKAGES = Path(__file__).resolve().parents[2]


def is_ours(path: Path) -> bool:
    """Return whether there is such a program, of this Python: another one may be gone since it was written."""
    try:
        return path.read_bytes() == _script()
    except OSError:
        return False


def write(path: Path) -> None:
    """Write it, as a shell script: the path of an interpreter may be too long for a shebang."""
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as work:
        work.write_bytes(_script())
        work.chmod(0o755)


def _script() -> bytes:
    code = (
        f"import sys; sys.path.insert(0, {str(_PACKAGES)!a}); "
        "from ben_luigi.sample.sen2cor_stand_in import main; sys.exit(main())"
    )
    # A Python of a cluster's modules may find its own library by this variable, which Sen2Cor does not get.
    library = os.environ.get("LD_LIBRARY_PATH")
    found = ["env", f"LD_LIBRARY_PATH={library}"] if library else []
    command = shlex.join([*found, sys.executable, "-P", "-c", code])
    return os.fsencode(f'#!/bin/sh\n# STAND-IN for Sen2Cor, made with the sample world.\nexec {command} "$@"\n')
