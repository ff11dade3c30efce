"""A role whose sessions are set otherwise than usual: results have the same bytes, and nothing is cut off."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from ben_luigi.state import database


@pytest.fixture
def folder(own_database: Path) -> Path:
    """A data folder with a server of its own, whose role has settings."""
    settings = {
        "client_encoding": "LATIN1",
        "extra_float_digits": "-3",
        "DateStyle": "German",
        "statement_timeout": "200ms",
        "idle_in_transaction_session_timeout": "200ms",
        "default_transaction_isolation": "serializable",
    }
    with database.transaction() as cursor:
        for name, value in settings.items():
            cursor.execute(f"ALTER ROLE ben_luigi SET {name} = '{value}'")
    database.forget()
    return own_database


def test_what_is_written_is_read_again_whatever_is_set_for_the_role(folder: Path) -> None:
    rows = pd.DataFrame({"name": ["Röhricht", "łąka"], "part": [1 / 3, 2 / 3], "at": pd.Timestamp(2017, 6, 13)})
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE one (name text, part double precision, at timestamp)")
        database.copy_in(cursor, "one", rows)
    found = database.query("SELECT name, part, at, at::text AS said FROM one")
    assert found.drop(columns="said").to_dict("list") == rows.to_dict("list")
    assert set(found["said"]) == {"2017-06-13 00:00:00"}
    database.copy_out("SELECT name, part FROM one", folder / "one.csv")
    assert (folder / "one.csv").read_bytes() == rows[["name", "part"]].to_csv(index=False).encode()


def test_limits_of_time_of_the_role_cut_nothing_off(folder: Path) -> None:
    with database.transaction() as cursor:
        cursor.execute("SELECT pg_sleep(0.5)")
        time.sleep(0.5)
        cursor.execute("SELECT current_setting('transaction_isolation')")
        assert cursor.fetchone() == ("read committed",)
