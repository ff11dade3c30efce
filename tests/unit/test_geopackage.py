"""GeoPackages as databases: in WAL mode, with a journal, cut short, with views that never end, and none at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ben_luigi.domain.tiles import geopackage
from ben_luigi.domain.tiles.clc import read_polygons
from tests.unit.geopackages import ENDLESS, INSIDE, SQUARE, change, read, refused, write

ROOT = Path(__file__).resolve().parents[2]


def _endless(table: str) -> list[str]:
    """A view in the place of a table: its rows, again and again."""
    return [f"ALTER TABLE {table} RENAME TO t", f"CREATE VIEW {table} AS {ENDLESS} SELECT t.* FROM forever, t"]


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (_endless("clc"), "a view"),
        (_endless("gpkg_geometry_columns"), "a view"),
        (_endless("gpkg_spatial_ref_sys"), "a view"),
        (["DROP TABLE gpkg_spatial_ref_sys"], "none"),
        (["DROP TABLE clc"], "none"),
        (["DELETE FROM clc"], "no polygon at all"),
    ],
)
def test_what_is_no_table_of_polygons_is_said(gpkg: Path, statements: list[str], what: str) -> None:
    change(gpkg, "PRAGMA legacy_alter_table = ON", "PRAGMA foreign_keys = OFF", *statements)
    assert what in refused(gpkg)


def test_names_may_be_any(tmp_path: Path, sound_gpkg: Path) -> None:
    gpkg = write(tmp_path / "it's 100 % ? #1.gpkg", layer='a "strange" name')
    assert read(gpkg) == read(sound_gpkg)


def test_names_may_be_of_another_case_than_those_of_the_tables(gpkg: Path, sound_gpkg: Path) -> None:
    change(
        gpkg, "PRAGMA foreign_keys = OFF", "UPDATE gpkg_geometry_columns SET table_name = 'CLC', column_name = 'GEOM'"
    )
    assert read(gpkg) == read(sound_gpkg)


def test_a_file_that_another_program_writes_is_said(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geopackage, "_WAIT_S", 0)
    with closing(sqlite3.connect(gpkg)) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert "close the program that writes it" in refused(gpkg)
    assert len(read(gpkg)) == len(INSIDE), "once it has ended"


def test_the_crs_counts_not_its_number_in_the_file(gpkg: Path, sound_gpkg: Path) -> None:
    renumbered = ["UPDATE gpkg_spatial_ref_sys SET srs_id = 7 WHERE srs_id = 3035"]
    renumbered += [
        f"UPDATE {table} SET srs_id = 7 WHERE srs_id = 3035" for table in ("gpkg_geometry_columns", "gpkg_contents")
    ]
    change(gpkg, "PRAGMA foreign_keys = OFF", *renumbered)
    assert read(gpkg) == read(sound_gpkg)
    change(gpkg, "UPDATE gpkg_spatial_ref_sys SET organization = 'NONE' WHERE srs_id = 7")
    assert read(gpkg) == read(sound_gpkg), "by its definition"
    change(
        gpkg, "UPDATE gpkg_spatial_ref_sys SET organization = 'EPSG', organization_coordsys_id = 4258 WHERE srs_id = 7"
    )
    assert "EPSG:4258" in (said := refused(gpkg)) and "-t_srs EPSG:3035" in said


def test_what_is_no_geopackage_is_said(tmp_path: Path, sound_gpkg: Path) -> None:
    gpkg = tmp_path / "clc.gpkg"
    assert "No such file" in refused(gpkg)
    gpkg.mkdir()
    assert "a folder" in refused(gpkg)
    gpkg.rmdir()
    for content, found in {
        b"": "an empty file",
        b"<html>log in first</html>" * 100: "begins with b'<html>log in fi",
        b"PK\3\4": "begins with b'PK",
        sound_gpkg.read_bytes()[:-4096]: "malformed",
        sound_gpkg.read_bytes()[: len(sound_gpkg.read_bytes()) // 2]: "malformed",
    }.items():
        gpkg.write_bytes(content)
        assert found in (said := refused(gpkg)) and "[inputs] clc_gpkg" in said
    gpkg.unlink()
    gpkg.symlink_to(tmp_path / "nowhere")
    assert "a link to nothing" in refused(gpkg)
    gpkg.unlink()
    gpkg.symlink_to(gpkg)
    assert "a link that leads in a circle" in refused(gpkg)
    gpkg.unlink()
    os.mkfifo(gpkg)
    assert "a FIFO" in refused(gpkg)


def test_a_plain_database_is_said_to_be_none(tmp_path: Path) -> None:
    gpkg = tmp_path / "clc.gpkg"
    with closing(sqlite3.connect(gpkg)) as database:
        database.execute("CREATE TABLE clc (ID, Code_18, geom)")
    assert "gpkg_geometry_columns" in refused(gpkg)


def _in_wal_mode(gpkg: Path) -> Path:
    change(gpkg, "PRAGMA journal_mode = WAL")
    assert gpkg.read_bytes()[18:20] == b"\2\2"
    return gpkg


def _forbid_to_write_beside(gpkg: Path) -> None:
    """As on a read-only mount: SQLite follows no link to make its `-shm`."""
    beside = gpkg.with_name(f"{gpkg.name}-shm")
    beside.unlink(missing_ok=True)
    beside.symlink_to(gpkg.parent / "nowhere" / "at all")


def test_a_file_in_wal_mode_is_read_and_nothing_written_beside_it(gpkg: Path, sound_gpkg: Path) -> None:
    """As QGIS leaves it. On a read-only mount SQLite would say no more than that it cannot open it."""
    _in_wal_mode(gpkg)
    _forbid_to_write_beside(gpkg)
    before = sorted(gpkg.parent.iterdir())
    assert read(gpkg) == read(sound_gpkg)
    assert sorted(gpkg.parent.iterdir()) == before


def test_on_a_read_only_mount(gpkg: Path, tmp_path: Path) -> None:
    _in_wal_mode(gpkg)
    mounted = f'mount --bind -o ro "{tmp_path}" "{tmp_path}" && mount -o remount,bind,ro "{tmp_path}"'
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, check=False).returncode:
        pytest.skip("no mount may be made here")
    code = "import pathlib, sys; from ben_luigi.domain.tiles import clc; clc.check_layer(pathlib.Path(sys.argv[1]))"
    script = f'{mounted} && ! touch "{tmp_path}/x" 2>/dev/null && exec "{sys.executable}" -c "{code}" "{gpkg}"'
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_saved_into_the_file_yet_counts_or_is_said_to_be_missing(gpkg: Path, tmp_path: Path) -> None:
    _in_wal_mode(gpkg)
    with closing(sqlite3.connect(gpkg)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE clc SET Code_18 = '311' WHERE ID = 'EU-2'")
        database.commit()
        copy = tmp_path / "copy" / "clc.gpkg"
        copy.parent.mkdir()
        for beside in ("", "-wal"):
            shutil.copy(f"{gpkg}{beside}", f"{copy}{beside}")
    assert 311 in read_polygons(copy, SQUARE).codes
    _forbid_to_write_beside(copy)
    copy.touch()
    assert "sqlite3 clc.gpkg 'PRAGMA journal_mode=DELETE'" in (said := refused(copy)) and "clc.gpkg-wal" in said


def test_a_journal_that_was_left_behind_is_said(gpkg: Path) -> None:
    """A program died while it wrote: only SQLite can take back what it has done, and only where it may write."""
    with closing(sqlite3.connect(gpkg)) as database:
        database.execute("PRAGMA cache_size = 1")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE clc SET Code_18 = '311'")
        torn, journal = gpkg.read_bytes(), Path(f"{gpkg}-journal").read_bytes()
    copy = gpkg.with_name("torn.gpkg")
    copy.write_bytes(torn)
    Path(f"{copy}-journal").write_bytes(journal)
    said = refused(copy)
    assert "torn.gpkg-journal" in said and "sqlite3 torn.gpkg 'PRAGMA journal_mode=DELETE'" in said
