"""v1 geometry files as other programs write them: read right in bounded memory, or named with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS

from ben_luigi.domain.errors import BadAlignment, BadInput, BadName, PipelineError
from ben_luigi.domain.placement import alignment

ROOT = Path(__file__).resolve().parents[2]
FILE = "bigearthnet_v1_spatial_32633.parquet"
NAMES = [f"S2A_MSIL2A_20170613T101031_{n}_0" for n in range(4)]
SQUARES = [shapely.box(300_000 + n * 1200, 5_398_800, 301_200 + n * 1200, 5_400_000) for n in range(4)]
TABLE = pa.table({"patch_name": NAMES, "geom": pa.array(shapely.to_wkb(SQUARES), pa.binary())})


def _file(folder: Path, table: pa.Table, **options: object) -> Path:
    path = folder / FILE
    pq.write_table(table, path, **options)
    return path


def _refused(path: Path, kind: type[PipelineError] = BadInput) -> str:
    with pytest.raises(kind) as error:
        alignment.check_v1(path.parent)
    assert FILE in str(error.value) and error.value.expected and error.value.found and error.value.remedy
    return str(error.value)


def _with(column: str, values: Iterable[object]) -> pa.Table:
    values = values if isinstance(values, pa.Array) else pa.array(list(values))
    return TABLE.set_column(TABLE.schema.get_field_index(column), column, values)


TYPES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "plain": lambda values: values,
    "dictionary": lambda values: values.dictionary_encode(),
    "dictionary of long strings": lambda values: values.cast(_long(values.type)).dictionary_encode(),
    "long strings": lambda values: values.cast(_long(values.type)),
    "views": lambda values: values.cast(pa.string_view() if values.type == pa.string() else pa.binary_view()),
    "bytes": lambda values: values.cast(pa.binary()),
}


def _long(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if kind == pa.string() else pa.large_binary()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 1}, {"compression": "zstd"}])
def test_every_type_that_a_writer_may_choose_is_read(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    columns = {name: TYPES[kind](TABLE[name].combine_chunks()) for name in TABLE.column_names}
    found = alignment.read_v1(_file(tmp_path, pa.table(columns), **options))
    expected = alignment.read_v1(_file(tmp_path, TABLE))
    assert found.equals(expected) and found["v1_name"].tolist() == NAMES
    assert found["left_m"].tolist() == [300_000, 301_200, 302_400, 303_600]


@pytest.mark.parametrize("kind", ["patch_name", "geom"])
def test_a_dictionary_of_one_long_value_takes_no_memory(tmp_path: Path, kind: str) -> None:
    """A file of some kilobytes, whose rows without their dictionary are 1 TB."""
    rows = 1_000_000
    values = pa.array(["x" * 1_000_000] if kind == "patch_name" else [b"x" * 1_000_000])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "int32")), values)
    other = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "int32")), pa.array(["y"]))
    path = _file(tmp_path, pa.table({"patch_name": other, "geom": other, kind: column}), compression="zstd")
    assert path.stat().st_size < 100_000
    code = (
        "import resource, sys; from pathlib import Path; from ben_luigi.domain.placement.alignment import check_v1\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30, 3 * 2**30))\n"
        "check_v1(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "BadInput" in done.stderr and "bytes when decoded" in done.stderr


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    assert "0 rows" in _refused(_file(tmp_path, TABLE[:0]))


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (TABLE.drop_columns("geom"), "found: no column geom, but patch_name"),
        (TABLE.rename_columns(["name", "geometry"]), "but name, geometry"),
        (_with("patch_name", pa.array([*NAMES[:3], None])), "4 rows, 1 without"),
        (_with("patch_name", pa.array([None] * 4, pa.null())), "4 rows, 4 without"),
        (_with("geom", pa.array([None, *shapely.to_wkb(SQUARES[1:])])), "4 rows, 1 without"),
        (_with("patch_name", pa.array([{"a": name} for name in NAMES])), "cast"),
        (_with("geom", pa.array([[1.0, 2.0]] * 4)), "cast"),
        (_with("patch_name", pa.array([*NAMES[:3], NAMES[0]])), f"more than once: {NAMES[0]}"),
        (_with("geom", pa.array([b"nonsense"] * 4)), f"something else for {NAMES[0]}"),
        (_with("geom", shapely.to_wkb([*SQUARES[:3], shapely.Point(3e5, 5.4e6)])), f"something else for {NAMES[3]}"),
        (_with("geom", shapely.to_wkb([*SQUARES[:3], shapely.Polygon()])), f"something else for {NAMES[3]}"),
        (_with("geom", [*shapely.to_wkb(SQUARES[:3]), SQUARES[3].wkb[:-9]]), f"something else for {NAMES[3]}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, table: pa.Table, found: str) -> None:
    assert found in _refused(_file(tmp_path, table))


@pytest.mark.parametrize(
    "move",
    [
        lambda p: p[:, ::-1],
        lambda p: p / 1e5,
        lambda p: np.where(p == 5_400_000, np.nan, p),
        lambda p: np.where(p == 5_400_000, np.inf, p),
        lambda p: p - 1e6,
    ],
)
def test_squares_that_lie_in_no_utm_zone_are_named(tmp_path: Path, move: Callable[[np.ndarray], np.ndarray]) -> None:
    moved = shapely.to_wkb(shapely.transform(SQUARES, move))
    assert f"something else for {NAMES[0]}" in _refused(_file(tmp_path, _with("geom", moved)))


@pytest.mark.parametrize("name", ["7", "S2A_MSIL2A_20171399T101031_0_0", "S2A_MSIL2A_20170613T251031_0_0", "nonsense"])
def test_names_of_no_time_are_named(tmp_path: Path, name: str) -> None:
    assert name in _refused(_file(tmp_path, _with("patch_name", pa.array([*NAMES[:3], name]))), BadName)


def _in_crs(crs: object) -> pa.Table:
    return TABLE.replace_schema_metadata({"geo": json.dumps({"columns": {"geom": {"crs": crs}}})})


def test_another_zone_than_the_name_says_is_refused_with_and_without_an_id(tmp_path: Path) -> None:
    for epsg in (32633, 32634, 4326, 3035):
        with_id = CRS.from_epsg(epsg).to_json_dict()
        without = {key: value for key, value in with_id.items() if key != "id"}
        for crs in (with_id, without):
            path = _file(tmp_path, _in_crs(crs))
            if epsg == 32633:
                alignment.check_v1(tmp_path)
            else:
                assert f"found: EPSG:{epsg}" in _refused(path, BadAlignment)


@pytest.mark.parametrize("geo", ["nonsense", "[" * 100_000, "{}", '{"columns": {"geom": {"crs": {"id": 7}}}}', "7"])
def test_a_file_that_tells_no_crs_is_believed_by_its_name(tmp_path: Path, geo: str) -> None:
    _file(tmp_path, TABLE.replace_schema_metadata({"geo": geo}))
    alignment.check_v1(tmp_path)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = _file(tmp_path, TABLE)
    whole = path.read_bytes()
    for damaged in (
        b"",
        b"PAR1",
        whole[:-1],
        whole[: len(whole) // 2],
        b"PAR1" + bytes(100) + b"PAR1",
        whole[:4] + bytes(60) + whole[64:],
    ):
        path.write_bytes(damaged)
        _refused(path)
    path.unlink()
    path.mkdir()
    _refused(path)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    _refused(path)


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, found in (("file", "a file, not a folder"), ("none", "nothing, not a folder"), (".", "none")):
        with pytest.raises(BadInput, match=f"found: {found}; next: "):
            alignment.check_v1(tmp_path / name)


def test_files_that_begin_with_a_dot_are_none(tmp_path: Path) -> None:
    _file(tmp_path, TABLE)
    (tmp_path / f"._{FILE}").write_bytes(b"\0\5\26\7")
    alignment.check_v1(tmp_path)


def test_a_patch_in_two_zones_is_named(tmp_path: Path) -> None:
    _file(tmp_path, TABLE)
    pq.write_table(TABLE[2:], tmp_path / "bigearthnet_v1_spatial_32634.parquet")
    with pytest.raises(BadInput, match=rf"32634\.parquet.*{NAMES[2]}, {NAMES[3]}: in that of EPSG:32633 too"):
        alignment.check_v1(tmp_path)


def test_what_has_changed_in_place_is_looked_at_again(tmp_path: Path) -> None:
    _file(tmp_path, TABLE)
    alignment.check_v1(tmp_path)
    _refused(_file(tmp_path, TABLE.drop_columns("geom")))
    _file(tmp_path, TABLE)
    alignment.check_v1(tmp_path)


def test_the_published_files_are_sound(published: Path) -> None:
    alignment.check_v1(published / "v1_spatial")
