"""Parse `[database] url` into a part that may be shown and the secrets in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from ben_luigi.domain.errors import BadDatabase

_FORM = "postgresql://user:password@host:port/name"
_URL = re.compile(
    r"""
    postgres(?:ql)?(?:\+\w+)?://
    (?:(?P<user>[^:/?\#]*?)(?::(?P<password>.*?))?@)?  # up to the first @ after which the rest is valid
    (?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]@/?:\s]*))
    (?::(?P<port>\d{1,5}))?
    (?:/(?P<name>[^/?@]*))?
    (?:\?(?P<query>(?:\w+=[^&]*(?:&\w+=[^&]*)*)?))?
    """,
    re.VERBOSE | re.DOTALL,
)
_HOST = re.compile(r"([A-Za-z0-9.-]*)(?::(\d*))?")
_SECRET = ("password", "sslpassword")


class DatabaseUrl(NamedTuple):
    """A database: what libpq is given to connect to it, by libpq's names, without the secrets and the secrets alone."""

    options: dict[str, str]
    secrets: dict[str, str]

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.address()})"

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Parse the value of `[database] url`; special characters may be literal or percent-encoded, such as %40.

        Raise BadDatabase if it is not such a URL.
        """
        found = _URL.fullmatch(text.strip())
        if found is None:
            raise BadDatabase(
                "[database] url",
                expected=_FORM,
                found="something else",
                remedy="correct it; special characters of a password may be written as %40 and the like",
            )
        parts = {name: unquote(part) for name, part in found.groupdict(default="").items() if name != "query"}
        said: dict[str, list[str]] = {}
        for option in filter(None, (found["query"] or "").split("&")):
            name, _, value = option.partition("=")
            said.setdefault(name, []).append(unquote(value))
        given = {"host": parts["ipv6"] or parts["host"], "port": parts["port"], "user": parts["user"]}
        given |= {"dbname": parts["name"], **_hosts(said.pop("host", []))}
        given |= {"port": ",".join(said.pop("port"))} if "port" in said else {}
        given |= {name: values[-1] for name, values in said.items()}
        given |= {"password": parts["password"]} if parts["password"] else {}
        options = {name: value for name, value in given.items() if value}
        return cls(options, {name: options.pop(name) for name in _SECRET if name in options})

    def address(self) -> str:
        """Return host, port and name only."""
        host, port = self.options.get("host", "localhost"), self.options.get("port", "5432")
        return f"{host}:{port}/{self.options.get('dbname') or self.options.get('user', '')}"


def without_secrets(text: str) -> str:
    """Return a value of `[database] url` as it was given, but for user and password; empty if it is not such a URL."""
    found = _URL.fullmatch(text.strip())
    if found is None:
        return ""
    scheme = found[0].partition("//")[0]
    start = found.start("host") if found["ipv6"] is None else found.start("ipv6") - 1
    place = found[0][start:].partition("?")[0]
    options = (found["query"] or "").split("&")
    kept = "&".join(option for option in options if option.partition("=")[0] not in _SECRET)
    return f"{scheme}//{place}" + (f"?{kept}" if kept else "")


def _hosts(named: Sequence[str]) -> dict[str, str]:
    """Return the hosts of options such as `host=a:1&host=b:2` as libpq takes them, and their ports if there are any.

    A folder of a socket, and what lists several hosts already, stays as it is.
    """
    each = [_HOST.fullmatch(name) for name in named]
    if not all(each):
        return {"host": ",".join(named)}
    hosts, ports = (",".join(found[part] or "" for found in each if found) for part in (1, 2))
    return {"host": hosts} | ({"port": ports} if ports.strip(",") else {}) if hosts else {}
