"""Products from several sources within the pipeline: without an account, and what is told of where they came from."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, Script
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.objects import objects_of
from tests.integration.running import command, configuration, pipeline
from tests.integration.test_cdse_pipeline import ACCOUNT, FIRST, SECOND, catalogue_of

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


def test_what_a_trace_proves_is_told_by_the_name_of_its_rung(world: World, tmp_path: Path) -> None:
    """A trace whose signature is wrong proves nothing, which the report says."""
    record = {**catalogue_of(world)[FIRST], "Trace": "COPY"}
    objects = objects_of([world.folder / record["File"]])
    told = {}
    for kind, faults in {"signed": [], "badly": [Fault("trace", "wrong signature", None)]}.items():
        with BucketServer(objects) as bucket, CdseServer([record], world.folder, faults) as cdse:
            config = configured(tmp_path / kind, world, bucket.url, [FIRST], trace_url=cdse.trace_url)
            run = pipeline(tmp_path / kind, "DownloadL1C", "--tile", FIRST, config=config)
            assert run.code == 0, run.said
        told[kind] = report_of(run.data, FIRST)
    assert told["signed"]["proven_by"]["signed trace"] >= 1 and "object store" not in told["signed"]["proven_by"]
    assert told["signed"]["trace"].startswith("COPY of 2023-05-02T10:00:00.000000Z; signed by the key of CN=")
    assert "it counts as no proof: its signature does not fit" in told["badly"]["trace"]
    assert "signed trace" not in told["badly"]["proven_by"] and told["badly"]["proven_by"]["object store"] >= 1


def test_a_damaged_product_of_the_users_folder_is_repaired(world: World, tmp_path: Path) -> None:
    """While no other source has the band intact, it waits for a person; the user's own files stay as they are."""
    record = catalogue_of(world)[FIRST]
    own = tmp_path / "own"
    with zipfile.ZipFile(world.folder / record["File"]) as archive:
        archive.extractall(own)
    (band,) = own.rglob("*_B04.jp2")
    band.write_bytes(band.read_bytes()[:-100])
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    fault = Fault("object", "flipped bit", None, band.name)
    with BucketServer(objects_of([world.folder / record["File"]]), [fault]) as bucket:
        config = configured(tmp_path, world, bucket.url, [FIRST])
        config.write_text(config.read_text().replace("[inputs]", f"[inputs]\nl1c_dir = {own}"))
        refused = pipeline(tmp_path, "ConvertToL2A", "--tile", FIRST, config=config)
        assert refused.code == 20, refused.said
        for said in (band.name, "at other sources: google: md5", "cdse: no account is given", "give an intact product"):
            assert said in refused.said
        bucket.script = Script([])
        fetched = bucket.fetched.copy()
        run = pipeline(tmp_path, "ConvertToL2A", "--tile", FIRST, config=config)
        assert run.code == 0, run.said
        assert [key.rpartition("/")[2] for key in bucket.fetched - fetched] == [band.name]
        report = report_of(run.data, FIRST)
        assert (report["source"], list(report["repaired"].values())) == ("folder", ["google"])
        assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before
        again = pipeline(tmp_path, "ConvertToL2A", "--tile", FIRST, config=config)
        assert again.code == 0 and again.tasks() == []


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


def test_the_plan_says_which_source_has_which_product(world: World, tmp_path: Path) -> None:
    """One is in the bucket, one only at CDSE, where that takes an account; then neither answers."""
    records = catalogue_of(world)
    objects = objects_of([world.folder / records[FIRST]["File"]])
    with BucketServer(objects) as bucket, CdseServer(records.values(), world.folder) as cdse:
        urls = {name: getattr(cdse, name) for name in ("catalogue_url", "token_url", "download_url")}
        config = configured(tmp_path, world, bucket.url, [FIRST, SECOND], **urls)
        code, said = command("plan", tmp_path, config, "--json")
        assert code == 20
        told = json.loads(said)
        assert told["sources"]["has"] == {"google": 1, "cdse": 2}
        assert (told["sources"]["only_with_account"], told["sources"]["nowhere"]) == ([SECOND], [])
        (missing,) = told["missing"]
        assert "an account at CDSE" in missing["text"] and SECOND in missing["text"]
        code, said = command("plan", tmp_path, config, **ACCOUNT)
        assert code == 0, said
        assert "google                 1 of 2" in said and "cdse                   2 of 2, with an account" in said
        cdse.records = [records[FIRST]]
        code, said = command("plan", tmp_path, config, **ACCOUNT)
        assert code == 20 and f"in no place            1: {SECOND}" in said
        assert "set [dataset] allow_missing" in said
    code, said = command("plan", tmp_path, config, "--json", **ACCOUNT)
    told = json.loads(said)["sources"]
    assert told["is_offline"] and set(told["problems"]) == {"google", "cdse"} and not told["nowhere"]
    assert not (tmp_path / "data").exists(), "a plan makes nothing"


def test_what_is_in_no_place_stops_no_other_and_the_finished_dataset_lists_it(world: World, tmp_path: Path) -> None:
    """Once the user says so; CDSE, which has deleted it, and the bucket have both answered."""
    records = catalogue_of(world)
    product = records[SECOND]["Name"]
    with (
        BucketServer(objects_of([world.folder / records[FIRST]["File"]])) as bucket,
        CdseServer([records[FIRST]], world.folder) as cdse,
    ):
        urls = {name: getattr(cdse, name) for name in ("catalogue_url", "token_url", "download_url")}
        config = configured(tmp_path, world, bucket.url, [FIRST, SECOND], **urls)
        refused = pipeline(tmp_path, "DownloadL1C", "--tile", SECOND, config=config)
        assert refused.code != 0 and "google: does not have it" in refused.said
        config.write_text(config.read_text().replace("[dataset]", "[dataset]\nallow_missing = true"))
        run = pipeline(tmp_path, config=config)
        assert run.code == 0, run.said
        left_out = f"Tile {SECOND} is left out: {product} is in no place of google, cdse."
        assert left_out in run.said
        assert pipeline(tmp_path, "WriteProvenance", config=config).tasks() == []
        code, said = command("verify", tmp_path, config)
        assert code == 0, said
    dataset = run.data / "dataset"
    told = json.loads((dataset / "provenance.json").read_text(encoding="utf-8"))
    assert list(told["tiles"]) == [FIRST] and told["tiles"][FIRST]["l1c"]["source"] == "google"
    assert told["missing"] == {SECOND: {"product": product, "found": "in no place of google, cdse"}}
    assert f"<li>{left_out}</li>" in (dataset / "report" / "index.html").read_text(encoding="utf-8")
    listed = f"- {SECOND}: `{product}` is in no place of google, cdse\n"
    assert listed in (dataset / "README.md").read_text(encoding="utf-8")
    assert json.loads((dataset / "comparison.json").read_text(encoding="utf-8"))["tiles"] == [FIRST]
    with (run.data / "tiles" / "states.csv").open(encoding="utf-8", newline="") as file:
        states = {row["tile"]: (row["state"], row["sources"]) for row in csv.DictReader(file)}
    assert states[product] == ("gone", "none") and states[records[FIRST]["Name"]] == ("found", "cdse, google")
