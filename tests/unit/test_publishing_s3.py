"""Publishing in a bucket of S3: what boto3 raises, and services that encrypt or keep no hash."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from botocore import exceptions

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.errors import BadInput, NoRoomError, PermanentError, TransientError, may_pass
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender, Sent
from ben_luigi.domain.publishing.service import AnotherContent, UnknownHash
from ben_luigi.domain.storing.s3_errors import translated
from ben_luigi.sample.loopback import Fault, Faults
from tests.publishing_servers import BUCKET, S3Server
from tests.unit.publishing_places import PART, PATIENCE


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A file that is sent whole, and one that is sent by parts."""
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(b"large" * (PART // 4))
    items = tuple(Item.of(name, tmp_path / name) for name in ("large", "small"))
    return Package(tmp_path, tmp_path, "A title", V2, 6, items)


def publish(package: Package, endpoint: str) -> Sent:
    """Publish it as a process of its own does."""
    service = S3("s3://bucket/v2", endpoint, PART)
    return Sender(service, Hashes(package.folder / "hashes.json"), PATIENCE).publish(package)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.EndpointConnectionError(endpoint_url="http://a"),
        exceptions.ConnectTimeoutError(endpoint_url="http://a"),
        exceptions.ReadTimeoutError(endpoint_url="http://a"),
        exceptions.ConnectionClosedError(endpoint_url="http://a"),
        exceptions.ProxyConnectionError(proxy_url="http://user:password@a"),
        exceptions.SSLError(endpoint_url="http://a", error="EOF"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_connection_it_is_tried_again_and_said_what_to_look_at(error: Exception) -> None:
    for option, endpoint in (("--to", "--endpoint or AWS_ENDPOINT_URL_S3"), ("[dataset] store", "AWS_ENDPOINT_URL_S3")):
        told = translated("a", error, option)
        assert isinstance(told, TransientError) and told.found == type(error).__name__
        assert told.remedy == f"look after the network, or correct {endpoint}; then run again"


def test_a_bucket_that_refuses_connections_is_asked_as_often_as_any_other(
    package: Package, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="found: EndpointConnectionError; next: look after the network"):
            publish(package, f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert len([record for record in caplog.records if record.name.startswith("ben_luigi")]) == PATIENCE.tries


def test_a_profile_that_is_none_is_named(
    package: Package, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(BadInput, match=r"nope.*next: correct AWS_PROFILE"):
        publish(package, s3_server.base_url)


def test_a_clock_that_is_wrong_is_no_matter_of_the_service() -> None:
    answer = {"Error": {"Code": "RequestTimeTooSkewed"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    told = translated("a", exceptions.ClientError(answer, "PutObject"))
    assert isinstance(told, PermanentError) and "set the clock of this host" in told.remedy


@pytest.mark.parametrize(("code", "status"), [("XMinioStorageFull", 507), ("QuotaExceeded", 403), ("507", 507)])
def test_a_bucket_without_room_waits_for_a_person(code: str, status: int) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    told = translated("a", exceptions.ClientError(answer, "PutObject"), "[dataset] store")
    assert isinstance(told, NoRoomError) and not may_pass(told)
    assert str(told) == (
        f"a; expected: room in the bucket; found: {code}; next: make room there, or name another place in "
        "[dataset] store, and run again"
    )


def test_what_gives_no_credentials_is_not_quoted() -> None:
    error = exceptions.CredentialRetrievalError(provider="custom-process", error_msg="the key is secret-of-s3")
    told = translated("a", error)
    assert isinstance(told, BadInput) and "secret-of-s3" not in str(told) and "AWS_PROFILE" in told.remedy


def test_at_aws_sha256_is_checked_and_kept_without_being_asked_for(package: Package, s3_server: S3Server) -> None:
    """Without an endpoint it is AWS; the environment leads here."""
    for endpoint, kept in (("", True), (s3_server.base_url, False)):
        publish(package, endpoint)
        for item in package.items:
            told = s3_server.client().head_object(Bucket=BUCKET, Key=f"v2/{item.name}", ChecksumMode="ENABLED")
            assert ("ChecksumSHA256" in told) == kept
            s3_server.client().delete_object(Bucket=BUCKET, Key=f"v2/{item.name}")


def _encrypt(s3_server: S3Server) -> None:
    by_key = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3_server.client().put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [by_key]})


def test_a_service_that_encrypts_by_a_key_is_asked_for_sha256(package: Package, s3_server: S3Server) -> None:
    """Its ETags are no MD5. Nothing is sent twice."""
    _encrypt(s3_server)
    assert sorted(publish(package, s3_server.base_url).sent) == ["large", "small"]
    assert s3_server.content("v2/") == {item.name: item.path.read_bytes() for item in package.items}
    assert not publish(package, s3_server.base_url).sent
    assert (s3_server.counts["part"], s3_server.counts["put"]) == (2, 1) and not s3_server.is_unfinished()


def test_one_that_does_not_tell_beforehand_gets_the_first_file_again_with_sha256(
    package: Package, s3_server: S3Server
) -> None:
    _encrypt(s3_server)
    s3_server.faults = Faults([Fault("", "get"), Fault("501", "get")])
    assert sorted(publish(package, s3_server.base_url).sent) == ["large", "small"]
    assert (s3_server.counts["part"], s3_server.counts["put"]) == (4, 1)
    s3_server.faults = Faults([Fault("", "get"), Fault("501", "get")])
    assert not publish(package, s3_server.base_url).sent


def test_a_service_that_keeps_no_hash_is_refused_at_once(package: Package, s3_server: S3Server) -> None:
    """And what it has is not called another content."""
    _encrypt(s3_server)
    s3_server.drops = "x-amz-checksum"
    for item in package.items:
        one = replace(package, items=(item,))
        with pytest.raises(
            UnknownHash, match=r"expected: sha256 .*; found: no hash that is known, .*; next: publish to"
        ):
            publish(one, s3_server.base_url)
        with pytest.raises(AnotherContent, match=r"found: no hash that is known, .*--replace"):
            publish(one, s3_server.base_url)
    assert s3_server.counts["put"] == 1 and s3_server.counts["part"] == 2


def test_the_heads_of_many_objects_are_asked_for_at_once(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a report with thousands of files, one after the other would take minutes."""
    both = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(S3, "_head", lambda service, item: [both.wait(), None][1])
    assert S3("s3://bucket/v2", "http://127.0.0.1:1").held(package.items) == {}
