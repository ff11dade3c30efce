"""Products from several sources within the pipeline: without an account, and what is told of where they came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.objects import objects_of
from tests.integration.running import configuration, pipeline
from tests.integration.test_cdse_pipeline import ACCOUNT, FIRST, catalogue_of

NOBODY = "http://127.0.0.1:9"


def configured(folder: Path, world: World, bucket: str, tiles: Iterable[str], **cdse: Any) -> Path:
    """A configuration of a user with a bucket in Google's place, and CDSE, if it is given, in CDSE's."""
    service = {name: f"{NOBODY}/{name}" for name in ("catalogue_url", "token_url", "download_url")}
    return configuration(
        folder,
        world,
        dataset={"tiles": " ".join(tiles)},
        inputs={"tile_names_csv": world.tile_names_csv, "published_tile_ids_csv": folder / "none.csv"},
        sources={"order": "folder, google, mirror, cdse", "google_url": bucket},
        cdse={**service, "credentials": folder / "no-such-file", "pause_s": 0.05, "tries": 2, **cdse},
        sen2cor={"executable": world.l2a_process},
    )


def report_of(data: Path, tile: str) -> dict[str, Any]:
    """What is told of a tile's product."""
    found: dict[str, Any] = json.loads((data / "l1c" / f"{tile}.json").read_text(encoding="utf-8"))
    return found


def test_a_product_from_the_bucket_alone_is_converted_without_an_account(world: World, tmp_path: Path) -> None:
    """With CDSE unreachable; the L2A product is the one that is made from CDSE's zip, byte by byte."""
    zips = [world.folder / catalogue_of(world)[FIRST]["File"]]
    with BucketServer(objects_of(zips)) as bucket:
        config = configured(tmp_path, world, bucket.url, [FIRST])
        run = pipeline(tmp_path, "ConvertToL2A", "--tile", FIRST, config=config)
        assert run.code == 0, run.said
    report = report_of(run.data, FIRST)
    assert report["sources"] == {"google": len(report["files"])}
    assert report["not_verified"] == []
    assert report["proven_by"]["manifest"] == len(report["files"]) - report["proven_by"]["object store"]
    (made,) = (run.data / "l2a" / FIRST).glob("*.SAFE")
    assert made.is_dir()
    name = next(str(one) for one in read_tile_names(world.tile_names_csv) if one.tile_key == FIRST)
    assert (run.data / report["path"]).name == name
    again = pipeline(tmp_path, "ConvertToL2A", "--tile", FIRST, config=config)
    assert again.code == 0 and again.tasks() == []


def test_a_band_that_is_bad_in_the_bucket_is_repaired_from_cdse(world: World, tmp_path: Path) -> None:
    record = catalogue_of(world)[FIRST]
    faults = [Fault("object", "changed image", None, next(_bands(world, record)))]
    objects = objects_of([world.folder / record["File"]])
    with BucketServer(objects, faults) as bucket, CdseServer([record], world.folder) as cdse:
        urls = {name: getattr(cdse, name) for name in ("catalogue_url", "token_url", "download_url")}
        config = configured(tmp_path, world, bucket.url, [FIRST], **urls)
        run = pipeline(tmp_path, "DownloadL1C", "--tile", FIRST, config=config, **ACCOUNT)
        assert run.code == 0, run.said
        assert cdse.counts["node"] == 1 and not cdse.downloads
    report = report_of(run.data, FIRST)
    assert list(report["repaired"].values()) == ["cdse"]
    assert report["sources"] == {"google": len(report["files"]) - 1, "cdse": 1}


def test_what_no_source_has_is_said_of_each(world: World, tmp_path: Path) -> None:
    with BucketServer({}) as bucket:
        config = configured(tmp_path, world, bucket.url, [FIRST])
        run = pipeline(tmp_path, "DownloadL1C", "--tile", FIRST, config=config)
    assert run.code != 0
    assert "google: does not have it" in run.said and "no account is given" in run.said
    assert not list((run.data / "l1c").glob("*")) if (run.data / "l1c").exists() else True


def _bands(world: World, record: dict[str, Any]) -> Iterator[str]:
    objects = objects_of([world.folder / record["File"]])
    return (key.rpartition("/")[2] for key in sorted(objects) if key.endswith("_B04.jp2"))
