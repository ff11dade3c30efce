"""`ben-luigi check-published` on a made-up publication of one tile, and on what goes wrong in it."""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from ben_luigi.commands import check_published
from ben_luigi.domain.dataset import metadata
from ben_luigi.sample.countries import write_countries

PRODUCT = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
V1 = "S2A_MSIL2A_20170613T101031"
S1 = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP"
PLACES = [(n, (7 * n) % 91) for n in range(0, 91, 3)]
KEYS = ["ids", "split", "s1_name", "s2v1_name", "country"]


def _split(x: int, y: int) -> str:
    if min(x, y) <= 12 or max(x, y) >= 78:
        return "train"
    return "test" if min(x, y) >= 23 and max(x, y) <= 68 else "validation"


def _row(n: int, x: int, y: int) -> dict[str, object]:
    return {
        "patch_id": f"{TILE}_{x:02d}_{y:02d}",
        "labels": ["Arable land", "Pastures"] if n % 2 else ["Land, with, commas"],
        "split": _split(x, y),
        "country": "Austria",
        "s1_name": f"{S1}_{x}_{y}",
        "s2v1_name": f"{V1}_{x}_{y}",
        metadata.FLAGS[0]: n % 5 == 0,
        metadata.FLAGS[1]: n % 7 == 0,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All that belongs together, of a tile that lies in Austria and Germany, but nearer to no other of the ten."""
    rows = [_row(n, x, y) for n, (x, y) in enumerate(PLACES)]
    (tmp_path / "tile_names_and_links.csv.bz2").write_bytes(bz2.compress(f"{V1}_0_0,{PRODUCT},link\r\n".encode()))
    (tmp_path / "s1s2_mapping.csv").write_text("".join(f"{row['s2v1_name']},{row['s1_name']}\n" for row in rows))
    lists = {
        "patches_with_seasonal_snow.csv": metadata.FLAGS[0],
        "patches_with_cloud_and_shadow.csv": metadata.FLAGS[1],
    }
    for name, flag in lists.items():
        (tmp_path / name).write_text("".join(f"{row['s2v1_name']}\r\n" for row in rows if row[flag]))
    write_countries(tmp_path / "ne_110m_admin_0_countries.geojson")
    (tmp_path / "v1_spatial").mkdir()
    squares = [
        shapely.box(3e5 + 1200 * x, 5.4e6 - 1200 * (y + 1), 3e5 + 1200 * (x + 1), 5.4e6 - 1200 * y) for x, y in PLACES
    ]
    table = pa.table({"patch_name": [row["s2v1_name"] for row in rows], "geom": shapely.to_wkb(squares)})
    pq.write_table(table, tmp_path / "v1_spatial" / "bigearthnet_v1_spatial_32633.parquet")
    for name, part in metadata.divide(pa.Table.from_pylist(rows, schema=metadata.SCHEMA)).items():
        pq.write_table(part.take(list(range(part.num_rows))[::-1]), tmp_path / name)
    return tmp_path


def _run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, object, str]:
    code = check_published.main([str(folder)])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def _md5_by_duckdb(folder: Path, name: str) -> str:
    """The published way, by hand."""
    path = folder / "by_hand.parquet"
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        rows = pq.read_table(folder / name)
        connection.execute(
            f"copy (select * from rows order by patch_id) to '{path}' "
            "(format parquet, row_group_size 122_880, codec 'zstd')"
        )
        assert rows.num_rows
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_all_is_equal_and_the_md5_is_that_of_duckdb(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, columns, said = _run(folder, monkeypatch, capsys)
    assert columns == {key: {"rows": len(PLACES), "equal": len(PLACES)} for key in KEYS}
    assert list(columns) == KEYS
    for name in (metadata.METADATA, metadata.FLAGGED):
        rows = pq.read_table(folder / name).num_rows
        assert f"{name}: {rows} rows, rebuilt equal {rows}\n" in said
        assert f"{name}: md5 {_md5_by_duckdb(folder, name)}, published is " in said
    assert code == 1, "the md5 of one tile is not that of the whole"


def _replace(column: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        table = pq.read_table(folder / metadata.METADATA)
        values = [*table[column].to_pylist()[:-1], value]
        at = table.column_names.index(column)
        pq.write_table(
            table.set_column(at, column, pa.array(values, table.schema.field(column).type)), folder / metadata.METADATA
        )

    return change


@pytest.mark.parametrize(
    ("column", "value", "unequal"),
    [
        ("split", "elsewhere", {"split"}),
        ("country", "Serbia", {"country"}),
        ("s1_name", "S1", {"s1_name"}),
        ("s2v1_name", "V1", {"s2v1_name"}),
        ("patch_id", f"{TILE}_91_00", {*KEYS}),
    ],
)
def test_one_other_value_shows(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    column: str,
    value: str,
    unequal: set[str],
) -> None:
    _replace(column, value)(folder)
    code, columns, _ = _run(folder, monkeypatch, capsys)
    assert code == 1
    assert columns == {key: {"rows": len(PLACES), "equal": len(PLACES) - (key in unequal)} for key in KEYS}


def test_a_flag_that_differs_shows_among_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _replace(metadata.FLAGS[0], True)(folder)
    code, _, said = _run(folder, monkeypatch, capsys)
    rows = pq.read_table(folder / metadata.METADATA).num_rows
    assert code == 1
    assert f"{metadata.METADATA}: {rows} rows, rebuilt equal {rows - 1}; or other types or order\n" in said


def test_a_v1_name_in_no_tile_is_said_and_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "v1_spatial" / "bigearthnet_v1_spatial_32633.parquet"
    stray = pa.table({"patch_name": [f"{V1}_99_99"], "geom": shapely.to_wkb([shapely.box(500_000, 0, 501_200, 1200)])})
    pq.write_table(pa.concat_tables([pq.read_table(path), stray]), path)
    _, columns, said = _run(folder, monkeypatch, capsys)
    assert columns == {key: {"rows": len(PLACES), "equal": len(PLACES)} for key in KEYS}
    assert f"v1 name in no tile: {V1}_99_99\n" in said


def test_without_the_lists_the_columns_are_checked_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "patches_with_seasonal_snow.csv").unlink()
    code, columns, said = _run(folder, monkeypatch, capsys)
    assert (code, columns) == (0, {key: {"rows": len(PLACES), "equal": len(PLACES)} for key in KEYS})
    assert "files not rebuilt: " in said
    (folder / "s1s2_mapping.csv").unlink()
    code, columns, said = _run(folder, monkeypatch, capsys)
    assert (code, columns) == (20, None)
    assert "s1s2_mapping.csv" in said
