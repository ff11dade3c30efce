"""`[database] url`: whatever a password holds, the right server is asked, and the password is shown to nobody."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state.database_url import DatabaseUrl, without_secrets

PASSWORDS = [
    "plain",
    "p@ss",
    "50%off",
    "a%zz",
    "it's",
    'say "no"',
    "$HOME",
    "two words",
    "a/b",
    "a:b",
    "a?b",
    "a#b",
    "a+b",
    "@",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_may_hold_anything(password: str) -> None:
    parts = DatabaseUrl.parse(f"postgresql://ben:{password}@db.example.org:5433/patches")
    assert parts.secrets == {"password": password}
    assert parts.options == {"user": "ben", "host": "db.example.org", "port": "5433", "dbname": "patches"}
    assert parts.address() == "db.example.org:5433/patches"


@pytest.mark.parametrize("password", [*PASSWORDS, "a&b", "a=b", "100%25"])
@pytest.mark.parametrize(
    "url", ["postgresql://ben:{}@h/n", "postgresql://ben@h/n?password={}", "postgres://h/n?user=ben&sslpassword={}"]
)
def test_or_be_encoded(url: str, password: str) -> None:
    parts = DatabaseUrl.parse(url.format(quote(password, safe="")))
    assert [*parts.secrets.values()] == [password]
    assert parts.address() == "h:5432/n"
    shown = [repr(parts), str(parts), f"{parts}", str(parts.options)]
    assert not any(
        password in text.removeprefix("postgres") or quote(password, safe="") in text
        for text in shown
        if len(password) > 1
    )


@pytest.mark.parametrize(
    ("text", "address", "password"),
    [
        ("postgresql://h", "h:5432/", ""),
        ("postgresql+psycopg2://me@corp:pw@h:1/n", "h:1/n", "pw"),
        ("postgresql://ben:pw@[::1]:5433/n?sslmode=require", "::1:5433/n", "pw"),
        ("postgresql:///n?host=/run/postgresql&port=5434", "/run/postgresql:5434/n", ""),
        ("postgresql://ben:pw@h/n?options=-c%20x%3Da@b", "h:5432/n", "pw"),
        ("postgresql://ben:p@ss/w@h/n?application_name=x", "h:5432/n", "p@ss/w"),
        (" postgresql://ben:pw@h/n?password=other ", "h:5432/n", "pw"),
    ],
)
def test_forms_of_it(text: str, address: str, password: str) -> None:
    parts = DatabaseUrl.parse(text)
    assert (parts.address(), parts.secrets.get("password", "")) == (address, password)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://h:5433/n", "postgresql://h:5433/n"),
        ("postgresql://ben:a/b@c?d@h/n?sslmode=require", "postgresql://h/n?sslmode=require"),
        ("postgres://ben:s3cret@[::1]:1/n", "postgres://[::1]:1/n"),
        ("postgresql://ben@/n?password=s3cret&host=a&sslpassword=s3cret", "postgresql:///n?host=a"),
        ("postgresql://ben@h/n?password=s3cret", "postgresql://h/n"),
        ("ben:s3cret@h/n", ""),
    ],
)
def test_what_is_shown_of_it_has_no_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("/n?host=a:1&host=b:2", {"host": "a,b", "port": "1,2"}),
        ("/n?host=a&host=b:2", {"host": "a,b", "port": ",2"}),
        ("/n?host=a,b&port=1,2", {"host": "a,b", "port": "1,2"}),
        ("/n?host=a&port=1&host=b&port=2", {"host": "a,b", "port": "1,2"}),
        ("/n?host=a:5434", {"host": "a", "port": "5434"}),
        ("h:1/n?host=a", {"host": "a", "port": "1"}),
        ("/n?host=/run/postgres:ql", {"host": "/run/postgres:ql"}),
        ("h/n?options=-c%20x%3Da", {"host": "h", "options": "-c x=a"}),
    ],
)
def test_options_reach_libpq(text: str, options: dict[str, str]) -> None:
    parts = DatabaseUrl.parse(f"postgresql://ben@{text}&sslmode=verify-full")
    assert parts.options == {"user": "ben", "dbname": "n", "sslmode": "verify-full", **options}


@pytest.mark.parametrize(
    "text",
    [
        "ben:s3cret@h/n",
        "mysql://ben:s3cret@h/n",
        "postgresql://ben:s3cret@h:port/n",
        "postgresql://ben:s3cret@h/n?x",
        "postgresql:/ben:s3cret@h",
    ],
)
def test_what_is_no_such_url_is_not_quoted(text: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        DatabaseUrl.parse(text)
    assert "s3cret" not in str(caught.value)
