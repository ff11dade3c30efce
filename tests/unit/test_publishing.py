"""Publishing to services that fail: the same content in the end, each file sent whole once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ben_luigi.domain.errors import BadInput, PermanentError, PipelineError, TransientError
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.package import Package
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender
from ben_luigi.sample.loopback import Fault
from tests.conftest import ROOT
from tests.publishing_servers import BUCKET, HubServer, S3Server, ZenodoServer
from tests.unit.publishing_places import ALL, NAMES, PART, PATIENCE, SENDS, contents_of, place


@ALL
def test_all_of_it_arrives_and_nothing_is_sent_again(kind: str, package: Package, tmp_path: Path) -> None:
    with place(kind, tmp_path) as there:
        moved: list[int] = []
        first = there.publish(package, moved=moved)
        assert there.content() == contents_of(package)
        assert sorted(first.sent) == sorted(NAMES) and sum(moved) == package.size_bytes
        whole = len(there.server.sent_whole(SENDS[kind])), len(there.server.sent_whole("put"))
        again = there.publish(package)
        assert (len(there.server.sent_whole(SENDS[kind])), len(there.server.sent_whole("put"))) == whole
        assert not again.sent and sorted(again.already_there) == sorted(NAMES)


FAULTS = ("cut", "cut midway", "cut after", "500", "503", "429")


@ALL
@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_content_is_the_same_and_each_file_was_sent_whole_once(
    fault: str, kind: str, package: Package, tmp_path: Path
) -> None:
    """Also where all has arrived, and only the answer was lost."""
    with place(kind, tmp_path, Fault(fault, SENDS[kind])) as there:
        there.publish(package)
        assert there.content() == contents_of(package)
        whole = there.server.sent_whole(SENDS[kind])
        if kind != "huggingface" or fault != "cut after":  # its library sends again by itself before we can ask
            assert len(whole) == len({*whole})


@ALL
@pytest.mark.parametrize("fault", ["cut", "cut after", "500", "429"])
def test_a_fault_of_any_other_request_changes_nothing(fault: str, kind: str, package: Package, tmp_path: Path) -> None:
    others = {
        "zenodo": ("drafts", "create", "metadata", "list"),
        "huggingface": ("create", "paths", "preupload", "batch", "commit"),
        "s3": ("get", "head", "uploads", "begin", "parts", "end", "put"),
    }
    with place(kind, tmp_path, *(Fault(fault, where) for where in others[kind])) as there:
        there.publish(package)
        assert there.content() == contents_of(package)
        assert not isinstance(there.server, ZenodoServer) or len(there.server.drafts) == 1


@pytest.mark.parametrize("kind", ["zenodo", "s3"])
def test_a_file_that_is_damaged_on_its_way_is_sent_again(kind: str, package: Package, tmp_path: Path) -> None:
    """The Hub has the address of its content from the hash, and refuses another."""
    with place(kind, tmp_path, Fault("damaged", "put")) as there:
        there.publish(package)
        assert there.content() == contents_of(package)


def test_a_file_that_was_hashed_while_it_was_sent_is_not_read_again(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ben_luigi.domain.publishing.hashing.digest_of", lambda *given: pytest.fail("read again"))
    with place("zenodo", tmp_path) as there:
        assert sorted(there.publish(package).sent) == sorted(NAMES)
        assert sorted(there.publish(package).already_there) == sorted(NAMES)


def test_another_hash_that_the_hub_tells_is_an_error(package: Package, tmp_path: Path) -> None:
    with place("huggingface", tmp_path) as there:
        assert isinstance(there.server, HubServer)
        there.server.lies = "lies"
        with pytest.raises(TransientError) as told:
            there.publish(package)
        assert told.value.expected.startswith("sha256 ") and told.value.found.startswith("sha256 ")
        assert told.value.expected != told.value.found and "large.tar" in told.value.subject


def test_another_hash_that_s3_tells_is_an_error(package: Package, tmp_path: Path) -> None:
    with place("s3", tmp_path) as there:
        assert isinstance(there.server, S3Server)
        there.server.etag = f'"{"0" * 32}"'
        with pytest.raises(PipelineError, match=f"md5 {'0' * 32}"):
            there.publish(package)


@ALL
def test_a_service_that_never_answers_well_is_given_up(kind: str, package: Package, tmp_path: Path) -> None:
    with place(kind, tmp_path, Fault("503", SENDS[kind], times=None)) as there:
        with pytest.raises(TransientError, match="HTTP 503"):
            there.publish(package)
        there.server.faults = type(there.server.faults)()
        there.publish(package)
        assert there.content() == contents_of(package)


@ALL
def test_the_pause_that_a_service_asks_for_is_made(
    kind: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    where = {"zenodo": "list", "huggingface": "paths", "s3": "head"}[kind]
    patience = replace(PATIENCE, longest_pause_s=100)
    with place(kind, tmp_path, Fault("429", where)) as there:
        there.server.retry_after_s = 77
        Sender(there.service(), Hashes(tmp_path / "hashes.json"), patience).publish(package)
        assert there.content() == contents_of(package)
    assert 77 in pauses


pytestmark = pytest.mark.usefixtures("credentials")

KILLED = """
import sys
from pathlib import Path
from tests.unit import publishing_places as tests
from ben_luigi.domain import surroundings
from ben_luigi.domain.publishing.package import Item, Package
kind, url, token, folder, package = sys.argv[1:]
surroundings.give_back("AWS_.*")
service = {
    "zenodo": lambda: tests.Zenodo(
        tests.Client(patience=tests.PATIENCE, hosts=tests.Origin(url)), url, token, Path(folder) / "record", "package 1"
    ),
    "huggingface": lambda: tests.HuggingFace("u/n", token, url),
    "s3": lambda: tests.S3("s3://bucket/v2", url, tests.PART),
}[kind]()
items = tuple(Item.of(name, Path(package) / name) for name in tests.NAMES)
whole = Package(Path(package), Path(package), "A title", tests.V2, 6, items)
tests.Sender(service, tests.Hashes(Path(folder) / "hashes.json"), tests.PATIENCE).publish(whole)
"""


@ALL
def test_killed_in_the_middle_it_goes_on_where_it_was(kind: str, package: Package, tmp_path: Path) -> None:
    """Killed while a file is half sent, of S3 while its second part is; all else is not sent again."""
    passed = Fault("", SENDS[kind], times={"zenodo": 3, "huggingface": 0, "s3": 1}[kind])
    with place(kind, tmp_path, passed, Fault("held", SENDS[kind])) as there:
        token = str(getattr(there.server, "token", ""))
        words = [kind, there.server.base_url, token, str(tmp_path), str(package.folder)]
        with subprocess.Popen([sys.executable, "-c", KILLED, *words], cwd=ROOT) as process:
            while not there.server.is_held.wait(0.2):
                assert process.poll() is None, "it has ended before"
            process.kill()
        assert there.content() != contents_of(package)
        there.publish(package)
        assert there.content() == contents_of(package)
        for what in {SENDS[kind], "put"}:
            whole = there.server.sent_whole(what)
            assert whole and len(whole) == len({*whole})
        assert there.server.counts["begin"] <= 1 and there.server.counts["create"] <= 2


def test_parts_of_an_upload_that_s3_refuses_are_not_left_there(package: Package, tmp_path: Path) -> None:
    with place("s3", tmp_path, Fault("400", "end")) as there:
        assert isinstance(there.server, S3Server)
        with pytest.raises(PermanentError):
            there.publish(package)
        assert there.server.counts["abort"] == 1
        assert "Uploads" not in there.server.client().list_multipart_uploads(Bucket=BUCKET)


def test_sha256_is_kept_where_the_service_knows_it(package: Package, tmp_path: Path) -> None:
    with place("s3", tmp_path) as there:
        assert isinstance(there.server, S3Server)
        service = S3("s3://bucket/v2", there.server.base_url, PART, has_sha256=True)
        Sender(service, Hashes(tmp_path / "hashes.json"), PATIENCE).publish(package)
        assert there.content() == contents_of(package)
        told = there.server.client().head_object(Bucket=BUCKET, Key="v2/LICENSE", ChecksumMode="ENABLED")
        assert "ChecksumSHA256" in told
        checked = [headers for headers in there.server.headers if "x-amz-checksum-sha256" in headers]
        assert len(checked) == len(NAMES) - 1 + 3  # of the large file, three parts
        assert any("x-amz-checksum-algorithm" in headers for headers in there.server.headers)


@ALL
def test_wrong_credentials_are_said_and_never_quoted(
    kind: str, package: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with place(kind, tmp_path, Fault("403", times=None)) as there:
        with pytest.raises(BadInput) as told:
            there.publish(package)
        assert told.value.remedy
        secret = getattr(there.server, "token", "of-s3")
        assert secret not in f"{told.value}{caplog.text}{there.service()!r}"


@pytest.mark.parametrize("kind", ["zenodo", "huggingface"])
def test_the_token_is_in_the_requests_alone(
    kind: str, package: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(10)
    with place(kind, tmp_path, Fault("500", SENDS[kind])) as there:
        there.publish(package)
        token = str(there.server.token)  # type: ignore[attr-defined]
        assert any(token in str(headers) for headers in there.server.headers)
    said = capfd.readouterr()
    noted = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert token not in caplog.text + said.out + said.err + noted
