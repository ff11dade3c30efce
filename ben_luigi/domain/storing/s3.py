"""Keep files in a bucket of S3, at AWS or any service that speaks its protocol. boto3 finds endpoint and credentials.

A file up to the length of a part is put whole, a larger one by a multipart upload, which is completed or aborted. Each
request carries the MD5 of its bytes, which the service checks; the sha256 of the file travels as metadata. Where the
service knows conditional writes (If-Match, If-None-Match), none replaces what another process has put meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ben_luigi.domain import fence, surroundings, waiting
from ben_luigi.domain.errors import BadInput, TransientError
from ben_luigi.domain.storing.s3_errors import errors
from ben_luigi.domain.storing.store import OPTION, Held, Overtaken

_PART_BYTES, _MOST_PARTS, _CHUNK_BYTES = 16 * 2**20, 10_000, 2**20
_THREADS, _CONNECTIONS, _ATTEMPTS, _TIMEOUT_S = 4, 32, 10, 60
_FIRST_ATTEMPTS, _FIRST_TIMEOUT_S = 3, 15
"""Of the first question: less than a minute in all."""
_MD5 = re.compile(r'"[0-9a-f]{32}(-\d+)?"')
_CONTESTED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload", "NoSuchKey", "404")
"""What a service says to an upload that another process has overtaken, or that it has completed without an answer."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass
class S3Store:
    """The bucket and the folder in it that `address` names: `bucket/folder`."""

    address: str
    part_bytes: int = _PART_BYTES
    _bucket: str = field(init=False)
    _prefix: str = field(init=False)

    def __post_init__(self) -> None:
        self._bucket, _, folder = self.address.partition("/")
        self._prefix = f"{folder}/" if folder else ""
        if not _BUCKET.fullmatch(self._bucket):
            raise BadInput(OPTION, expected="s3://BUCKET/FOLDER", found=f"s3://{self.address}", remedy="correct it")

    @property
    def place(self) -> str:
        """Bucket and folder."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @cached_property
    def _client(self) -> Any:
        """The client, which asks again what was refused or cut off."""
        return self._made_client(_ATTEMPTS, _TIMEOUT_S)

    def _made_client(self, attempts: int, timeout_s: float) -> Any:
        settings = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            max_pool_connections=_CONNECTIONS,
            # Not every service knows the checksums that boto3 adds by default: ours are MD5 and sha256.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with surroundings.given_back("AWS_.*"):
            session = boto3.session.Session()
            session.get_credentials()  # found now, while the environment names them
            return session.client("s3", config=settings)

    def reach(self) -> None:
        """Ask for anything. What is refused was answered: the questions that follow say what for, or ask again."""
        with _told(self.place), suppress(ClientError):
            client = self._made_client(_FIRST_ATTEMPTS, _FIRST_TIMEOUT_S)
            client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def put(self, path: Path, key: str, sha256: str, replaces: str | None) -> Held:
        """Store a file, with its sha256 as metadata."""
        size = path.stat().st_size
        condition = {} if replaces is None else {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        asked = {"Bucket": self._bucket, "Key": self._key(key)}
        with _told(self._named(key), "the upload of"):
            try:
                tag = self._sent(path, size, asked, {"Metadata": {"sha256": sha256}}, condition)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _CONTESTED or not self._is_bucket():
                    raise
                tag = ""
        held = self.look(key)
        if held is None or (held.size_bytes, held.sha256) != (size, sha256):
            # An attempt without an answer may have arrived before it was repeated: then it is ours that is there.
            raise Overtaken(self._named(key), replaces or "", held)
        if tag and _MD5.fullmatch(held.tag) and held.tag != tag:
            self.remove([key])
            raise TransientError(self._named(key), expected=f"ETag {tag}", found=held.tag, remedy="run again")
        return held

    def _sent(
        self, path: Path, size: int, asked: Mapping[str, str], kept: Mapping[str, Any], condition: Mapping[str, str]
    ) -> str:
        """Put a file; return the ETag that it has, unless the service encrypts with a key of its own."""
        if size > self.part_bytes:
            return self._sent_in_parts(path, size, asked, kept, condition)
        content = path.read_bytes()
        fence.require(asked["Key"])
        md5 = hashlib.md5(content, usedforsecurity=False)
        answer = self._client.put_object(**asked, **kept, **condition, Body=content, ContentMD5=_text(md5.digest()))
        return "" if _is_encrypted(answer) else f'"{md5.hexdigest()}"'

    def _sent_in_parts(
        self, path: Path, size: int, asked: Mapping[str, str], kept: Mapping[str, Any], condition: Mapping[str, str]
    ) -> str:
        length = max(self.part_bytes, -(-size // _MOST_PARTS))
        begun = self._client.create_multipart_upload(**asked, **kept)
        upload = {**asked, "UploadId": begun["UploadId"]}
        try:
            with path.open("rb") as file, ThreadPoolExecutor(_THREADS, "upload") as threads:

                def send(number: int) -> tuple[dict[str, Any], bytes]:
                    part = os.pread(file.fileno(), length, (number - 1) * length)
                    md5 = hashlib.md5(part, usedforsecurity=False).digest()
                    sent = self._client.upload_part(**upload, PartNumber=number, Body=part, ContentMD5=_text(md5))
                    return {"PartNumber": number, "ETag": sent["ETag"]}, md5

                sending = [threads.submit(send, number) for number in range(1, -(-size // length) + 1)]
                try:
                    sent = [each.result() for each in sending]
                finally:
                    threads.shutdown(cancel_futures=True)
            parts = {"Parts": [part for part, _ in sent]}
            fence.require(asked["Key"])
            self._client.complete_multipart_upload(**upload, MultipartUpload=parts, **condition)
        except BaseException:
            with suppress(ClientError, BotoCoreError):  # the error that is raised is the one that counts
                self._client.abort_multipart_upload(**upload)
            raise
        whole = hashlib.md5(b"".join(md5 for _, md5 in sent), usedforsecurity=False).hexdigest()
        return "" if _is_encrypted(begun) else f'"{whole}-{len(sent)}"'

    def get(self, key: str, held: Held, path: Path) -> str:
        """Write an object to `path`; where the connection is cut off, it goes on from there."""
        digest, at, failed = hashlib.sha256(), 0, 0
        with _told(self._named(key), "the download of"), path.open("r+b") as file:
            while at < held.size_bytes:
                before, chunks = at, self._chunks(key, held, at)
                try:
                    for chunk in chunks:
                        file.write(chunk)
                        digest.update(chunk)
                        at += len(chunk)
                except BotoCoreError:
                    failed = 0 if at > before else failed + 1
                    if failed == _ATTEMPTS:
                        raise
                    time.sleep(0.1 * 2**failed)
            file.truncate(at)
        return digest.hexdigest()

    def _chunks(self, key: str, held: Held, at: int) -> Iterable[bytes]:
        asked = {"Bucket": self._bucket, "Key": self._key(key), "IfMatch": held.tag, "Range": f"bytes={at}-"}
        try:
            found = self._client.get_object(**asked)
        except ClientError as error:
            if error.response["Error"]["Code"] in (*_CONTESTED, "412", "InvalidRange") and self._is_bucket():
                raise FileNotFoundError(self._named(key)) from error
            raise
        return found["Body"].iter_chunks(_CHUNK_BYTES)  # type: ignore[no-any-return]

    def look(self, key: str) -> Held | None:
        """Return what is there under a key, None for nothing."""
        with _told(self._named(key)):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey") and self._is_bucket():
                    return None
                raise
        return Held(int(found["ContentLength"]), found["ETag"], found.get("Metadata", {}).get("sha256", ""))

    def _is_bucket(self) -> bool:
        """Return whether the bucket is there; raise what boto3 raises if not, since 404 alone does not tell."""
        self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return True

    def listed(self, folder: str) -> Mapping[str, Held]:
        """Return all objects in a folder and below, by key."""
        with _told(self.place):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(f"{folder}/" if folder else "")
            )
            return {
                found["Key"].removeprefix(self._prefix): Held(int(found["Size"]), found["ETag"])
                for page in pages
                for found in page.get("Contents", [])
            }

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        for key in keys:
            with _told(self._named(key)):
                self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def sweep(self, keys: Collection[str]) -> int:
        """Abort uploads of these keys that were begun and not completed."""
        own = {self._key(key) for key in keys}
        if not own:
            return 0
        with _told(self.place):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            begun = [upload for page in pages for upload in page.get("Uploads", []) if upload["Key"] in own]
            for upload in begun:
                asked = {"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                self._client.abort_multipart_upload(**asked)
        return len(begun)

    def _key(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _named(self, key: str) -> str:
        return f"{self.place}/{key}"


@contextmanager
def _told(subject: str, awaited: str = "an answer about") -> Iterator[None]:
    """Say what is awaited, once per minute, and turn what boto3 raises into errors of ours."""
    with waiting.told(f"{awaited} {subject}"), errors(subject, OPTION):
        yield


def _is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Return whether an ETag is no MD5, since the service encrypts with a key of its user."""
    return answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
