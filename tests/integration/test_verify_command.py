"""`scripts/verify` on the sample dataset, whole and damaged: what is wrong is named, and the exit code tells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi.domain.formats import tarball
from tests.integration.running import ROOT, Run

pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")


def verify(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ben_luigi.verify_dataset", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def damage(path: Path) -> list[str]:
    """Flip a byte in one member, leave one out, add one, rename one; gives what has to be said of each."""
    tar = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    blocks: dict[str, bytes] = {}
    at = 0
    while len(blocks) < 400 and (entry := tarball.entry(tar, at)) is not None:
        blocks[entry.name] = tar[entry.data : entry.data + entry.size]
        at = entry.stop
    flipped, missing, misplaced, wrong = [*blocks][7:400:90][:4]
    data = bytearray(blocks[flipped])
    data[-7] ^= 1
    blocks[flipped] = bytes(data)
    del blocks[missing]
    elsewhere = misplaced.replace("/", "/no-", 1)
    changed = {elsewhere if name == misplaced else name: data for name, data in blocks.items()}
    surplus = f"{wrong.removesuffix('.tif')}_again.tif"
    body = b"".join(
        tarball.header(name, len(data)) + data + tarball.padding(len(data))
        for known, content in changed.items()
        for name, data in [(known, content), *([(surplus, content)] if known == wrong else [])]
    )
    with path.open("wb") as file:
        subprocess.run(["zstd", "-q", "-1", "-c"], input=body + tar[at:], stdout=file, check=True)
    return [
        f"with another sha256 than in patch_hashes.csv: {flipped}",
        f"missing: {missing}",
        f"misplaced: {elsewhere} (belongs at {misplaced})",
        f"surplus: {surplus}",
    ]


def test_the_sample_dataset_whole_and_damaged(sample_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(sample_run.data / "dataset", folder)
    whole = verify(folder)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "whole, and all of it fits together" in whole.stdout
    expected = damage(folder / "BigEarthNet-S2.tar.zst")
    damaged = verify(folder)
    assert damaged.returncode == 1
    assert sorted(damaged.stdout.splitlines()[:-1]) == sorted(f"BigEarthNet-S2.tar.zst: {what}" for what in expected)
    assert verify(tmp_path / "none").returncode == 1
