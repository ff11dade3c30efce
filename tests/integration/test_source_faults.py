"""Whatever is wrong at one source, the product is the same to the byte in the end; a table says what was tried."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from ben_luigi.domain.errors import SourceError, may_pass
from ben_luigi.domain.sources.outcome import Incomplete, Nowhere, Unanswered
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import LISTINGS, OBJECTS, Fault, Script
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.fault_table import FaultTable
from tests.integration.source_world import IMAGES, NAME, WEATHER, Sources, found_in, sources

BAND = f"{IMAGES}_B02.jp2"
FILES = {"band": BAND, "metadata": "MTD_MSIL1C.xml", "manifest": "manifest.safe", "weather": WEATHER}
ALWAYS = ("404", "403", "500", "html", "changed image", "flipped bit", "short", "trailing junk", "redirect loop")


class Case(NamedTuple):
    """A fault at the bucket, and how often."""

    kind: str
    where: str = "object"
    times: int | None = None
    about: str = ""


PASSING = [
    *(Case(kind, "listing", 1) for kind in ("500", "503", "429", "429 seconds", "html", "cut json", "empty body")),
    *(Case(kind, "listing", 1) for kind in LISTINGS),
    *(Case(kind, "object", 1, BAND) for kind in ("429", "503", "html", "short", "reset", "stall", "flipped bit")),
    Case("trailing junk", "object", 1, BAND),
]
"""What passes: nobody else is asked."""

LASTING = [
    *(Case(kind, "listing") for kind in ("403", "404", "500", "429", "html", "cut json", "empty", "json", *LISTINGS)),
    *(
        Case(kind, "object", None, path)
        for path in FILES.values()
        for kind in (
            "404",
            "403",
            "500",
            "html",
            "changed image",
            "flipped bit",
            "short",
            "trailing junk",
            "redirect loop",
        )
    ),
    Case("500", "object"),
    Case("no hash", "object"),
]
"""What stays so: another source has the file, or the whole product."""


def expected(world: Sources) -> dict[str, bytes]:
    """What is needed of the product, as ESA made it."""
    return {path: data for path, data in world.members.items() if not path.startswith("HTML/")}


def assert_same(world: Sources, folder: Path) -> None:
    """All that is needed is there to the byte, and nothing is left over beside it."""
    found = {path: data for path, data in found_in(folder).items() if not path.startswith("HTML/")}
    assert found == expected(world)
    assert sorted(path.name for path in folder.iterdir()) == ["t", "world"]


@pytest.mark.parametrize("case", PASSING, ids=lambda case: f"{case.where} {case.kind}")
def test_what_passes_is_waited_for(case: Case, table: FaultTable, tmp_path: Path) -> None:
    fault = Fault(case.where, case.kind, case.times, case.about.rpartition("/")[2])
    with table.row(f"google {case.where}: {case.kind}, once", 2), sources(tmp_path / "world", [fault]) as world:
        report = world.fetch(tmp_path)
        assert_same(world, tmp_path)
        assert {one.source for one in report.files} == {"google"}
        assert not world.mirror.fetched and not world.cdse.counts


@pytest.mark.parametrize("case", LASTING, ids=lambda case: f"{case.where} {case.kind} {case.about.rpartition('/')[2]}")
def test_what_stays_is_got_elsewhere(case: Case, table: FaultTable, tmp_path: Path) -> None:
    about = case.about.rpartition("/")[2]
    fault = Fault(case.where, case.kind, case.times, about)
    with (
        table.row(f"google {case.where}: {case.kind}, always {about[-20:]}", 3),
        sources(tmp_path / "world", [fault]) as world,
    ):
        report = world.fetch(tmp_path)
        assert_same(world, tmp_path)
        if case.about and case.kind != "no hash":
            others = {one.path for one in report.files if one.source != "google"}
            assert others == {case.about}, "nothing else is fetched again"


@pytest.mark.parametrize("dead", ["google", "mirror", "cdse", "google and mirror"])
def test_any_source_may_be_dead(dead: str, table: FaultTable, tmp_path: Path) -> None:
    """Of two web sources that are dead, no file can come but from CDSE's zip, which is another way."""
    survives = dead != "google and mirror"
    with table.row(f"{dead}: nobody answers", 3, survives=survives), sources(tmp_path / "world") as world:
        world.dead = set(dead.split(" and "))
        if survives:
            world.fetch(tmp_path)
            assert_same(world, tmp_path)
            return
        found = r"google: does not answer.*mirror 127\.0\.0\.1: does not answer.*next: run again later"
        with pytest.raises(Unanswered, match=found) as caught:
            world.fetch(tmp_path)
        assert may_pass(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["world"]


@pytest.mark.parametrize(("kind", "error"), [("403", Nowhere), ("500", Unanswered)])
def test_a_person_is_needed_only_if_all_sources_refuse_for_good(
    kind: str, error: type[SourceError], tmp_path: Path
) -> None:
    with sources(tmp_path / "world", [Fault("listing", kind, None)]) as world:
        world.mirror.objects = {}
        with pytest.raises(error, match=r"google: does not answer.*mirror 127\.0\.0\.1: does not have it") as caught:
            world.fetch(tmp_path)
        assert may_pass(caught.value) == ("run again later" in str(caught.value)) == (kind == "500")


@pytest.mark.parametrize("first", ["google", "mirror", "cdse"])
def test_any_one_file_may_be_bad_at_any_one_source(first: str, table: FaultTable, tmp_path: Path) -> None:
    """One file after the other is damaged at the source that is asked first, and comes from another; no other does.

    A mirror has no list of its files but the manifest: where that is damaged, all comes from others.
    """
    with sources(tmp_path / "world") as world:
        world.cdse.records[0]["Trace"] = "CREATE"
        trace = world.trace()
        server: BucketServer | CdseServer = getattr(world, first)
        where = "node" if first == "cdse" else "object"
        wanted = expected(world)
        with table.row(f"{first}: any one of {len(wanted)} files damaged, always", len(wanted)):
            for number, path in enumerate(wanted):
                server.script = Script([Fault(where, "flipped bit", None, path.rpartition("/")[2])])
                folder = tmp_path / str(number)
                report = world.fetch(folder, [first, *{"google", "mirror"} - {first}], traced=lambda: trace)
                found = found_in(folder)
                assert {each: found[each] for each in wanted} == wanted
                elsewhere = {one.path for one in report.files if one.source.split()[0] != first}
                assert elsewhere == ({*wanted} if (first, path) == ("mirror", "manifest.safe") else {path})


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_file_that_is_bad_at_two_sources_comes_from_the_third(path: str, table: FaultTable, tmp_path: Path) -> None:
    fault = Fault("object", "flipped bit", None, path.rpartition("/")[2])
    with (
        table.row(f"google and mirror: {path[-20:]} damaged", 6),
        sources(tmp_path / "world", [fault], [fault]) as world,
    ):
        if path == WEATHER:  # the mirror cannot know that it is damaged: there is no hash of it anywhere
            world.mirror.script = world.google.script.__class__([])
        world.fetch(tmp_path)
        assert_same(world, tmp_path)


def test_what_is_bad_everywhere_is_named_with_all_that_was_found(table: FaultTable, tmp_path: Path) -> None:
    """And what has come is kept: the next try asks for nothing else."""
    fault = Fault("object", "flipped bit", None, BAND.rpartition("/")[2])
    nodes = Fault("node", "404", None, BAND.rpartition("/")[2])
    with (
        table.row("a band that is damaged at every source", 6, survives=False),
        sources(tmp_path / "world", [fault], [fault], [nodes]) as world,
    ):
        with pytest.raises(Incomplete) as caught:
            world.fetch(tmp_path)
        said = str(caught.value)
        assert BAND in said and "google: md5" in said and "mirror 127.0.0.1: md5" in said and "cdse" in said
        assert not (tmp_path / "t").exists()
        world.google.script = Script([])
        before = world.google.fetched.copy()
        world.fetch(tmp_path)
        assert_same(world, tmp_path)
        assert [key.rpartition("/")[2] for key in world.google.fetched - before] == [BAND.rpartition("/")[2]]


def test_sources_that_disagree_about_a_file_are_both_named_and_the_manifest_decides(
    table: FaultTable, tmp_path: Path
) -> None:
    """The bucket has another file, with the hash of that one: so it lies there, and is asked for once."""
    with table.row("google has another file than the manifest says", 1), sources(tmp_path / "world") as world:
        key = next(key for key in world.google.objects if key.endswith(BAND))
        world.google.objects[key] = b"another"
        report = world.fetch(tmp_path)
        assert_same(world, tmp_path)
        assert world.google.fetched[key] == 1
        (brought,) = (one for one in report.files if one.path == BAND)
        assert (brought.source, brought.proof) == ("mirror 127.0.0.1", "manifest")
        assert any(trouble.startswith(f"google: {BAND}: md5") for trouble in report.troubles)


def test_a_manifest_that_is_wrong_is_replaced_by_another_sources(table: FaultTable, tmp_path: Path) -> None:
    """In the bucket a checksum in it is another one: every file is as it is, and no band fits."""
    with table.row("google's manifest states a wrong checksum", 6), sources(tmp_path / "world") as world:
        key = next(key for key in world.google.objects if key.endswith("manifest.safe"))
        listed = world.google.objects[key]
        start = listed.index(b">", listed.index(b'MTD_MSIL1C.xml"/>') + len(b'MTD_MSIL1C.xml"/>')) + 1
        world.google.objects[key] = listed[:start] + b"0" * 32 + listed[start + 32 :]
        report = world.fetch(tmp_path)
        assert_same(world, tmp_path)
        others = {one.path: one.source for one in report.files if one.source != "google"}
        assert others == {"manifest.safe": "mirror 127.0.0.1"}


def test_a_manifest_that_lists_what_nobody_has_is_said(table: FaultTable, tmp_path: Path) -> None:
    with (
        table.row("a file of the manifest that nobody has", 3, survives=False),
        sources(tmp_path / "world", [], [], [Fault("node", "404", None, "MTD_DS.xml")]) as world,
    ):
        for server in (world.google, world.mirror):
            server.objects = {key: data for key, data in server.objects.items() if not key.endswith("MTD_DS.xml")}
        with pytest.raises(Incomplete, match=r"MTD_DS\.xml.*google: it is not there.*mirror.*404"):
            world.fetch(tmp_path)


def test_a_listing_of_many_pages_is_read_to_its_end(table: FaultTable, tmp_path: Path) -> None:
    with table.row("google listing: pages of five", 1), sources(tmp_path / "world") as world:
        world.google.page = 5
        world.fetch(tmp_path)
        assert_same(world, tmp_path)
        assert world.google.counts["listing"] == -(-len(world.google.objects) // 5)


RESUMED = ["", "range ignored", "range 416", "range of another version"]


def test_every_fault_of_a_bucket_alone_has_its_case() -> None:
    assert {case.kind for case in (*PASSING, *LASTING)}.union(RESUMED) >= {*OBJECTS, *LISTINGS}


@pytest.mark.parametrize("kind", RESUMED)
def test_a_file_is_gone_on_with_where_it_broke_off(kind: str, table: FaultTable, tmp_path: Path) -> None:
    """By Range with If-Match; what has changed since, or cannot be gone on with, begins anew."""
    about = BAND.rpartition("/")[2]
    faults = [Fault("object", "short", 1, about), *([Fault("object", kind, 1, about)] if kind else [])]
    with (
        table.row(f"google object: short, then {kind or 'resumed'}", 2 + bool(kind)),
        sources(tmp_path / "world", faults) as world,
    ):
        report = world.fetch(tmp_path)
        assert_same(world, tmp_path)
        assert {one.source for one in report.files} == {"google"}
        assert report.name == str(NAME)


@pytest.mark.parametrize("path", ["../../escaped.txt", "/escaped.txt", "GRANULE/../../../escaped.txt"])
def test_a_manifest_that_names_paths_out_of_its_folder_is_refused(path: str, table: FaultTable, tmp_path: Path) -> None:
    """At both web sources: it comes from the third, and nothing is written elsewhere."""
    with table.row(f"a manifest that names {path}", 3), sources(tmp_path / "world") as world:
        for server in (world.google, world.mirror):
            key = next(key for key in server.objects if key.endswith("manifest.safe"))
            server.objects[key] = server.objects[key].replace(b"./MTD_MSIL1C.xml", f"./{path}".encode())
        world.fetch(tmp_path)
        assert_same(world, tmp_path)
    assert not list(tmp_path.parent.rglob("escaped.txt"))
