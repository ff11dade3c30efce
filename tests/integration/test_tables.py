"""Tables that somebody has restored in part, or between which and us somebody has put a schema."""

from __future__ import annotations

from typing import Any

import pytest

from ben_luigi.domain.errors import BadDatabase
from ben_luigi.state import tables


def count(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    "lost", ["DROP FUNCTION forget_deleted CASCADE", "ALTER TABLE patch DISABLE TRIGGER forget_deleted"]
)
def test_triggers_of_ours_that_are_gone_are_made_again(cursor: Any, lost: str) -> None:
    cursor.execute(lost)
    tables.make(cursor)
    cursor.execute("DELETE FROM patch")
    assert count(cursor, "marker") == 0


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("ALTER TABLE split DROP CONSTRAINT split_pkey", "split"),
        ("ALTER TABLE alignment DROP CONSTRAINT alignment_v1_name_key", "alignment"),
        ("ALTER TABLE label DROP CONSTRAINT label_patch_id_fkey", "label"),
        ("ALTER TABLE alignment DROP CONSTRAINT alignment_pkey CASCADE", "alignment, clc_count, label"),
        ("DROP TABLE label; ALTER TABLE alignment DROP CONSTRAINT alignment_pkey CASCADE", "alignment, clc_count"),
    ],
)
def test_tables_without_their_keys_are_named_and_made_again_once_they_are_dropped(
    cursor: Any, lost: str, named: str
) -> None:
    """Keys come last in a dump: a restore that was interrupted lacks them, and may lack rows that markers describe."""
    cursor.execute(f"UPDATE marker SET task = 'LabelPatches'; {lost}")
    for _ in range(2):
        cursor.execute("SAVEPOINT before")
        with pytest.raises(BadDatabase, match=rf": {named}; .*some are gone.*DROP TABLE {named} CASCADE") as refused:
            tables.make(cursor)
        cursor.execute("ROLLBACK TO before")
    cursor.execute(refused.value.remedy.partition("; or ")[2].partition(", and run")[0])
    tables.make(cursor)
    assert count(cursor, "patch") == 1
    assert count(cursor, "marker") == (named == "split")


def test_triggers_of_keys_that_are_disabled_are_named(cursor: Any) -> None:
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE label DISABLE TRIGGER ALL")
    cursor.execute("SAVEPOINT before")
    with pytest.raises(BadDatabase, match="database: label; expected: triggers that are enabled"):
        tables.make(cursor)
    cursor.execute("ROLLBACK TO before; ALTER TABLE label ENABLE TRIGGER ALL")
    tables.make(cursor)


def test_tables_stay_where_they_are_when_a_schema_comes_before_theirs(cursor: Any) -> None:
    """A newer version makes its tables anew: made elsewhere, they would be empty and hide those with all rows."""
    cursor.execute("CREATE SCHEMA ben_luigi; COMMENT ON TABLE marker IS 'made by an older version'")
    tables.make(cursor)
    cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'ben_luigi'")
    assert cursor.fetchone() == (0,)
    cursor.execute("SET search_path TO DEFAULT")
    assert count(cursor, "split") == 1
