"""Sessions with servers elsewhere: through the proxy, and with the certificates, that the user's environment names.

As for every other program: HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE. This machine
itself is asked directly (`surroundings`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url, select_proxy

from ben_luigi.domain import web
from ben_luigi.domain.errors import BadInput

_USERINFO = re.compile(r"//[^/\s]*@")  # RFC 3986
_VARIABLES = "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE"


class _AsItIs(AuthBase):
    """Who asks is said by the request and its URL alone: an entry of ~/.netrc would take the place of a token."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        named = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(*named)(request) if any(named) else request


class _Adapter(web.Adapter):
    """One with a deadline, and that it says what is wrong with the environment, and quotes no proxy's password."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """BadInput if the environment names a proxy by something else than a URL."""
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
        """BadInput if the environment names certificates that are not there."""
        try:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        except OSError:
            raise BadInput(
                f"certificates for {urlsplit(url).hostname}",
                expected=f"the file or folder that {_VARIABLES} names",
                found=f"nothing at {verify}",
                remedy="correct that variable, or unset it",
            ) from None


def without_userinfo(text: str) -> str:
    """A text, such as an error's, without user names and passwords of the URLs in it.

    >>> without_userinfo("no answer of http://me:p@ss@10.0.0.1:8082/api; start it")
    'no answer of http://10.0.0.1:8082/api; start it'
    """
    return _USERINFO.sub("//", text)


def session(head_s: float | None = None) -> requests.Session:
    """A new session, whose answers begin within `head_s` seconds, by default web.HEAD_S.

    Its requests raise BadInput if the environment names a proxy or certificates that are none.
    """
    made = requests.Session()
    made.auth = _AsItIs()
    for scheme in ("https://", "http://"):
        made.mount(scheme, _Adapter(web.HEAD_S if head_s is None else head_s))
    return made
