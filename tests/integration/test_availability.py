"""Which sources have which products: 125 of them asked side by side, and sources that do not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ben_luigi.domain.cdse.catalogue import Catalogue
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.availability import HAS, LACKS, SILENT, ask
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.mirror import Mirror
from ben_luigi.domain.sources.source import Origin, Source
from ben_luigi.sample.bucket_server import BucketServer
from ben_luigi.sample.cdse_faults import Fault, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.objects import key_of
from ben_luigi.stages.sources import in_order
from tests.integration.source_world import NAME, members_of
from tests.integration.test_source_soak import names

NOBODY = "http://127.0.0.1:9"
QUICK = Patience(tries=2, waits=2, first_pause_s=0.001, read_timeout_s=5)


@contextmanager
def asked(google: str, mirror: str, cdse: Service) -> Iterator[tuple[list[Source], Catalogue]]:
    """The sources at these addresses."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(patience=QUICK, hosts=Origin(url))) for url in (google, mirror)]
        template = f"{mirror}/tiles/{{zone}}/{{band}}/{{square}}/{{name}}"
        catalogue = Catalogue(stack.enter_context(Client(cdse, QUICK)))
        yield [Bucket(clients[0], google), Mirror(clients[1], template)], catalogue


def manifests(products: list[ProductName]) -> dict[str, bytes]:
    """What is looked at of products to see that they are there."""
    content = members_of()["manifest.safe"]
    return {key_of(product, "manifest.safe"): content for product in products}


def test_125_products_are_asked_for_side_by_side(tmp_path: str) -> None:
    """Each source has others; one has an object of the last product, but not its manifest."""
    products = names()
    records = [{"Id": another_id({"Id": str(one)}), "Name": str(one)} for one in products[50:90]]
    objects = {**manifests(products[:60]), key_of(products[-1], "MTD_MSIL1C.xml"): b""}
    with (
        BucketServer(objects) as google,
        BucketServer(manifests(products[:5]), lists=False) as mirror,
        CdseServer(records, tmp_path) as cdse,  # type: ignore[arg-type]
        asked(google.url, mirror.url, cdse.service) as (sources, catalogue),
    ):
        found = ask(products, sources, catalogue)
        assert cdse.counts["list"] == 1 and google.counts["listing"] == len(products)
        assert google.most_open > 1, "side by side"
    assert {source: len(found.having(source)) for source in found.sources} == {
        "google": 60,
        "mirror 127.0.0.1": 5,
        "cdse": 40,
    }
    assert found.nowhere() == [str(one) for one in products[90:]]
    assert found.only_at("cdse") == [str(one) for one in products[60:90]]
    assert (found.words(str(products[0])), found.words(str(products[55]))) == (
        "google, mirror 127.0.0.1",
        "google, cdse",
    )
    assert found.words(str(products[-1])) == "none" and not found.problems and not found.is_offline


@pytest.mark.parametrize("kind", ["html", "500", "403", "429", "cut json"])
def test_a_source_that_answers_nonsense_may_have_everything(kind: str) -> None:
    """It is asked a few times, and nothing is said to be in no place."""
    products = names()
    nobody = Service(f"{NOBODY}/catalogue", f"{NOBODY}/token", f"{NOBODY}/download")
    with (
        BucketServer(manifests(products), [Fault("listing", kind, None)]) as google,
        BucketServer(manifests(products[:5]), lists=False) as mirror,
        asked(google.url, mirror.url, nobody) as (sources, catalogue),
    ):
        found = ask(products, sources, catalogue)
        assert google.counts["listing"] < len(products) / 2
    states = found.states[str(products[0])]
    assert states == {"google": SILENT, "mirror 127.0.0.1": HAS, "cdse": SILENT}
    assert found.states[str(products[-1])]["mirror 127.0.0.1"] == LACKS
    assert found.nowhere() == [] and set(found.problems) == {"google", "cdse"}


def test_without_any_network_it_is_said_that_nothing_is_known() -> None:
    nobody = Service(f"{NOBODY}/catalogue", f"{NOBODY}/token", f"{NOBODY}/download")
    with asked(NOBODY, NOBODY, nobody) as (sources, catalogue):
        found = ask(names(), sources, catalogue)
    assert found.is_offline and found.nowhere() == [] and len(found.problems) == 3


def test_what_has_not_come_in_time_is_not_known() -> None:
    with (
        BucketServer(manifests(names()), [Fault("object", "stall", None)], lists=False) as mirror,
        asked(NOBODY, mirror.url, Service()) as (sources, _),
    ):
        begun = time.monotonic()
        found = ask(names(), sources[1:], within_s=0.2)
        assert time.monotonic() - begun < 60, "the time of an answer that stalls is not waited for"
        mirror.stopped.set()
    assert found.is_offline


def test_each_of_several_mirrors_at_one_host_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for the files that others lack. One that is named twice is one."""
    monkeypatch.setattr("ben_luigi.config.data_dir", lambda: tmp_path)
    with (
        BucketServer({key_of(NAME, path): data for path, data in members_of().items()}, lists=False) as full,
        BucketServer(manifests([NAME]), lists=False) as poor,
    ):
        template = "/tiles/{zone}/{band}/{square}/{name}"
        mirrors = [f"{full.url}/none{template}", f"{poor.url}{template}", f"{full.url}{template}"]
        monkeypatch.setattr("ben_luigi.addresses.mirrors", lambda: [mirrors[0], *mirrors])
        monkeypatch.setattr("ben_luigi.config.source_order", lambda: ["mirror"])
        with in_order(QUICK) as order:
            found = ask([NAME], order.before)
            assert found.states == {
                str(NAME): {"mirror 127.0.0.1": LACKS, "mirror 127.0.0.1 (2)": HAS, "mirror 127.0.0.1 (3)": HAS}
            }
            report = ProductFetch(NAME, tmp_path / "t", order.before, keep_free_bytes=0).run()
    assert report.source == "mirror 127.0.0.1 (2)"
    assert [one.path for one in report.files if one.source != "mirror 127.0.0.1 (3)"] == ["manifest.safe"]
