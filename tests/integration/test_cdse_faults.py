"""Each fault that CDSE is known for: what comes of it, what is on disk, and what the log says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.digests import Digests, available
from ben_luigi.domain.cdse.download import Download, DownloadReport
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.cdse.resolve import resolve
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import PermanentError, RateLimitError, SourceError, TransientError
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products.l1c import BANDS
from ben_luigi.sample import safe
from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import KINDS, Fault, Record, Script, another_id
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.fault_table import FaultTable

NAME = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")
ID = "f602623e-fd82-5a53-ba09-b05ce085e40c"
QUICK = Patience(
    tries=3,
    waits=4,
    first_pause_s=0.002,
    longest_pause_s=0.02,
    connect_timeout_s=5,
    read_timeout_s=10,
    floor_bytes_s=1000,
    floor_window_s=0.3,
)


@dataclass(frozen=True)
class Case:
    """A fault, and how it must end: `survived`, or the class of the error; after how many tries, saying what."""

    where: str
    kind: str
    times: int | None
    tries: int
    ends: type[SourceError] | None = None
    says: str = ""
    bare: bool = False
    """The catalogue states neither length nor checksum, so that only the zip itself can tell."""
    first: str = ""
    """A fault that happens before, once."""
    keeps: bool = False
    """A part is left on disk, to go on with."""

    def __str__(self) -> str:
        words = [f"{self.where}: {self.kind}", "always" if self.times is None else f"{self.times} x"]
        words += ["only the zip can tell"] * self.bare + [f"after {self.first}"] * bool(self.first)
        return ", ".join(words)


ALWAYS = None
LOST, LIMITED, AT_ONCE, CREDENTIALS = TransientError, RateLimitError, PermanentError, CredentialsError
DOWNLOAD = [
    # what an HTTP status says
    Case("download", "401", 1, 1),
    Case("download", "401", ALWAYS, 3, LOST, "expected: a new token to be accepted; found: HTTP 401"),
    Case("download", "401 signature", 1, 1),
    Case("download", "403", 1, 1, AT_ONCE, "HTTP 403 Forbidden"),
    Case("download", "404", 1, 2, says="HTTP 404"),
    Case("download", "404", ALWAYS, 3, LOST, "HTTP 404"),
    Case("download", "422", 1, 1, AT_ONCE, "DAT-ZIP-111"),
    Case("download", "429", 3, 1, says="Rate limit exceeded"),
    Case("download", "429", ALWAYS, 0, LIMITED, "Rate limit exceeded"),
    Case("download", "429 seconds", 2, 1, says="HTTP 429"),
    Case("download", "429 date", 1, 1, says="HTTP 429"),
    Case("download", "429 absurd", 2, 1, says="HTTP 429"),
    Case("download", "429 sessions", 2, 1, says="DAT-ZIP-100 Max session number exceeded"),
    Case("download", "500", 2, 3, says="HTTP 500"),
    Case("download", "500", ALWAYS, 3, LOST, "HTTP 500 Internal Server Error"),
    Case("download", "502", 1, 2, says="HTTP 502"),
    Case("download", "503", 1, 2, says="HTTP 503 Service Unavailable, text/html"),
    Case("download", "504", 1, 2, says="HTTP 504 Gateway Timeout, application/json, an empty body"),
    Case("download", "html", 1, 2, says="expected: a zip; found: HTTP 200 OK, text/html"),
    Case("download", "html", ALWAYS, 3, LOST, "expected: a zip"),
    Case("download", "json", 1, 2, says="Something went wrong"),
    Case("download", "empty body", 1, 2, says="an empty body"),
    # where it sends one
    Case("download", "redirect loop", 1, 1),
    Case("download", "redirect loop", ALWAYS, 3, LOST, "expected: at most 5 redirects"),
    Case("download", "redirect to port", ALWAYS, 3, LOST, "expected: an https address under dataspace.copernicus.eu"),
    Case("download", "redirect to http", ALWAYS, 3, LOST, "http://download.dataspace.copernicus.eu"),
    Case("download", "redirect to foreign host", 1, 2, says="dataspace.copernicus.eu.example.org"),
    # how the body comes
    Case("download", "short", 2, 3, says="IncompleteRead"),
    Case("download", "short", ALWAYS, 3, LOST, "IncompleteRead", keeps=True),
    Case("download", "no length", 1, 1),
    Case("download", "no length", 1, 1, bare=True),
    Case(
        "download",
        "no length, early end",
        1,
        2,
        says="expected: [0-9,]+ bytes, .* catalogue; found: [0-9,]+ bytes received",
    ),
    Case("download", "no length, early end", 1, 2, says="BadZipFile", bare=True),
    Case("download", "no length, early end", ALWAYS, 2, AT_ONCE, "the same bytes again", bare=True),
    Case("download", "chunked", 1, 1),
    Case("download", "chunked and cut", 1, 2, says="IncompleteRead|ended|ProtocolError"),
    Case("download", "reset", 1, 2, says="ConnectionReset|Connection reset"),
    Case("download", "stall", 1, 2, says="[Tt]imed out"),
    Case("download", "crawl", 1, 2, says="a crawl of [0-9]+ bytes per second"),
    Case("download", "crawl", ALWAYS, 3, LOST, "a crawl of", keeps=True),
    # whether a part can be gone on with
    Case("download", "range ignored", 1, 2, first="short", says="IncompleteRead"),
    Case("download", "range 416", 1, 2, first="short", says="IncompleteRead"),
    Case("download", "range misstated", 1, 2, first="short", says="IncompleteRead"),
    Case("download", "range shifted", 1, 2, first="short", says="IncompleteRead"),
    Case("download", "range of another total", 1, 2, first="short", says="IncompleteRead"),
    Case("download", "range of another total", 1, 2, first="short", says="IncompleteRead", bare=True),
    # what is in the zip
    Case("download", "flipped bit", 1, 2, says="expected: (MD5|BLAKE3)"),
    Case("download", "flipped bit", 1, 2, says="damaged", bare=True),
    Case("download", "flipped bit", ALWAYS, 2, AT_ONCE, "the same bytes again"),
    Case("download", "no end", 1, 2, says="the ContentLength of the catalogue; found: "),
    Case("download", "no end", 1, 2, says="BadZipFile", bare=True),
    Case("download", "trailing junk", 1, 2, says="the ContentLength of the catalogue; found: "),
    Case("download", "trailing junk", 1, 2, says="expected: nothing after the end of the zip", bare=True),
    Case("download", "other product", 1, 2, says="found: product S2A_MSIL1C_2027", bare=True),
    Case("download", "other product", ALWAYS, 2, AT_ONCE, "found: product S2A_MSIL1C_2027", bare=True),
    Case("download", "no folders", ALWAYS, 1, bare=True),
    Case("download", "extra previews", ALWAYS, 1, bare=True),
    Case("download", "changed image", 1, 2, says="damaged .*_B8A.jp2", bare=True),
    Case("download", "missing member", 1, 2, says="missing .*_B01.jp2, band B01", bare=True),
    Case("download", "duplicate member", 1, 2, says="there twice", bare=True),
    Case("download", "escaping path", 1, 2, says="a path out of its folder", bare=True),
    Case("download", "escaping inner path", ALWAYS, 2, AT_ONCE, "a path out of its folder", bare=True),
    Case("download", "absolute name", 1, 2, says="a path out of its folder", bare=True),
    Case("download", "symbolic link", 1, 2, says="a link or device", bare=True),
]
TOKEN = [
    Case("token", "401 wrong credentials", ALWAYS, 1, CREDENTIALS, "Invalid user credentials"),
    Case("token", "400 not set up", ALWAYS, 1, CREDENTIALS, "Account is not fully set up.*log in once at https"),
    Case("token", "no refresh token", ALWAYS, 1),
    Case("token", "short life", ALWAYS, 1),
    Case("token", "html", 1, 1, says="expected: an answer with access_token"),
    Case("token", "500", 2, 1, says="HTTP 500"),
    Case("token", "500", ALWAYS, 3, LOST, "HTTP 500"),
    Case("token", "403 sessions", 1, 1, says="Session limit exceeded"),
    Case("token", "429", 1, 1, says="HTTP 429"),
    Case("token", "hang", 1, 1, says="[Tt]imed out"),
]
CATALOGUE = [
    Case("catalogue", "429", 2, 1, says="Rate limit exceeded"),
    Case("catalogue", "429 seconds", 1, 1, says="HTTP 429"),
    Case("catalogue", "429 date", 1, 1, says="HTTP 429"),
    Case("catalogue", "429 absurd", 1, 1, says="HTTP 429"),
    Case("catalogue", "404", 1, 1, says="HTTP 404"),
    Case("catalogue", "500", 1, 1, says="HTTP 500"),
    Case("catalogue", "503", 2, 1, says="HTTP 503 Service Unavailable, text/html"),
    Case("catalogue", "503", ALWAYS, 0, LOST, "HTTP 503"),
    Case("catalogue", "cut json", 1, 1, says="expected: JSON"),
    Case("catalogue", "html", 1, 1, says="expected: JSON"),
    Case("list", "404", ALWAYS, 1, says="asking name by name"),
    Case("list", "endless pages", ALWAYS, 1),
    Case("catalogue", "small pages", ALWAYS, 1),
    Case("catalogue", "same page again", ALWAYS, 1),
    Case("catalogue", "endless pages", ALWAYS, 0, LOST, "expected: at most 100 pages"),
    Case("list", "empty", ALWAYS, 1),
    Case("catalogue", "empty", 2, 1),
    Case("catalogue", "unknown length", ALWAYS, 1),
    Case("catalogue", "blake3 only", ALWAYS, 1),
    Case("catalogue", "wrong checksum", ALWAYS, 2, AT_ONCE, "expected: MD5 00000.*the same bytes again"),
    Case("catalogue", "two ids", ALWAYS, 1),
    Case("catalogue", "two ids alike", ALWAYS, 1),
    Case("catalogue", "other id", ALWAYS, 3, LOST, "HTTP 404"),
    Case("catalogue", "offline", ALWAYS, 0, AT_ONCE, "offline"),
]
CASES = [*DOWNLOAD, *TOKEN, *CATALOGUE]


def members() -> dict[str, bytes]:
    """A product of 13 small images that are none, but have names and checksums."""
    random, granule = Random(3), "GRANULE/L1C_T33UUP_A010309_20170613T101608"
    images = {f"{granule}/IMG_DATA/T33UUP_20170613T101031_{band}.jp2": random.randbytes(16_000) for band in BANDS}
    images["MTD_MSIL1C.xml"] = b"<metadata/>"
    folders = {f"{granule}/AUX_DATA/": b"", "DATASTRIP/DS_MTI__20170613T101608/QI_DATA/": b""}
    return {**images, **folders, "manifest.safe": safe.manifest(images, "L1C")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A folder with one product, and the catalogue of it."""
    folder = tmp_path_factory.mktemp("cdse")
    safe.write_zip(members(), folder / "product.zip", str(NAME), datetime(2017, 6, 13))
    content = (folder / "product.zip").read_bytes()
    with Digests([name for name in ("MD5", "BLAKE3") if available(name)]) as digests:
        digests.update(content)
    blake3 = digests.hexdigest("BLAKE3") if available("BLAKE3") else "0" * 64
    checksums = [
        {"Value": digests.hexdigest("MD5"), "Algorithm": "MD5"},
        {"Value": blake3, "Algorithm": "BLAKE3"},
    ]
    record: Record = {
        "Id": ID,
        "Name": str(NAME),
        "ContentLength": len(content),
        "Checksum": checksums,
        "PublicationDate": "2017-06-13T16:00:00.000000Z",
        "Online": True,
        "File": "product.zip",
    }
    return folder, [record]


