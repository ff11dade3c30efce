"""Publishing in a bucket of S3: what boto3 raises, and services that encrypt or keep no hash."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import exceptions

from ben_luigi.domain.dataset.about import V2
from ben_luigi.domain.errors import BadInput, TransientError
from ben_luigi.domain.publishing.hashing import Hashes
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.s3 import S3
from ben_luigi.domain.publishing.sending import Sender, Sent
from ben_luigi.domain.storing.s3_errors import translated
from tests.publishing_servers import S3Server, s3
from tests.unit.test_publishing import PART, PATIENCE


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3() as bucket:
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        yield bucket


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A file that is sent whole, and one that is sent by parts."""
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(b"large" * (PART // 4))
    items = tuple(Item.of(name, tmp_path / name) for name in ("large", "small"))
    return Package(tmp_path, tmp_path, "A title", V2, 6, items)


def publish(package: Package, endpoint: str, replaces: bool = False) -> Sent:
    """Publish it as a process of its own does."""
    service = S3("s3://bucket/v2", endpoint, PART)
    return Sender(service, Hashes(package.folder / "hashes.json"), PATIENCE, replaces).publish(package)


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
    package: Package, server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="found: EndpointConnectionError; next: look after the network"):
            publish(package, f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert len([record for record in caplog.records if record.name.startswith("ben_luigi")]) == PATIENCE.tries


def test_a_profile_that_is_none_is_named(package: Package, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(BadInput, match=r"nope.*next: correct AWS_PROFILE"):
        publish(package, server.base_url)


def test_what_gives_no_credentials_is_not_quoted() -> None:
    error = exceptions.CredentialRetrievalError(provider="custom-process", error_msg="the key is secret-of-s3")
    told = translated("a", error)
    assert isinstance(told, BadInput) and "secret-of-s3" not in str(told) and "AWS_PROFILE" in told.remedy
