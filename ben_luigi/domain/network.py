"""Sessions with servers elsewhere: through the proxy, and with the certificates, that the user's environment names.

As for every other program: HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE. This machine
itself is asked directly (`surroundings`).
"""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url

from ben_luigi.domain.errors import BadInput

_VARIABLES = "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE"


class _AsItIs(AuthBase):
    """Who asks is said by the request and its URL alone: an entry of ~/.netrc would take the place of a token."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        named = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(*named)(request) if any(named) else request


class _Adapter(HTTPAdapter):
    """The usual one, but for certificates that are not there, of which requests says no more than their path."""

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """BadInput if the environment names certificates that are not there."""
        try:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        except OSError:
            raise BadInput(
                f"certificates for {url.split('/')[2]}",
                expected=f"the file or folder that {_VARIABLES} names",
                found=f"nothing at {verify}",
                remedy="correct that variable, or unset it",
            ) from None


def session() -> requests.Session:
    """A new session; BadInput comes from requests by https if the environment names certificates that are not there."""
    made = requests.Session()
    made.auth = _AsItIs()
    made.mount("https://", _Adapter())
    return made
