"""Connect to PostgreSQL: the user's own server, or the embedded one in the data folder.

Nothing is opened at import, since workers fork: each process makes its engine when it first needs it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv as pcsv
import sqlalchemy as sa

from ben_luigi import config
from ben_luigi.domain import files, waiting
from ben_luigi.domain.errors import BadDatabase, DatabaseError
from ben_luigi.state import cluster, identity
from ben_luigi.state.database_url import DatabaseUrl
from ben_luigi.state.locks import advisory
from ben_luigi.state.schema import ADDED_SINCE, SCHEMA
from ben_luigi.state.server import Address, open_server

_Result = TypeVar("_Result")
_CAPABLE = """
SELECT current_setting('server_encoding') = 'UTF8' AS "encoding UTF8",
       NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS "writable",
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "the right to create tables",
       has_database_privilege(current_database(), 'TEMPORARY') AS "the right to create temporary tables"
"""
_SET = """
SELECT set_config(name, value, false) FROM pg_settings JOIN json_each_text(:wanted) AS wanted (key, value) ON key = name
"""
_LOCK_SETTINGS = {
    # A host that vanishes keeps its locks until the server notices; by default that takes hours.
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "15",
    "tcp_keepalives_count": "4",
    # A session that holds a lock is idle for hours.
    "idle_session_timeout": "0",
}
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_CONNECT_S = 20
_DISK_FULL = "53100"  # of PostgreSQL's error codes
_FAILED = (sa.exc.DBAPIError, psycopg2.Error)  # SQLAlchemy's pool does not wrap all errors of psycopg2
_engines: dict[tuple[int, str], sa.Engine] = {}
_failed: dict[str, DatabaseError] = {}  # by address, what `share` has raised
_with_tables: set[str] = set()  # inherited by forked workers, one per task


def engine() -> sa.Engine:
    """Return this process's engine; the first one starts the server if needed, and makes missing tables."""
    address = _given() or str(config.data_dir())
    key = (os.getpid(), address)
    if key not in _engines:
        _engines[key] = _reached(lambda: _new_engine(address))
    return _engines[key]


def share() -> None:
    """Open the server and make its tables in this process, so that processes forked from it use both as they are.

    Otherwise each task of a first run would start a server, and stop it. Raise DatabaseError as `engine()` does, once:
    a server of our own that cannot be made or started is not tried again by this process or those forked from it.
    """
    address = _given() or str(config.data_dir())
    if address in _failed or os.getpid() in {process for process, _ in _engines}:
        return
    try:
        engine().dispose()
    except DatabaseError as error:
        _failed[address] = error
        raise


def is_there() -> bool:
    """Return whether there is a database with our tables, without making one.

    Raise DatabaseError if the user's own server does not answer.
    """
    if not _given():
        return (config.data_dir() / "database" / "cluster").is_dir()
    try:
        with _engine().connect() as connection:
            return bool(sa.inspect(connection).has_table("marker"))
    except _FAILED as error:
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
        with _engine().connect() as connection:
            answer = connection.execute(sa.text(_CAPABLE)).mappings().one()
    except _FAILED as error:
        raise _unreachable(error) from error
    lacking = [str(what) for what, holds in answer.items() if not holds]
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
    own = DatabaseUrl.parse(_given())
    host, port = own.url.host or own.url.query.get("host") or "localhost", own.url.port or 5432
    return Address(str(host), port, own.url.username or "", own.url.database or "")


def connect() -> Any:
    """Return a connection of the driver, which the caller closes."""
    pooled = _reached(lambda: engine().raw_connection())
    connection = pooled.driver_connection
    pooled.detach()
    return connection


def check_locks() -> None:
    """Raise DatabaseError if locks do not stay with a connection to the user's server.

    This happens behind a pooler that shares sessions: waiting for a lock would not work, and locks would outlive the
    process that took them. A server that does not answer is ignored here; whatever needs it reports that.
    """
    with suppress(*_FAILED):
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
        first, *more = [_session_of(one) for _ in range(3)]
        if first == one.info.backend_pid or (_session_of(other) != first and {*more} == {first}):
            return ""
        try:
            with one.cursor() as cursor:
                cursor.execute("BEGIN")
        except psycopg2.Error:
            return "statement"
        return "transaction"


@contextmanager
def _direct() -> Iterator[psycopg2.extensions.connection]:
    """Yield a connection that begins no transaction by itself; SQLAlchemy begins one when it first connects."""
    url, arguments = _arguments()
    dialect: Any = _engine().dialect
    positional, named = dialect.create_connect_args(url)
    with closing(dialect.connect(*positional, **named, **arguments)) as connection:
        connection.autocommit = True
        yield connection


