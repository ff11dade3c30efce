"""The tables, with the keys and checks that refuse nonsense.

Every row of a tile is written by one task, in one transaction with that task's row in `marker`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)

from ben_luigi.domain.alignment import SEASONS
from ben_luigi.domain.country import COUNTRIES
from ben_luigi.domain.grid import PATCH_M, SPLITS

SCHEMA = MetaData()


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _patch_id(**options: bool) -> Column[str]:
    return Column("patch_id", Text, ForeignKey("patch.patch_id"), nullable=False, **options)


MARKER = Table(
    "marker",
    SCHEMA,
    Column("task", Text, primary_key=True),
    Column("tile", Text, primary_key=True),
    Column("made_from", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
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
    _one_of("season", SEASONS),
    CheckConstraint(r"tile ~ '^\d{2}[A-Z]{3}_\d{8}$'", name="tile_is_a_key"),
    CheckConstraint("epsg BETWEEN 32601 AND 32660", name="epsg_is_northern_utm"),
    CheckConstraint("side_m > 0", name="side_positive"),
)

PATCH = Table(
    "patch",
    SCHEMA,
    Column("patch_id", Text, primary_key=True),
    Column("tile", Text, ForeignKey("product.tile"), nullable=False),
    Column("x", SmallInteger, nullable=False),
    Column("y", SmallInteger, nullable=False),
    Column("epsg", Integer, nullable=False),
    Column("left_m", Double, nullable=False),
    Column("bottom_m", Double, nullable=False),
    Column("right_m", Double, nullable=False),
    Column("top_m", Double, nullable=False),
    Column("season", Text, nullable=False),
    Column("valid", Boolean, comment="null where it was not tested, since no v1 patch is aligned"),
    UniqueConstraint("tile", "x", "y"),
    _one_of("season", SEASONS),
    CheckConstraint("x >= 0 AND y >= 0", name="position_in_tile"),
    CheckConstraint("epsg BETWEEN 32601 AND 32660", name="epsg_is_northern_utm"),
    CheckConstraint(f"right_m - left_m = {PATCH_M} AND top_m - bottom_m = {PATCH_M}", name="square_of_a_patch"),
    CheckConstraint(
        "right(patch_id, 6) = '_' || lpad(x::text, 2, '0') || '_' || lpad(y::text, 2, '0')", name="id_says_position"
    ),
)

SPLIT = Table(
    "split", SCHEMA, _patch_id(primary_key=True), Column("split", Text, nullable=False), _one_of("split", SPLITS)
)

COUNTRY = Table(
    "country",
    SCHEMA,
    _patch_id(primary_key=True),
    Column("country", Text, nullable=False),
    _one_of("country", COUNTRIES),
)

ALIGNMENT = Table(
    "alignment", SCHEMA, _patch_id(primary_key=True), Column("v1_name", Text, nullable=False, unique=True)
)

CLC_COUNT = Table(
    "clc_count",
    SCHEMA,
    _patch_id(primary_key=True),
    Column("code", SmallInteger, primary_key=True),
    Column("pixels", SmallInteger, nullable=False),
    CheckConstraint("code BETWEEN 111 AND 523 OR code = 999", name="code_of_clc"),
    CheckConstraint("pixels BETWEEN 1 AND 14400", name="pixels_of_a_patch"),
)

LABEL = Table(
    "label",
    SCHEMA,
    _patch_id(primary_key=True),
    Column("label", Text, primary_key=True),
    CheckConstraint("label NOT IN ('', 'UNLABELED')", name="label_is_a_class"),
)
