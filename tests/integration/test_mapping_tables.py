"""The tables that a run makes of the rows: labels by any nomenclature, and mappings as the csv module writes them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.metadata import MapCountries, MapLabels, MapSplits, MapV1Names
from ben_luigi.stages.reference_maps import LabelPatches
from ben_luigi.state import database, schema
from ben_luigi.state.tile_rows import TileRows
from tests.integration.database_rows import PRODUCTS, TILE, By, Set, fill, held, pairs, splits
from tests.integration.running import Run


def test_another_threshold_or_nomenclature_needs_no_new_maps(tables: Path, settings: Set, tmp_path: Path) -> None:
    """Labels come from the counts; whoever changes how gets other labels, and the maps stay as they are."""
    name = PRODUCTS[0]
    listed = tmp_path / "tile_names_and_links.csv"
    product = str(name).replace("L2A", "L1C").replace("N9999", "N0205")
    listed.write_text(f"S2A_MSIL2A_20170613T101031_0_0,{product},link\r\n")
    for option in ("tile_names_csv", "clc_gpkg", "v1_spatial_dir"):
        settings("inputs", option, str(listed))
    aligned = pairs(name, 0, 1)
    TileRows("alignment", TILE, By("AlignPatches", {})).replace(aligned)
    first, second = aligned["patch_id"]
    counts = [(first, 311, 12_000), (first, 122, 2400), (second, 511, 9000), (second, 999, 5400)]
    maps = TileRows("clc_count", TILE, By("MakeReferenceMaps", {}))
    maps.replace(pd.DataFrame(counts, columns=["patch_id", "code", "pixels"]))

    def labelled() -> list[tuple[Any, ...]]:
        task = LabelPatches(tile=TILE)
        assert not task.is_there()
        task.publish()
        assert task.is_there()
        return held("label", "patch_id", "label")

    assert labelled() == [(first, "Broad-leaved forest")]
    settings("metadata", "unlabeled_limit", "0.5")
    assert labelled() == [(first, "Broad-leaved forest"), (second, "Inland waters")]
    nomenclature = tmp_path / "mine.toml"
    nomenclature.write_text(
        '[[class]]\nname = "Wood"\ncodes = [311]\n[[class]]\nname = "Roads"\ncodes = [122]\n'
        '[clc]\n122 = "Road"\n311 = "Broad-leaved forest"\n511 = "Water courses"\n'
    )
    settings("metadata", "nomenclature", str(nomenclature))
    assert labelled() == [(first, "Roads"), (first, "Wood")]
    assert maps.exists()
    rows = database.query("SELECT patch_id, code, pixels FROM clc_count")
    own_classes = read_nomenclature(nomenclature).clc_labels(rows)
    assert set(own_classes["label"]) == {"Road", "Broad-leaved forest", "Water courses"}


def _by_csv_module(header: str, rows: list[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("patch_id", header), *sorted(rows)])
    return text.getvalue().encode()


def _write_rows(number: int, name: ProductName) -> dict[str, list[tuple[str, str]]]:
    """Write rows of a tile to each table, in any order; by the column that a mapping has of them."""
    ids = list(splits(name)["patch_id"])
    values = {
        "split": [("train", "validation", "test")[k % 3] for k in range(25)],
        "country": ["Kosovo" if k % 2 else "Serbia" for k in range(25)],
    }
    for table, column in values.items():
        frame = pd.DataFrame({"patch_id": ids, table: column}).sample(frac=1, random_state=number)
        TileRows(table, name.tile_key, By(table, {})).replace(frame)
    aligned = pairs(name, 9, 3, 24, first=10 * number)
    TileRows("alignment", name.tile_key, By("AlignPatches", {})).replace(aligned)
    labelled = [(aligned["patch_id"][k], label) for k in (2, 0) for label in ("b, with comma", "Zebra", "a", 'x "y"')]
    labels = pd.DataFrame(labelled, columns=["patch_id", "label"])
    TileRows("label", name.tile_key, By("LabelPatches", {})).replace(labels)
    return {
        **{table: list(zip(ids, column, strict=True)) for table, column in values.items()},
        "s2v1_name": list(zip(aligned["patch_id"], aligned["v1_name"], strict=True)),
        "label": labelled,
    }


def test_the_mapping_tables_are_what_the_csv_module_writes(tables: Path, settings: Set, tmp_path: Path) -> None:
    """Sorted by byte order, quotes where commas need them; only of the tiles asked for."""
    listed = tmp_path / "tile_names_and_links.csv"
    lines = [f"v1,{str(name).replace('L2A', 'L1C').replace('N9999', 'N0205')},link\n" for name in PRODUCTS[:2]]
    listed.write_text("".join(lines))
    settings("inputs", "tile_names_csv", str(listed))
    fill(PRODUCTS[2])
    rows: dict[str, list[tuple[str, str]]] = {"split": [], "country": [], "s2v1_name": [], "label": []}
    v1 = tmp_path / "v1_spatial"
    v1.mkdir()
    settings("inputs", "v1_spatial_dir", str(v1))
    for n, name in enumerate(PRODUCTS[:3]):
        for column, written in _write_rows(n, name).items():
            rows[column] += written if name in PRODUCTS[:2] else []
    names = [name for _, name in rows["s2v1_name"]] + ["S2A_MSIL2A_20170613T131031_9_9"]
    squares = [shapely.box(400_000, 5_300_000, 401_200, 5_301_200).wkb] * len(names)
    pq.write_table(pa.table({"patch_name": names, "geom": squares}), v1 / "bigearthnet_v1_spatial_32633.parquet")
    for task, header in (
        (MapSplits, "split"),
        (MapCountries, "country"),
        (MapV1Names, "s2v1_name"),
        (MapLabels, "label"),
    ):
        task().publish()
        target = task().output()["mapping"]
        assert target.exists()
        assert target.file.read_bytes() == _by_csv_module(header, rows[header])
    found = (tables / "metadata" / "alignment_findings.csv").read_text()
    stray = names[-1]
    assert found == f"finding,v1_name\nv1 name in no tile,{stray}\nv1 name with an hour of 13 or more,{stray}\n"


def test_the_schema_says_who_writes_each_table(sample_run: Run, settings: Set) -> None:
    """After a whole run there is a marker of every task that it names, and of no other."""
    settings("dataset", "data_dir", str(sample_run.data))
    named = {task for table in schema.SCHEMA.tables.values() for task in table.info.get("written_by", ())}
    assert {task for (task,) in held("marker", "task")} == named - {
        "SelectPatches",
        "FindSentinel1",
    }, "of other recipes"
