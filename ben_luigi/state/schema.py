"""Define the tables, with keys and checks that reject inconsistent rows.

One task writes every row of a tile, in one transaction with that task's row in `marker`. The other columns must agree
with the name of the patch or product. A row is deleted with its patch. `written_by` in a table's `info` names the
tasks. The checks hold for every recipe; what one recipe allows is checked where its rows are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql.base import PGDialect as Dialect
from sqlalchemy.schema import CreateTable, SetColumnComment

from ben_luigi.domain.dataset.leakage import LEAST_OVERLAP
from ben_luigi.domain.vocabulary import LEAST_PATCH_M, MOST_PATCH_M, SCENE_CLASSES, SEASONS, SPLITS

SCHEMA = MetaData()
_MOST_PIXELS = (MOST_PATCH_M // 10) ** 2
_MOST_CODE = 65_535


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _patch_id(of: str = "patch") -> Column[str]:
    reference = ForeignKey(f"{of}.patch_id", ondelete="CASCADE")
    return Column("patch_id", Text, reference, nullable=False, primary_key=True)


def _season_in(name: str) -> str:
    """Return SQL for the published season in the name of a patch or v1 patch; see `alignment.seasons`."""

    def within(first: str, before: str, last: str) -> str:
        midnight = f"'{last}T000000', '{last}T00000_'"  # the second: v1 may lack a zero
        return f"substr({name}, 16, 4) BETWEEN '{first}' AND '{before}' OR substr({name}, 16, 11) IN ({midnight})"

    return (
        f"CASE WHEN {within('0301', '0530', '0531')} THEN 'spring' WHEN {within('0601', '0830', '0831')} THEN 'summer' "
        f"WHEN {within('0901', '1129', '1130')} THEN 'fall' ELSE 'winter' END"
    )


def _named(name: str, pattern: str) -> tuple[CheckConstraint, ...]:
    """Return checks that tile key and EPSG code agree with the `name` of a product or patch.

    The key has the day, or the sensing time where a tile has several products of a day.
    """
    mgrs, south = f"substr({name}, 40, 5)", "('C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'L', 'M')"
    zone = f"CASE WHEN substr({name}, 42, 1) IN {south} THEN 32700 ELSE 32600 END + substr({name}, 40, 2)::integer"
    keys = f"{mgrs} || '_' || substr({name}, 12, 8), {mgrs} || '_' || substr({name}, 12, 15)"
    return (
        CheckConstraint(f"{name} LIKE '{pattern}'", name="name_follows_its_rule"),
        CheckConstraint(f"tile IN ({keys})", name="tile_of_its_name"),
        CheckConstraint(f"epsg = {zone}", name="zone_of_its_name"),
        _one_of("season", SEASONS),
    )


def _position(column: str, digits: int) -> str:
    """Return SQL for a column or row in a patch id; one with more digits gives `#`, which is in no id."""
    return f"to_char({column}, 'FM{'0' * digits}')"


def _id_says_position() -> CheckConstraint:
    forms = (f"'_' || {_position('x', digits)} || '_' || {_position('y', digits)}" for digits in (2, 3, 4))
    said = " OR ".join(f"substr(patch_id, 45) = {form}" for form in forms)
    return CheckConstraint(said, name="id_says_position")


_TILE_NAME = r"S2_\_MSIL2A\_________T______\_N____\_R___\_T_____\_"

MARKER = Table(
    "marker",
    SCHEMA,
    Column("task", Text, primary_key=True),
    Column("tile", Text, primary_key=True),
    Column("made_from", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("made_with", Text, nullable=False, server_default="{}"),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("rows >= 0", name="rows_counted"),
    CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest_is_a_sha256"),
    CheckConstraint("left(made_from, 1) = '{'", name="made_from_is_json"),
)

PRODUCT = Table(
    "product",
    SCHEMA,
    Column("tile", Text, primary_key=True),
    Column("l2a_name", Text, nullable=False, unique=True),
    Column("folder", Text, nullable=False),
    Column("start_time", DateTime, nullable=False),
    Column("season", Text, nullable=False),
    Column("baseline", Text, nullable=False),
    Column("general_quality", Text, nullable=False),
    Column("geometric_quality", Text, nullable=False),
    Column("radiometric_quality", Text, nullable=False),
    Column("sensor_quality", Text, nullable=False),
    Column("boa_offset", Boolean, nullable=False),
    Column("epsg", Integer, nullable=False),
    Column("left_m", Double, nullable=False),
    Column("top_m", Double, nullable=False),
    Column("side_m", Double, nullable=False),
    *_named("l2a_name", rf"{_TILE_NAME}________T______.SAFE"),
    CheckConstraint("epsg % 100 BETWEEN 1 AND 60", name="epsg_is_utm"),
    CheckConstraint(f"side_m >= {LEAST_PATCH_M}", name="side_holds_a_patch"),
    info={"written_by": ("ReadProduct",)},
)

PATCH = Table(
    "patch",
    SCHEMA,
    Column("patch_id", Text, primary_key=True),
    Column("tile", Text, ForeignKey("product.tile", ondelete="CASCADE"), nullable=False),
    Column("x", SmallInteger, nullable=False),
    Column("y", SmallInteger, nullable=False),
    Column("epsg", Integer, nullable=False),
    Column("left_m", Double, nullable=False),
    Column("bottom_m", Double, nullable=False),
    Column("right_m", Double, nullable=False),
    Column("top_m", Double, nullable=False),
    Column("season", Text, nullable=False),
    Column("valid", Boolean, comment="null where it was not tested, since the recipe does not want it"),
    UniqueConstraint("tile", "x", "y"),
    *_named("patch_id", f"{_TILE_NAME}%"),
    CheckConstraint("x BETWEEN 0 AND 9999 AND y BETWEEN 0 AND 9999", name="position_in_tile"),
    CheckConstraint("epsg % 100 BETWEEN 1 AND 60", name="epsg_is_utm"),
    CheckConstraint(
        f"right_m - left_m = top_m - bottom_m AND right_m - left_m BETWEEN {LEAST_PATCH_M} AND {MOST_PATCH_M}",
        name="square_of_a_patch",
    ),
    _id_says_position(),
    info={"written_by": ("GridPatches", "CutPatches")},
)


def _one_a_patch(column: str, check: CheckConstraint, task: str) -> Table:
    """Return a table with that name and one value per patch, written by `task`."""
    value = Column(column, Text, nullable=False)
    return Table(column, SCHEMA, _patch_id(), value, check, info={"written_by": (task,)})


SPLIT = _one_a_patch("split", _one_of("split", SPLITS), "AssignSplits")

COUNTRY = _one_a_patch("country", CheckConstraint("country <> ''", name="country_has_a_name"), "AssignCountries")

# Older versions kept shares of cloud and snow in a table `scene`, which is not used any more.
SCENE = Table(
    "scene_class",
    SCHEMA,
    _patch_id(),
    Column("pixels", Integer, nullable=False, comment="pixels of the scene classification that are valid"),
    *(Column(what, Integer, nullable=False, comment="how many of them are") for what in SCENE_CLASSES),
    CheckConstraint(f"least({', '.join(SCENE_CLASSES)}) >= 0 AND pixels > 0", name="pixels_counted"),
    CheckConstraint(f"{' + '.join(SCENE_CLASSES)} <= pixels", name="pixels_of_a_patch"),
    info={"written_by": ("ClassifyPatches",)},
)

# Not unique: Sentinel-1 of one day may be the partner of several days of Sentinel-2.
SENTINEL1 = Table(
    "sentinel1",
    SCHEMA,
    _patch_id(),
    Column("s1_name", Text, nullable=False),
    CheckConstraint("s1_name <> ''", name="s1_patch_has_a_name"),
    info={"written_by": ("FindSentinel1",)},
)

# The selected patches: those that the dataset is made of if they are valid, each with its v1 patch if it has one.
ALIGNMENT = Table(
    "alignment",
    SCHEMA,
    _patch_id(),
    Column("v1_name", Text, comment="null where the recipe selects patches without regard to v1"),
    # Deferrable: checked per statement, not per row, so that patches may exchange their v1 names.
    UniqueConstraint("v1_name", deferrable=True, initially="IMMEDIATE"),
    CheckConstraint("left(v1_name, 11) IN ('S2A_MSIL2A_', 'S2B_MSIL2A_')", name="name_follows_its_rule"),
    CheckConstraint(
        f"v1_name IS NULL OR {_season_in('v1_name')} = {_season_in('patch_id')}", name="pair_of_one_season"
    ),
    info={"written_by": ("AlignPatches", "SelectPatches")},
)

CLC_COUNT = Table(
    "clc_count",
    SCHEMA,
    _patch_id(of="alignment"),
    Column("code", Integer, primary_key=True),
    Column("pixels", Integer, nullable=False),
    CheckConstraint(f"code BETWEEN 1 AND {_MOST_CODE}", name="code_of_a_map"),
    CheckConstraint(f"pixels BETWEEN 1 AND {_MOST_PIXELS}", name="pixels_of_a_patch"),
    info={"written_by": ("MakeReferenceMaps",)},
)

LABEL = Table(
    "label",
    SCHEMA,
    _patch_id(of="alignment"),
    Column("label", Text, primary_key=True),
    CheckConstraint("label NOT IN ('', 'UNLABELED')", name="label_is_a_class"),
    info={"written_by": ("LabelPatches",)},
)

OVERLAP = Table(
    "overlap",
    SCHEMA,
    *(
        Column(name, Text, ForeignKey("patch.patch_id", ondelete="CASCADE"), nullable=False, primary_key=True)
        for name in ("patch_id_a", "patch_id_b")
    ),
    *(Column(name, Text, nullable=False) for name in ("split_a", "split_b")),
    Column("same_season", Boolean, nullable=False),
    Column("overlap", Double, nullable=False, comment="common area as part of the smaller patch"),
    _one_of("split_a", SPLITS),
    _one_of("split_b", SPLITS),
    # By bytes: the collation of a database that a user gives may order names otherwise than Python does.
    CheckConstraint('patch_id_a COLLATE "C" < patch_id_b COLLATE "C"', name="pair_once"),
    CheckConstraint("left(patch_id_a, 44) <> left(patch_id_b, 44)", name="pair_of_two_tiles"),
    CheckConstraint("same_season OR split_a <> split_b", name="pair_matters"),
    CheckConstraint(f"overlap BETWEEN {LEAST_OVERLAP} AND 1", name="overlap_is_a_part"),
    info={"written_by": ("FindSplitLeakage",)},
)

FAILED_TRY = Table(
    "failed_try",
    SCHEMA,
    Column("tile", Text, primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True, server_default=func.clock_timestamp()),
    Column("host", Text, nullable=False),
    Column("error", Text, nullable=False),
)

# Who is at work on a task, or was last; `number` grows with each turn (`locks/turn.py`).
TURN = Table(
    "turn",
    SCHEMA,
    Column("task", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("ended", Boolean, nullable=False, server_default="false"),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

DATA_FOLDER = Table(
    "data_folder",
    SCHEMA,
    Column("id", Text, primary_key=True),
    Column("path", Text, nullable=False),
)

_ADDED_SINCE = "ALTER TABLE marker ADD COLUMN IF NOT EXISTS made_with text NOT NULL DEFAULT '{}'"
"""What the tables of older versions lack."""
_FORGET_DELETED = """
CREATE OR REPLACE FUNCTION forget_deleted() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    tasks text[] := string_to_array(TG_ARGV[0], ' ');
    tiles text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('DELETE FROM %I.marker WHERE task = ANY($1)', TG_TABLE_SCHEMA) USING tasks;
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT array_agg(DISTINCT tile) FROM ' || TG_ARGV[1], TG_TABLE_SCHEMA) INTO tiles;
    IF tiles IS NOT NULL THEN
        EXECUTE format('DELETE FROM %I.marker WHERE task = ANY($1) AND tile = ANY($2)', TG_TABLE_SCHEMA)
        USING tasks, array_append(tiles, '');
    END IF;
    RETURN NULL;
