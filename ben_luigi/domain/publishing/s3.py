"""Publish in a bucket of S3, at any service that speaks its protocol.

A file up to the length of a part is sent whole, with its MD5, which the service checks; a larger one by a multipart
upload. One that was cut off is found again, and its parts that have arrived with the right MD5 are not sent again.
The ETag of an object is the MD5 of its content, or that of the MD5s of its parts, except where the service encrypts
with a key of a user (SSE-KMS); there each object and part is sent with its SHA-256, and the one that the service keeps
is compared instead.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from ben_luigi.domain import libraries
from ben_luigi.domain.errors import BadArgument, TransientError
from ben_luigi.domain.publishing.hashing import MD5, MD5_OF_PARTS, SHA256, SHA256_OF_PARTS, UNKNOWN, Held
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.service import Limits
from ben_luigi.domain.storing.s3_errors import errors, translated

_PART_BYTES, _MOST_PARTS = 64 * 2**20, 10_000
_MOST_BYTES = 5 * 2**40
_BY_ITSELF = "AES256"
"""The encryption of which clients see nothing, as without any."""
_AT_ONCE = 16
_MOST_OTHERS = 100_000
_ETAG = re.compile(r'"?([0-9a-f]{32})(?:-(\d+))?"?')
_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")
_TYPES = {".json": "application/json", ".html": "text/html", ".md": "text/markdown", ".png": "image/png"}


@dataclass
class S3:
    """A bucket, and a folder in it, at `endpoint`, or at AWS if that is empty. boto3 finds the credentials.

    `has_sha256` says whether the service checks and keeps SHA-256, as AWS does, and not every other one. Unless it is
    said, another one is asked to only where it encrypts with a key, since its ETags are no MD5 then.
    """

    address: str
    endpoint: str = ""
    part_bytes: int = _PART_BYTES
    has_sha256: bool | None = None
    timeout_s: float = 60
    _client: Any = field(default=None, init=False, repr=False)
    _kind: dict[str, str] = field(default_factory=dict, init=False)

    name = "S3"
    is_flat = False
    files_at_once = 1
    limits = Limits(file_bytes=_MOST_BYTES)

    def __post_init__(self) -> None:
        found = _ADDRESS.fullmatch(self.address)
        if found is None:
            expected = "s3://BUCKET or s3://BUCKET/FOLDER, where BUCKET has 3 to 63 of a to z, 0 to 9, . and -"
            raise BadArgument("--to", expected=expected, found=self.address or "nothing", remedy="name a bucket")
        libraries.require("publish s3", ("boto3",))
        folder = (found["prefix"] or "").strip("/")
        self._bucket, self._prefix = found["bucket"], f"{folder}/" if folder else ""
        self._with_sha256 = not self.endpoint if self.has_sha256 is None else self.has_sha256

    @property
    def place(self) -> str:
        """Return bucket, folder and service."""
        return f"s3://{self._bucket}/{self._prefix}{f' at {self.endpoint}' if self.endpoint else ' at AWS'}"

    def begin(self, package: Package) -> None:
        """Check that the bucket is there and can be read."""
        import boto3
        from botocore.config import Config

        if self._client is None:
            waits = {"connect_timeout": self.timeout_s, "read_timeout": self.timeout_s}
            # One attempt: who calls counts attempts and makes pauses. Checksums are ours: not every service knows those
            # that boto3 adds by default.
            more = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
            settings = Config(retries={"total_max_attempts": 1}, max_pool_connections=_AT_ONCE, **waits, **more)
            with errors(f"S3 at {self.endpoint or 'AWS'}"):
                self._client = boto3.session.Session().client("s3", endpoint_url=self.endpoint or None, config=settings)
        with self._errors():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            self._with_sha256 = self._with_sha256 or self._encrypts()

    def _encrypts(self) -> bool:
        """Return whether the service says that it encrypts the bucket by a key. Not each one says so."""
        try:
            found = self._client.get_bucket_encryption(Bucket=self._bucket)["ServerSideEncryptionConfiguration"]
        except self._client.exceptions.ClientError:
            return False
        by_default = (rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in found.get("Rules", []))
        return any(each.get("SSEAlgorithm", _BY_ITSELF) != _BY_ITSELF for each in by_default)

    def held(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return the objects that are there.

        Each is asked for by its head, some at once: only that tells whether the ETag is an MD5, a list does not.
        """
        with ThreadPoolExecutor(_AT_ONCE, "head") as threads:
            found = dict(zip((item.name for item in items), threads.map(self._head, items), strict=True))
        return {name: held for name, held in found.items() if held is not None}

    def send(self, item: Item, moved: Callable[[int], None]) -> Held | None:
        """Send a file, whole or by parts."""
        moved(-1)
        with self._errors(item), item.path.open("rb") as file:
            if item.size_bytes <= self.part_bytes:
                self._put(item, file.read())
                moved(item.size_bytes)
            else:
                self._put_parts(item, file, moved)
        return None

    def complete(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return what the service then says that it has.

        If it tells only now that it encrypts by a key, what it has without a hash is sent again with SHA-256.
        """
        was_known = self._with_sha256
        held = self.held(items)
        if was_known or not self._with_sha256:
            return held
        for item in items:
            if held[item.name].kind == UNKNOWN:
                self.send(item, lambda number: None)
        return self.held(items)

    def others(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the names of the other objects in the folder, the first 100,000 of them."""
        wanted = {item.name for item in items}
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            keys = (str(one["Key"]) for page in pages for one in page.get("Contents", []))
            names = (key.removeprefix(self._prefix) for key in keys if not key.endswith("/"))
            return list(islice((name for name in names if name not in wanted), _MOST_OTHERS))

    def read(self, name: str) -> bytes:
        """Return the content of a small object."""
        with self._errors(), self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")["Body"] as body:
            return bytes(body.read())

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        with self._errors():
            for name in names:
                self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")

    def finish(self) -> str:
        """Return where the files are."""
        return f"{self.place}: who can read them is up to the policy of the bucket"

    def _key(self, item: Item) -> str:
        return f"{self._prefix}{item.name}"

    def _errors(self, item: Item | None = None) -> Any:
        return errors(f"{item.name if item else 'bucket'} at {self.place}")

    def _head(self, item: Item) -> Held | None:
        """Return what is known of an object, None if there is none."""
        with self._errors(item):
            try:
                asked = {"Bucket": self._bucket, "Key": self._key(item)}
                found = self._client.head_object(**asked, ChecksumMode="ENABLED")
                if _is_encrypted(found):
                    self._with_sha256 = True
                held = _held(found, 0)
                if held.kind in (MD5_OF_PARTS, SHA256_OF_PARTS):
                    part = self._client.head_object(**asked, PartNumber=1)
                    held = _held(found, int(part["ContentLength"]))
                return held
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") == 404:
                    return None
                raise

    def _put(self, item: Item, content: bytes) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(item),
            Body=content,
            ContentType=_type(item),
            **self._checksums(content),
        )

    def _checksums(self, content: bytes) -> dict[str, str]:
        """Return what the service is to check of an object or a part."""
        checksums = {"ContentMD5": _text(_md5(content))}
        if self._with_sha256:
            checksums |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _text(hashlib.sha256(content).digest())}
        return checksums

    def _begun(self, asked: Mapping[str, str], item: Item) -> str:
        """Return the id of the upload to go on with, or of a new one."""
        kept = {"ChecksumAlgorithm": "SHA256"} if self._with_sha256 else {}
        begun = self._unfinished(asked)
        return begun or str(self._client.create_multipart_upload(**asked, ContentType=_type(item), **kept)["UploadId"])

    def _put_parts(self, item: Item, file: BinaryIO, moved: Callable[[int], None]) -> None:
        """Send the parts that are not there yet, and have the service put them together.

        An upload that is refused is aborted, so that no parts are left that somebody pays for.
        """
        asked = {"Bucket": self._bucket, "Key": self._key(item)}
        asked["UploadId"] = self._begun(asked, item)
        try:
            there = self._parts(asked)
            parts = []
            for number, part in enumerate(_read_parts(file, self._part_bytes(item)), 1):
                checked, tag = self._checksums(part), f'"{_md5(part).hex()}"'
                if there.get(number) != (len(part), tag):
                    tag = self._client.upload_part(**asked, PartNumber=number, Body=part, **checked)["ETag"]
                kept = {name: value for name, value in checked.items() if name == "ChecksumSHA256"}
                parts.append({"PartNumber": number, "ETag": tag, **kept})
                moved(len(part))
            self._client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        except self._client.exceptions.ClientError as error:
            if not isinstance(translated("", error), TransientError):
                with suppress(Exception):  # the error that is raised is the one that counts
                    self._client.abort_multipart_upload(**asked)
            raise

    def _part_bytes(self, item: Item) -> int:
        """Return the length of the parts of a file, always the same one for the same file."""
        least = -(-item.size_bytes // _MOST_PARTS)
        return max(self.part_bytes, -(-least // 2**20) * 2**20)

    def _unfinished(self, asked: Mapping[str, str]) -> str | None:
        """Return the id of the latest upload of this object that was begun and not completed."""
        found = self._client.list_multipart_uploads(Bucket=asked["Bucket"], Prefix=asked["Key"]).get("Uploads", [])
        own = [upload for upload in found if upload["Key"] == asked["Key"]]
        return str(max(own, key=lambda upload: upload["Initiated"])["UploadId"]) if own else None

    def _parts(self, asked: Mapping[str, str]) -> dict[int, tuple[int, str]]:
        """Return length and ETag of the parts that have arrived, by number."""
        pages = self._client.get_paginator("list_parts").paginate(**asked)
        parts = (part for page in pages for part in page.get("Parts", []))
        return {int(part["PartNumber"]): (int(part["Size"]), f'"{part["ETag"].strip(chr(34))}"') for part in parts}


def _read_parts(file: BinaryIO, length: int) -> Iterator[bytes]:
    while part := file.read(length):
        yield part


def _held(found: Mapping[str, Any], part_bytes: int) -> Held:
    """Return what the head of an object says: by its ETag, or if that is none of MD5, by its SHA-256."""
    size = int(found["ContentLength"])
    sha256 = str(found.get("ChecksumSHA256", ""))
    etag = _ETAG.fullmatch(found.get("ETag", ""))
    if etag is not None and not _is_encrypted(found):
        if etag[2]:
            return Held(size, MD5_OF_PARTS, f"{etag[1]}-{etag[2]}", part_bytes)
        return Held(size, MD5, etag[1])
    if "-" in sha256:
        return Held(size, SHA256_OF_PARTS, sha256, part_bytes)
    return Held(size, SHA256, base64.b64decode(sha256).hex()) if sha256 else Held(size, UNKNOWN, "")


def _is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Return whether the service encrypts with a key of a user, so that its ETag is no MD5."""
    return bool(answer.get("ServerSideEncryption", _BY_ITSELF) != _BY_ITSELF)


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _type(item: Item) -> str:
    return _TYPES.get(item.path.suffix, "application/octet-stream")