def client_of(server: CdseServer, case: Case) -> Client:
    """A client that waits for milliseconds."""
    return Client(server.service, replace(QUICK, read_timeout_s=0.4 if case.kind in ("stall", "hang") else 10))


def fetch(client: Client, folder: Path) -> DownloadReport:
    """The whole way: name to id to file."""
    resolution = resolve([NAME], client, {str(NAME): ID})[0]
    if resolution.problem or not resolution.product:
        raise resolution.problem or AssertionError
    tokens = Tokens(client, Credentials("sample", "sample"), folder / "state")
    target, err = folder / "l1c" / "t.zip", folder / "l1c" / f"{ID}.err"
    return Download(resolution.product, target, client, tokens, err, QUICK).run()


def script(case: Case) -> list[Fault]:
    """The case's fault, what goes before it, and what makes the catalogue state nothing."""
    first = [Fault("download", case.first)] if case.first else []
    bare = [Fault("catalogue", "unknown length", None)] if case.bare else []
    return [*first, Fault(case.where, case.kind, case.times), *bare]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault(
    case: Case, world: tuple[Path, list[Record]], tmp_path: Path, table: FaultTable, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault ends as the table says: with the right file in place, or with a reason and without a file."""
    root, catalogue = world
    with (
        table.row(str(case), case.tries, survives=not case.ends),
        CdseServer(catalogue, root, script(case), slow_s=0.05) as server,
        client_of(server, case) as client,
    ):
        if case.ends:
            with pytest.raises(SourceError) as caught:
                fetch(client, tmp_path)
            assert type(caught.value) is case.ends
            assert_given_up(case, tmp_path, str(caught.value))
        else:
            assert_survived(case, tmp_path, root, fetch(client, tmp_path), caplog.text)
        assert re.search(case.says, caplog.text + (str(caught.value) if case.ends else ""))
        assert server.account.counts["sessions"] <= 1
        assert not list(tmp_path.parent.rglob("escaped.txt"))


def assert_survived(case: Case, folder: Path, root: Path, report: DownloadReport, log: str) -> None:
    """The file is there, nothing else is, and it took as many tries as it must."""
    assert report.tries == case.tries
    assert [path.name for path in (folder / "l1c").iterdir()] == ["t.zip"]
    repacked = case.kind in ("no folders", "extra previews")
    assert repacked or (folder / "l1c" / "t.zip").read_bytes() == (root / "product.zip").read_bytes()
    assert report.sha256 == file_hash(folder / "l1c" / "t.zip")
    assert ("length" in report.verified_by) != (case.bare or case.kind == "unknown length")
    assert "manifest" in report.verified_by
    # Every failed try is one line of the log, naming the tile.
    assert len(re.findall(r"tile 33UUP_20170613, try .*; next try in ", log)) >= case.tries - 1


def assert_given_up(case: Case, folder: Path, message: str) -> None:
    """No file, perhaps a part of the right one, and the reason in the file for CDSE support, a line for each try."""
    names = sorted(path.name for path in (folder / "l1c").glob("*"))
    assert re.search(case.says, message)
    if case.where == "download" or case.where == "token":
        parts = [f"t.zip.{ID}.part"] if case.keeps else []
        assert names == [f"{ID}.err", *parts]
        told = (folder / "l1c" / f"{ID}.err").read_text().splitlines()
        assert len(told) == (case.tries or QUICK.waits)
        assert all((str(NAME) in line and ID in line) or "account" in line or "POST" in line for line in told)
        assert told[-1].endswith("given up")
        assert "tells of each try" in message
    else:
        assert names in ([], [f"{ID}.err"])


REFRESH = ["400 too old", "500", "html", "429", "hang", "no refresh token"]


@pytest.mark.parametrize("kind", REFRESH)
def test_fault_at_refresh(kind: str, world: tuple[Path, list[Record]], tmp_path: Path, table: FaultTable) -> None:
    """A refresh that fails for a time is tried again in the same session; one that is too old makes a new session."""
    root, catalogue = world
    case, account = Case("refresh", kind, 1, 1), Account(lifetime_s=0.2)
    with (
        table.row(str(case)),
        CdseServer(catalogue, root, account=account) as server,
        client_of(server, case) as client,
    ):
        tokens = Tokens(client, Credentials("sample", "sample"), tmp_path)
        first = tokens.get()
        server.script = Script([Fault("token", kind)])
        time.sleep(0.25)
        second = tokens.get()
        assert account.accepts(f"Bearer {second}")
        assert second != first
        assert account.counts["sessions"] == (2 if kind == "400 too old" else 1)


REPROCESSED = "S2A_MSIL1C_20170613T101031_N0500_R022_T33UUP_20230815T101500.SAFE"
OTHER = str(NAME).replace("T33UUP", "T33UUQ")
HELD: dict[str, tuple[Callable[[Record], list[Record]], str]] = {
    "a product that was deleted": (
        lambda one: [{**one, "DeletionDate": "2024-05-01", "DeletionCause": "Duplicated product"}],
        f"deleted: {ID} deleted 2024-05-01, Duplicated product",
    ),
    "an N0500 sibling only": (
        lambda one: [{**one, "Id": another_id(one), "Name": REPROCESSED}],
        f"superseded: by {REPROCESSED}.*set .cdse. accept_superseded",
    ),
    "a name left out": (lambda one: [{**one, "Id": another_id(one), "Name": OTHER}], "found: gone"),
}


@pytest.mark.parametrize(("held", "says"), HELD.values(), ids=HELD)
def test_what_the_catalogue_does_not_hold(
    held: Callable[[Record], list[Record]],
    says: str,
    world: tuple[Path, list[Record]],
    tmp_path: Path,
    table: FaultTable,
    request: pytest.FixtureRequest,
) -> None:
    """It is said why, and nothing is asked of the download service: no other product is taken in its place."""
    root, (record,) = world
    fault = f"catalogue: {request.node.callspec.id}"
    with table.row(fault, 0, survives=False), CdseServer(held(record), root) as server:
        with pytest.raises(PermanentError, match=says), Client(server.service, QUICK) as client:
            fetch(client, tmp_path)
        assert not server.downloads and not list(tmp_path.iterdir())


def test_every_fault_has_its_case() -> None:
    """No fault that the server can make is left out of the table."""
    assert {case.kind for case in CASES} | set(REFRESH) == KINDS
