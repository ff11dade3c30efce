"""What is no longer needed goes, nothing becomes incomplete by that, and what needs it again makes it again."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.running import Run, dataset_digests, pipeline

TILE = "35VNJ_20180204"
OPTIONS = """
[dataset]
data_dir = data
[retention]
l1c = delete-after-l2a
l2a = delete-after-cut
parts = delete-after-archive
"""


def test_what_is_no_longer_needed_goes_and_comes_back_when_it_is(sample_run: Run, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", sample_run.data, tmp_path / "data"], check=True)
    own = tmp_path / "own.cfg"
    own.write_text(OPTIONS)
    large = ("l1c/*.zip", "l1c/*/*.SAFE", "l2a/*/*.SAFE", "archives/*/*.tar.zst")

    def products() -> list[str]:
        return sorted(
            str(path.relative_to(tmp_path / "data")) for glob in large for path in (tmp_path / "data").glob(glob)
        )

    before = dataset_digests(tmp_path / "data")
    assert len(products()) >= 4 + 4 + 6
    first = pipeline(tmp_path, config=own)
    assert (first.code, products()) == (0, [])
    assert set(first.tasks()) == {"ProcessTiles()", "FinalizeDataset()"}  # which leave nothing of their own

    # The list of hashes is made from the reports, which stay.
    hashes = tmp_path / "data" / "tiles" / "ben_s2_l1c_hashes.csv"
    listed = hashes.read_bytes()
    hashes.unlink()
    shard = tmp_path / "data" / "patches" / f"{TILE}.tar"
    cut = shard.read_bytes()
    shard.unlink()
    again = pipeline(tmp_path, config=own)
    assert again.code == 0, again.said
    assert set(again.tasks()) == {
        "HashL1C()",
        f"DownloadL1C(tile={TILE})",
        f"ConvertToL2A(tile={TILE})",
        f"CutPatches(tile={TILE})",
        "ProcessTiles()",
        "FinalizeDataset()",
    }
    assert hashes.read_bytes() == listed
    assert shard.read_bytes() == cut
    assert products() == []
    assert dataset_digests(tmp_path / "data") == before


def test_without_retention_all_stays(sample_run: Run) -> None:
    l1c = sample_run.data / "l1c"
    assert (len(list(l1c.glob("*.zip"))), len(list(l1c.glob("*/*.SAFE")))) == (2, 2)
    assert len(list((sample_run.data / "l2a").glob("*/*.SAFE"))) == 4
    assert len(list((sample_run.data / "archives").glob("*/*.tar.zst"))) >= 6
