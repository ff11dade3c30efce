"""Serve CDSE on loopback: its catalogue, token endpoint and downloads as clients see them, with faults by script.

It refuses what the real service refuses: downloads without a valid token, more connections or sessions than an account
may have, a refresh token used twice, HEAD. It also counts requests, so that a test can check what a client did.
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from ben_luigi.domain.cdse.http import Service
from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import RECORDS, REFUSALS, Fault, Record, Refusal, Script, refusal
from ben_luigi.sample.cdse_filter import attributes, tests_of
from ben_luigi.sample.cdse_nodes import NODES, content, listing, member_of
from ben_luigi.sample.cdse_sending import Sender
from ben_luigi.sample.cdse_trace import TRACE, traces
from ben_luigi.sample.loopback import Handler, Loopback

_TOKEN_PATH = "/auth/realms/CDSE/protocol/openid-connect/token"
_SMALL_PAGE = 2
_DOWNLOAD = re.compile(r"/(catalogue|zipper|download)/odata/v1/Products\(([^)]*)\)/\$value")
_CATALOGUE = re.compile(r"/catalogue/odata/v1/(Products|DeletedProducts)")
_FILTER_LIST = "/catalogue/odata/v1/Products/OData.CSC.FilterList"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANGE = re.compile(r"bytes=(\d+)-")
_HANG_S = 60


class CdseServer(Loopback):
    """CDSE on a free port of 127.0.0.1, while its `with` block lasts.

    `catalogue` holds products as OData spells them; `File` is a product's zip relative to `root`, and `DeletionDate`
    marks deleted ones; `Trace` is the event of a product's trace, if it has one,
    `Cloud` its cloud in percent. `slow_s` is the pause between the
    bytes of a crawl. `counts` has the number of requests of each kind, `downloads` the number per product, `most_open`
    how many downloads were open at once. If `moved` is set to a URL, all downloads are redirected to it.
    """

    def __init__(
        self,
        catalogue: Iterable[Record],
        root: Path,
        faults: Iterable[Fault] = (),
        *,
        account: Account | None = None,
        connections: int = 4,
        slow_s: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(_Handler)
        self.records = list(catalogue)
        self.root = root
        self.script = Script(faults, seed)
        self.account = account or Account()
        self.slow_s = slow_s
        self.downloads: Counter[str] = Counter()
        self.moved = ""
        self.most_open = 0
        self._connections = connections
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def catalogue_url(self) -> str:
        """Base URL of the catalogue."""
        return f"{self.base_url}/catalogue/odata/v1"

    @property
    def token_url(self) -> str:
        """URL of the token endpoint."""
        return self.base_url + _TOKEN_PATH

    @property
    def download_url(self) -> str:
        """Base URL of the downloads."""
        return f"{self.base_url}/download/odata/v1"

    @property
    def trace_url(self) -> str:
        """Base URL of the traces."""
        return f"{self.base_url}/trace/api/v1"

    @property
    def service(self) -> Service:
        """Return all three, for a client."""
        return Service(self.catalogue_url, self.token_url, self.download_url)

    @property
    def addresses(self) -> dict[str, str]:
        """Return the URLs of `service`, by name."""
        return {"catalogue_url": self.catalogue_url, "token_url": self.token_url, "download_url": self.download_url}

    def count(self, what: str, product: str = "") -> None:
        """Count one request."""
        with self._lock:
            self.counts[what] += 1
            if product:
                self.downloads[product] += 1

    @contextmanager
    def connection(self, one: socket.socket) -> Iterator[bool]:
        """Open one more download; yield False if the account has too many.

        Those that the client has left do not count.
        """
        with self._lock:
            self._open = {other for other in self._open if not _is_left(other)}
            free = len(self._open) < self._connections
            self.most_open = max(self.most_open, len(self._open) + 1)
            self._open |= {one} if free else set()
        try:
            yield free
        finally:
            with self._lock:
                self._open.discard(one)

    def listed(self, entity: str) -> list[Record]:
        """Return the records of Products or DeletedProducts, as the catalogue lists them."""
        deleted = entity == "DeletedProducts"
        shown = [record for record in self.records if ("DeletionDate" in record) == deleted]
        return [{key: value for key, value in record.items() if key not in ("File", "Trace")} for record in shown]

    def zip_of(self, key: str) -> Record | None:
        """Return the product with this id, if it can be downloaded."""
        fitting = (one for one in self.records if one["Id"] == key and one.get("File") and one.get("Online", True))
        return next(fitting, None)


class _Handler(Handler):
    def do_HEAD(self) -> None:
        self._cdse.count("HEAD")
        self._reply(Refusal(405))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if download := _DOWNLOAD.fullmatch(path):
            self._redirect_or_download(download[1], download[2])
        elif nodes := NODES.fullmatch(path):
            self._nodes(nodes[1], member_of(nodes[2]), lists=nodes[3] == "Nodes")
        elif trace := TRACE.fullmatch(path):
            self._trace(trace[1])
        elif catalogue := _CATALOGUE.fullmatch(path):
            self._filter(catalogue[1])
        else:
            self._reply(REFUSALS["404"])

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == _TOKEN_PATH:
            self._token(dict(parse_qsl(body.decode())))
        elif path == _FILTER_LIST:
            names = {asked["Name"] for asked in json.loads(body)["FilterProducts"]}
            self._list(["catalogue", "list"], [one for one in self._cdse.listed("Products") if one["Name"] in names])
        else:
            self._reply(REFUSALS["404"])

    @property
    def _cdse(self) -> CdseServer:
        owner: CdseServer = self.server.owner
        return owner

    def _reply(self, answer: Refusal) -> None:
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.content_type),
            ("Content-Length", len(answer.body)),
            *answer.headers,
        ):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _token(self, form: dict[str, str]) -> None:
        self._cdse.count("token")
        fault = self._cdse.script.take(["token"])
        if fault and fault.kind == "hang":
            self.close_connection = self._cdse.stopped.wait(_HANG_S)
            return
        self._reply(refusal(fault) or self._cdse.account.answer(form, fault.kind if fault else ""))

    def _filter(self, entity: str) -> None:
        """Answer a query with $filter, in the order of sensing if it asks for that."""
        query = dict(parse_qsl(urlsplit(self.path).query))
        tests = tests_of(query.get("$filter", ""))
        if tests is None:
            self._reply(Refusal(400, b'{"detail": "Invalid field or filter"}'))
            return
        found = [one for one in self._cdse.listed(entity) if all(test(one) for test in tests)]
        if query.get("$orderby", "").startswith("ContentDate/Start"):
            found.sort(key=lambda one: str(one["ContentDate"]["Start"]))
        if query.get("$expand") == "Attributes":
            found = [{**one, "Attributes": attributes(one)} for one in found]
        found = [{key: value for key, value in one.items() if key != "Cloud"} for one in found]
        self._list(["catalogue", "deleted"] if entity == "DeletedProducts" else ["catalogue"], found)

    def _list(self, where: list[str], records: list[Record]) -> None:
        """Answer with a page of `records`, or as the script says."""
        self._cdse.count("list" if "list" in where else "deleted" if "deleted" in where else "catalogue")
        fault = self._cdse.script.take(where, [one[key] for one in records for key in ("Id", "Name")])
        kind = fault.kind if fault else ""
        if fault and kind in RECORDS:
            about = [one for one in records if fault.product in ("", one["Id"], one["Name"])]
            records = [one for one in records if one not in about] + RECORDS[kind](about)
        self._reply(refusal(fault) or self._page(records, kind))

    def _page(self, records: list[Record], kind: str) -> Refusal:
        query = dict(parse_qsl(urlsplit(self.path).query))
        skip, top = int(query.get("$skip", 0)), min(int(query.get("$top", 20)), 1000)
        if skip > 10_000:
            return Refusal(422, b'{"detail": [{"msg": "ensure this value is less than or equal to 10000"}]}')
        top = _SMALL_PAGE if kind == "small pages" else top
        page: dict[str, Any] = {"@odata.context": "$metadata#Products", "value": records[skip : skip + top]}
        if kind == "endless pages":
            page["value"] = [{"Id": str(uuid4()), "Name": f"S2A_{uuid4()}.SAFE"}]
        if skip + top < len(records) or kind in ("endless pages", "same page again"):
            following = query | {"$skip": str(0 if kind == "same page again" else skip + top)}
            page["@odata.nextLink"] = f"{self._cdse.base_url}{urlsplit(self.path).path}?{urlencode(following)}"
        body = json.dumps(page).encode()
        return Refusal(200, body[: len(body) // 2] if kind == "cut json" else body)

    def _redirect_or_download(self, host: str, key: str) -> None:
        if host == "download" and not self._cdse.moved:
            self._download(key)
        else:
            location = self._cdse.moved or f"{self._cdse.download_url}/Products({key})/$value"
            self._reply(Refusal(301 if host == "catalogue" else 302, headers=(("Location", location),)))

    def _download(self, key: str) -> None:
        product = self._cdse.zip_of(key)
        name = product["Name"] if product else key
        self._cdse.count("download", name)
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if start:
            self._cdse.count("resumed")
        fault = self._cdse.script.take(["download"], [key, name], resuming=start > 0)
        with self._cdse.connection(self.connection) as free:
            answer = refusal(fault) or self._redirect(fault) or self._refusal(key, product, free)
            if product and not answer:
                path = self._cdse.root / product["File"]
                Sender(self, path, start, fault.kind if fault else "").send(self._cdse.stopped, self._cdse.slow_s)
        if answer:
            self._reply(answer)

    def _trace(self, name: str) -> None:
        self._cdse.count("trace")
        fault = self._cdse.script.take(["trace"], [name])
        record = next((one for one in self._cdse.records if one["Name"] == name and one.get("Trace")), None)
        kind = fault.kind if fault else ""
        body = traces(self._cdse.root / record["File"], name, record["Trace"], kind) if record else b"[]"
        self._reply(refusal(fault) or Refusal(200, body))

    def _nodes(self, key: str, member: str, lists: bool) -> None:
        """List a folder of a product, which needs no login, or send one of its files."""
        product = self._cdse.zip_of(key)
        self._cdse.count("nodes" if lists else "node")
        path = self._cdse.root / product["File"] if product else None
        fault = self._cdse.script.take(["node"], [key, member, member.rpartition("/")[2]])
        if lists:
            body = listing(path, member, f"{self._cdse.download_url}/Products({key})") if path else None
            self._reply(refusal(fault) or (Refusal(200, body) if body else REFUSALS["404"]))
            return
        with self._cdse.connection(self.connection) as free:
            answer = refusal(fault) or self._refusal(key, product, free)
            body = content(path, member) if path and not answer else None
            if body and fault and fault.kind == "flipped bit":
                body = bytes([body[0] ^ 1]) + body[1:]
            sent = Refusal(200, body, "application/octet-stream") if body is not None else REFUSALS["404"]
            self._reply(answer or sent)

    def _redirect(self, fault: Fault | None) -> Refusal | None:
        path = urlsplit(self.path).path
        places = {
            "redirect loop": path,
            "redirect to port": f"http://127.0.0.1:9{path}",
            "redirect to http": f"http://download.dataspace.copernicus.eu{path}",
            "redirect to foreign host": f"https://dataspace.copernicus.eu.example.org{path}",
        }
        location = places.get(fault.kind) if fault else None
        return Refusal(302, headers=(("Location", location),)) if location else None

    def _refusal(self, key: str, product: Record | None, free: bool) -> Refusal | None:
        """Return the refusal of the real service, if it would refuse."""
        if not self._cdse.account.accepts(self.headers.get("Authorization", "")):
            return REFUSALS["401"]
        if not _ID.fullmatch(key):
            return REFUSALS["422"]
        if product is None:
            return REFUSALS["404"]
        return None if free else REFUSALS["429 sessions"]


def _is_left(connection: socket.socket) -> bool:
    """Return whether the client has closed a connection on which it awaits a download."""
    try:
        return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True
