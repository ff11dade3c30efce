"""Parse `[database] url` into a part that may be shown and the secrets in it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

import sqlalchemy as sa

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
_SECRET = ("password", "sslpassword")


class DatabaseUrl(NamedTuple):
    """A database: its URL for SQLAlchemy without secrets, and the secrets by libpq's names."""

    url: sa.URL
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
        options: dict[str, Any] = {}
        for option in filter(None, (found["query"] or "").split("&")):
            name, _, value = option.partition("=")
            options[name] = (*options[name], unquote(value)) if name in options else (unquote(value),)
        secrets = {name: options.pop(name)[-1] for name in _SECRET if name in options}
        url = sa.URL.create(
            "postgresql+psycopg2",
            username=parts["user"] or None,
            host=parts["ipv6"] or parts["host"] or None,
            port=int(found["port"]) if found["port"] else None,
            database=parts["name"] or None,
            query={name: values if len(values) > 1 else values[0] for name, values in options.items()},
        )
        return cls(url, secrets | ({"password": parts["password"]} if parts["password"] else {}))

    def address(self) -> str:
        """Return host, port and name only."""
        options = self.url.query
        host = self.url.host or options.get("host") or "localhost"
        port = self.url.port or options.get("port") or 5432
        return f"{host}:{port}/{self.url.database or options.get('dbname') or self.url.username or ''}"
