"""A database that answers, and refuses what is asked of it: to be told in one line, as any other error."""

from __future__ import annotations

from pathlib import Path

import pytest

from ben_luigi.domain import fence
from ben_luigi.domain.errors import BadDatabase, NoRoomError
from ben_luigi.state import database
from ben_luigi.state.locks.task import alone_with, transaction

REFUSALS = (
    ("SET default_transaction_read_only = on", "a database to write to", "in a read-only transaction"),
    ("SET ROLE reader", "all rights on our tables", "permission denied for table turn"),
    ("DROP TABLE IF EXISTS turn CASCADE", "our tables", 'relation "turn" does not exist'),
    ("ALTER TABLE turn DROP CONSTRAINT IF EXISTS turn_pkey", "our tables as we make them", "ON CONFLICT specification"),
    ("ALTER TABLE turn DROP COLUMN IF EXISTS holder", "our tables as we make them", 'column "holder" of .* does not'),
)


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ("DROP EXTENSION plpgsql CASCADE", "tables with triggers in plpgsql", 'language "plpgsql" does not exist'),
        ("ALTER ROLE ben_luigi SET search_path TO nowhere", "a schema to make our tables in", "no schema"),
    ],
)
def test_where_tables_cannot_be_made_a_person_is_asked(
    change: str, expected: str, found: str, own_database: Path
) -> None:
    with database.transaction() as cursor:
        cursor.execute(change)
    database.forget()
    database._with_tables.clear()
    with pytest.raises(BadDatabase, match=f"expected: .*{expected}; found: {found}.*; next: .*"):
        database.connect()


@pytest.mark.parametrize(("change", "expected", "found"), REFUSALS)
def test_what_it_refuses_is_told_with_what_to_do(
    change: str, expected: str, found: str, own_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To who asks, and to who is at work on a task, in the session of its lock."""
    with database.transaction() as cursor:
        cursor.execute("CREATE ROLE reader")
    connect = database.connect

    def connected() -> object:
        connection = connect()
        with connection, connection.cursor() as cursor:
            cursor.execute(change)
        return connection

    database.forget()
    monkeypatch.setattr(database, "connect", connected)
    wanted = f"expected: {expected}; found: .*{found}.*; next: .*"
    with pytest.raises(BadDatabase, match=wanted), database.transaction() as cursor:
        cursor.execute("INSERT INTO turn (task, number, holder) VALUES ('one', 1, 'me') ON CONFLICT (task) DO NOTHING")
    with pytest.raises(BadDatabase, match=wanted), alone_with("A(tile=one)"):
        fence.begin()


def test_a_refusal_leaves_the_session_of_the_lock_as_it_was(own_database: Path) -> None:
    with alone_with("A(tile=one)"):
        with pytest.raises(BadDatabase, match="our tables"), transaction("rows") as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        with transaction("rows") as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def test_what_is_not_of_the_database_is_told_as_it_is(own_database: Path) -> None:
    with pytest.raises(NoRoomError), alone_with("A(tile=one)"):
        raise NoRoomError("a file")
