"""Take advisory locks of PostgreSQL, which all hosts see, by the numbers that are listed here.

They are released with the connection (`database.lock_connection`) or the transaction that holds them, and so with a
process that dies.
"""

from __future__ import annotations

import psycopg2.extensions

from ben_luigi.domain import waiting

SCHEMA, DOWNLOADS, TASKS, ROWS = 20180501, 20180502, 20180503, 20180504
"""The first number of each lock: creating the tables, a place among the downloads, running a task, writing rows."""

# pg_locks shows the two numbers of an advisory lock as classid and objid; objsubid 2 means that there are two.
_HOLDERS = """
SELECT coalesce(nullif(application_name, ''), 'session ' || pid || ' of ' || usename) FROM pg_stat_activity
WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid = %(first)s AND objid = ANY (%(seconds)s)) ORDER BY pid
"""


def wait_for(cursor: psycopg2.extensions.cursor, what: str, first: int, *seconds: int) -> int:
    """Take one of the advisory locks (`first`, second), after waiting until one is free; return its second number.

    A cursor of a `lock_connection` holds it until that is closed, one of a transaction until that ends. The wait is
    logged (`waiting.wait_for`).
    """
    function = "pg_try_advisory_lock" if cursor.connection.autocommit else "pg_try_advisory_xact_lock"
    taken: list[int] = []

    def one_is_free() -> bool:
        for second in seconds:
            cursor.execute(f"SELECT {function}(%s, %s)", (first, second))
            if (cursor.fetchone() or (False,))[0]:
                taken.append(second)
                break
        return bool(taken)

    waiting.wait_for(one_is_free, what, lambda: holders(cursor, first, *seconds))
    return taken[0]


def holders(cursor: psycopg2.extensions.cursor, first: int, *seconds: int) -> list[str]:
    """Return the names of the processes that hold the locks."""
    # The numbers are signed, and pg_locks shows them unsigned, as oid.
    cursor.execute(_HOLDERS, {"first": first, "seconds": [second % 2**32 for second in seconds]})
    return [str(name) for (name,) in cursor.fetchall()]
