"""Servers of the database that are killed, gone or not there: what was committed stays, and errors say what to do."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import database
from ben_luigi.state.server import close_server, open_server
from tests.integration.database_rows import PRODUCTS, Set, fill, held, splits, target


def kill_server(data: Path) -> None:
    """The server and, which follows from it, its backends."""
    cluster = data / "database" / "cluster"
    os.kill(int((cluster / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def lives(process: Path) -> bool:
        with suppress(OSError):
            return (process / "cwd").readlink() == cluster
        return False

    while any(lives(process) for process in Path("/proc").glob("[0-9]*")):
        time.sleep(0.01)


def test_a_killed_server_is_started_again_and_has_kept_what_was_committed(tables: Path) -> None:
    target().replace(splits(PRODUCTS[0]))
    kill_server(tables)
    assert target().exists()
    assert len(held("split", "patch_id")) == 25


def test_a_server_killed_in_mid_transaction_is_an_error_that_says_what_to_do(tables: Path) -> None:
    with pytest.raises(DatabaseError, match="run again"), database.transaction() as cursor:
        cursor.execute("DELETE FROM product")
        kill_server(tables)
        cursor.execute("SELECT 1")
    assert len(held("product", "tile")) == 2


def test_the_user_s_own_server(settings: Set, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A second cluster, reached by a URL; once it is gone, the error says so and hides the password."""
    folder = tmp_path_factory.mktemp("own")
    address = open_server(folder)
    url = f"postgresql://{address.user}:secret@/{address.database}?host={address.host}&port={address.port}"
    settings("dataset", "data_dir", str(folder / "data"))
    settings("database", "url", url)
    fill(PRODUCTS[0])
    target().replace(splits(PRODUCTS[0]))
    with psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database) as own:
        cursor = own.cursor()
        cursor.execute("SELECT count(*) FROM split")
        assert cursor.fetchone() == (25,)
    assert not (folder / "data" / "database").exists()
    own.close()
    close_server(folder)
    with pytest.raises(DatabaseError, match=r"start it, or correct \[database\] url") as gone:
        target().exists()
    assert "secret" not in str(gone.value)
    assert f"PostgreSQL at {address.host}:{address.port}/{address.database};" in str(gone.value)


# Other forms are found by the check of the configuration.
@pytest.mark.parametrize("url", ["postgresql://user:secret@127.0.0.1:1/name"])
def test_a_database_that_cannot_be_reached(settings: Set, tmp_path: Path, url: str) -> None:
    settings("dataset", "data_dir", str(tmp_path))
    settings("database", "url", url)
    with pytest.raises(DatabaseError, match=r"next: .*correct") as failed:
        database.query("SELECT 1")
    assert "secret" not in str(failed.value)
    assert not list(tmp_path.iterdir())
