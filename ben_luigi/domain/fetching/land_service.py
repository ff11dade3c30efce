"""Request CORINE's GeoPackage from the Copernicus Land Monitoring Service, with a service key, and wait for it.

The interface is documented (eea.github.io/clms-api-docs): a signed assertion gives a token; with it a file is
requested; when the service has prepared it, it can be fetched for some days from an address that needs no login.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from ben_luigi.domain import files, network
from ben_luigi.domain.answers import one_line, refusal
from ben_luigi.domain.bounded import parse_json, read_json
from ben_luigi.domain.cdse.http import Client, Patience, again, log_failure, plain
from ben_luigi.domain.errors import BadOption, PermanentError, ServiceError, SourceError, TransientError
from ben_luigi.domain.fetching.service_key import OPTION, ServiceKey
from ben_luigi.domain.sources.source import Origin

_log = logging.getLogger(__name__)
API = "https://land.copernicus.eu/api"
DATASET, FILE = "0407d497d3c44bcd93ce8fd5bf78596a", "71a52224-0b24-4ecf-804c-a676c0017922"
"""CORINE Land Cover 2018, and its GeoPackage, as the service's documentation lists them."""

PATIENCE = Patience(tries=5, first_pause_s=5, read_timeout_s=120, floor_bytes_s=1000)
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_OAUTH_ERRORS = ("invalid_grant", "invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type")
_SAY_AGAIN_S = 60.0
_DONE, _FAILED = "Finished_ok", ("Finished_nok", "Finished_ko", "Rejected", "Cancelled", "Canceled")
_LATER = (
    "run again later: a request that the service works on is kept; or give the GeoPackage as [inputs] clc_gpkg, or "
    "remove [land_cover] service_key, so that the polygons come from the EEA's open service"
)


@dataclass(frozen=True)
class Polling:
    """How often the state of a request is asked for, and how long one process waits for its end, in seconds."""

    pause_s: float = 30
    most_s: float = 7200


class _Unauthorized(PermanentError):
    """The token is not accepted (any more)."""


