"""L2A products as ESA made them: of a bucket or of CDSE's nodes only what is needed, proven by the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.cdse_nodes import CdseNodes
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.outcome import Incomplete
from ben_luigi.domain.sources.source import Origin
from ben_luigi.domain.vocabulary import RESOLUTION_M
from ben_luigi.sample import safe
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.objects import bucket_objects
from tests.integration.running import command
from tests.integration.source_world import QUICK

NAME = ProductName.parse("S2A_MSIL2A_20170613T101031_N0500_R022_T33UUP_20230613T101608.SAFE")
GRANULE = "GRANULE/L2A_T33UUP_A010321_20170613T101608"
IMAGES = f"{GRANULE}/IMG_DATA"


def image(layer: str, pixel_m: int) -> str:
    return f"{IMAGES}/R{pixel_m}m/T33UUP_20170613T101031_{layer}_{pixel_m}m.jp2"


def product() -> tuple[dict[str, bytes], set[str]]:
    """An L2A product with checksums by SHA3-256, as baselines from 03.01 have; and which of its files are needed."""
    source = Random(3)
    needed = {image(band, pixel_m) for band, pixel_m in RESOLUTION_M.items()} | {image("SCL", 20)}
    needed |= {"MTD_MSIL2A.xml", f"{GRANULE}/MTD_TL.xml", "DATASTRIP/DS_1/MTD_DS.xml"}
    others = {
        image("B02", 20),
        image("B8A", 60),
        image("AOT", 10),
        image("SCL", 60),
        f"{GRANULE}/QI_DATA/T33UUP_PVI.jp2",
    }
    members = {path: source.randbytes(3000) for path in sorted(needed | others)}
    listed = safe.manifest(members, "L2A").decode().replace('checksumName="MD5"', 'checksumName="SHA3-256"')
    for content in members.values():
        listed = listed.replace(hashlib.md5(content).hexdigest(), hashlib.sha3_256(content).hexdigest())
    return {**members, "manifest.safe": listed.encode()}, {*needed, "manifest.safe"}


def fetched(folder: Path) -> dict[str, bytes]:
    """The files of the product there, but for the journal."""
    top = folder / "t" / str(NAME)
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_of_the_bucket_only_what_is_needed_is_fetched(tmp_path: Path) -> None:
    members, needed = product()
    with BucketServer(bucket_objects(members, NAME)) as server:
        client = Client(patience=QUICK, hosts=Origin(server.url))
        report = ProductFetch(NAME, tmp_path / "t", [Bucket(client, server.url)], keep_free_bytes=0).run()
        assert all(key.startswith("L2/tiles/33/U/UP/") for key in server.fetched)
    assert fetched(tmp_path) == {path: members[path] for path in needed}
    assert report.left_out == ()
    assert all(one.digest.startswith("sha3_256:") for one in report.files if one.path != "manifest.safe")


def test_a_band_that_the_bucket_has_damaged_comes_from_cdse_and_so_does_the_whole(tmp_path: Path) -> None:
    members, needed = product()
    safe.write_zip(members, tmp_path / "product.zip", str(NAME), datetime(2017, 6, 13))
    record = json.loads(json.dumps({"Id": another_id({"Id": "l2a"}), "Name": str(NAME), "File": "product.zip"}))
    faults = [Fault("object", "flipped bit", None, "T33UUP_20170613T101031_B8A_20m.jp2")]
    with BucketServer(bucket_objects(members, NAME), faults) as server, CdseServer([record], tmp_path) as cdse:
        client = Client(cdse.service, QUICK)
        tokens = Tokens(client, Credentials("sample", "sample"), tmp_path / "session")
        nodes = CdseNodes(client, lambda name: str(record["Id"]), lambda: tokens)
        bucket = Bucket(Client(patience=QUICK, hosts=Origin(server.url)), server.url)
        report = ProductFetch(NAME, tmp_path / "both" / "t", [bucket, nodes], keep_free_bytes=0).run()
        assert [one.path for one in report.files if one.source == "cdse"] == [image("B8A", 20)]
        assert cdse.counts["node"] == 1
        ProductFetch(NAME, tmp_path / "cdse" / "t", [nodes], keep_free_bytes=0).run()
        assert cdse.counts["node"] == 1 + len(needed)
    for way in ("both", "cdse"):
        assert fetched(tmp_path / way) == {path: members[path] for path in needed}


def without(members: Mapping[str, bytes], path: str) -> dict[str, bytes]:
    """The product as if it had never had a file."""
    start = members["manifest.safe"].index(f'<dataObject ID="{path.replace("/", "_")}'.encode())
    stop = members["manifest.safe"].index(b"</dataObject>", start) + len(b"</dataObject>")
    listed = members["manifest.safe"][:start] + members["manifest.safe"][stop:]
    return {**{key: data for key, data in members.items() if key != path}, "manifest.safe": listed}


def test_a_product_without_a_band_is_said(tmp_path: Path) -> None:
    members, _ = product()
    with BucketServer(bucket_objects(without(members, image("B05", 20)), NAME)) as server:
        client = Client(patience=QUICK, hosts=Origin(server.url))
        with pytest.raises(Incomplete, match="layer B05"):
            ProductFetch(NAME, tmp_path / "t", [Bucket(client, server.url)], keep_free_bytes=0).run()
    assert not (tmp_path / "t").exists()


def test_the_command_says_where_a_product_came_from_and_what_is_nowhere(tmp_path: Path) -> None:
    members, needed = product()
    other = str(NAME).replace("T33UUP", "T33UVP")
    with BucketServer(bucket_objects(members, NAME)) as server:
        config = tmp_path / "own.cfg"
        config.write_text(f"[sources]\norder = google\ngoogle_url = {server.url}\n[cdse]\npause_s = 0.01\n")
        code, said = command("fetch-l2a", tmp_path, config, "l2a", other, str(NAME))
        assert code == 30
        assert f"{NAME}: {len(needed)} files from google, {len(needed) - 1} by manifest, 1 by object store" in said
        assert f"product {other}; expected: a source that has it" in said
    assert {path.name for path in (tmp_path / "l2a").iterdir()} == {str(NAME).removesuffix(".SAFE")}
    code, said = command("fetch-l2a", tmp_path, config, "l2a", str(NAME))
    assert code == 0 and said == f"{NAME}: it is there\n"
    code, said = command("fetch-l2a", tmp_path, config, "l2a", str(NAME).replace("MSIL2A", "MSIL1C"))
    assert code == 2 and "the name of an L2A product" in said
