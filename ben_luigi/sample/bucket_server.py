"""Serve Google's public bucket on loopback, and mirrors with its layout: listings, objects, hashes, ranges; and faults.

Faults are those of `cdse_faults`, at `listing` or `object`; the `product` of a fault is the name of a product or file.
"""

from __future__ import annotations

import base64
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from ben_luigi.domain.sources.proof import new_hash
from ben_luigi.sample.cdse_faults import Fault, Script, refusal
from ben_luigi.sample.loopback import Handler, Loopback

BUCKET = "gcp-public-data-sentinel-2"
_XML_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_ALGORITHMS = ("crc32c", "md5")
_SMALL_BYTES = 2**16
_HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
_XML = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code></Error>"


class BucketServer(Loopback):
    """The objects of `objects`, by key, on a free port of 127.0.0.1, while its `with` block lasts.

    It lists `page` keys per page. Objects that are read completely are counted in `fetched`, by key, and requests in
    `counts`. With `lists` false it is a plain web server: no listing, no hashes of an object store.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        faults: Iterable[Fault] = (),
        *,
        page: int = 1000,
        lists: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(_Handler)
        self.objects = dict(objects)
        self.script = Script(faults, seed)
        self.page, self.lists = page, lists
        self.fetched: Counter[str] = Counter()
        self.most_open, self.open = 0, 0
        self.lock = threading.Lock()
        self._hashes: dict[str, tuple[int, dict[str, str]]] = {}

    @property
    def url(self) -> str:
        """Base URL of the bucket."""
        return f"{self.base_url}/{BUCKET}"

    @property
    def template(self) -> str:
        """URL template of a mirror."""
        return f"{self.url}/tiles/{{zone}}/{{band}}/{{square}}/{{name}}"

    def hashes(self, key: str) -> dict[str, str]:
        """Return the hashes of an object, hexadecimal: CRC-32C only of a small one, since it takes long here."""
        content = self.objects[key]
        known = self._hashes.get(key)
        if known is None or known[0] != id(content):
            hashes = {algorithm: new_hash(algorithm) for algorithm in _ALGORITHMS[len(content) > _SMALL_BYTES :]}
            for each in hashes.values():
                each.update(content)
            known = self._hashes[key] = (id(content), {name: each.hexdigest() for name, each in hashes.items()})
        return known[1]


class _Handler(Handler):
    @property
    def _bucket(self) -> BucketServer:
        owner: BucketServer = self.server.owner
        return owner

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        bucket = self._bucket
        with bucket.lock:
            bucket.open += 1
            bucket.most_open = max(bucket.most_open, bucket.open)
        try:
            self._list(query) if not key and bucket.lists else self._object(key)
        finally:
            with bucket.lock:
                bucket.open -= 1

    def _fault(self, where: str, key: str, start: int = 0) -> Fault | None:
        bucket = self._bucket
        bucket.counts[where] += 1
        ends = [key, key.rpartition("/")[2], *(part for part in key.split("/") if part.endswith(".SAFE"))]
        return bucket.script.take([where], ends, resuming=start > 0)

    def _list(self, query: Mapping[str, str]) -> None:
        bucket, prefix = self._bucket, query.get("prefix", "")
        fault = self._fault("listing", prefix.rstrip("/"))
        if answer := refusal(fault):
            self._answer(answer.status, answer.body, {"Content-Type": answer.content_type, **dict(answer.headers)})
            return
        kind = fault.kind if fault else ""
        if kind == "listing elsewhere":
            self._answer(302, b"", {"Location": f"http://127.0.0.1:9/{BUCKET}"})
            return
        keys = sorted(key for key in bucket.objects if key.startswith(prefix) and kind != "empty")
        after = query.get("continuation-token", "")
        left = [key for key in keys if key > after]
        page = left[: bucket.page]
        more = len(left) > len(page)
        entries = "".join(self._entry(key) for key in (page[:-1] if kind == "fewer keys than counted" else page))
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        more = more or kind == "truncated without a token"
        body = (
            f"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='{_XML_NAMESPACE}'><Name>{BUCKET}</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()
        body = body[: len(body) // 2] if kind == "cut json" else body
        self._answer(200, body, {"Content-Type": "application/xml; charset=UTF-8"})

    def _entry(self, key: str) -> str:
        md5 = self._bucket.hashes(key)["md5"]
        return (
            f"<Contents><Key>{escape(key)}</Key><Generation>1</Generation><ETag>&quot;{md5}&quot;</ETag>"
            f"<Size>{len(self._bucket.objects[key])}</Size></Contents>"
        )

    def _object(self, key: str) -> None:
        bucket = self._bucket
        wanted = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        start = int(wanted) if wanted.isdecimal() else 0
        fault = self._fault("object", key, start)
        kind = fault.kind if fault else ""
        if answer := refusal(fault):
            self._answer(answer.status, answer.body, {"Content-Type": answer.content_type, **dict(answer.headers)})
        elif kind.startswith("redirect"):
            self._answer(302, b"", {"Location": f"http://127.0.0.1:9/{quote(key)}"})
        elif key not in bucket.objects or kind == "missing member":
            self._answer(404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", {})
        else:
            self._send(key, _changed(bucket.objects[key], kind), start, kind)

    def _send(self, key: str, content: bytes, start: int, kind: str) -> None:
        bucket = self._bucket
        hashes = bucket.hashes(key)
        tag = f'"{hashes["md5"]}"'
        if start and (kind == "range of another version" or self.headers.get("If-Match") not in (None, tag)):
            self._answer(412, b"", {})
            return
        if start >= len(content) > 0 or kind == "range 416":
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        start = 0 if kind == "range ignored" else start
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if bucket.lists and kind != "no hash":
            headers["x-goog-hash"] = ",".join(f"{name}={_base64(value)}" for name, value in hashes.items())
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._body(206 if start else 200, content[start:], headers, kind)
        with bucket.lock:
            bucket.fetched[key] += kind in ("", "no hash") or kind.startswith("range")

    def _body(self, status: int, body: bytes, headers: Mapping[str, str], kind: str) -> None:
        cut = kind in ("short", "reset", "stall")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(memoryview(body)[: len(body) // 2 if cut else len(body)])
        if kind == "stall":
            self._bucket.stopped.wait(60)
        if kind == "reset":
            self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = cut

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._body(status, body, headers, "")


def _changed(content: bytes, kind: str) -> bytes:
    """Return an object as a fault changes it; the stated hashes remain those of the correct one."""
    match kind:
        case "flipped bit":
            middle = len(content) // 2
            return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else b""
        case "changed image":
            return _XML
        case "html":
            return _HTML
        case "trailing junk":
            return content + b"<!-- -->"
    return content


def _base64(value: str) -> str:
    return base64.b64encode(bytes.fromhex(value)).decode()
