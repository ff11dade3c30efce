"""Products file by file from several sources on loopback: which file comes from where, and how it is proven."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ben_luigi.domain.cdse import http
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.errors import NoRoomError, SourceError
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.proof import summary
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_faults import TRACES, Fault
from ben_luigi.sample.file_server import FileServer
from tests.integration.source_world import IMAGES, NAME, QUICK, WEATHER, found_in, sources
from tests.unit.test_waiting import on_message

BAND = f"{IMAGES}_B02.jp2"


def needed(members: dict[str, bytes]) -> dict[str, bytes]:
    """What every source has of the product."""
    return {path: data for path, data in members.items() if not path.startswith("HTML/")}


def test_a_product_comes_from_the_bucket_and_each_file_is_proven(tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        report = world.fetch(tmp_path)
        assert found_in(tmp_path) == needed(dict(world.members))
        assert {one.source for one in report.files} == {"google"}
        proofs = {one.path: one.proof for one in report.files}
        assert {path for path, proof in proofs.items() if proof != "manifest"} == {"manifest.safe", WEATHER}
        assert {proofs["manifest.safe"], proofs[WEATHER]} == {"object store"}
        assert report.left_out == ("HTML/UserProduct_index.html",)
        assert set(world.google.fetched.values()) == {1}
        assert not any("folder$" in key or key.endswith("-ql.jpg") for key in world.google.fetched)
        assert not world.mirror.fetched and not world.cdse.counts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t", "world"]


@pytest.mark.parametrize("kind", ["404", "missing member", "flipped bit", "changed image", "html", "500", "short"])
def test_a_band_that_is_bad_in_the_bucket_comes_from_the_next_source(kind: str, tmp_path: Path) -> None:
    with sources(tmp_path / "world", [Fault("object", kind, None, "T33UUP_20170613T101031_B02.jp2")]) as world:
        report = world.fetch(tmp_path, ["google"])
        assert found_in(tmp_path) == needed(dict(world.members))
        assert {one.path: one.source for one in report.files if one.source != "google"} == {BAND: "cdse"}
        assert world.cdse.counts["node"] == 1 and not world.cdse.downloads
        assert any("google" in trouble and BAND in trouble for trouble in report.troubles)
        assert report.name == str(NAME)


def test_a_trace_proves_what_the_manifest_does_not_list(tmp_path: Path) -> None:
    """Of a mirror, which states no hashes; without one the same files are unproven by name."""
    with sources(tmp_path / "world") as world:
        assert world.trace().note == "no trace" and not world.trace().hashes
        report = world.fetch(tmp_path / "without", ["mirror"])
        assert set(report.unproven) == {"manifest.safe", WEATHER}
        world.cdse.records[0]["Trace"] = "COPY"
        trace = world.trace()
        assert trace.note.startswith("COPY of 2023-05-02") and "valid at that time" in trace.note
        assert "not established: who its issuer is" in trace.note and "CN=trace.sample.invalid" in trace.note
        report = world.fetch(tmp_path / "with", ["mirror"], traced=lambda: trace)
        assert report.unproven == []
        assert {one.path for one in report.files if one.proof == "signed trace"} == {"manifest.safe", WEATHER}


def test_a_weather_that_contradicts_the_trace_is_had_elsewhere(tmp_path: Path) -> None:
    with sources(tmp_path / "world", mirror=[Fault("object", "flipped bit", None, "AUX_ECMWFT")]) as world:
        world.cdse.records[0]["Trace"] = "CREATE"
        trace = world.trace()
        report = world.fetch(tmp_path, ["mirror", "google"], traced=lambda: trace)
        assert {one.path: one.source for one in report.files if one.source == "google"} == {WEATHER: "google"}
        assert found_in(tmp_path)[WEATHER] == world.members[WEATHER]


def test_a_trace_of_an_expired_certificate_has_a_rung_of_its_own(tmp_path: Path) -> None:
    with sources(tmp_path / "world", cdse=[Fault("trace", "expired certificate")]) as world:
        world.cdse.records[0]["Trace"] = "CREATE"
        trace = world.trace()
        assert "not valid (2020-01-01 to 2021-01-01) at that time" in trace.note
        report = world.fetch(tmp_path, ["mirror"], traced=lambda: trace)
        assert summary(one.proof for one in report.files)["trace signed by an expired certificate"] == 2


def test_a_mirror_is_asked_once_for_each_file(tmp_path: Path) -> None:
    with sources(tmp_path / "world") as world:
        report = world.fetch(tmp_path, ["mirror"])
        assert found_in(tmp_path) == dict(world.members)
        assert {one.source for one in report.files} == {"mirror 127.0.0.1"}
        assert set(world.mirror.fetched.values()) == {1} and len(world.mirror.fetched) == len(world.members)
        assert world.mirror.counts["object"] == len(world.members)


def test_a_manifest_damaged_on_its_way_is_fetched_from_the_mirror_again(tmp_path: Path) -> None:
    """The trace shows it; it is not given up as if the mirror had no other."""
    with sources(tmp_path / "world", mirror=[Fault("object", "trailing junk", 1, "manifest.safe")]) as world:
        world.cdse.records[0]["Trace"] = "CREATE"
        trace = world.trace()
        report = world.fetch(tmp_path, ["mirror"], traced=lambda: trace)
        assert found_in(tmp_path) == dict(world.members)
        assert {one.source for one in report.files} == {"mirror 127.0.0.1"}


NO_PROOF = {
    "wrong signature": "its signature does not fit its message and certificate",
    "changed message": "its signature does not fit its message and certificate",
    "no certificate": "its certificate cannot be read",
    "other product signed": "its signed message is about S2B_MSIL1C",
    "other event signed": "its signed message says DELETE",
    "other algorithm": "it is signed by ECDSA-SHA256, not by RSA-SHA256",
    "unsigned": "it is not signed",
}


@pytest.mark.parametrize("kind", [kind for kind in TRACES if kind != "expired certificate"])
def test_only_what_is_rightly_signed_counts_as_proof(kind: str, tmp_path: Path) -> None:
    """What a trace says beside its signed message proves nothing, and takes nothing away."""
    with sources(tmp_path / "world", cdse=[Fault("trace", kind)]) as world:
        world.cdse.records[0]["Trace"] = "CREATE"
        trace = world.trace()
        report = world.fetch(tmp_path, ["mirror"], traced=lambda: trace)
        assert found_in(tmp_path) == dict(world.members)
    if kind == "other contents outside":
        assert report.unproven == [] and trace.rung == "signed trace"
        return
    assert trace.hashes == {} and f"it counts as no proof: {NO_PROOF[kind]}" in trace.note
    assert set(report.unproven) == {"manifest.safe", WEATHER}


@pytest.mark.parametrize("kind", ["500", "html", "json", "404"])
def test_a_trace_that_cannot_be_had_is_said(kind: str, tmp_path: Path) -> None:
    with sources(tmp_path / "world", cdse=[Fault("trace", kind, None)]) as world:
        if kind == "404":
            assert world.trace().note == "no trace"
            return
        with pytest.raises(SourceError):
            world.trace()


def test_a_full_disk_does_not_wait_until_a_server_may_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, slept = count(), list[float]()
    monkeypatch.setattr("ben_luigi.domain.waiting.time.sleep", slept.append)

    def fill() -> None:
        if next(said):  # the second file that is refused; the first one waits
            raise NoRoomError(tmp_path, found="none left")

    faults = [Fault("object", "429 absurd", None, f"T33UUP_20170613T101031_{band}.jp2") for band in ("B02", "B03")]
    with sources(tmp_path / "world", faults) as world, on_message(logging.getLogger(http.__name__), fill):
        world.patience = replace(QUICK, waits=2, longest_pause_s=30)
        with pytest.raises(NoRoomError):
            world.fetch(tmp_path, ["google"])
    assert not slept, "the pause could not be ended"


def test_once_the_disk_is_full_nobody_asks_what_a_source_has(tmp_path: Path) -> None:
    """Those that wait while another one asks would ask one after the other, each until the server answers."""
    said, has_asked = Counter[str](), threading.Event()

    def fill(record: logging.LogRecord) -> bool:
        name = record.getMessage().partition(";")[0].rpartition("/")[2]
        said[name] += 1
        if name == "manifest.safe":
            has_asked.set()
            return True
        has_asked.wait()
        raise NoRoomError(tmp_path, found="none left")

    log = logging.getLogger(http.__name__)
    bands = [f"T33UUP_20170613T101031_B0{number}.jp2" for number in range(2, 9)]
    google = [Fault("object", "404" if band != bands[0] else "429 absurd", None, band) for band in bands]
    mirror = [Fault("object", "429 absurd", None, "manifest.safe")]
    with sources(tmp_path / "world", google, mirror) as world:
        world.patience = replace(QUICK, waits=2, longest_pause_s=30)
        log.addFilter(fill)
        try:
            with pytest.raises(NoRoomError):
                world.fetch(tmp_path)
        finally:
            log.removeFilter(fill)
    assert said["manifest.safe"] == 1


def test_a_length_that_no_file_has_counts_as_unknown(tmp_path: Path) -> None:
    """Python refuses to read more than 4,300 digits."""
    key = f"tiles/33/U/UP/{NAME}/manifest.safe"
    entry = f"<Contents><Key>{key}</Key><Size>{'9' * 5000}</Size></Contents>"
    with FileServer({"/bucket": f"<ListBucketResult>{entry}</ListBucketResult>".encode()}) as server:
        url = server.url("/bucket")
        listing = Bucket(Client(patience=QUICK, hosts=Origin(url)), url).listing(NAME)
    assert listing and listing.files["manifest.safe"].length_bytes is None


def test_a_second_source_is_asked_once_what_it_has_and_progress_counts_no_file_twice(tmp_path: Path) -> None:
    """All bands of the first are damaged, and so is its manifest: another's is tried, with what has come."""
    bands = [Fault("object", "404", None, f"T33UUP_20170613T101031_B0{number}.jp2") for number in range(1, 9)]
    with sources(tmp_path / "world", bands) as world:
        key = next(key for key in world.google.objects if key.endswith(".SAFE/manifest.safe"))
        members = {**world.members, "MTD_MSIL1C.xml": b"<another/>\n"}
        world.google.objects[key] = safe.manifest(members, "L1C")
        shown: list[tuple[int, int | None]] = []
        world.fetch(tmp_path, progress=lambda *at: shown.append(at))
        assert world.mirror.fetched[key] == 1
    assert shown[-1][0] == shown[-1][1]
