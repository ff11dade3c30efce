"""Make the tables of the database, and forget what was in those that somebody has dropped."""

from __future__ import annotations

import logging
from pathlib import Path

import psycopg2.extensions

from ben_luigi.domain import files, waiting
from ben_luigi.state import schema
from ben_luigi.state.locks import advisory

_log = logging.getLogger(__name__)
_SCHEMA = Path(__file__).with_name("schema.py")
_LACKING = "ARRAY(SELECT name FROM unnest(%s) AS name WHERE to_regclass(name) IS NULL)"
_SAID = f"""
SELECT split_part(said, ': ', 1), {_LACKING % "string_to_array(split_part(said, ': ', 2), ' ')"}
FROM obj_description(to_regclass('marker'), 'pg_class') AS said
"""


def make(cursor: psycopg2.extensions.cursor) -> None:
    """Make the tables, unless all are there and said to be as this version makes them: that loads SQLAlchemy."""
    version = f"made by {_SCHEMA.name}, sha256 {files.file_hash(_SCHEMA)}"
    advisory.wait_for(cursor, "another process to make the tables of the database", advisory.SCHEMA, 0)
    cursor.execute(_SAID)
    if cursor.fetchone() == (version, []):
        return
    with waiting.told("the tables of the database, which others use"):
        _forget_lost(cursor)
        for statement in schema.statements():
            cursor.execute(statement)
        cursor.execute("COMMENT ON TABLE marker IS %s", (f"{version}: {' '.join(schema.names())}",))


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