@dataclass
class LandService:
    """The service at `url`, for the owner of `key`, which is in the file `key_path`.

    `note` is the file that keeps the number of a request over processes.
    """

    key: ServiceKey
    key_path: Path
    note: Path
    url: str = API
    patience: Patience = PATIENCE
    polling: Polling = field(default_factory=Polling)
    session: requests.Session = field(default_factory=lambda: network.session(), repr=False)
    _token: str = field(default="", init=False, repr=False)

    def __enter__(self) -> LandService:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def ready(self) -> str:
        """Return the address of the prepared file: of the request that is noted, or of a new one.

        Raise ServiceError, or BadOption if the key is refused.
        """
        try:
            task = self._noted()
            address = self._address(task) if task else None
            if address is None:
                task = self._request()
                files.write_json(self.note, {"task": task})
                address = self._address(task)
        except SourceError as error:
            raise ServiceError(error.subject, expected=error.expected, found=error.found, remedy=_LATER) from error
        if address is None:
            self.forget()
            raise self._not_made(task, "that it has failed")
        return address

    def forget(self) -> None:
        """Forget the noted request, so that a new one is made."""
        self.note.unlink(missing_ok=True)

    def _noted(self) -> str:
        try:
            noted = read_json(self.note)
        except (OSError, ValueError):
            return ""
        return str(noted.get("task", "")) if isinstance(noted, dict) else ""

    def _request(self) -> str:
        """Request the file; return the number of the request."""
        wanted = {"Datasets": [{"DatasetID": DATASET, "FileID": self._file()}]}
        answer = self._ask("POST", "@datarequest_post", json=wanted)
        tasks = answer.get("TaskIds")
        task = tasks[0].get("TaskID") if isinstance(tasks, list) and tasks and isinstance(tasks[0], dict) else None
        if not task:
            raise PermanentError(
                f"POST {self.url}/@datarequest_post",
                expected="the number of a request",
                found=_keys(answer),
                remedy=_LATER,
            )
        _log.info("the GeoPackage of CORINE is requested from %s: request %s", plain(self.url), _short(task))
        return str(task)

    def _file(self) -> str:
        """Return the id of the GeoPackage, as the catalogue states it, or else as it is documented."""
        fields = ["UID", "downloadable_files"]
        query = {"portal_type": "DataSet", "UID": DATASET, "metadata_fields": fields}
        found = self._ask("GET", "@search", params=query).get("items")
        for item in found if isinstance(found, list) else []:
            if isinstance(item, dict) and item.get("UID") == DATASET:
                offered = item.get("downloadable_files")
                listed = offered.get("items") if isinstance(offered, dict) else None
                for one in listed if isinstance(listed, list) else []:
                    if isinstance(one, dict) and one.get("format") == "GPKG" and one.get("@id"):
                        return str(one["@id"])
        _log.warning("%s does not list the GeoPackage of CORINE; it is requested by its documented id", plain(self.url))
        return FILE

    def _address(self, task: str) -> str | None:
        """Wait until a request has its file; None if it has failed, or is not known any more."""
        deadline, before, due = time.monotonic() + self.polling.most_s, "", 0.0
        while True:
            try:
                answer = self._ask("GET", "@datarequest_status_get", params={"TaskID": task})
            except PermanentError as error:
                _log.warning("%s; the request is made anew", error)
                return None
            state, address = str(answer.get("Status", "")), answer.get("DownloadURL")
            if state == _DONE and isinstance(address, str) and address:
                return address
            if state in _FAILED or not state:
                _log.warning("request %s for the GeoPackage of CORINE is %s", _short(task), _short(state or "unknown"))
                return None
            if state != before or time.monotonic() >= due:
                _log.info("request %s for the GeoPackage of CORINE is %s", _short(task), _short(state))
                before, due = state, time.monotonic() + _SAY_AGAIN_S - self.polling.pause_s
            if time.monotonic() >= deadline:
                raise self._not_made(task, f"{_short(state)} after {self.polling.most_s / 3600:.1f} h")
            time.sleep(self.polling.pause_s)

    def _not_made(self, task: str, found: str) -> ServiceError:
        subject = f"request {_short(task)} for the GeoPackage of CORINE at {plain(self.url)}"
        return ServiceError(subject, expected="that the service prepares the file", found=found, remedy=_LATER)

    def _ask(self, method: str, what: str, **more: Any) -> Mapping[str, Any]:
        """Return the JSON object that the service answers, with a new token where the last is not accepted."""

        def once() -> Mapping[str, Any]:
            return self._answer(method, f"{self.url}/{what}", headers=self._headers(), **more)

        try:
            return again(self.patience, once, log_failure)
        except _Unauthorized:
            self._token = ""
            return again(self.patience, once, log_failure)

    def _headers(self) -> dict[str, str]:
        if not self._token:
            self._token = self._new_token()
        return {"Accept": "application/json", "Authorization": f"Bearer {self._token}"}

    def _new_token(self) -> str:
        """Return a token for the key. Raise BadOption if the service refuses the key."""
        form = {"grant_type": _GRANT, "assertion": self.key.assertion(int(time.time()))}
        try:
            answer = self._answer("POST", self.key.token_uri, secret=True, data=form)
        except PermanentError as error:
            raise BadOption(
                f"service key {self.key_path}",
                expected=f"one that {plain(self.key.token_uri)} accepts",
                found=error.found,
                remedy=f"check the clock; or make a new key in your profile at land.copernicus.eu, for {OPTION}",
            ) from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise TransientError(plain(self.key.token_uri), expected="an access token", found="an answer without one")
        return token

    def _answer(self, method: str, url: str, *, secret: bool = False, **what: Any) -> Mapping[str, Any]:
        """Send one request to `url` and to nobody else; what is `secret` is not quoted. Raise SourceError."""
        client = Client(patience=self.patience, session=self.session, hosts=Origin(url))
        response = client.open(method, url, **what)
        body, subject = client.body(response), f"{method} {plain(url)}"
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise PermanentError(subject, expected="an answer", found=f"HTTP {response.status_code}", remedy=_LATER)
        if response.status_code == HTTPStatus.UNAUTHORIZED and not secret:
            raise _Unauthorized(subject, expected="an answer", found=f"HTTP {response.status_code}", remedy=_LATER)
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.CREATED):
            shown = _oauth_error(body) if secret else body
            raise refusal(subject, response.status_code, response.headers, shown, section="land_cover")
        try:
            answer = parse_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TransientError(subject, expected="a JSON object", found="something else")
        return answer


def _oauth_error(body: bytes) -> bytes:
    """Return the error code of a refused login (RFC 6749, 5.2), and nothing else of the answer."""
    found = [code for code in _OAUTH_ERRORS if code.encode() in body]
    return found[0].encode() if found else b"an answer that is not shown, since it may hold a secret"


def _keys(answer: Mapping[str, Any]) -> str:
    return f"an answer with {', '.join(map(_short, answer)) or 'nothing'}"


def _short(text: object) -> str:
    return one_line(str(text))[:80]
