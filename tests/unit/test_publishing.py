"""Publishing to services that fail: the same content in the end, each file sent whole once, nothing overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.errors import BadInput, PermanentError, PipelineError, TransientError
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.huggingface import HuggingFace
from ben_luigi.domain.publishing.package import Item, Package, flattened
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender, Sent
from ben_luigi.domain.publishing.service import AnotherContent, Service, WrongHash
from ben_luigi.domain.publishing.zenodo import NEW, Zenodo
from ben_luigi.domain.sources.source import Origin
from ben_luigi.sample.loopback import Fault, Faults
from tests.conftest import ROOT
from tests.publishing_servers import BUCKET, Failing, HubServer, S3Server, ZenodoServer, s3

PATIENCE = Patience(tries=5, waits=5, first_pause_s=0.001, longest_pause_s=0.01, read_timeout_s=20)
PART = 5 * 2**20
"""The least length of a part of S3."""
NAMES = ("LICENSE", "a b.txt", "empty.csv", "large.tar", "patches.parquet")


@dataclass
class Place:
    """A service on loopback, and how it is asked."""

    server: Failing
    service: Callable[[], Service]
    folder: Path

    def publish(self, package: Package, *, replaces: bool = False, moved: list[int] | None = None) -> Sent:
        """Publish, by a service that remembers nothing but what is noted."""
        counted = moved if moved is not None else []
        hashes = Hashes(self.folder / "hashes.json")
        return Sender(self.service(), hashes, PATIENCE, replaces, counted.append).publish(package)

    def content(self) -> dict[str, bytes]:
        """What is there in the end."""
        if isinstance(self.server, ZenodoServer):
            (files,) = self.server.files.values()
            return files
        if isinstance(self.server, HubServer):
            return self.server.committed
        assert isinstance(self.server, S3Server)
        return self.server.content("v2/")


@contextmanager
def place(kind: str, folder: Path, *faults: Fault) -> Iterator[Place]:
    if kind == "zenodo":
        with ZenodoServer(faults) as zenodo, Client(patience=PATIENCE, hosts=Origin(zenodo.base_url)) as client:
            args = (client, zenodo.base_url, zenodo.token, folder / "record", "package 1")
            yield Place(zenodo, lambda: Zenodo(*args), folder)
    elif kind == "huggingface":
        with HubServer(faults) as hub:
            yield Place(hub, lambda: HuggingFace("u/n", hub.token, hub.base_url), folder)
    else:
        with s3(faults) as bucket:
            yield Place(bucket, lambda: S3("s3://bucket/v2", bucket.base_url, PART), folder)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for moto, and no pauses in huggingface_hub."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-s3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Files of all kinds: empty, small, with a space in the name, and one of more than two parts of S3."""
    folder = tmp_path_factory.mktemp("package")
    contents = (b"free", b"words", b"", bytes(range(256)) * (2 * PART // 256 + 77), b"PAR1" * 1000)
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).write_bytes(content)
    items = tuple(Item.of(name, folder / name) for name in NAMES)
    return Package(folder, folder, "A title", V2, 6, items)


def contents_of(package: Package) -> Mapping[str, bytes]:
    return {item.name: item.path.read_bytes() for item in package.items}


ALL = pytest.mark.parametrize("kind", ["zenodo", "huggingface", "s3"])
SENDS = {"zenodo": "put", "huggingface": "put", "s3": "part"}
"""The request by which a large file is sent, or a part of one."""


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


def test_what_has_arrived_at_zenodo_with_another_hash_is_removed_again(package: Package, tmp_path: Path) -> None:
    """So that no draft can be made public that has it, also if no other attempt follows."""
    with place("zenodo", tmp_path, Fault("damaged", "put")) as there:
        with pytest.raises(WrongHash):
            Sender(there.service(), Hashes(tmp_path / "hashes.json"), replace(PATIENCE, tries=1)).publish(package)
        assert there.server.counts["put"] == there.server.counts["delete"] == 1 and there.content() == {}


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
def test_another_content_under_a_name_is_kept_unless_it_is_to_be_replaced(
    kind: str, package: Package, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"mine" * 1000)
    theirs = Package(package.folder, package.folder, "A title", V2, 6, (Item.of("large.tar", tmp_path / "other"),))
    with place(kind, tmp_path) as there:
        there.publish(theirs)
        before = there.content()
        with pytest.raises(AnotherContent) as told:
            there.publish(package)
        assert there.content() == before == {"large.tar": b"mine" * 1000}
        assert "large.tar" in told.value.subject and "--replace" in told.value.remedy
        kinds = {"zenodo": "md5", "huggingface": "sha256", "s3": "md5"}
        for said, size in ((told.value.expected, package.items[3].size_bytes), (told.value.found, 4000)):
            assert said.startswith(f"{kinds[kind]} ") and f"{size:,} bytes" in said
        there.publish(package, replaces=True)
        assert there.content() == contents_of(package)


def form_of(folder: Path, *names: str) -> Package:
    """A form of files of these names, with a note that lists them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{folder.name} {name}".encode())
    (folder / "form.json").write_text(json.dumps({"form": "parquet", "files": dict.fromkeys(names, "1 00000000")}))
    items = tuple(Item.of(name, folder / name) for name in ("form.json", *names))
    return Package(folder, folder, "A title", V2, 6, items, "parquet")


@ALL
@pytest.mark.parametrize("fault", ["", "cut after", "503"])
def test_of_a_form_that_is_replaced_nothing_stays_and_what_is_not_of_it_stays_and_is_named(
    kind: str, fault: str, tmp_path: Path
) -> None:
    """Otherwise readers of `train-*.parquet` get patches twice. It goes on after an interruption."""
    before = form_of(tmp_path / "before", "train-0.parquet", "train-1.parquet", "gone/0", "gone/1")
    after = form_of(tmp_path / "after", "test-0.parquet", "train-0.parquet")
    (tmp_path / "mine.txt").write_text("mine")
    mine = Package(tmp_path, tmp_path, "A title", V2, 6, (Item.of("mine.txt", tmp_path / "mine.txt"),))
    if kind == "zenodo":
        before = flattened(before, tmp_path / "flat")
    with place(kind, tmp_path) as there:
        there.publish(mine)
        assert list(there.publish(before).others) == ["mine.txt"]
        with pytest.raises(AnotherContent):
            there.publish(after)
        if fault:
            there.server.faults = Faults(
                [Fault(fault, {"huggingface": "commit", "zenodo": "delete", "s3": "abort"}[kind])]
            )
        sent = there.publish(after, replaces=True)
        gone = ["gone.zip"] if kind == "zenodo" else ["gone/0", "gone/1"]
        assert sorted(sent.removed) == [*gone, "train-1.parquet"] and list(sent.others) == ["mine.txt"]
        assert there.content() == {**contents_of(after), **contents_of(mine)}


@ALL
def test_a_form_that_is_gone_on_with_is_still_known_by_the_note_of_the_one_before(kind: str, tmp_path: Path) -> None:
    before = form_of(tmp_path / "before", "train-0.parquet", "train-1.parquet")
    after = form_of(tmp_path / "after", "train-0.parquet")
    with place(kind, tmp_path) as there:
        there.publish(before)
        removing = {"huggingface": "tree", "zenodo": "delete", "s3": "abort"}[kind]
        there.server.faults = Faults([Fault("503", removing, times=None)])
        with pytest.raises(TransientError):
            there.publish(after, replaces=True)
        there.server.faults = Faults()
        assert list(there.publish(after, replaces=True).removed) == ["train-1.parquet"]
        assert there.content() == contents_of(after)


@ALL
def test_a_dataset_takes_no_form_away_that_lies_beside_it(kind: str, package: Package, tmp_path: Path) -> None:
    form = form_of(tmp_path / "form", "train-0.parquet")
    with place(kind, tmp_path) as there:
        there.publish(form)
        sent = there.publish(package, replaces=True)
        assert not sent.removed and sorted(sent.others) == ["form.json", "train-0.parquet"]
        assert there.content() == {**contents_of(form), **contents_of(package)}


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


def test_the_time_at_which_zenodo_answers_again_is_waited_for() -> None:
    reset = str(int(time.time()) + 500)
    told = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    wait_s = refusal("a", 429, told, b"").retry_after_s  # type: ignore[attr-defined]
    assert 400 < wait_s <= 501
    for others in ({"X-RateLimit-Reset": "1"}, {"X-RateLimit-Reset": "soon"}, {**told, "X-RateLimit-Remaining": "7"}):
        assert refusal("a", 503, others, b"").retry_after_s is None  # type: ignore[attr-defined]
    assert refusal("a", 429, {**told, "Retry-After": "3"}, b"").retry_after_s == 3  # type: ignore[attr-defined]


KILLED = """
import sys
from pathlib import Path
from tests.unit import test_publishing as tests
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


def test_a_draft_of_which_a_file_was_never_finished_is_completed(package: Package, tmp_path: Path) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        there.publish(package)
        there.server.unfinished = {"LICENSE"}
        there.server.files["1000"]["LICENSE"] = b"fr"
        with pytest.raises(TransientError):  # it never tells a checksum
            there.publish(package)
        there.server.unfinished = set()
        assert there.publish(package).already_there
        assert there.content() == contents_of(package)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *((kind, body) for kind in ("create", "metadata", "list", "put") for body in (b"null", b"5", b"[]")),
        ("create", b'{"id": null}'),
        ("metadata", b'{"id": 1000, "links": null}'),
        *(("list", b'{"contents": %s}' % part) for part in (b"null", b'{"key": 1}', b"[null]", b'[{"key": [1]}]')),
    ],
)
def test_an_answer_of_another_form_is_asked_for_again(
    kind: str, body: bytes, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        answer, given = there.server.answer, [body]

        def odd(method: str, path: str, query: str, *rest: Any) -> tuple[Any, ...]:
            right = answer(method, path, query, *rest)
            return (200, given.pop()) if given and there.server.kind(method, path, query)[0] == kind else right

        monkeypatch.setattr(there.server, "answer", odd)
        there.publish(package)
        assert not given and len(there.server.drafts) == 1
        assert there.content() == contents_of(package)


def test_a_draft_that_is_published_or_gone_is_said(package: Package, tmp_path: Path) -> None:
    with place("zenodo", tmp_path) as there:
        assert isinstance(there.server, ZenodoServer)
        there.publish(package)
        there.server.drafts["1000"]["submitted"] = True
        with pytest.raises(PermanentError, match=r"published already.*--to new"):
            there.publish(package)
        with Client(patience=PATIENCE, hosts=Origin(there.server.base_url)) as client:
            args = (client, there.server.base_url, there.server.token, tmp_path / "record", "package 1", NEW)
            sender = Sender(Zenodo(*args), Hashes(tmp_path / "hashes.json"), PATIENCE)
            assert sorted(sender.publish(package).sent) == sorted(NAMES)
        assert there.server.files["1001"] == there.server.files["1000"]
        (tmp_path / "record").write_text("1000\n")
        del there.server.drafts["1000"]
        with pytest.raises(PermanentError, match=r"draft 1000.*--to new"):
            there.publish(package)


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
