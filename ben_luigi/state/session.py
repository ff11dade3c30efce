"""Set what matters in a session of the database: the role, the database or the server may have it set otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping

import psycopg2.extensions

_SET = "SELECT set_config(key, value, false) FROM json_each_text(%s) WHERE current_setting(key, true) IS NOT NULL"
_ALWAYS = {
    # Numbers with all their digits: with fewer, results would have other bytes.
    "extra_float_digits": "1",
    # Waiting for a lock, or a process that was stopped in a transaction, may take any time: we say what is awaited.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
_WITH_LOCK = {
    # A host that vanishes keeps its locks until the server notices; by default that takes hours.
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "15",
    "tcp_keepalives_count": "4",
    # A session that holds a lock is idle for hours.
    "idle_session_timeout": "0",
}
FROM_THE_START = {"client_encoding": "UTF8"}
"""What the driver is given to connect: it decodes by this, and COPY sends it, whatever encoding the role has."""


def prepare(connection: psycopg2.extensions.connection) -> None:
    """Set what every session needs. Transactions see what is committed, so tasks never have to retry."""
    connection.autocommit = True
    _set(connection, _ALWAYS)
    connection.set_session(isolation_level="READ COMMITTED", autocommit=False)


def prepare_for_locks(connection: psycopg2.extensions.connection) -> None:
    """Set what a session needs that holds locks: it begins no transaction by itself."""
    connection.autocommit = True
    _set(connection, _WITH_LOCK)


def _set(connection: psycopg2.extensions.connection, wanted: Mapping[str, str]) -> None:
    """Change settings, without those that a server of this version does not know."""
    with connection.cursor() as cursor:
        cursor.execute(_SET, (json.dumps(wanted),))