END
$body$
"""
"""The markers of deleted rows, and of rows that were deleted with these, go in the same transaction.

So no marker describes rows that are not there any more, whoever has deleted them. The arguments are the tasks, and
where the tiles of the rows `deleted` are found. Tables are named with their schema: a session that deletes may look for
names elsewhere, and find the tables of another dataset there.
"""


def statements() -> list[str]:
    """Return the SQL that makes the tables which are missing, and adds what those of older versions lack."""
    driver: Any = Dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # others double each %
    made = [str(CreateTable(table, if_not_exists=True).compile(dialect=driver)) for table in SCHEMA.sorted_tables]
    columns = [column for table in SCHEMA.sorted_tables for column in table.columns if column.comment]
    said = [str(SetColumnComment(column).compile(dialect=driver)) for column in columns]
    written = [name for name, table in SCHEMA.tables.items() if "written_by" in table.info]
    return [
        *made,
        *said,
        _ADDED_SINCE,
        _FORGET_DELETED,
        *(statement for name in written for statement in _forget(name)),
    ]


def _forget(table: str) -> Iterator[str]:
    """Yield the SQL that has `forget_deleted` called for a table."""
    tasks = " ".join(sorted(written_behind(table)))
    if "tile" in columns(table):
        place = "deleted"
    elif "patch_id" in columns(table):
        place = "deleted JOIN %I.patch USING (patch_id)"
    else:  # a table of all tiles
        place = "(SELECT '''' AS tile FROM deleted) AS whole"
    called = f"FOR EACH STATEMENT EXECUTE FUNCTION forget_deleted('{tasks}', '{place}')"
    for event, rows in (("DELETE", "REFERENCING OLD TABLE AS deleted "), ("TRUNCATE", "")):
        name = f"forget_{event.lower()}d"
        yield f"DROP TRIGGER IF EXISTS {name} ON {table}"  # CREATE OR REPLACE TRIGGER came with PostgreSQL 14
        yield f"CREATE TRIGGER {name} AFTER {event} ON {table} {rows}{called}"


def columns(table: str) -> list[str]:
    """Return the columns of a table."""
    return [column.name for column in SCHEMA.tables[table].columns]


def keys(table: str) -> list[str]:
    """Return the columns of its primary key."""
    return [column.name for column in SCHEMA.tables[table].primary_key.columns]


def number_of_keys(table: str) -> int:
    """Return how many keys it has: primary, unique and foreign ones."""
    kinds = PrimaryKeyConstraint, UniqueConstraint, ForeignKeyConstraint
    return sum(isinstance(constraint, kinds) for constraint in SCHEMA.tables[table].constraints)


def names() -> list[str]:
    """Return the names of all tables."""
    return [*SCHEMA.tables]


def behind(table: str) -> set[str]:
    """Return `table` and those whose rows refer to its rows, directly or by others."""
    referring = {name for name, each in SCHEMA.tables.items() for key in each.foreign_keys if _of(key) == table}
    return {table}.union(*map(behind, referring))


def written_behind(table: str) -> set[str]:
    """Return the tasks whose rows refer to rows of `table`, or lie in it.

    They lose rows when rows of `table` are deleted.
    """
    return {task for name in behind(table) for task in SCHEMA.tables[name].info.get("written_by", ())}


def _of(key: ForeignKey) -> str:
    return key.column.table.name
