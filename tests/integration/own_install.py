"""The package installed by setuptools, as in the image, into an environment where only the libraries are besides it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.integration.running import ROOT, environment

_PROJECT = ("ben_luigi", "tracked_artifacts", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def install(folder: Path, source: Path) -> None:
    """Make the environment in `folder`; a path in a `.pth` file brings libraries, and not what their own files name."""
    for name in _PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    made = subprocess.run([sys.executable, "-I", "-m", "venv", folder], capture_output=True, text=True, check=False)
    python = folder / "bin" / "python"
    if made.returncode or subprocess.run([python, "-I", "-c", "import setuptools"], check=False).returncode:
        version = sys.version.split()[0]
        pytest.skip(f"Python {version} brings no setuptools: 3.11 does, Debian's by python3-venv. {made.stdout}")
    purelib = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (purelib / "a_libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    words = ["install", "--single-version-externally-managed", "--record", str(source / "record")]
    subprocess.run(
        [python, "-W", "ignore", "setup.py", "-q", *words],
        cwd=source,
        env=environment(),
        check=True,
        capture_output=True,
    )
    folder.chmod(0o755)  # so that users of containers may use it
    shutil.rmtree(source)
