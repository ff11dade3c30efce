"""Ask open services on the web: post a form, and read the whole answer, within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests

from ben_luigi.domain import network, waiting, web
from ben_luigi.domain.answers import describe, retry_after_s
from ben_luigi.domain.cdse.http import Patience, plain, reason
from ben_luigi.domain.errors import RateLimitError, TransientError

PATIENCE = Patience(tries=6, first_pause_s=5, read_timeout_s=120, floor_bytes_s=1000)
"""Up to two minutes and a half of pauses: open services are slow and busy at times."""


class TooLarge(TransientError):
    """An answer has more bytes than may be read into memory: a smaller question may be answered."""


@dataclass(frozen=True)
class Asker:
    """A session with an open service, through the proxy that the environment names; close it by `with`."""

    patience: Patience = PATIENCE
    most_bytes: int = 2**27
    session: requests.Session = field(default_factory=lambda: network.session(), repr=False)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def post(self, url: str, form: Mapping[str, str]) -> bytes:
        """The body of the 200 answer to a form, unpacked; asked once, redirects are not followed.

        Raises TransientError for whatever else comes, or does not come; RateLimitError if it is asked to wait.
        """
        subject = f"POST {plain(url)}"
        timeouts_s = (self.patience.connect_timeout_s, self.patience.read_timeout_s)
        try:
            with waiting.told(f"an answer to {subject}"):
                answer = self.session.post(url, data=form, timeout=timeouts_s, stream=True, allow_redirects=False)
            with answer:
                body = self._body(answer, subject)
        except (*web.BROKEN, ValueError) as error:  # ValueError: of a Location that is no address
            raise TransientError(subject, expected="a whole answer", found=reason(error)) from error
        if answer.status_code == requests.codes.ok:
            return body
        limited = answer.status_code == requests.codes.too_many_requests
        found = describe(answer.status_code, answer.headers, body)
        if location := answer.headers.get("Location", ""):
            found = f"{found}, which leads to {plain(location)}"
        refused = (RateLimitError if limited else TransientError)(subject, expected="an answer", found=found)
        refused.retry_after_s = retry_after_s(answer.headers.get("Retry-After", ""))
        raise refused

    def _body(self, answer: requests.Response, subject: str) -> bytes:
        pace, body = web.Pace(self.patience.floor_bytes_s, self.patience.floor_window_s), bytearray()
        for chunk in web.chunks(answer, pace, decode=True):
            body += chunk
            if len(body) > self.most_bytes:
                raise TooLarge(subject, expected=f"at most {self.most_bytes:,} bytes", found="more")
        return bytes(body)
