"""Publish at Zenodo, by its REST API of deposits: to a draft, which a person then looks at and makes public.

A draft has a bucket, to which each file is sent by PUT; the answer has the MD5 of what has arrived
(https://developers.zenodo.org). The id of the draft is noted, so that the same command goes on with it.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import requests

from ben_luigi.domain import files
from ben_luigi.domain.answers import refusal
from ben_luigi.domain.cdse.http import Client, plain
from ben_luigi.domain.dataset import rights
from ben_luigi.domain.errors import BadInput, PermanentError, TransientError
from ben_luigi.domain.publishing.hashing import MD5, Held
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.service import GB, Limits

URL, SANDBOX_URL = "https://zenodo.org", "https://sandbox.zenodo.org"
VARIABLE = "ZENODO_TOKEN"
NEW = "new"
LIMIT_GB, LIMIT_FILES = 50, 100
_CHUNK_BYTES = 2**20
_SHOWN = 200
_OK = (requests.codes.ok, requests.codes.created, requests.codes.accepted)
_GONE = (requests.codes.not_found, requests.codes.gone)
_REMEDY = (
    "ask Zenodo for a higher quota, and name it by --quota-gb; or publish a form or a subset that is smaller, "
    "or to huggingface or s3"
)
Json = dict[str, Any]


@dataclass
class Zenodo:
    """A draft at Zenodo. `record` is the id of one, NEW, or empty for the one in `note`, or a new one.

    `key` identifies the package in the notes of drafts, so that one whose creation was cut off is found again.
    """

    client: Client
    url: str
    token: str = field(repr=False)
    note: Path
    key: str
    record: str = ""
    quota_gb: float = LIMIT_GB
    _draft: Json = field(default_factory=dict, init=False, repr=False)
    _has_asked: bool = field(default=False, init=False)
    _told: dict[str, Held] = field(default_factory=dict, init=False)

    name = "Zenodo"
    is_flat = True
    files_at_once = 1

    @property
    def place(self) -> str:
        """Return the address, and the draft if it is known."""
        record = self.record or self._noted()
        return f"{self.url}, {f'draft {record}' if record not in ('', NEW) else 'a new draft'}"

    @property
    def limits(self) -> Limits:
        """Return what a record takes."""
        return Limits(int(self.quota_gb * GB), LIMIT_FILES, remedy=_REMEDY)

    def begin(self, package: Package) -> None:
        """Take the draft of an earlier run, or make one; write the metadata."""
        described = {"metadata": metadata_of(package, self.key)}
        record = self.record or self._noted()
        if record in ("", NEW):
            found = None if record == NEW and not self._has_asked else self._found()
            self._has_asked = True
            draft = found or self._ask("POST", self._deposits(), json=described)
            self.record = str(_part(draft, "id", int, str))
            files.write_text(self.note, f"{self.record}\n")
        else:
            self.record = record
        self._draft = self._ask("PUT", self._deposits(self.record), json=described)
        if self._draft.get("submitted") or not self._bucket():
            raise PermanentError(
                f"record {self.record} at {self.url}",
                expected="a draft, to which files can be added",
                found="one that is published already",
                remedy=f"give --to {NEW} for another record; or make a new version on the website, and give its id",
            )

    def held(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return the files of the draft."""
        wanted = {item.name for item in items}
        return {name: _held(one) for name, one in self._contents().items() if name in wanted}

    def send(self, item: Item, moved: Callable[[int], None]) -> Held:
        """Send a file to the bucket, and return its hash. What has arrived with another one is removed again."""
        moved(-1)
        address = self._address(item.name)
        with item.path.open("rb") as file:
            sending = _Sending(file, item.size_bytes, moved)
            told = _held(self._ask("PUT", address, data=sending if item.size_bytes else b""))
        sent = Held(item.size_bytes, MD5, sending.md5.hexdigest())
        if told != sent:
            self._ask("DELETE", address)
        self._told[item.name] = told
        return sent

    def complete(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return what Zenodo told of each file when it had arrived."""
        return self.held(items) if any(item.name not in self._told for item in items) else dict(self._told)

    def others(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the names of the other files of the draft."""
        wanted = {item.name for item in items}
        return sorted(self._contents().keys() - wanted)

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        return self.client.fetch("GET", self._address(name), headers={"Authorization": f"Bearer {self.token}"})

    def remove(self, names: Sequence[str]) -> None:
        """Remove files from the draft."""
        for name in names:
            self._ask("DELETE", self._address(name))

    def finish(self) -> str:
        """Return where the draft is."""
        page = str(_part(self._draft, "links", dict).get("html", f"{self.url}/deposit/{self.record}"))
        return f"draft {self.record}: look at it, and press Publish there: {plain(page)}"

    def _found(self) -> Json | None:
        """Return the draft that an attempt has made whose answer was lost."""
        drafts = self._ask("GET", self._deposits(), params={"status": "draft", "sort": "mostrecent", "size": "100"})
        found = [{"metadata": {}, **one} for one in drafts.get("items", [])]
        own = (one for one in found if self.key in str(_part(one, "metadata", dict).get("notes", "")))
        return next((one for one in own if not one.get("submitted")), None)

    def _noted(self) -> str:
        return self.note.read_text(encoding="utf-8").strip() if self.note.is_file() else ""

    def _deposits(self, record: str = "") -> str:
        return f"{self.url}/api/deposit/depositions{f'/{quote(record)}' if record else ''}"

    def _address(self, name: str) -> str:
        return f"{self._bucket()}/{quote(name)}"

    def _bucket(self) -> str:
        return str(_part(self._draft, "links", dict).get("bucket", ""))

    def _contents(self) -> dict[str, Json]:
        """Return the entries of the draft's bucket by name; an empty bucket may say nothing of any."""
        found = {"contents": [], **self._ask("GET", self._bucket())}
        return {str(_part(one, "key", str)): one for one in _part(found, "contents", list)}

    def _ask(self, method: str, url: str, **what: Any) -> Json:
        """Return the JSON of an answer; a list as `items`. Raise SourceError."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        headers |= {"Content-Type": "application/octet-stream"} if "data" in what else {}
        response = self.client.open(method, url, headers=headers, **what)
        body = self.client.body(response)
        status = response.status_code
        if status == requests.codes.no_content or (method == "DELETE" and status in _GONE):
            return {}
        subject = f"{method} {plain(url)}"
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            raise BadInput(
                subject,
                expected="a token with the rights deposit:write and deposit:actions",
                found=f"one that Zenodo refuses (HTTP {status})",
                remedy=f"make one at {self.url}/account/settings/applications, and give it as {VARIABLE}",
            )
        if status in _GONE and self.record and method != "DELETE":
            raise PermanentError(
                subject,
                expected=f"draft {self.record}",
                found=f"none (HTTP {status})",
                remedy=f"give --to {NEW} for a new draft, or --to ID for another one",
            )
        if status not in _OK:
            raise refusal(subject, status, response.headers, body)
        return _parsed(subject, body)


@dataclass
class _Sending:
    """A file that is read as it is sent, and hashed in passing; its length is in the head of the request."""

    file: BinaryIO
    length: int
    moved: Callable[[int], None]
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(_CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        chunk = self.file.read(size)
        self.md5.update(chunk)
        self.moved(len(chunk))
        return chunk


def metadata_of(package: Package, key: str = "") -> Json:
    """Return the metadata of a deposit: title, creators, licence and so on, from the dataset's recipe."""
    about = package.about
    paper = rights.fields(about.citation)
    people = [one.values() for one in rights.authors(paper.get("author", ""))]
    creators = [", ".join(names) for names in people] or [package.title]
    related = [{"identifier": f"arXiv:{paper['eprint']}", "relation": "isDescribedBy"}] if "eprint" in paper else []
    related += [{"identifier": paper["doi"], "relation": "isDescribedBy"}] if "doi" in paper else []
    return {
        "upload_type": "dataset",
        "title": package.title,
        "version": about.version,
        "description": f"<p>{html.escape(package.description)}</p>",
        "creators": [{"name": name} for name in creators],
        "access_right": "open",
        "license": about.license.lower(),
        **({"related_identifiers": related} if related else {}),
        **({"notes": f"Uploaded by ben_luigi, {key}"} if key else {}),
    }


def _held(found: Json) -> Held:
    """Return what an entry of a bucket says; one without a checksum is an unfinished upload."""
    kind, _, digest = str(found.get("checksum") or "").partition(":")
    size = found.get("size")
    return Held(size if isinstance(size, int) else -1, MD5, digest.lower() if kind == MD5 else "")


def _part(answer: Any, name: str, *kinds: type) -> Any:
    """Return an entry of an object in an answer. Raise TransientError if there is none of one of the kinds."""
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, kinds):
        expected, said = f"an answer of Zenodo with its {name}", f"{name}: {json.dumps(found)[:_SHOWN]}"
        raise TransientError(f"answer about {name}", expected=expected, found=said, remedy="run again")
    return found


def _parsed(subject: str, body: bytes) -> Json:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientError(subject, expected="an answer of JSON", found=f"another ({error})") from error
    if not isinstance(found, dict | list):
        raise TransientError(subject, expected="an object or a list of JSON", found=str(found)[:_SHOWN])
    return found if isinstance(found, dict) else {"items": [one for one in found if isinstance(one, dict)]}
