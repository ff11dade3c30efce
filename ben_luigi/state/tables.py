"""Make the tables of the database, and forget what was in those that somebody has dropped."""

from __future__ import annotations

import logging
from pathlib import Path

import psycopg2.extensions

from ben_luigi.domain import files, waiting
from ben_luigi.domain.errors import BadDatabase
from ben_luigi.state import schema
from ben_luigi.state.locks import advisory

_log = logging.getLogger(__name__)
_SCHEMA = Path(__file__).with_name("schema.py")
_LACKING = "ARRAY(SELECT name FROM unnest(%s) AS name WHERE to_regclass(name) IS NULL)"
_SPLIT = "string_to_array(split_part(said, ': ', 2), ' ')"
_STATE = """(
SELECT count(*) FILTER (WHERE kind IN ('p', 'u', 'f')) || ' keys, '
       || count(*) FILTER (WHERE kind = 'on') || ' triggers'
FROM (SELECT conrelid AS of, contype::text AS kind FROM pg_constraint
      UNION ALL SELECT tgrelid, 'on' FROM pg_trigger WHERE tgenabled IN ('O', 'A')) AS present
WHERE of IN (SELECT to_regclass(name) FROM unnest(%s) AS name))"""
_SAID = f"""
SELECT split_part(said, ': ', 1), {_LACKING % _SPLIT}, split_part(said, ': ', 3) = {_STATE % _SPLIT}
FROM obj_description(to_regclass('marker'), 'pg_class') AS said
"""
_THERE = """
SELECT set_config('search_path', quote_ident(nspname), true) FROM pg_namespace
WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('marker'))
"""
_PRESENT = """
SELECT name, (SELECT count(*) FROM pg_constraint WHERE conrelid = to_regclass(name) AND contype IN ('p', 'u', 'f')),
       EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(name) AND tgisinternal AND tgenabled IN ('D', 'R'))
FROM unnest(%s) WITH ORDINALITY AS listed (name, place) WHERE to_regclass(name) IS NOT NULL ORDER BY place
"""


def make(cursor: psycopg2.extensions.cursor) -> None:
    """Make the tables, unless all are there and said to be as this version makes them: that loads SQLAlchemy.

    Raise BadDatabase if they have lost keys or triggers that cannot be made again, as after half a restore.
    """
    version = f"made by {_SCHEMA.name}, sha256 {files.file_hash(_SCHEMA)}"
    advisory.wait_for(cursor, "another process to make the tables of the database", advisory.SCHEMA, 0)
    cursor.execute(_SAID)
    if cursor.fetchone() == (version, [], True):
        return
    with waiting.told("the tables of the database, which others use"):
        cursor.execute(_THERE)  # a schema that somebody has made since may come before theirs
        _forget_lost(cursor)
        _require_whole(cursor)
        for statement in schema.statements():
            cursor.execute(statement)
        names = schema.names()
        cursor.execute(f"SELECT {_STATE % '%s'}", (names,))
        state = (cursor.fetchone() or ("",))[0]
        cursor.execute("COMMENT ON TABLE marker IS %s", (f"{version}: {' '.join(names)}: {state}",))


def _require_whole(cursor: psycopg2.extensions.cursor) -> None:
    """Raise BadDatabase if tables that are there have lost keys, or triggers of theirs are disabled."""
    cursor.execute(_PRESENT, (schema.names(),))
    present = cursor.fetchall()
    if lost := [table for table, keys, _ in present if keys < schema.number_of_keys(table)]:
        raise BadDatabase(
            f"tables of the database: {', '.join(lost)}",
            expected="all of their keys",
            found="some are gone, as where a dump was restored in part",
            remedy=f"restore it whole; or DROP TABLE {', '.join(lost)} CASCADE, and run again: what was in them, and "
            "in those that refer to them, is made again",
        )
    if disabled := [table for table, _, is_disabled in present if is_disabled]:
        raise BadDatabase(
            f"tables of the database: {', '.join(disabled)}",
            expected="triggers that are enabled, since they keep the rows of different tables consistent",
            found="some that are disabled, as where pg_restore --disable-triggers was interrupted",
            remedy="restore it whole; or, as a superuser, ALTER TABLE ... ENABLE TRIGGER ALL for each, and run again",
        )


def _forget_lost(cursor: psycopg2.extensions.cursor) -> None:
    """Forget the rows of tables that somebody has dropped, so that they are made again.

    Tables that referred to one of these have lost that key, so they go as well.
    """
    cursor.execute(f"SELECT {_LACKING % '%s'}", (schema.names(),))
    lacking: set[str] = set(*(cursor.fetchone() or ()))
    for table in {name for each in lacking for name in schema.behind(each)}:
        cursor.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
    tasks = sorted({task for table in lacking for task in schema.written_behind(table)})
    if "marker" in lacking:  # a new database, or one of which nothing is known any more
        return
    cursor.execute("DELETE FROM marker WHERE task = ANY(%s)", (tasks,))
    if cursor.rowcount:
        _log.warning("tables of the database are gone: %s; what was in them is made again", ", ".join(sorted(lacking)))
