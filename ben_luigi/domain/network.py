"""Make HTTP sessions that obey the proxy and the certificates of the user's environment.

They read HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and SSL_CERT_FILE, as other programs do. Requests to
this machine itself bypass the proxy (see `surroundings`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url, select_proxy

from ben_luigi.domain import web
from ben_luigi.domain.errors import BadInput

_VARIABLES = "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE"


class _AsItIs(AuthBase):
    """Take credentials from the request and its URL only: requests would let an entry of ~/.netrc replace a token."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        named = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(*named)(request) if any(named) else request


class _Adapter(web.Adapter):
    """An adapter with a deadline that explains a wrong environment, and never quotes the password of a proxy."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Raise BadInput if the environment's value for a proxy is not a URL."""
        try:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        except (requests.exceptions.InvalidSchema, ValueError) as error:
            if not select_proxy(request.url, proxies):
                raise
            raise BadInput(
                f"proxy for {urlsplit(request.url).hostname}",
                expected="http://user:password@host:port in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
                found=f"something else ({type(error).__name__})",
                remedy="correct that variable, or unset it; special characters of a password are written as %40",
            ) from None

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Raise BadInput if the environment names certificates that do not exist."""
        try:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        except OSError:
            raise BadInput(
                f"certificates for {urlsplit(url).hostname}",
                expected=f"the file or folder that {_VARIABLES} names",
                found=f"nothing at {verify}",
                remedy="correct that variable, or unset it",
            ) from None


def session(head_s: float | None = None) -> requests.Session:
    """Return a new session whose answers must begin within `head_s` seconds, by default web.HEAD_S.

    Its requests raise BadInput if the environment names an invalid proxy or missing certificates.
    """
    made = requests.Session()
    made.auth = _AsItIs()
    for scheme in ("https://", "http://"):
        made.mount(scheme, _Adapter(web.HEAD_S if head_s is None else head_s))
    return made
