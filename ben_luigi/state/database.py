"""Connect to PostgreSQL: the user's own server, or the embedded one in the data folder.

Nothing is opened at import, since workers fork: each process makes its connections when it first needs them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv as pcsv

from ben_luigi import config
from ben_luigi.domain import files, waiting
from ben_luigi.domain.errors import BadDatabase, DatabaseError
from ben_luigi.state import cluster, identity, session, tables
from ben_luigi.state.database_url import DatabaseUrl
from ben_luigi.state.locks import data_folder
from ben_luigi.state.server import Address, open_server

_Result = TypeVar("_Result")
_CAPABLE = """
SELECT current_setting('server_encoding') = 'UTF8' AS "encoding UTF8",
       NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS "writable",
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "the right to create tables",
       has_database_privilege(current_database(), 'TEMPORARY') AS "the right to create temporary tables"
"""
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_CONNECT_S = 20
_DISK_FULL = "53100"  # of PostgreSQL's error codes
_REFUSALS = {
    "25006": ("a database to write to", "name the server that is no standby, or have it made writable, and run again"),
    "42501": ("all rights on our tables", "give them to the user of the url, and run again"),
    "3F000": ("a schema to make our tables in", "name one in search_path of the url's user, and run again"),
    "42P01": ("our tables", "restore it if you can, and run again: what was in it is made again"),
    **dict.fromkeys(
        ("42703", "42P10"),  # a column, or a key, that is gone
        ("our tables as we make them", "undo what was changed in them; if nothing was, report it as a fault of ours"),
    ),
}
"""What is expected of a database that denies something, and what to do, by the code of the error."""
_KEPT_OUT = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r"|FATAL: +(role|database) .* does not exist|permission denied for database"
)
_TOO_MANY = re.compile("too many clients|too many connections|remaining connection slots")
"""Why a server lets nobody in: libpq gives no code then, only these words, unless they are translated."""
_SESSION = "SELECT pg_backend_pid()"
_idle: dict[tuple[int, str], list[psycopg2.extensions.connection]] = {}  # by process and place
_failed: dict[str, DatabaseError] = {}  # by place, what `share` has raised
_with_tables: set[str] = set()  # inherited by forked workers, one per task


def share() -> None:
    """Open the server and make its tables in this process, so that processes forked from it use both as they are.

    Otherwise each task of a first run would start a server, and stop it. Raise DatabaseError, once: a server of our own
    that cannot be made or started is not tried again by this process or those forked from it.
    """
    place = _place()
    if place in _failed or place in _with_tables:
        return
    try:
        connect().close()
    except DatabaseError as error:
        _failed[place] = error
        raise


def forget() -> None:
    """Close the connections of this process that are not in use."""
    for connection in _idle.pop((os.getpid(), _place()), []):
        connection.close()


def is_there() -> bool:
    """Return whether there is a database with our tables, without making one.

    Raise DatabaseError if the user's own server does not answer.
    """
    if not _given():
        return (config.data_dir() / "database" / "cluster").is_dir()
    try:
        with _direct() as connection:
            return bool(_asked(connection, "SELECT to_regclass('marker') IS NOT NULL")[0])
    except psycopg2.Error as error:
        raise _unreachable(error) from error


def check() -> None:
    """Raise DatabaseError if the database cannot be used.

    The embedded one may be unable to start here; the user's may lack a right or a setting. Nothing is started or made.
    PostGIS is not needed.
    """
    if not _given():
        cluster.check(config.data_dir() / "database" / "cluster")
        return
    try:
        _require_sessions()
        with _direct() as connection, connection.cursor() as cursor:
            cursor.execute(_CAPABLE)
            answer, what = cursor.fetchone() or (), cursor.description or ()
    except psycopg2.Error as error:
        raise _unreachable(error) from error
    lacking = [column.name for column, holds in zip(what, answer, strict=True) if not holds]
    if lacking:
        raise BadDatabase(
            f"PostgreSQL at {DatabaseUrl.parse(_given()).address()}",
            expected="a database of our own, to write to",
            found=f"one that lacks {', '.join(lacking)}",
            remedy="CREATE DATABASE ben_luigi ENCODING 'UTF8' OWNER <the url's user>, and name it in [database] url",
        )


def address() -> Address:
    """Return the address of the database, for Luigi's targets, after starting the embedded server if necessary."""
    if not _given():
        return _open_server()
    own = DatabaseUrl.parse(_given()).options
    port = own.get("port", "").partition(",")[0] or 5432
    return Address(own.get("host", "localhost"), int(port), own.get("user", ""), own.get("dbname", ""))


