"""The package, installed by setuptools into an empty environment, where only the libraries are found besides it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi import __version__
from tests.integration.running import ROOT, environment

MODULE = ["-X", "utf8", "-m", "luigi", "--module", "ben_luigi"]


def _run(installed: Path, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_it_holds_all_that_the_checkout_has(installed: Path) -> None:
    (package,) = installed.glob("lib/python*/site-packages/ben_luigi")
    ours = {path.relative_to(ROOT / "ben_luigi") for path in (ROOT / "ben_luigi").rglob("*") if path.is_file()}
    ours |= {path.relative_to(ROOT) for path in (ROOT / "tracked_artifacts").rglob("*") if path.is_file()}
    there = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix != ".pyc"} == {path for path in ours if path.suffix != ".pyc"}


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1"])
def test_it_plans_the_sample_world_in_another_folder(installed: Path, tmp_path: Path, locale: str) -> None:
    """Neither modules of the current folder, nor of PYTHONPATH, nor another copy of this package get in."""
    others = tmp_path / "others"
    shutil.copytree(ROOT / "ben_luigi", others / "ben_luigi", ignore=shutil.ignore_patterns("__pycache__"))
    (others / "ben_luigi" / "config.py").write_text("raise SystemExit('the package of others')")
    for folder in (others, tmp_path):
        (folder / "numpy.py").write_text("raise SystemExit('numpy of others')")
    program = str(installed / "bin" / "ben-luigi")
    done = _run(installed, tmp_path, program, "plan", LC_ALL=locale, PYTHONPATH=str(others))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"FinalizeDataset on the sample world, about 4 tiles, in {tmp_path / 'data'}" in done.stdout
    version = _run(installed, tmp_path, str(installed / "bin" / "python"), "-m", "ben_luigi", "--version")
    assert version.stdout == f"ben-luigi {__version__}\n"


def test_it_reads_the_users_configuration_and_the_variables_in_it(installed: Path, tmp_path: Path) -> None:
    """The program starts itself once more, and must not lose what it keeps from other programs."""
    own = tmp_path / "own.cfg"
    own.write_text("[dataset]\ndata_dir = ${PLACE}\n")
    variables = {"LUIGI_CONFIG_PATH": str(own), "PLACE": str(tmp_path / "there")}
    done = _run(installed, tmp_path, str(installed / "bin" / "ben-luigi"), "plan", **variables)
    assert f"in {tmp_path / 'there'}" in done.stdout


def test_it_starts_itself_with_the_variables_that_only_some_libraries_may_have(installed: Path, tmp_path: Path) -> None:
    code = "from ben_luigi.domain import surroundings; print(surroundings.as_found()['AWS_PROFILE'])"
    done = _run(installed, tmp_path, str(installed / "bin" / "python"), "-I", "-c", code, AWS_PROFILE="mine")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "mine\n")


def test_it_finds_what_it_tracks_and_its_stand_in_for_sen2cor(installed: Path, tmp_path: Path) -> None:
    code = """
from pathlib import Path
from ben_luigi import config
from ben_luigi.sample import launcher
print(sorted(path.name for path in config.TRACKED_ARTIFACTS.iterdir()))
launcher.write(Path("bin/L2A_Process"))
"""
    done = _run(installed, tmp_path, str(installed / "bin" / "python"), "-I", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{sorted(path.name for path in (ROOT / 'tracked_artifacts').iterdir())}\n"
    stand_in = _run(installed, tmp_path, str(tmp_path / "bin" / "L2A_Process"), "--help", HOME=os.environ["HOME"])
    assert stand_in.returncode == 0, stand_in.stderr
    assert "Sen2Cor" in stand_in.stdout


def test_its_code_has_the_hash_that_the_checkout_says(installed: Path, tmp_path: Path) -> None:
    """`provenance.json` has it, and is the same wherever the same code has made the dataset."""
    found = "from ben_luigi.state import code; print(code.versions()['code'])"
    ours = subprocess.run([sys.executable, "-I", "-c", found], capture_output=True, text=True, check=True, cwd=ROOT)
    done = _run(installed, tmp_path, str(installed / "bin" / "python"), "-I", "-c", found)
    assert (done.stderr, done.stdout) == ("", ours.stdout)


@pytest.mark.parametrize("words", [["luigi", "--module", "ben_luigi"], ["luigi", "--module=ben_luigi"], MODULE])
def test_plain_luigi_quotes_nothing_of_a_wrong_configuration(installed: Path, tmp_path: Path, words: list[str]) -> None:
    """Luigi reads it at its import, and ends in a traceback with the line."""
    (tmp_path / "own.cfg").write_text("[cdse]\nmy password is secret\n")
    luigi = tmp_path / "luigi"  # as pip writes it into bin/
    luigi.write_text("import sys\nfrom luigi.cmdline import luigi_run\nsys.exit(luigi_run())\n")
    words = [str(installed / "bin" / "python"), *words, "FinalizeDataset"]
    done = _run(installed, tmp_path, *words, LUIGI_CONFIG_PATH="own.cfg")
    assert done.returncode == 20
    assert done.stderr.startswith("1 finding in the configuration; nothing has been started:\nown.cfg:2: ")
    assert "secret" not in done.stderr
