"""Serve the Copernicus Land Monitoring Service on loopback: login with a service key, requests, their file; faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from ben_luigi.sample import signing
from ben_luigi.sample.file_server import FileServer
from ben_luigi.sample.loopback import Answer, Fault, Request

CLIENT, USER = "sample-client", "sample-user"
_DATASET, _FILE = "0407d497d3c44bcd93ce8fd5bf78596a", "71a52224-0b24-4ecf-804c-a676c0017922"
_TOKEN, _API = "/@@oauth2-token", "/api/"


class LandServer(FileServer):
    """The service, whose prepared file is `zipped`; each new request gets an address of its own.

    Kinds of requests are `token`, `@search`, `@datarequest_post`, `@datarequest_status_get`, and those of the file,
    `whole` and `rest`. Kinds of faults besides those of a FileServer: of a token `refused`, `no token`; of a request
    `refused`, `no task`; of its state `working` (the file is not ready yet), `failed`, `unknown task`, `expired token`;
    of the search `nothing listed`.
    """

    def __init__(self, zipped: bytes, faults: Iterable[Fault] = ()) -> None:
        super().__init__({}, faults)
        self.zipped = zipped
        self.tokens: list[str] = []
        self.requests = 0
        self.told: list[str] = []
        """All that it was sent, to look for secrets."""

    @property
    def api_url(self) -> str:
        """Base URL of the interface."""
        return f"{self.base_url}/api"

    @property
    def token_url(self) -> str:
        """URL of the token endpoint."""
        return self.base_url + _TOKEN

    def service_key(self) -> dict[str, str]:
        """Return a service key that it accepts, as its JSON file has it."""
        return {
            "client_id": CLIENT,
            "user_id": USER,
            "token_uri": self.token_url,
            "private_key": signing.pem(),
            "title": "sample",
        }

    def expire(self) -> None:
        """Let the addresses of all requests so far expire."""
        self.files.clear()

    def answer(self, request: Request) -> Answer:
        """Answer as the service does, or as the script says."""
        self.told.append(json.dumps([request.path, request.asked, request.headers]))
        if request.path == _TOKEN:
            return self._asked("token", request)
        if request.path.startswith(_API):
            return self._asked(request.path.removeprefix(_API), request)
        return super().answer(request)

    def _asked(self, what: str, request: Request) -> Answer:
        self.count(what)
        kind = self.faults.take(what)
        if usual := self.usual_fault(kind):
            return usual
        if what == "token":
            return self._token(request, kind)
        if what == "@search":
            return _json({"items": [] if kind == "nothing listed" else [_listed()]})
        if kind == "expired token":
            self.tokens.clear()
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _json({"message": "You are not authorized to access this resource."}, 401)
        return self._request(request, kind) if what == "@datarequest_post" else self._state(request, kind)

    def _token(self, request: Request, kind: str) -> Answer:
        if kind == "refused" or not self._is_signed(request.asked.get("assertion", "")):
            return _json({"error": "invalid_grant", "error_description": request.asked.get("assertion", "")}, 400)
        if kind == "no token":
            return _json({"expires_in": 3600})
        self.tokens.append(f"token-{len(self.tokens)}-{self.counts['token']}")
        return _json({"access_token": self.tokens[-1], "expires_in": 3600, "token_type": "Bearer"})

    def _is_signed(self, assertion: str) -> bool:
        """Return whether an assertion is signed by the key that it gives out, and says what it must."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        head, _, rest = assertion.partition(".")
        claims, _, signature = rest.partition(".")
        try:
            signing.throwaway_key().public_key().verify(
                _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, ValueError):
            return False
        said = json.loads(_decoded(claims))
        told = (said["iss"], said["sub"], said["aud"], json.loads(_decoded(head))["alg"])
        return told == (CLIENT, USER, self.token_url, "RS256") and 0 < said["exp"] - said["iat"] <= 3600

    def _request(self, request: Request, kind: str) -> Answer:
        wanted = {"Datasets": [{"DatasetID": _DATASET, "FileID": _FILE}]}
        if kind == "refused" or json.loads(request.body or "{}") != wanted:
            return _json({"status": "error", "msg": "Error, the FileID is not valid"}, 400)
        if kind == "no task":
            return _json({"ErrorTaskIds": [{"error": "busy"}], "TaskIds": []}, 201)
        self.requests += 1
        self.files[f"/results/{self.requests}.zip"] = self.zipped
        return _json({"ErrorTaskIds": [], "TaskIds": [{"TaskID": str(self.requests)}]}, 201)

    def _state(self, request: Request, kind: str) -> Answer:
        task = request.asked.get("TaskID", "")
        if kind == "unknown task" or not task.isdecimal() or not 0 < int(task) <= self.requests:
            return _json({"status": "error", "msg": "Error, the task does not exist"}, 404)
        if kind in ("working", "failed"):
            return _json({"Status": "In_progress" if kind == "working" else "Finished_nok", "UserID": USER})
        return _json({"Status": "Finished_ok", "DownloadURL": self.url(f"/results/{task}.zip"), "UserID": USER})


def _listed() -> dict[str, Any]:
    files = [{"@id": "3d9e2413", "format": "Geotiff"}, {"@id": _FILE, "format": "GPKG"}]
    return {"UID": _DATASET, "title": "CLC 2018", "downloadable_files": {"items": files}}


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(content: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode())