def connect() -> psycopg2.extensions.connection:
    """Return a new connection, which the caller closes; the first one starts the server if needed, and makes tables.

    Transactions see what is committed, whatever the server's default, so tasks never have to retry.
    """
    return _reached(_connected)


def check_locks() -> None:
    """Raise DatabaseError if locks do not stay with a connection to the user's server.

    This happens behind a pooler that shares sessions: waiting for a lock would not work, and locks would outlive the
    process that took them. A server that does not answer is ignored here; whatever needs it reports that.
    """
    with suppress(psycopg2.Error):
        if _given():
            _require_sessions()


def _require_sessions() -> None:
    """Raise DatabaseError, with the mode of the pooler, if connections have no sessions of their own."""
    with waiting.told(f"two sessions of {DatabaseUrl.parse(_given()).address()}"):
        mode = _pool_mode()
    if mode:
        raise BadDatabase(
            f"PostgreSQL at {DatabaseUrl.parse(_given()).address()}",
            expected="a session for each connection, since locks are a session's",
            found=f"a pooler that shares sessions, as PgBouncer does with pool_mode = {mode}",
            remedy="set pool_mode = session for this database, or name the server itself in [database] url",
        )


def _pool_mode() -> str:
    """Return how a pooler shares the server's sessions, `transaction` or `statement`; empty if each is its client's.

    A pooler reports a process id of its own instead of the session's. It may still keep sessions apart: then no other
    connection gets the session of an open one. One that shares them by statement refuses to begin a transaction.
    """
    with _direct() as one, _direct() as other:
        first, *more = [_asked(one, _SESSION) for _ in range(3)]
        if first == (one.info.backend_pid,) or (_asked(other, _SESSION) != first and {*more} == {first}):
            return ""
        try:
            with one.cursor() as cursor:
                cursor.execute("BEGIN")
        except psycopg2.Error:
            return "statement"
        return "transaction"


@contextmanager
def _direct() -> Iterator[psycopg2.extensions.connection]:
    """Yield a connection that begins no transaction by itself, to a database as it is."""
    with closing(psycopg2.connect(**_parameters())) as connection:
        connection.autocommit = True
        yield connection


