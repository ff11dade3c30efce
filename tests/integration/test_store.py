"""A dataset that lives in a bucket behind a proxy that fails: the same bytes, whatever is lost or killed meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ben_luigi.sample.loopback import Fault, Faults
from tests.integration.fault_table import FaultTable
from tests.integration.running import ROOT, Run, command, dataset_digests, environment, pipeline
from tests.publishing_servers import BUCKET, RandomFaults, S3Server, s3

CACHE_GB = 0.04
"""Less than half of what lives in the store."""
LARGE = ("patches", "reference_maps", "archives", "dataset")
SECRET = "secret-of-s3"


@dataclass
class Place:
    """A data folder with its configuration, and the bucket."""

    folder: Path
    server: S3Server

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "own.cfg"

    def run(self, *arguments: str, **more: str) -> Run:
        """`ben-luigi run`."""
        found = pipeline(self.folder, *arguments, config=self.config, **{**self.server.environment(), **more})
        assert SECRET not in found.said
        return found

    def command(self, name: str, *arguments: str) -> tuple[int, str]:
        """Any other command."""
        return command(name, self.folder, self.config, *arguments, **self.server.environment())

    def content(self) -> dict[str, bytes]:
        """All objects."""
        return self.server.content("run/")

    def digests(self) -> dict[str, str]:
        """As `dataset_digests`, of what the bucket has of the finished dataset."""
        found = {name.removeprefix("dataset/"): data for name, data in self.content().items() if "dataset/" in name}
        return {
            name: hashlib.sha256(data).hexdigest() for name, data in sorted(found.items()) if "times.html" not in name
        }

    def here(self) -> list[Path]:
        """What lives in the store, and is in the data folder now."""
        return [path for name in LARGE for path in (self.data / name).rglob("*") if path.suffix in (".tar", ".zst")]

    def forget(self) -> None:
        """Remove all of that."""
        for path in self.here():
            path.unlink()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """S3 with an empty bucket."""
    with s3() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def made(sample_run: Run, server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Run]:
    """A run that makes all that lives in a store, of L2A products that are there, while requests fail at random."""
    place = Place(tmp_path_factory.mktemp("store"), server)
    sample_run.copy_to(place.folder)
    for name in LARGE:
        shutil.rmtree(place.data / name)
        shutil.rmtree(place.data / "made_from" / name)
    place.config.write_text(f"[dataset]\nstore = s3://{BUCKET}/run\ncache_gb = {CACHE_GB}\n")
    server.faults = RandomFaults(18, 0.1)
    run = place.run()
    server.faults = Faults()
    return place, run


@pytest.fixture
def place(made: tuple[Place, Run]) -> Iterator[Place]:
    """What that run has made; each test leaves it complete."""
    yield made[0]
    made[0].server.faults = Faults()


def test_requests_that_fail_at_random_leave_the_same_bytes(
    made: tuple[Place, Run], sample_run: Run, table: FaultTable
) -> None:
    place, run = made
    with table.row("a tenth of the requests to the store fails at random"):
        assert run.code == 0, run.said
        assert place.digests() == dataset_digests(sample_run.data)
    content = place.content()
    own = {path.relative_to(sample_run.data).as_posix(): path for path in sample_run.data.rglob("*.tar*")}
    shared = {name: path for name, path in own.items() if name.startswith(("patches/", "reference_maps/"))}
    assert len(shared) == 8 and all(content[name] == path.read_bytes() for name, path in shared.items())
    assert not place.server.is_unfinished()
    assert "Traceback" not in run.said


def test_the_digest_of_each_object_travels_with_it(place: Place) -> None:
    client = place.server.client()
    for name, data in place.content().items():
        told = client.head_object(Bucket=BUCKET, Key=f"run/{name}")["Metadata"]
        assert told == {"sha256": hashlib.sha256(data).hexdigest()}


def test_the_data_folder_has_no_more_than_allowed(place: Place) -> None:
    in_store = [len(data) for name, data in place.content().items() if name.endswith((".tar", ".tar.zst"))]
    assert sum(path.stat().st_size for path in place.here()) <= CACHE_GB * 1e9 < sum(in_store) / 2
    assert not list((place.data / "cache").glob(".unfinished-*"))


def test_a_run_with_nothing_to_do_asks_by_listings(place: Place) -> None:
    place.forget()
    place.server.counts.clear()
    run = place.run()
    assert "Nothing to do" in run.said and run.code == 0, run.said
    assert place.server.counts["head"] <= 4, place.server.counts
    assert not place.here()


def test_commands_read_what_lives_in_the_store(place: Place, tmp_path: Path) -> None:
    place.forget()
    code, said = place.command("verify")
    assert code == 0, said
    code, said = place.command("unpack", str(tmp_path / "unpacked"), "--only", "Reference_Maps")
    assert code == 0 and "Reference_Maps: " in said, said
    code, said = place.command("status", "--json")
    assert code == 0 and all(stage["complete"] == stage["of"] for stage in json.loads(said)["stages"]), said
    code, said = place.command("verify", f"s3://{BUCKET}/run/dataset")
    assert code == 2 and "expected a folder on a disk; found the URL s3://" in said


def test_a_form_is_made_of_what_is_fetched_again_where_a_copy_is_damaged(place: Place) -> None:
    assert place.command("verify")[0] == 0  # fetches the archives
    archive = place.data / "dataset" / "Reference_Maps.tar.zst"
    archive.write_bytes(bytes(archive.stat().st_size))
    run = place.run("ExportForm", "--form-name", "parquet")
    assert run.code == 0, run.said
    assert "which was damaged: it is fetched again from the store" in run.said
    assert not [task for task in run.tasks() if task.startswith(("JoinParts", "CompressPart"))]
    assert any(name.startswith("forms/parquet/") for name in place.content())
    shutil.rmtree(place.data / "forms")
    code, said = place.command("verify")
    assert code == 20 and "next: set it to " in said and f"cache_gb = {CACHE_GB}" in said, said
    place.config.write_text(place.config.read_text().replace(str(CACHE_GB), "0.2"))
    code, said = place.command("verify")
    place.config.write_text(place.config.read_text().replace("0.2", str(CACHE_GB)))
    assert code == 0 and (place.data / "forms" / "parquet").is_dir(), said
    assert place.run().code == 0
    assert sum(path.stat().st_size for path in place.here()) <= CACHE_GB * 1e9


def test_objects_that_were_lost_or_replaced_are_made_again(place: Place) -> None:
    before = place.content()
    shards = sorted(name for name in before if name.startswith("patches/"))
    client = place.server.client()
    client.delete_object(Bucket=BUCKET, Key=f"run/{shards[0]}")
    client.put_object(Bucket=BUCKET, Key=f"run/{shards[1]}", Body=before[shards[1]][:1000])
    client.put_object(Bucket=BUCKET, Key=f"run/{shards[2]}", Body=bytes(len(before[shards[2]])))
    client.delete_object(Bucket=BUCKET, Key="run/dataset/BigEarthNet-S2.tar.zst")
    place.forget()
    run = place.run()
    assert run.code == 0, run.said
    again = [task for task in run.tasks() if task.startswith("CutPatches")]
    assert len(again) == 3 and "JoinParts(archive_name=BigEarthNet-S2)" in run.tasks()
    assert {name: place.content()[name] for name in shards} == {name: before[name] for name in shards}
    assert place.content()["dataset/BigEarthNet-S2.tar.zst"] == before["dataset/BigEarthNet-S2.tar.zst"]


def test_an_object_that_the_data_folder_still_has_is_uploaded_again(place: Place, tmp_path: Path) -> None:
    before = place.content()
    code, said = place.command("unpack", str(tmp_path / "unpacked"), "--only", "Reference_Maps")
    assert code == 0, said  # it has fetched the archives
    place.server.client().delete_object(Bucket=BUCKET, Key="run/dataset/Reference_Maps.tar.zst")
    run = place.run()
    assert run.code == 0 and "Nothing to do" in run.said, run.said
    assert "uploading dataset/Reference_Maps.tar.zst: s3://" in run.said
    assert place.content()["dataset/Reference_Maps.tar.zst"] == before["dataset/Reference_Maps.tar.zst"]


def test_an_upload_whose_process_is_killed_leaves_nothing_and_a_rerun_completes(
    place: Place, table: FaultTable
) -> None:
    before, name = place.content(), "reference_maps/31UGR_20171015.tar"
    (place.data / name).unlink(missing_ok=True)
    client = place.server.client()
    client.delete_object(Bucket=BUCKET, Key=f"run/{name}")
    foreign = client.create_multipart_upload(Bucket=BUCKET, Key="run/archives/theirs")
    place.server.faults = Faults([Fault("held", "put", 2)])  # the first one is that of the owner
    place.server.is_held.clear()
    running = subprocess.Popen(
        [sys.executable, "-m", "ben_luigi", "run"],
        cwd=place.folder,
        env=environment(LUIGI_CONFIG_PATH=str(place.config), PYTHONPATH=str(ROOT), **place.server.environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert place.server.is_held.wait(120)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert name not in place.content()
    place.server.faults = Faults()
    with table.row("killed in the middle of an upload to the store", 2):
        run = place.run()
        assert run.code == 0, run.said
        assert place.content()[name] == before[name] and not list((place.data / "uploading").iterdir())
    client.abort_multipart_upload(Bucket=BUCKET, Key="run/archives/theirs", UploadId=foreign["UploadId"])


def test_a_store_that_cannot_be_used_is_told_before_anything_is_made(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "own.cfg"
    other.write_text("[dataset]\nstore = s3://nobody/run\n")
    for name in ("run", "plan"):
        code, said = command(name, tmp_path, other, **place.server.environment())
        assert code == 20 and "s3://nobody" in said and "make it, or correct [dataset] store" in said, said
        assert "Traceback" not in said
    other.write_text(f"[dataset]\nstore = s3://{BUCKET}/run\n")
    code, said = command("run", tmp_path, other, **place.server.environment())
    assert code == 20 and f"found: that of the data folder {place.data}" in said, said


def test_what_has_to_be_on_a_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "own.cfg").write_text(
        "[dataset]\ndata_dir = s3://bucket/data\n[inputs]\nl1c_dir = s3://bucket/l1c\n"
        "[sen2cor]\nexecutable = s3://bucket/L2A_Process\n[database]\nurl = s3://bucket/database\n"
    )
    code, said = command("run", tmp_path, tmp_path / "own.cfg")
    assert code != 0 and said.count("what is named here has to be on a disk: only [dataset] store takes a URL") == 3
    assert "[database] url" in said and "postgresql://" in said