def _session_of(connection: psycopg2.extensions.connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int((cursor.fetchone() or (0,))[0])


def _new_engine(address: str) -> sa.Engine:
    new = _engine()
    if address not in _with_tables:
        with new.begin() as connection:
            cursor: Any = connection.connection.cursor()
            advisory.wait_for(cursor, "another process to make the tables of the database", advisory.SCHEMA, 0)
            with waiting.told("the tables of the database, which others use"):
                SCHEMA.create_all(connection)
                connection.execute(sa.text(ADDED_SINCE))
            if _given():
                identity.own(connection, config.data_dir(), DatabaseUrl.parse(_given()).address())
        _with_tables.add(address)
    return new


def _engine() -> sa.Engine:
    """Return a new engine.

    Transactions see what is committed, whatever the server's default, so tasks never have to retry.
    """
    url, arguments = _arguments()
    # The pool logs tracebacks of broken connections, and of those being closed when a run is stopped.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=arguments)


def _arguments() -> tuple[sa.URL, dict[str, Any]]:
    """Return a URL without secrets, and what else the driver is given."""
    given = {"application_name": waiting.name(), "connect_timeout": _CONNECT_S, **(_KEEPALIVES if _given() else {})}
    url, secrets = _url()
    return url, {name: value for name, value in given.items() if name not in url.query} | secrets


def _reached(work: Callable[[], _Result]) -> _Result:
    """Return the result of `work`.

    If the embedded server has died since this process opened it, start it and try again.
    """
    try:
        return work()
    except _FAILED as error:
        if _given():
            raise _unreachable(error) from error
    _open_server(again=True)
    try:
        return work()
    except _FAILED as error:
        raise _unreachable(error) from error


def _url() -> tuple[sa.URL, dict[str, str]]:
    """Return a URL without secrets, so that it can be shown, and the secrets."""
    if _given():
        return DatabaseUrl.parse(_given())
    address = _open_server()
    url = sa.URL.create(
        "postgresql+psycopg2",
        username=address.user,
        port=address.port,
        database=address.database,
        query={"host": address.host},
    )
    return url, {}


def _open_server(*, again: bool = False) -> Address:
    """Return the address of the embedded server, as `open_server`, unless `share` has failed to open it."""
    if error := _failed.get(str(config.data_dir())):
        raise error
    return open_server(config.data_dir() / "database", again=again)


def _given() -> str:
    """Return the value of `[database] url`; empty for the embedded server."""
    return str(config.database().url)


def _unreachable(error: Exception) -> DatabaseError:
    url = _given()
    address = DatabaseUrl.parse(url).address() if url else str(config.data_dir() / "database")
    if getattr(getattr(error, "orig", error), "pgcode", None) == _DISK_FULL:
        found, remedy = str(error.__cause__ or error).strip(), "make room there, and run again"
        return BadDatabase(f"PostgreSQL at {address}", expected="room on its disk", found=found, remedy=remedy)
    return DatabaseError(
        f"PostgreSQL at {address}",
        expected="a server that answers",
        found=str(error.__cause__ or error).strip(),
        remedy="start it, or correct [database] url, and run again" if url else "run again; server.log there says more",
    )


@contextmanager
def lock_connection() -> Iterator[sa.Connection]:
    """Yield a separate connection for advisory locks, which are released when it, the process or its host ends."""
    connection = _reached(lambda: engine().connect().execution_options(isolation_level="AUTOCOMMIT"))
    try:
        connection.execute(sa.text(_SET), {"wanted": json.dumps(_LOCK_SETTINGS)})
        yield connection
    except _FAILED as error:
        raise _unreachable(error) from error
    finally:
        connection.invalidate()  # close it instead of returning it to the pool, even if the server has died
        connection.close()


@contextmanager
def transaction() -> Iterator[psycopg2.extensions.cursor]:
    """Yield a cursor in a transaction that is committed at the end, or rolled back on an error."""
    connection: Any = _reached(lambda: engine().raw_connection())
    try:
        with committed(connection) as cursor:
            yield cursor
    except DatabaseError:
        connection.invalidate()
        raise
    finally:
        connection.close()


@contextmanager
def committed(connection: Any) -> Iterator[psycopg2.extensions.cursor]:
    """Yield a cursor of a connection of the driver, and commit at the end, or roll back on an error."""
    try:
        with explained(), connection.cursor() as cursor:
            yield cursor
            connection.commit()
    except DatabaseError:  # there is no session to roll back
        raise
    except BaseException:
        connection.rollback()
        raise


@contextmanager
def explained() -> Iterator[None]:
    """Turn the driver's errors about a server that is gone into DatabaseError."""
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
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
