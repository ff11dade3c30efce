"""Stores of files, S3 on loopback and another folder: each file whole or not there, whatever fails meanwhile."""

from __future__ import annotations

import ftplib
import hashlib
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput, PipelineError, TransientError
from ben_luigi.domain.storing import opening
from ben_luigi.domain.storing.opening import open_store
from ben_luigi.domain.storing.s3 import S3Store
from ben_luigi.domain.storing.store import Held, Overtaken, Store
from ben_luigi.sample.loopback import Fault, Faults
from tests.conftest import ROOT
from tests.publishing_servers import BUCKET, RandomFaults, S3Server

PART = 5 * 2**20
"""The least length of a part of S3."""
SIZES = {"empty": 0, "small": 1000, "large": 2 * PART + 77}


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "s3":
        request.getfixturevalue("s3_server")
        return S3Store(f"{BUCKET}/a/b", PART)
    return open_store(f"file://{tmp_path}/store")


def written(folder: Path, size: int, seed: int = 1) -> tuple[Path, str]:
    """A file of random bytes, and its sha256."""
    path = folder / f"{size}-{seed}"
    path.write_bytes(random.Random(seed).randbytes(size))
    return path, files.file_hash(path)


def fetched(store: Store, key: str, held: Held, folder: Path) -> bytes:
    """What the store gives back."""
    path = folder / "back"
    path.write_bytes(b"\0" * held.size_bytes)
    assert store.get(key, held, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    return path.read_bytes()


@pytest.mark.parametrize("kind", SIZES)
def test_a_file_comes_back_as_it_was(store: Store, kind: str, tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, SIZES[kind])
    held = store.put(path, "dataset/x y.tar", sha256, "")
    assert held.size_bytes == SIZES[kind] and held.is_same(store.look("dataset/x y.tar"))
    assert held.sha256 in ("", sha256)
    assert fetched(store, "dataset/x y.tar", held, tmp_path) == path.read_bytes()
    assert {key: one[:2] for key, one in store.listed("dataset").items()} == {"dataset/x y.tar": held[:2]}
    assert not store.listed("datasets") and not store.listed("data") and store.look("dataset") is None
    store.remove(["dataset/x y.tar", "dataset/none"])
    assert store.look("dataset/x y.tar") is None and not store.listed("")


@pytest.mark.parametrize("kind", ["small", "large"])
def test_what_another_process_has_put_meanwhile_is_not_replaced(store: Store, kind: str, tmp_path: Path) -> None:
    theirs, ours = written(tmp_path, SIZES[kind]), written(tmp_path, SIZES[kind], 2)
    held = store.put(*(theirs[0], "a.tar", theirs[1]), replaces="")
    with pytest.raises(Overtaken, match="another process has made it in the meantime"):
        store.put(*(ours[0], "a.tar", ours[1]), replaces="")
    assert fetched(store, "a.tar", held, tmp_path) == theirs[0].read_bytes()
    assert [*store.listed("")] == ["a.tar"] and not store.sweep(["a.tar"])


def test_only_what_was_there_is_replaced(store: Store, tmp_path: Path) -> None:
    first, second = written(tmp_path, 10), written(tmp_path, 11, 2)
    held = store.put(first[0], "a", first[1], "")
    newer = store.put(second[0], "a", second[1], held.tag)
    with pytest.raises(Overtaken):
        store.put(first[0], "a", first[1], held.tag)
    assert newer.is_same(store.look("a"))
    assert store.put(first[0], "a", first[1], None).size_bytes == 10


def test_another_content_is_not_taken_for_the_one_that_was_stored(store: Store, tmp_path: Path) -> None:
    first, second = written(tmp_path, 1000), written(tmp_path, 1000, 2)
    held = store.put(first[0], "a", first[1], "")
    store.put(second[0], "a", second[1], None)
    with pytest.raises(FileNotFoundError):
        fetched(store, "a", held, tmp_path)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_requests_that_fail_at_random_leave_no_trace(s3_server: S3Server, seed: int, tmp_path: Path) -> None:
    store, faults = S3Store(f"{BUCKET}/a", PART), RandomFaults(seed, 0.35)
    s3_server.faults = faults
    made = {kind: written(tmp_path, size, seed) for kind, size in SIZES.items()}
    held = {kind: store.put(path, kind, sha256, "") for kind, (path, sha256) in made.items()}
    for kind, (path, _) in made.items():
        assert fetched(store, kind, held[kind], tmp_path) == path.read_bytes()
    assert {key: one[:2] for key, one in store.listed("").items()} == {key: one[:2] for key, one in held.items()}
    assert faults.met and not s3_server.is_unfinished()


def test_a_download_that_is_cut_off_goes_on_where_it_was(s3_server: S3Server, tmp_path: Path) -> None:
    store = S3Store(BUCKET, PART)
    path, sha256 = written(tmp_path, SIZES["large"])
    held = store.put(path, "a", sha256, "")
    s3_server.cut_bodies = 3
    assert fetched(store, "a", held, tmp_path) == path.read_bytes()
    asked = [headers["Range"] for headers in s3_server.headers if "Range" in headers]
    assert len(asked) == 4 and len({*asked}) == 4 and not s3_server.cut_bodies


@pytest.mark.parametrize("kind", ["put", "part"])
def test_an_upload_that_is_refused_for_good_leaves_nothing(s3_server: S3Server, kind: str, tmp_path: Path) -> None:
    s3_server.faults = Faults([Fault("403", kind, None)])
    path, sha256 = written(tmp_path, SIZES["small" if kind == "put" else "large"])
    with pytest.raises(PipelineError, match=f"s3://{BUCKET}/x"):
        S3Store(BUCKET, PART).put(path, "x", sha256, "")
    assert not s3_server.content("") and not s3_server.is_unfinished()


@pytest.mark.parametrize("kind", ["put", "part"])
def test_a_file_that_arrives_damaged_does_not_stay(s3_server: S3Server, kind: str, tmp_path: Path) -> None:
    s3_server.faults = Faults([Fault("damaged", kind, None)])
    path, sha256 = written(tmp_path, SIZES["small" if kind == "put" else "large"])
    with pytest.raises(PipelineError):
        S3Store(BUCKET, PART).put(path, "x", sha256, "")
    assert not s3_server.content("") and not s3_server.is_unfinished()


def test_what_a_killed_process_has_begun_is_swept_up(s3_server: S3Server, tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, SIZES["large"])
    s3_server.faults = Faults([Fault("held", "part")])
    text = f"from pathlib import Path; from ben_luigi.domain.storing.s3 import S3Store; S3Store({BUCKET!r}, {PART})"
    uploading = subprocess.Popen(
        [sys.executable, "-c", f"{text}.put(Path({str(path)!r}), 'x', {sha256!r}, '')"],
        env={**s3_server.environment(), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
    )
    assert s3_server.is_held.wait(60)
    uploading.send_signal(signal.SIGKILL)
    uploading.wait()
    assert not s3_server.content("") and s3_server.is_unfinished()
    store, client = S3Store(BUCKET, PART), s3_server.client()
    for key in ("somebody-elses/big.bin", "x/y", "xy"):
        client.create_multipart_upload(Bucket=BUCKET, Key=key)
    assert not store.sweep([]) and store.sweep(["x", "none"]) == 1
    theirs = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert sorted(upload["Key"] for upload in theirs) == ["somebody-elses/big.bin", "x/y", "xy"]
    assert store.put(path, "x", sha256, "").size_bytes == path.stat().st_size


def test_what_a_killed_process_has_copied_is_swept_up(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    left = [files.unfinished(tmp_path / "store" / name) for name in ("a.tar", "b/c.tar")]
    theirs = [files.unfinished(tmp_path / "store" / name) for name in ("b.tar", "b/a.tar", "other/c.tar")]
    for path in left + theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert store.sweep(["a.tar", "b/c.tar", "none/a.tar"]) == 2
    assert not any(path.exists() for path in left) and all(path.exists() for path in theirs)


class Local(LocalFileSystem):  # type: ignore[misc]
    """Folders here, as the file system of another protocol."""

    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix(f"{cls.protocol}://")))


class Losing(Local):
    """A file system that does what it is asked, and whose first answer to a rename and to a removal is lost.

    Asked again, it finds no file, and says so as `missing`, which differs from library to library.
    """

    protocol = "losing"
    missing: type[Exception] = FileNotFoundError

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        """Rename a file."""
        if not Path(path1).exists():
            raise self.missing(path1)
        super().mv(path1, path2, **more)
        raise ConnectionResetError(path1)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        if not Path(path).exists():
            raise self.missing(path)
        super().rm_file(path)
        raise ConnectionResetError(path)


@pytest.mark.parametrize("missing", [FileNotFoundError, ftplib.error_perm])
def test_a_request_whose_answer_is_lost_is_done(
    missing: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("losing", Losing, clobber=True)
    monkeypatch.setattr("ben_luigi.domain.storing.filesystem._PAUSE_S", 0.001)
    monkeypatch.setattr(Losing, "missing", missing)
    store = open_store(f"losing://{tmp_path}/store")
    for seed in (1, 2):
        path, sha256 = written(tmp_path, SIZES["small"], seed)
        held = store.put(path, "a/b", sha256, None)
        assert fetched(store, "a/b", held, tmp_path) == path.read_bytes()
    assert [*store.listed("")] == ["a/b"]
    store.remove(["a/b"])
    assert not store.listed("")


def test_what_was_copied_and_is_removed_before_its_rename_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("losing", Losing, clobber=True)
    monkeypatch.setattr(Losing, "mv", lambda self, work, target: LocalFileSystem.mv(self, f"{work}-gone", target))
    store = open_store(f"losing://{tmp_path}/store")
    (path, sha256), (theirs, other) = written(tmp_path, 1000), written(tmp_path, 1000, 2)
    for _ in range(2):
        with pytest.raises(TransientError, match=f"losing://{tmp_path}/store/a; .*run again"):
            store.put(path, "a", sha256, None)
        (tmp_path / "store" / "a").write_bytes(theirs.read_bytes())
    assert files.file_hash(tmp_path / "store" / "a") == other and [*store.listed("")] == ["a"]


def test_a_bucket_that_is_not_there_is_told(s3_server: S3Server, tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, 10)
    for ask in (lambda one: one.look("a"), lambda one: one.listed(""), lambda one: one.put(path, "a", sha256, "")):
        with pytest.raises(BadInput, match=r"s3://nobody.*make it, or correct \[dataset\] store"):
            ask(S3Store("nobody", PART))


def test_a_service_that_does_not_answer_may_answer_later(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setattr("ben_luigi.domain.storing.s3._ATTEMPTS", 2)
    with pytest.raises(TransientError, match=f"s3://{BUCKET}/a; .*AWS_ENDPOINT_URL_S3"):
        S3Store(BUCKET).look("a")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that accepts connections and says nothing; each wait is told at once."""
    monkeypatch.setattr("ben_luigi.domain.waiting._AGAIN_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as accepting:
        yield f"127.0.0.1:{accepting.getsockname()[1]}"


def test_a_service_that_accepts_and_says_nothing_is_told_while_and_after_it_is_awaited(
    s3_server: S3Server, silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{silent}")
    for name, value in {"_FIRST_ATTEMPTS": 2, "_FIRST_TIMEOUT_S": 0.05, "_ATTEMPTS": 1, "_TIMEOUT_S": 0.05}.items():
        monkeypatch.setattr(f"ben_luigi.domain.storing.s3.{name}", value)
    for ask, about in ((lambda one: one.reach(), ""), (lambda one: one.look("a"), "/a")):
        caplog.clear()
        said = f"^s3://{BUCKET}{about}; expected: an answer; found: ReadTimeoutError; next: look after the network"
        with pytest.raises(TransientError, match=said):
            ask(S3Store(BUCKET))
        assert caplog.messages[0].startswith(f"waiting for an answer about s3://{BUCKET}{about} for 0:00:0")


def test_what_is_refused_was_answered(s3_server: S3Server) -> None:
    s3_server.faults = Faults([Fault("403", "get", None)])
    S3Store(BUCKET).reach()
    S3Store("nobody").reach()


def test_credentials_that_are_missing_are_told(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BadInput, match="next: set AWS_ACCESS_KEY_ID"):
        S3Store(BUCKET).look("a")


def test_a_folder_that_cannot_be_reached_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ben_luigi.domain.storing.filesystem._PAUSE_S", 0.001)
    (tmp_path / "file").write_text("in the way")
    path, sha256 = written(tmp_path, 10)
    with pytest.raises(TransientError, match=f"file://{tmp_path}/file/a"):
        open_store(f"file://{tmp_path}/file").put(path, "a", sha256, "")


class Connecting(Local):
    """A file system whose library connects at once, and raises an error of its own while `refused` is not 0."""

    protocol = "connecting"
    refused = 0

    def __init__(self, **more: Any) -> None:
        if Connecting.refused:
            Connecting.refused -= 1
            raise Exception("no such SSH session")  # as paramiko, whose errors are no OSError
        super().__init__(**more)


def test_a_server_that_is_away_is_told_also_by_a_library_that_connects_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ben_luigi.domain.storing.filesystem._PAUSE_S", 0.001)
    with pytest.raises(TransientError, match=r"store = ftp://127.0.0.1:9/x; .*ConnectionRefused.*; next: look after"):
        open_store("ftp://127.0.0.1:9/x")
    fsspec.register_implementation("connecting", Connecting, clobber=True)
    monkeypatch.setattr(Connecting, "refused", 100)
    with pytest.raises(TransientError, match="Exception: no such SSH session"):
        open_store(f"connecting://{tmp_path}")
    with monkeypatch.context() as soon:
        soon.setattr("ben_luigi.domain.storing.filesystem._FIRST_S", -1)
        soon.setattr(Connecting, "refused", 1)
        with pytest.raises(TransientError, match="no such SSH session"):
            open_store(f"connecting://{tmp_path}")
    monkeypatch.setattr(Connecting, "refused", 2)
    assert not open_store(f"connecting://{tmp_path}/store").listed("")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket/folder", "something else"),
        ("s3://", "something else"),
        ("s3://bucket/a?token=secret", "something else"),
        ("ftp://user:secret@host/a", "a URL with a password in it"),
        ("memory://a", "the memory of one process"),
        ("https://host/a", "a protocol that is only read"),
        ("file://~no-such-user/a", "~no-such-user, which is the home of an unknown user"),
    ],
)
def test_what_is_no_store_is_told_without_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        opening.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [("s3://b", "bucket"), ("gs://bucket/a", "gs://.*pip.*gcsfs"), ("nosuch://a/b", "a protocol of fsspec")],
)
def test_what_is_missing_for_a_store_is_told(url: str, said: str) -> None:
    with pytest.raises(BadInput, match=said if url != "s3://b" else "s3://BUCKET/FOLDER"):
        open_store(url)


@pytest.mark.parametrize(("url", "module"), [("s3://bucket", "boto3"), ("file:///a", "fsspec")])
def test_a_library_that_is_missing_is_told(url: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("s3", "filesystem"):
        monkeypatch.delitem(sys.modules, f"ben_luigi.domain.storing.{name}", raising=False)
    with pytest.raises(BadInput, match=rf"Python package {module}.*-m pip install {module}"):
        open_store(url)


def test_no_library_of_stores_is_loaded_without_one() -> None:
    """They would cost each task a tenth of a second or more."""
    with ExitStack() as stack:
        done = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", "import ben_luigi.pipeline, sys; print([*sys.modules])"],
                cwd=ROOT,
                env={"PATH": "/usr/bin:/bin"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        loaded = {name.partition(".")[0] for name in eval(done.communicate()[0])}
    assert "ben_luigi" in loaded and not loaded & {"boto3", "botocore", "fsspec", "s3fs", "aiobotocore"}


def test_a_folder_may_have_any_name_that_fsspec_does_not_take_for_a_chain(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/my disk/a#b?c"
    assert opening.folder_of(url) == tmp_path / "my disk" / "a#b?c"
    (tmp_path / "one").write_text("one")
    open_store(url).put(tmp_path / "one", "folder/one", files.file_hash(tmp_path / "one"), None)
    assert (tmp_path / "my disk" / "a#b?c" / "folder" / "one").read_text() == "one"
    with pytest.raises(ValueError, match="chains"):
        opening.parse(f"file://{tmp_path}/a::b")
    for url in ("s3://bucket/my folder", "sftp://host/a?b", "gs://bucket/a#b"):
        with pytest.raises(ValueError, match="options do not belong there"):
            opening.parse(url)
