"""The connection to PostgreSQL: the user's own server, or the pipeline's own in the data folder.

Nothing is opened at import, since workers fork: each process makes its engine when it first needs it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv as pcsv
import sqlalchemy as sa

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import cluster
from ben_luigi.state.database_url import DatabaseUrl
from ben_luigi.state.schema import ADDED_SINCE, SCHEMA
from ben_luigi.state.server import Address, open_server

_Result = TypeVar("_Result")
_SCHEMA_LOCK = 20180501
_CAPABLE = """
SELECT current_setting('server_encoding') = 'UTF8' AS "encoding UTF8",
       NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS "writable",
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "the right to create tables",
       has_database_privilege(current_database(), 'TEMPORARY') AS "the right to create temporary tables"
"""
_FAILED = (sa.exc.DBAPIError, psycopg2.Error)  # SQLAlchemy's pool passes the driver's own errors on
_engines: dict[tuple[int, str], sa.Engine] = {}
_with_tables: set[str] = set()  # known to forked workers too, of which there is one a task


def engine() -> sa.Engine:
    """This process's engine; the first in a process starts the server if need be, and makes missing tables."""
    place = _given() or str(config.data_dir())
    key = (os.getpid(), place)
    if key not in _engines:
        _engines[key] = _reached(lambda: _new_engine(place))
    return _engines[key]


def is_there() -> bool:
    """Whether there is a database with our tables; none is made. DatabaseError if the user's own does not answer."""
    if not _given():
        return (config.data_dir() / "database" / "cluster").is_dir()
    try:
        with _made_engine().connect() as connection:
            return bool(sa.inspect(connection).has_table("marker"))
    except _FAILED as error:
        raise _unreachable(error) from error


def check() -> None:
    """DatabaseError if the database cannot be used: our own cannot start here, or the user's lacks something.

    Nothing is started or made. PostGIS is not needed.
    """
    if not _given():
        cluster.check(config.data_dir() / "database" / "cluster")
        return
    try:
        with _made_engine().connect() as connection:
            answer = connection.execute(sa.text(_CAPABLE)).mappings().one()
    except _FAILED as error:
        raise _unreachable(error) from error
    lacking = [str(what) for what, holds in answer.items() if not holds]
    if lacking:
        raise DatabaseError(
            f"PostgreSQL at {DatabaseUrl.parse(_given()).place()}",
            expected="a database of our own, to write to",
            found=f"not so: {', '.join(lacking)}",
            remedy="CREATE DATABASE ben_luigi ENCODING 'UTF8' OWNER <the url's user>, and name it in [database] url",
        )


def address() -> Address:
    """Where the database is, as Luigi's targets name it; our own server is started for it, if need be."""
    if not _given():
        return open_server(config.data_dir() / "database")
    own = DatabaseUrl.parse(_given())
    host, port = own.url.host or own.url.query.get("host") or "localhost", own.url.port or 5432
    return Address(str(host), port, own.url.username or "", own.url.database or "")


def connect() -> Any:
    """A connection as the driver gives it, which the caller closes."""
    pooled = _reached(lambda: engine().raw_connection())
    connection = pooled.driver_connection
    pooled.detach()
    return connection


def _new_engine(place: str) -> sa.Engine:
    new = _made_engine(pool_pre_ping=True)
    if place not in _with_tables:
        with new.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
            SCHEMA.create_all(connection)
            connection.execute(sa.text(ADDED_SINCE))
        _with_tables.add(place)
    return new


def _reached(work: Callable[[], _Result]) -> _Result:
    """What `work` gives; where our own server has died since this process opened it, it is started again."""
    try:
        return work()
    except _FAILED as error:
        if _given():
            raise _unreachable(error) from error
    open_server(config.data_dir() / "database", again=True)
    try:
        return work()
    except _FAILED as error:
        raise _unreachable(error) from error


def _made_engine(**options: Any) -> sa.Engine:
    """An engine whose URL has nothing secret in it, so that nobody shows it."""
    if _given():
        own = DatabaseUrl.parse(_given())
        return sa.create_engine(own.url, connect_args=own.secrets, **options)
    address = open_server(config.data_dir() / "database")
    url = sa.URL.create(
        "postgresql+psycopg2",
        username=address.user,
        port=address.port,
        database=address.database,
        query={"host": address.host},
    )
    return sa.create_engine(url, **options)


def _given() -> str:
    """What `[database] url` says; empty for our own server."""
    return str(config.database().url)


def _unreachable(error: Exception) -> DatabaseError:
    url = _given()
    place = DatabaseUrl.parse(url).place() if url else str(config.data_dir() / "database")
    return DatabaseError(
        f"PostgreSQL at {place}",
        expected="a server that answers",
        found=str(error.__cause__ or error).strip(),
        remedy="start it, or correct [database] url, and run again" if url else "run again; server.log there says more",
    )


@contextmanager
def lock_connection() -> Iterator[sa.Connection]:
    """A connection of its own for advisory locks, which are free again when it ends, or the process, or its host."""
    connection = _reached(lambda: engine().connect().execution_options(isolation_level="AUTOCOMMIT"))
    try:
        # A host that goes without a word keeps its locks until its silence is noticed; by default that takes hours.
        for option, value in (("idle", 60), ("interval", 15), ("count", 4)):
            connection.execute(sa.text(f"SET tcp_keepalives_{option} = {value}"))
        yield connection
    except _FAILED as error:
        raise _unreachable(error) from error
    finally:
        connection.invalidate()  # closed, not returned to the pool; if the server has died meanwhile, that is no matter
        connection.close()


@contextmanager
def transaction() -> Iterator[psycopg2.extensions.cursor]:
    """A cursor in a transaction, committed at the end or rolled back on an error."""
    connection: Any = _reached(lambda: engine().raw_connection())
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        connection.invalidate()
        raise _unreachable(error) from error
    except BaseException:
        connection.rollback()
        raise
    finally:
        connection.close()


def query(statement: str, **values: Any) -> pd.DataFrame:
    """The rows of a SELECT; values are named as in `%(name)s`."""
    with transaction() as cursor:
        cursor.execute(statement, values)
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def copy_in(cursor: psycopg2.extensions.cursor, table: str, rows: pd.DataFrame) -> str:
    """Append rows to a table by COPY; gives the sha256 of what was sent."""
    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(rows, preserve_index=False)
    pcsv.write_csv(arrow, buffer, pcsv.WriteOptions(include_header=False))
    buffer.seek(0)
    columns = ", ".join(f'"{column}"' for column in rows.columns)
    cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)", buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def copy_out(statement: str, path: Path, **values: Any) -> None:
    """Publish the rows of a SELECT as CSV: header, LF, quotes only where needed."""
    with transaction() as cursor, files.published(path) as work, work.open("wb") as file:
        select = cursor.mogrify(statement, values).decode()
        cursor.copy_expert(f"COPY ({select}) TO STDOUT (FORMAT csv, HEADER)", file)
