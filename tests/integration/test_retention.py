"""What is no longer needed goes, nothing becomes incomplete by that, and what needs it again makes it again."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq

from ben_luigi.state.server import close_server, open_server
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
    sample_run.copy_to(tmp_path)
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
    _check_that_no_product_is_made_again_for_shares(tmp_path, own)


def _check_that_no_product_is_made_again_for_shares(folder: Path, own: Path) -> None:
    """An older version, which did not count cloud, has cut a tile whose product is removed: they are not known."""
    address = open_server(folder / "data" / "database")
    with psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database) as ours:
        cursor = ours.cursor()
        cursor.execute("DELETE FROM marker WHERE task = 'ClassifyPatches' AND tile = %s", (TILE,))
        cursor.execute(
            "DELETE FROM scene_class WHERE patch_id IN (SELECT patch_id FROM patch WHERE tile = %s)", (TILE,)
        )
    ours.close()
    close_server(folder / "data" / "database")
    later = pipeline(folder, "WritePatches", config=own)
    assert later.code == 0, later.said
    assert set(later.tasks()) == {f"ClassifyPatches(tile={TILE})", "ProcessTiles()", "WritePatches()"}
    assert f"tile {TILE}: no shares of cloud, since its product was removed after it was cut" in later.said
    table = pq.read_table(folder / "data" / "dataset" / "patches.parquet").to_pandas()
    is_of_tile = table["tile"].str.contains("20180204") & (table["mgrs"] == "35VNJ")
    assert is_of_tile.any() and (table["scl_cloud"].isna() == is_of_tile).all()


def test_what_is_gone_is_made_once_for_archives_and_statistics(sample_run: Run, tmp_path: Path) -> None:
    """Parts of Sentinel-1 that comes in small files wait for the statistics, which are counted from them."""
    sample_run.copy_to(tmp_path)
    own, data = tmp_path / "own.cfg", tmp_path / "data"
    own.write_text(OPTIONS)
    before = dataset_digests(data)
    parts = sorted(path.name.removesuffix(".tar.zst") for path in (data / "archives").glob("BigEarthNet-S1/*.tar.zst"))
    shutil.rmtree(data / "archives")
    again = pipeline(tmp_path, config=own)
    assert again.code == 0, again.said
    assert sorted(task for task in again.tasks() if task.startswith("CompressPart(archive_name=BigEarthNet-S1,")) == [
        f"CompressPart(archive_name=BigEarthNet-S1, part={part})" for part in parts
    ]
    assert not [*(data / "archives").glob("*/*.tar.zst")]
    assert dataset_digests(data) == before

    (data / "archives" / "statistics.json").unlink()
    counted = pipeline(tmp_path, "WriteStatistics", config=own)
    assert set(counted.tasks()) == {"WriteStatistics()"}
    (data / "archives" / "statistics.json").unlink()
    (data / "archives" / "counts" / "BigEarthNet-S1" / f"{parts[0]}.parquet").unlink()
    counted = pipeline(tmp_path, "WriteStatistics", config=own)
    of_part = f"(archive_name=BigEarthNet-S1, part={parts[0]})"
    assert set(counted.tasks()) == {f"CompressPart{of_part}", f"CountPixels{of_part}", "WriteStatistics()"}
    assert not [*(data / "archives").glob("*/*.tar.zst")]


def test_without_retention_all_stays(sample_run: Run) -> None:
    l1c = sample_run.data / "l1c"
    assert (len(list(l1c.glob("*.zip"))), len(list(l1c.glob("*/*.SAFE")))) == (2, 2)
    assert len(list((sample_run.data / "l2a").glob("*/*.SAFE"))) == 4
    assert len(list((sample_run.data / "archives").glob("*/*.tar.zst"))) >= 6
