"""The published rows, rebuilt from product names, v1 geometries, borders, lists and the published labels."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.domain.dataset import metadata, recomputed
from ben_luigi.domain.dataset.metadata import FLAGGED, METADATA
from tests.writers import WRITERS


@pytest.fixture(scope="module")
def rebuilt(published: Path) -> pa.Table:
    """All rows, joined by the pipeline's own functions."""
    names = read_tile_names(published / "tile_names_and_links.csv.bz2")
    borders = published / "ne_110m_admin_0_countries.geojson"
    computed = recomputed.compute(names, published / "v1_spatial", borders)
    assert len(computed.patches) == 1_035_125
    assert dict(computed.patches["split"].value_counts()) == {"train": 507_000, "validation": 263_625, "test": 264_500}
    lists = {"s1s2": recomputed._s1s2(published), **recomputed._flags(published)}
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(published.glob("metadata*.parquet"))])
    return pa.concat_tables(recomputed.rebuild(computed, rows.sort_by("patch_id"), lists))


def _published(published: Path, name: str) -> pa.Table:
    (path,) = published.glob(f"{name.removesuffix('.parquet')}_zones*.parquet")
    return pq.read_table(path)


@pytest.mark.parametrize("writer", WRITERS)
def test_values_types_order_and_nullability_are_the_published_ones(
    published: Path, rebuilt: pa.Table, writer: str, tmp_path: Path
) -> None:
    for name, path in metadata.write([rebuilt], tmp_path, writer).items():
        expected = _published(published, name)
        found = pq.ParquetFile(path)
        assert found.schema_arrow.equals(expected.schema, check_metadata=False)
        assert found.read().equals(expected)
        (ours,) = (found.schema.to_arrow_schema(),)
        assert all(field.nullable for field in ours)
    assert [_published(published, name).num_rows for name in (METADATA, FLAGGED)] == [63_327, 2_389]


def test_a_table_written_by_python_s_own_csv_module_is_read_back(rebuilt: pa.Table, tmp_path: Path) -> None:
    """Labels hold commas: quotes are read as the standard has them."""
    labels = rebuilt["labels"].slice(0, 2000).combine_chunks()
    ids = rebuilt["patch_id"].slice(0, 2000).take(pc.list_parent_indices(labels))
    table = pa.table({"patch_id": ids, "label": pc.list_flatten(labels)})
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert '"' in text.getvalue()
    (tmp_path / "labels.csv").write_text(text.getvalue(), newline="")
    assert metadata.read_csv(tmp_path / "labels.csv", table.column_names, header=True).equals(table)
