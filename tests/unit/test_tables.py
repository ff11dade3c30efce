"""Our own Parquet tables are read as `pyarrow.parquet` reads them, without what takes long to load."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ben_luigi.domain.formats.tables import counts_own, read_own

TEXTS = st.lists(st.sampled_from(["train", "validation", "test", ""]), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=TEXTS, rows=st.integers(1, 20), dictionary=st.booleans())
def test_values_are_counted(values: list[str], rows: int, dictionary: bool, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table = pa.table({"split": pa.array(values, pa.string()), "other": list(range(len(values)))})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=dictionary)
    assert counts_own(path, "split") == Counter(values)


@pytest.mark.parametrize("columns", [(), ("b",), ("c", "a")])
def test_columns_are_in_the_order_that_is_asked_for(columns: tuple[str, ...], tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None], "c": [["y"], []]}).replace_schema_metadata({"k": "v"})
    pq.write_table(table, tmp_path / "table.parquet")
    read = read_own(tmp_path / "table.parquet", columns)
    assert read.equals(pq.read_table(tmp_path / "table.parquet", columns=list(columns) or None), check_metadata=True)


def test_neither_the_functions_of_pyarrow_nor_its_datasets_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"split": ["train"]}), path)
    code = (
        "import sys; from pathlib import Path; from ben_luigi.domain import deferred; "
        "deferred.defer(*deferred.LIBRARIES); from ben_luigi.domain.formats.tables import counts_own, read_own; "
        "path = Path(sys.argv[1]); counts_own(path, 'split'); read_own(path); "
        "print([name for name in ('pyarrow.dataset', 'pyarrow._compute', 'pandas._libs') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
