"""A database of the user's belongs to one data folder."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import psycopg2
import pytest

from ben_luigi.domain.errors import DatabaseError
from ben_luigi.state import identity, schema
from ben_luigi.state.server import close_server, open_server


def test_who_makes_the_id_at_the_same_moment_as_another_takes_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a store keeps the id of one, and the data folder that of the other, for ever."""

    def made_meanwhile(length: int) -> str:
        (tmp_path / "id").write_text("of the other\n")
        return "own"

    monkeypatch.setattr(secrets, "token_hex", made_meanwhile)
    assert identity.identity_of(tmp_path) == "of the other"
    assert (tmp_path / "id").read_text() == "of the other\n"


def test_a_database_belongs_to_one_data_folder_wherever_that_is_moved(tmp_path: Path) -> None:
    address = open_server(tmp_path / "server")
    connection = psycopg2.connect(host=address.host, user=address.user, dbname=address.database)
    with connection, connection.cursor() as made:
        made.execute(";".join(schema.statements()))

    def use(folder: Path) -> None:
        with connection, connection.cursor() as cursor:
            identity.own(cursor, folder, "127.0.0.1:5432/ben")

    use(tmp_path / "one")
    use(tmp_path / "one")
    with pytest.raises(DatabaseError, match=rf"found: that of the data folder {tmp_path}/one; next: name another"):
        use(tmp_path / "other")
    (tmp_path / "one").rename(tmp_path / "moved")
    use(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    with pytest.raises(DatabaseError, match=rf"found: that of the data folder {tmp_path}/moved"):
        use(tmp_path / "copy")
    use(tmp_path / "moved")
    (tmp_path / "linked").symlink_to(tmp_path / "moved")
    use(tmp_path / "linked")
    connection.close()
    close_server(tmp_path / "server")
