"""Services to publish to, on loopback: Zenodo and the Hub of Hugging Face as far as they are asked, S3 behind a proxy.

All of them fail by script. Kinds of faults: an HTTP status (429 and 503 with Retry-After), `cut` (the connection ends
before the body is read), `cut midway` (once half of it is), `cut after` (once it is kept, without an answer), `damaged`
(another content is kept, and its hash told), `held` (half of the body is read, and then nothing until the end).
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import http.client
import json
import random
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import requests
from moto.server import ThreadedMotoServer

from ben_luigi.sample.loopback import Fault, Faults, Handler, Loopback

_CHUNK_BYTES = 2**16
Answer = tuple[Any, ...]


class _Cut(Exception):
    """The connection ends without an answer."""


class Failing(Loopback):
    """A server that fails by script, and notes each body that has arrived whole, by kind of request."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        super().__init__(_Handler)
        self.faults = Faults(faults)
        self.whole: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.is_held = threading.Event()
        self.retry_after_s = 0
        self.lock = threading.Lock()

    def kind(self, method: str, path: str, query: str) -> tuple[str, str]:
        """The kind of a request, and the name of what it is about."""
        raise NotImplementedError

    def answer(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
        """Status, and JSON, or bytes with headers."""
        raise NotImplementedError

    def sent_whole(self, kind: str) -> list[str]:
        """The names of what has arrived whole by requests of a kind, in order."""
        return [name for what, name in self.whole if what == kind]


class RandomFaults(Faults):
    """Each request fails with the same probability, in one of several ways; the same seed gives the same faults."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__()
        self._random, self._share, self.met = random.Random(seed), share, 0

    def take(self, where: str) -> str:
        """The fault of this request."""
        with self._lock:
            if self._random.random() >= self._share:
                return ""
            self.met += 1
            return self._random.choice(("503", "500", "cut", "cut midway", "cut after"))


class _Handler(Handler):
    def _do(self) -> None:
        server: Failing = self.server.owner
        parts = urlsplit(self.path)
        kind, name = server.kind(self.command, parts.path, parts.query)
        with server.lock:
            server.counts[kind] += 1
            server.headers.append(dict(self.headers))
        fault = server.faults.take(kind)
        try:
            body = self._body(server, fault)
            if fault.isdecimal():
                return self._send(int(fault), {"message": "by script"}, {"Retry-After": str(server.retry_after_s)})
            with server.lock:
                server.whole.append((kind, name))
                if fault == "damaged" and body:
                    body = body[:-1] + bytes([body[-1] ^ 1])
                told = server.answer(self.command, parts.path, parts.query, body, dict(self.headers))
            if fault == "cut after":
                raise _Cut
            status, content, *more = told
            self._send(status, content, more[0] if more else {})
        except _Cut:
            self.close_connection = True
            self.connection.close()

    def _body(self, server: Failing, fault: str) -> bytes:
        if fault == "cut":
            raise _Cut
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b"".join(iter(self._chunk, b""))
            length = len(body)
        else:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length // 2 if fault in ("cut midway", "held") else length)
        if fault == "held":
            server.is_held.set()
            server.stopped.wait()
        if fault in ("cut midway", "held") or len(body) < length:  # who sent it may have been killed
            raise _Cut
        return body

    def _chunk(self) -> bytes:
        length = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(length)
        self.rfile.readline()
        return data

    def _send(self, status: int, content: Any, headers: dict[str, str]) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        length = {} if "Content-Length" in headers else {"Content-Length": str(len(body))}
        for name, value in {"Content-Type": "application/json", **length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _do  # noqa: N815 - the names that http.server asks for


class ZenodoServer(Failing):
    """Drafts with buckets. Kinds: create, drafts, draft, metadata, list, put, delete. `token` is the right one."""

    def __init__(self, faults: Iterable[Fault] = (), token: str = "secret-of-zenodo") -> None:
        super().__init__(faults)
        self.token = token
        self.drafts: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.unfinished: set[str] = set()

    def kind(self, method: str, path: str, query: str) -> tuple[str, str]:
        """The kind of a request."""
        if path.startswith("/api/files/"):
            name = unquote(path.split("/", 4)[4]) if path.count("/") > 3 else ""
            return {"GET": "list", "PUT": "put", "DELETE": "delete"}[method], name
        record = path.removeprefix("/api/deposit/depositions").strip("/")
        return {"POST": "create", "PUT": "metadata", "GET": "draft" if record else "drafts"}[method], record

    def answer(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
        """What Zenodo answers."""
        if headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"message": "The server could not verify that you are authorized"}
        kind, name = self.kind(method, path, query)
        if kind == "create":
            name = str(1000 + len(self.drafts))
            self.files[name] = {}
            links = {"bucket": f"{self.base_url}/api/files/{name}", "html": f"{self.base_url}/deposit/{name}"}
            self.drafts[name] = {"id": int(name), "submitted": False, "links": links, **json.loads(body)}
            return 201, self.drafts[name]
        if kind == "drafts":
            return 200, [*reversed(self.drafts.values())]
        if kind == "metadata":
            if name not in self.drafts:
                return 404, {"message": "PID does not exist."}
            self.drafts[name] |= json.loads(body)
            return 200, self.drafts[name]
        files = self.files[path.split("/")[3]]
        if kind == "list" and name:
            return (200, files[name]) if name in files else (404, {"message": "File does not exist."})
        if kind == "list":
            return 200, {"contents": [self._told(each, files[each]) for each in files]}
        if kind == "put":
            files[name] = body
            return 201, self._told(name, body)
        files.pop(name, None)
        return 204, b""

    def _told(self, name: str, data: bytes) -> dict[str, Any]:
        md5 = None if name in self.unfinished else f"md5:{hashlib.md5(data).hexdigest()}"
        return {"key": name, "size": len(data), "checksum": md5}


class HubServer(Failing):
    """Datasets with Git LFS. Kinds: create, paths, tree, resolve, preupload, batch, put, commit, yaml.

    Files over 2 kB are in LFS.
    """

    def __init__(self, faults: Iterable[Fault] = (), token: str = "hf_secret") -> None:
        super().__init__(faults)
        self.token = token
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.committed: dict[str, bytes] = {}
        self.in_lfs: set[str] = set()
        self.lies = ""

    def kind(self, method: str, path: str, query: str) -> tuple[str, str]:
        """The kind of a request."""
        ends = {"/api/repos/create": "create", "/api/validate-yaml": "yaml"}
        middle = re.search(r"/(paths-info|preupload|commit|lfs/objects/batch|put|revision|tree|resolve)", path)
        kinds = {"paths-info": "paths", "lfs/objects/batch": "batch"}
        return ends.get(path) or kinds.get(middle[1], middle[1]) if middle else ends[path], path.rpartition("/")[2]

    def answer(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
        """What the Hub answers."""
        kind, name = self.kind(method, path, query)
        given = {key.lower(): value for key, value in headers.items()}
        if kind != "put" and given.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        return self._answers(kind, name, body)

    def _answers(self, kind: str, name: str, body: bytes) -> Answer:
        if kind == "create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            url = {"url": f"{self.base_url}/datasets/{repository}"}
            if repository in self.private:
                return 409, {"error": "You already created this dataset repo", **url}
            self.private[repository] = asked.get("visibility") == "private" or bool(asked.get("private"))
            return 200, url
        if kind == "paths":
            names = parse_qs(body.decode()).get("paths", [])
            return 200, [self._told(each) for each in names if each in self.committed]
        if kind == "tree":
            return 200, [self._told(each) for each in self.committed]
        if kind == "resolve":
            return (200, self.committed[name]) if name in self.committed else (404, {"error": "Entry not found"})
        if kind == "preupload":
            files = json.loads(body)["files"]
            modes = [("lfs" if each["size"] > 2000 else "regular") for each in files]
            return 200, {
                "files": [
                    {"path": each["path"], "uploadMode": mode, "shouldIgnore": False}
                    for each, mode in zip(files, modes, strict=True)
                ]
            }
        if kind == "batch":
            objects = json.loads(body)["objects"]
            return 200, {"transfer": "basic", "objects": [self._object(each) for each in objects]}
        if kind == "put":
            self.blobs[name] = body
            return 200, b""
        if kind == "commit":
            return self._commit([json.loads(line) for line in body.splitlines() if line.strip()])
        return 200, {"errors": [], "warnings": []}

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        there = asked["oid"] in self.blobs
        actions = {} if there else {"actions": {"upload": {"href": f"{self.base_url}/put/{asked['oid']}"}}}
        return {**asked, **actions}

    def _commit(self, lines: list[dict[str, Any]]) -> Answer:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.committed[value["path"]] = base64.b64decode(value["content"])
                self.in_lfs.discard(value["path"])
            if line["key"] == "deletedFile":
                del self.committed[value["path"]]
            if line["key"] == "lfsFile":
                if value["oid"] not in self.blobs:
                    return 400, {"error": "lfs object is not there"}
                self.committed[value["path"]] = self.blobs[value["oid"]]
                self.in_lfs.add(value["path"])
        return 200, {"commitUrl": f"{self.base_url}/datasets/u/n/commit/{'0' * 40}", "commitOid": "0" * 40}

    def _told(self, name: str) -> dict[str, Any]:
        data = self.committed[name]
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        told = {"type": "file", "path": name, "size": len(data), "oid": oid}
        if name in self.in_lfs:
            sha256 = hashlib.sha256(data + self.lies.encode()).hexdigest()
            told["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
        return told


class S3Server(Failing):
    """moto's S3 behind a proxy that fails. Kinds: put, part, begin, end, abort, head, get, uploads, parts, make.

    It has an `etag` for all objects, if there is one, and no headers whose names contain `drops`.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        super().__init__(faults)
        self.port = 0
        self.etag = ""
        self.drops = ""
        self.cut_bodies = 0

    def kind(self, method: str, path: str, query: str) -> tuple[str, str]:
        """The kind of a request."""
        name = unquote(path).partition("/")[2].partition("/")[2]
        asked = parse_qs(query, keep_blank_values=True)
        if method == "GET":
            return ("uploads" if "uploads" in asked else "parts" if "uploadId" in asked else "get"), name
        if method == "POST":
            return ("begin" if "uploads" in asked else "end"), name
        if method == "PUT" and "partNumber" in asked:
            return "part", f"{name} {asked['partNumber'][0]}"
        return {"PUT": "put" if name else "make", "DELETE": "abort", "HEAD": "head"}[method], name

    def answer(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
        """What moto answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        given = {name: value for name, value in headers.items() if name.lower() not in ("connection", "expect")}
        connection.request(method, f"{path}?{query}" if query else path, body, given)
        response = connection.getresponse()
        content = response.read()
        if method == "GET" and self.cut_bodies and response.status == 206 and len(content) > 1:
            self.cut_bodies -= 1
            length = {"Content-Length": str(len(content))}
            return response.status, content[: len(content) // 2], length | {"Connection": "close"}
        passed = {name: value for name, value in response.getheaders() if name.lower() in _PASSED or "x-amz" in name}
        if self.drops:
            passed = {name: value for name, value in passed.items() if self.drops not in name}
        if method == "HEAD":
            passed["Content-Length"] = response.headers.get("Content-Length", "0")
            passed |= {"ETag": self.etag} if self.etag else {}
            sha256, number = (
                passed.get("x-amz-checksum-sha256", ""),
                passed.get("ETag", "").strip('"').partition("-")[2],
            )
            if sha256 and number:  # which moto leaves out
                passed["x-amz-checksum-sha256"] = f"{sha256}-{number}"
        connection.close()
        return response.status, content, passed

    def is_unfinished(self) -> bool:
        """Whether an upload was begun and neither completed nor aborted."""
        return bool(self.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads"))

    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds it."""
        keys = {"AWS_ACCESS_KEY_ID": "of-s3", "AWS_SECRET_ACCESS_KEY": "secret-of-s3"}
        return {**keys, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": self.base_url}

    def client(self) -> Any:
        """A client of moto itself, without faults."""
        return _client(self.port)

    def content(self, folder: str) -> dict[str, bytes]:
        """All objects of a folder of the bucket, by name."""
        found = self.client().list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", [])
        return {
            each["Key"].removeprefix(folder): self.client().get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
            for each in found
        }


BUCKET = "bucket"
_PASSED = ("content-type", "etag", "last-modified")


@contextmanager
def s3(faults: Iterable[Fault] = ()) -> Iterator[S3Server]:
    """S3 with an empty bucket."""
    with S3Server(faults) as server:
        server.port = _moto_port()
        requests.post(f"http://127.0.0.1:{server.port}/moto-api/reset", timeout=60).raise_for_status()
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@cache
def _client(port: int) -> Any:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)


@cache
def _moto_port() -> int:
    """The port of moto's server, which runs until this process ends."""
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    atexit.register(moto.stop)
    return int(moto.get_host_and_port()[1])