def _asked(connection: psycopg2.extensions.connection, statement: str) -> tuple[Any, ...]:
    """Return the row that a SELECT of one row gives."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() or (None,)


def _connected() -> psycopg2.extensions.connection:
    connection: psycopg2.extensions.connection = psycopg2.connect(**_parameters())
    try:
        session.prepare(connection)
        if _place() not in _with_tables:
            _make_tables(connection)
            _with_tables.add(_place())
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: psycopg2.extensions.connection) -> None:
    with connection, connection.cursor() as cursor:
        tables.make(cursor)
        if _given():
            identity.own(cursor, config.data_dir(), DatabaseUrl.parse(_given()).address())


def _parameters() -> dict[str, Any]:
    """Return what the driver is given to connect."""
    given = {"application_name": waiting.name(), "connect_timeout": _CONNECT_S}
    if _given():
        own = DatabaseUrl.parse(_given())
        return given | _KEEPALIVES | own.options | own.secrets | session.FROM_THE_START
    at = _open_server()
    given |= {"host": at.host, "port": at.port, "user": at.user, "dbname": at.database}
    return given | session.FROM_THE_START


def _place() -> str:
    """Return what tells one database from another, without opening it."""
    return _given() or str(config.data_dir())


def _reached(work: Callable[[], _Result]) -> _Result:
    """Return the result of `work`.

    If the embedded server has died since this process opened it, start it and try again.
    """
    try:
        return work()
    except psycopg2.Error as error:
        if _given():
            raise _unreachable(error) from error
    _open_server(again=True)
    try:
        return work()
    except psycopg2.Error as error:
        raise _unreachable(error) from error


def _open_server(*, again: bool = False) -> Address:
    """Return the address of the embedded server, as `open_server`, unless `share` has failed to open it."""
    if error := _failed.get(str(config.data_dir())):
        raise error
    data_folder.require_same(config.data_dir())  # or a server would be made in its place
    return open_server(config.data_dir() / "database", again=again)


def _given() -> str:
    """Return the value of `[database] url`; empty for the embedded server."""
    return str(config.database().url)


def _unreachable(error: psycopg2.Error) -> DatabaseError:
    url = _given()
    address = DatabaseUrl.parse(url).address() if url else str(config.data_dir() / "database")
    if error.pgcode == _DISK_FULL:
        found, remedy = str(error).strip(), "make room there, and run again"
        return BadDatabase(f"PostgreSQL at {address}", expected="room on its disk", found=found, remedy=remedy)
    if error.pgcode in _REFUSALS:
        expected, remedy = _REFUSALS[error.pgcode]
        found = str(error.diag.message_primary)
        return BadDatabase(f"PostgreSQL at {address}", expected=expected, found=found, remedy=remedy)
    found = str(error).strip()
    if isinstance(error, psycopg2.ProgrammingError):
        expected, remedy = (
            "a database in which we can make tables with triggers in plpgsql",
            "make what it lacks, and run again",
        )
        return BadDatabase(f"PostgreSQL at {address}", expected=expected, found=found, remedy=remedy)
    if _KEPT_OUT.search(found):
        expected, remedy = "a server that lets us in", "correct [database] url, or what the server says, and run again"
        return BadDatabase(f"PostgreSQL at {address}", expected=expected, found=found, remedy=remedy)
    if _TOO_MANY.search(found):
        expected, remedy = "room for one more connection", "raise the limit that is named, or end others, and run again"
        return DatabaseError(f"PostgreSQL at {address}", expected=expected, found=found, remedy=remedy)
    return DatabaseError(
        f"PostgreSQL at {address}",
        expected="a server that answers",
        found=found,
        remedy="start it, or correct [database] url, and run again" if url else "run again; server.log there says more",
    )


@contextmanager
def lock_connection() -> Iterator[psycopg2.extensions.connection]:
    """Yield a separate connection for advisory locks, which are released when it, the process or its host ends."""
    with closing(connect()) as connection:
        try:
            session.prepare_for_locks(connection)
            yield connection
        except psycopg2.Error as error:
            raise _unreachable(error) from error


@contextmanager
def transaction() -> Iterator[psycopg2.extensions.cursor]:
    """Yield a cursor in a transaction that is committed at the end, or rolled back on an error."""
    connection = _idle_one() or connect()
    try:
        with committed(connection) as cursor:
            yield cursor
    except DatabaseError:
        connection.close()
        raise
    finally:
        if not connection.closed:
            _idle.setdefault((os.getpid(), _place()), []).append(connection)


def _idle_one() -> psycopg2.extensions.connection | None:
    """Return a connection of this process that is not in use and still answers, if there is one."""
    idle = _idle.get((os.getpid(), _place()), [])
    with suppress(IndexError):  # there is none left; another thread may have taken the last one
        while True:
            connection = idle.pop()
            with suppress(psycopg2.Error):
                connection.autocommit = True
                _asked(connection, "SELECT 1")
                connection.autocommit = False
                return connection
            connection.close()
    return None


@contextmanager
def committed(connection: psycopg2.extensions.connection) -> Iterator[psycopg2.extensions.cursor]:
    """Yield a cursor of a connection of the driver, and commit at the end, or roll back on an error."""
    try:
        with explained(), connection.cursor() as cursor:
            yield cursor
            connection.commit()
    except DatabaseError:
        with suppress(psycopg2.Error):  # there may be no session to roll back
            connection.rollback()
        raise
    except BaseException:
        connection.rollback()
        raise


@contextmanager
def explained() -> Iterator[None]:
    """Turn the driver's errors about a server that is gone, or denies something, into DatabaseError."""
    try:
        yield
    except psycopg2.Error as error:
        is_away = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        if not is_away and error.pgcode not in _REFUSALS:
            raise
        raise _unreachable(error) from error


def query(statement: str, **values: Any) -> pd.DataFrame:
    """Return the rows of a SELECT; values are named as in `%(name)s`."""
    with transaction() as cursor:
        cursor.execute(statement, values)
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Return the same as tuples."""
    with transaction() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def copy_in(cursor: psycopg2.extensions.cursor, table: str, rows: pd.DataFrame) -> str:
    """Append rows to a table by COPY; return the sha256 of the data that was sent."""
    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(rows, preserve_index=False)
    pcsv.write_csv(arrow, buffer, pcsv.WriteOptions(include_header=False))
    buffer.seek(0)
    columns = ", ".join(f'"{column}"' for column in rows.columns)
    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)", buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def copy_out(statement: str, path: Path, **values: Any) -> None:
    """Write the rows of a SELECT to `path` atomically as CSV: header, LF, quotes only where needed."""
    with transaction() as cursor, files.atomic_write(path) as work, work.open("wb") as file:
        select = cursor.mogrify(statement, values).decode()
        cursor.copy_expert(f"COPY ({select}) TO STDOUT (FORMAT csv, HEADER)", file)
