"""Every key and check of the tables, in a real PostgreSQL: what each refuses, and that right rows pass."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import errors

from ben_luigi.domain.placement.alignment import season
from ben_luigi.state import tables
from ben_luigi.state.schema import SCHEMA, _season_in
from tests.integration.right_rows import NAME, PATCH, ROWS, insert


def another(table: str, **changed: Any) -> dict[str, Any]:
    """A row that differs from the right one in its key, and in what is `changed`."""
    apart = {
        "marker": {"tile": "33UUP_20170614"},
        "product": {
            "tile": "33UUP_20170614",
            "l2a_name": ROWS["product"]["l2a_name"].replace("0613T101031", "0614T101031"),
        },
        "patch": {"patch_id": f"{NAME}_26_08", "y": 8},
        "clc_count": {"code": 111},
        "label": {"label": "Pastures"},
    }
    return {**ROWS[table], **apart.get(table, {}), **changed}


@pytest.mark.parametrize("table", ["marker", "product", "patch", "clc_count", "label"])
def test_right_rows_pass(cursor: Any, table: str) -> None:
    insert(cursor, table, another(table))


@pytest.mark.parametrize("table", list(ROWS))
def test_every_table_has_a_key(cursor: Any, table: str) -> None:
    with pytest.raises(errors.UniqueViolation, match="_pkey"):
        insert(cursor, table, ROWS[table])


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (name, column.name)
        for name in ROWS
        for column in SCHEMA.tables[name].columns
        if column.name not in ("valid", "at", "v1_name")
    ],
)
def test_nothing_may_be_missing(cursor: Any, table: str, column: str) -> None:
    with pytest.raises(errors.NotNullViolation):
        insert(cursor, table, another(table, **{column: None}))


def test_a_patch_whose_validity_was_not_tested_has_none(cursor: Any) -> None:
    insert(cursor, "patch", another("patch", valid=None))


@pytest.mark.parametrize(
    ("table", "changed", "constraint"),
    [
        ("marker", {"rows": -1}, "rows_counted"),
        ("marker", {"digest": "nonsense"}, "digest_is_a_sha256"),
        ("marker", {"made_from": ""}, "made_from_is_json"),
        ("product", {"l2a_name": "nonsense"}, "name_follows_its_rule"),
        ("product", {"tile": "33UUP_20170615"}, "tile_of_its_name"),
        ("product", {"tile": "33UUQ_20170614"}, "tile_of_its_name"),
        ("product", {"epsg": 32634}, "zone_of_its_name"),
        ("product", {"epsg": 32733}, "zone_of_its_name"),
        ("product", {"season": "autumn"}, "season_known"),
        ("product", {"side_m": 0.0}, "side_holds_a_patch"),
        ("patch", {"patch_id": f"{NAME}_26_08".replace("_R", "-R")}, "name_follows_its_rule"),
        ("patch", {"patch_id": f"{NAME}_26_09"}, "id_says_position"),
        ("patch", {"x": 27}, "id_says_position"),
        ("patch", {"x": -1}, "id_says_position|position_in_tile"),
        ("patch", {"epsg": 32632}, "zone_of_its_name"),
        ("patch", {"season": "autumn"}, "season_known"),
        ("patch", {"left_m": 331_199.0}, "square_of_a_patch"),
        ("patch", {"top_m": 5_391_601.0}, "square_of_a_patch"),
        ("split", {"split": "testing"}, "split_known"),
        ("country", {"country": ""}, "country_has_a_name"),
        ("alignment", {"v1_name": "nonsense"}, "name_follows_its_rule|pair_of_one_season"),
        ("alignment", {"v1_name": "S2A_MSIL2A_20170531T101031_26_7"}, "pair_of_one_season"),
        ("clc_count", {"code": 65_536}, "code_of_a_map"),
        ("clc_count", {"code": 0}, "code_of_a_map"),
        ("clc_count", {"pixels": 0}, "pixels_of_a_patch"),
        ("clc_count", {"pixels": 5_760_001}, "pixels_of_a_patch"),
        ("label", {"label": "UNLABELED"}, "label_is_a_class"),
        ("label", {"label": ""}, "label_is_a_class"),
    ],
)
def test_nonsense_is_refused(cursor: Any, table: str, changed: dict[str, Any], constraint: str) -> None:
    if table in ("split", "country", "alignment"):
        cursor.execute(f"DELETE FROM {table}")
    with pytest.raises(errors.CheckViolation, match=constraint):
        insert(cursor, table, another(table, **changed))


@pytest.mark.parametrize("table", ["split", "country", "alignment", "clc_count", "label"])
def test_rows_belong_to_a_patch_that_is_there(cursor: Any, table: str) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        stranger = {"patch_id": f"{NAME}_26_09", "v1_name": "S2A_MSIL2A_20170613T101031_0_0"}
        insert(cursor, table, {**ROWS[table], **{key: stranger[key] for key in stranger if key in ROWS[table]}})


@pytest.mark.parametrize("table", ["clc_count", "label"])
def test_counts_and_labels_belong_to_a_selected_patch(cursor: Any, table: str) -> None:
    insert(cursor, "patch", another("patch"))
    cursor.execute("SAVEPOINT before")
    with pytest.raises(errors.ForeignKeyViolation, match="alignment"):
        insert(cursor, table, another(table, patch_id=f"{NAME}_26_08"))
    cursor.execute("ROLLBACK TO before")
    insert(cursor, "alignment", {"patch_id": f"{NAME}_26_08"})
    insert(cursor, table, another(table, patch_id=f"{NAME}_26_08"))


def test_selected_patches_need_no_v1_patch_and_several_may_lack_one(cursor: Any) -> None:
    for y in (8, 9):
        insert(cursor, "patch", another("patch", patch_id=f"{NAME}_26_{y:02}", y=y))
        insert(cursor, "alignment", {"patch_id": f"{NAME}_26_{y:02}", "v1_name": None})


@pytest.mark.parametrize(("x", "position"), [(7, "_07_08"), (7, "_007_008"), (123, "_123_008"), (1829, "_1829_0008")])
def test_a_position_has_as_many_digits_as_its_grid_needs(cursor: Any, x: int, position: str) -> None:
    insert(cursor, "patch", another("patch", patch_id=f"{NAME}{position}", x=x, y=8))


@pytest.mark.parametrize(
    ("x", "position"), [(7, "_7_8"), (7, "_07_008"), (123, "_12_08"), (12, "_123_008"), (7, "_07_09")]
)
def test_another_position_is_refused(cursor: Any, x: int, position: str) -> None:
    with pytest.raises(errors.CheckViolation, match="id_says_position"):
        insert(cursor, "patch", another("patch", patch_id=f"{NAME}{position}", x=x, y=8))


@pytest.mark.parametrize(("mgrs", "epsg"), [("33UUP", 32633), ("33KUP", 32733), ("33NUP", 32633), ("33MUP", 32733)])
def test_the_zone_is_north_or_south_as_the_name_says(cursor: Any, mgrs: str, epsg: int) -> None:
    name = another("product")["l2a_name"].replace("33UUP", mgrs)
    for key in (f"{mgrs}_20170614", f"{mgrs}_20170614T101031"):
        row = another("product", tile=key, l2a_name=name.replace("R022", f"R{len(key):03}"), epsg=epsg)
        insert(cursor, "product", row)
    with pytest.raises(errors.CheckViolation, match="zone_of_its_name"):
        insert(cursor, "product", {**row, "epsg": 65_366 - epsg})


def test_a_patch_belongs_to_a_product_and_goes_with_it(cursor: Any) -> None:
    cursor.execute("DELETE FROM product")
    for table in ("patch", "split", "country", "alignment", "clc_count", "label"):
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone() == (0,)
    with pytest.raises(errors.ForeignKeyViolation):
        insert(cursor, "patch", ROWS["patch"])


def test_a_v1_name_has_one_patch_and_a_place_in_a_tile_one_too(cursor: Any) -> None:
    insert(cursor, "patch", another("patch"))
    cursor.execute("SAVEPOINT before")
    with pytest.raises(errors.UniqueViolation, match="v1_name"):
        insert(cursor, "alignment", {**ROWS["alignment"], "patch_id": f"{NAME}_26_08"})
    cursor.execute("ROLLBACK TO before")
    with pytest.raises(errors.UniqueViolation, match="tile_x_y"):
        insert(cursor, "patch", another("patch", patch_id=f"{NAME}_26_08".replace("R022", "R122")))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1))
    | st.sampled_from([datetime(2018, m, d, 0, 0, s) for m, d in ((5, 31), (8, 31), (11, 30), (3, 1)) for s in (0, 1)])
)
def test_sql_and_python_agree_on_the_season(cursor: Any, time: datetime) -> None:
    short = f"{time.hour}{time:%M%S}"
    for name in (f"S2A_MSIL2A_{time:%Y%m%dT%H%M%S}_N9999", f"S2A_MSIL2A_{time:%Y%m%d}T{short}_0_0"):
        cursor.execute(f"SELECT {_season_in('name')} FROM (SELECT %s::text AS name) one", (name,))
        assert cursor.fetchone() == (season(time.replace(microsecond=0)),)


NEIGHBOUR = f"{NAME[:-1]}Q_26_07"
OVERLAP = {
    "patch_id_a": PATCH,
    "patch_id_b": NEIGHBOUR,
    "split_a": "train",
    "split_b": "test",
    "same_season": True,
    "overlap": 0.5,
}


@pytest.fixture
def neighbour(cursor: Any) -> Any:
    """The cursor, with a patch of a neighbouring tile too."""
    tile, name = "33UUQ_20170613", f"{NEIGHBOUR[:-6]}_20170613T101608.SAFE"
    insert(cursor, "product", {**ROWS["product"], "tile": tile, "l2a_name": name})
    insert(cursor, "patch", {**ROWS["patch"], "patch_id": NEIGHBOUR, "tile": tile})
    return cursor


def test_an_overlap_goes_with_either_patch(neighbour: Any) -> None:
    for patch in (PATCH, NEIGHBOUR):
        neighbour.execute("SAVEPOINT before")
        insert(neighbour, "overlap", OVERLAP)
        neighbour.execute("DELETE FROM patch WHERE patch_id = %s", (patch,))
        neighbour.execute("SELECT count(*) FROM overlap")
        assert neighbour.fetchone() == (0,)
        neighbour.execute("ROLLBACK TO before")


@pytest.mark.parametrize(
    ("changed", "constraint"),
    [
        ({"patch_id_a": NEIGHBOUR, "patch_id_b": PATCH}, "pair_once"),
        ({"patch_id_b": f"{NAME}_26_08"}, "pair_of_two_tiles"),
        ({"split_a": "testing"}, "split_a_known"),
        ({"split_b": "testing"}, "split_b_known"),
        ({"patch_id_b": NEIGHBOUR.replace("0613T", "0913T"), "split_b": "train", "same_season": False}, "pair_matters"),
        ({"overlap": 0.0}, "overlap_is_a_part"),
        ({"overlap": 1.1}, "overlap_is_a_part"),
    ],
)
def test_nonsense_about_an_overlap_is_refused(neighbour: Any, changed: dict[str, Any], constraint: str) -> None:
    with pytest.raises(errors.CheckViolation, match=constraint):
        insert(neighbour, "overlap", {**OVERLAP, **changed})


@pytest.mark.parametrize("column", list(OVERLAP))
def test_nothing_of_an_overlap_may_be_missing(neighbour: Any, column: str) -> None:
    with pytest.raises(errors.NotNullViolation):
        insert(neighbour, "overlap", {**OVERLAP, column: None})


def test_an_overlap_is_of_patches_that_are_there(neighbour: Any) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        insert(neighbour, "overlap", {**OVERLAP, "patch_id_b": NEIGHBOUR.replace("26_07", "26_08")})


@pytest.mark.parametrize(
    ("dropped", "kept", "rows"),
    [
        ("clc_count", {"ReadProduct", "GridPatches", "AssignSplits", "FindSplitLeakage"}, 1),
        ("patch", {"ReadProduct"}, 0),
        (
            "failed_try, turn",
            {"ReadProduct", "GridPatches", "AssignSplits", "MakeReferenceMaps", "FindSplitLeakage"},
            1,
        ),
    ],
)
def test_what_was_in_tables_that_somebody_has_dropped_counts_as_not_made(
    cursor: Any, caplog: pytest.LogCaptureFixture, dropped: str, kept: set[str], rows: int
) -> None:
    """So does what referred to it; and the keys are there again."""
    cursor.execute("TRUNCATE marker")
    tasks = "ReadProduct", "GridPatches", "AssignSplits", "MakeReferenceMaps", "FindSplitLeakage"
    for task in tasks:
        insert(cursor, "marker", {**ROWS["marker"], "task": task})
    tables.make(cursor)
    cursor.execute(f"DROP TABLE {dropped} CASCADE")
    for _ in range(2):
        tables.make(cursor)
    cursor.execute("SELECT task FROM marker")
    assert {task for (task,) in cursor.fetchall()} == kept
    assert [f"gone: {dropped};" in record.getMessage() for record in caplog.records] == [True] * (
        len(kept) < len(tasks)
    )
    cursor.execute("SELECT count(*) FROM split")
    assert cursor.fetchone() == (rows,)
    if dropped == "patch":
        insert(cursor, "patch", ROWS["patch"])
        insert(cursor, "split", ROWS["split"])
    cursor.execute("DELETE FROM product")
    cursor.execute("SELECT count(*) FROM split")
    assert cursor.fetchone() == (0,)


def test_without_markers_what_refers_to_a_dropped_table_goes_as_well(cursor: Any) -> None:
    """It has lost its key, by which rows go whose patch goes."""
    tables.make(cursor)
    cursor.execute("DROP TABLE patch, marker CASCADE")
    tables.make(cursor)
    cursor.execute("SELECT count(*) FROM split")
    assert cursor.fetchone() == (0,)
    insert(cursor, "patch", ROWS["patch"])
    insert(cursor, "split", ROWS["split"])
    cursor.execute("DELETE FROM product")
    cursor.execute("SELECT count(*) FROM split")
    assert cursor.fetchone() == (0,)
