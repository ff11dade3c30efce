"""Rows and markers in a real PostgreSQL."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import luigi
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from luigi.configuration import get_config
from luigi.task_register import Register

from ben_luigi import config
from ben_luigi.domain.dataset import leakage
from ben_luigi.domain.errors import BadAlignment, BadTable, DatabaseError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.leakage import LEAKS
from ben_luigi.stages.metadata import MapCountries, MapLabels, MapSplits, MapV1Names
from ben_luigi.stages.reference_maps import LabelPatches
from ben_luigi.state import database, schema
from ben_luigi.state.server import close_server, open_server
from ben_luigi.state.targets import MadeFile
from ben_luigi.state.tile_rows import TileRows, TileValidity, WholeTable
from tests.integration.running import Run

PRODUCTS = [
    ProductName.parse(f"S2A_MSIL2A_2017061{n}T101031_N9999_R022_T33UUP_20170613T101608.SAFE") for n in range(1, 7)
]
TILE, OTHER = PRODUCTS[0].tile_key, PRODUCTS[1].tile_key
SIDE_M = 6000
Set = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a server that lives as long as this module's tests."""
    folder = tmp_path_factory.mktemp("data")
    open_server(folder / "database")
    yield folder
    database._idle.clear()
    close_server(folder / "database")


@pytest.fixture
def settings() -> Iterator[Set]:
    """Set options of luigi.cfg until the end of the test."""
    parser = get_config()
    before: list[tuple[str, str, str | None]] = []

    def forget() -> None:
        Register.clear_instance_cache()
        config.is_sample.cache_clear()
        config.given_input.cache_clear()

    def change(section: str, option: str, value: str) -> None:
        old = parser.get(section, option) if parser.has_option(section, option) else None
        before.append((section, option, old))
        parser.set(section, option, value)
        forget()

    yield change
    for section, option, old in reversed(before):
        parser.remove_option(section, option) if old is None else parser.set(section, option, old)
    forget()


@pytest.fixture
def tables(folder: Path, settings: Set) -> Path:
    """Empty tables, but for the products and patches of two tiles."""
    settings("dataset", "data_dir", str(folder))
    with database.transaction() as cursor:
        cursor.execute("TRUNCATE product, marker CASCADE")
    for name in PRODUCTS[:2]:
        fill(name)
    return folder


@dataclass(frozen=True)
class By:
    """A task that makes something, as far as targets know it."""

    task_family: str
    made_from: dict[str, Any]

    def adopts(self) -> bool:
        return False

    def to_str_params(self) -> dict[str, str]:
        return {}

    def fingerprint(self) -> dict[str, Any]:
        return self.made_from


def grid(name: ProductName) -> PatchGrid:
    return PatchGrid(name.tile_name, tile_square(name, SIDE_M))


def fill(name: ProductName) -> None:
    square = tile_square(name, SIDE_M)
    row = {
        "tile": name.tile_key,
        "l2a_name": str(name),
        "folder": "l2a",
        "start_time": datetime(2017, 6, 13),
        "season": "summer",
        "baseline": "02.05",
        "boa_offset": False,
        "epsg": square.epsg,
        **{f"{check}_quality": "PASSED" for check in ("general", "geometric", "radiometric", "sensor")},
        "left_m": float(square.left),
        "top_m": float(square.top),
        "side_m": float(SIDE_M),
    }
    TileRows("product", name.tile_key, By("ReadProduct", {})).replace(pd.DataFrame([row]))
    TileRows("patch", name.tile_key, By("GridPatches", {})).replace(patches(name))


def patches(name: ProductName) -> pd.DataFrame:
    return grid(name).table().assign(tile=name.tile_key, season="summer")


def splits(name: ProductName, split: str = "train") -> pd.DataFrame:
    return pd.DataFrame({"patch_id": pd.array(grid(name).ids(), dtype="str"), "split": split})


def pairs(name: ProductName, *positions: int, first: int = 0) -> pd.DataFrame:
    ids = [grid(name).ids()[position].as_py() for position in positions]
    names = [f"S2A_MSIL2A_20170613T101031_{first + n}_0" for n in range(len(ids))]
    return pd.DataFrame({"patch_id": ids, "v1_name": names})


def target(made_from: dict[str, object] | None = None, tile: str = TILE) -> TileRows:
    return TileRows("split", tile, By("AssignSplits", made_from or {"side_m": SIDE_M}))


def held(table: str, *columns: str) -> list[tuple[Any, ...]]:
    rows = database.query(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1")
    return [tuple(row) for row in rows.itertuples(index=False)]


def test_rows_are_replaced_never_added(tables: Path) -> None:
    target(tile=OTHER).replace(splits(PRODUCTS[1]))
    assert not target().exists()
    for split in ("train", "train", "test"):
        target().replace(splits(PRODUCTS[0], split))
        assert target().exists()
        assert len(held("split", "patch_id")) == 50
        assert held("marker WHERE task = 'AssignSplits'", "tile", "rows") == [(TILE, 25), (OTHER, 25)]
    assert {split for patch, split in held("split", "patch_id", "split") if "20170611" in str(patch)} == {"test"}
    target().replace(splits(PRODUCTS[0]).iloc[3:])
    assert len(held("split", "patch_id")) == 47
    target().replace(splits(PRODUCTS[0]).iloc[:0])
    assert len(held("split", "patch_id")) == 25
    assert target().exists()


def test_the_rows_of_all_tiles_are_replaced_at_once(tables: Path, tmp_path: Path) -> None:
    """Two dates of one square: each patch overlaps with one of the other date, wholly."""
    one, other = (patches(name).assign(split=split) for name, split in zip(PRODUCTS, ("train", "test"), strict=False))
    target = WholeTable("overlap", By("FindSplitLeakage", {"patches": "1"}))
    found = leakage.overlaps(pd.concat([one, other], ignore_index=True))
    for rows in (found.leaks, found.leaks.iloc[5:], found.leaks):
        target.replace(rows)
        assert target.exists()
        assert len(held("overlap", "patch_id_a")) == len(rows)
        assert held("marker WHERE task = 'FindSplitLeakage'", "tile", "rows") == [("", len(rows))]
    assert not WholeTable("overlap", By("FindSplitLeakage", {"patches": "2"})).exists()
    assert found.counts == {"overlaps_within_a_season": 25, "leaks": 25, "leaks_within_a_season": 25}
    database.copy_out(LEAKS, tmp_path / "split_leakage.csv")
    listed = list(csv.DictReader((tmp_path / "split_leakage.csv").open(encoding="utf-8")))
    ids = [grid(name).ids().to_pylist() for name in PRODUCTS[:2]]
    assert listed == [
        {"patch_id_a": a, "split_a": "train", "patch_id_b": b, "split_b": "test", "overlap": "1", "same_season": "true"}
        for a, b in zip(*ids, strict=True)
    ]
    found = leakage.overlaps(pd.concat([one, other.assign(split="train")], ignore_index=True))
    target.replace(found.leaks)
    assert found.counts == {"overlaps_within_a_season": 25, "leaks": 0, "leaks_within_a_season": 0}
    assert target.exists() and held("overlap", "patch_id_a") == []


def test_equal_rows_are_not_written_again_and_others_change_what_follows(tables: Path) -> None:
    target().replace(splits(PRODUCTS[0]))
    written = held("split", "xmin::text")
    digest = target().digest()
    target().replace(splits(PRODUCTS[0]))
    assert held("split", "xmin::text") == written
    assert target().digest() == digest
    target().replace(splits(PRODUCTS[0], "test"))
    assert held("split", "xmin::text") != written
    assert target().digest() != digest


@pytest.mark.parametrize("first", [True, False])
def test_rows_and_marker_commit_together(tables: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    if not first:
        target().replace(splits(PRODUCTS[0], "test"))
    before = held("split", "patch_id", "split"), held("marker", "task", "tile", "digest")
    with monkeypatch.context() as patched:
        patched.setattr(TileRows, "touch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            target().replace(splits(PRODUCTS[0]))
    assert (held("split", "patch_id", "split"), held("marker", "task", "tile", "digest")) == before
    assert target().exists() is not first


def test_what_was_made_from_something_else_does_not_exist(tables: Path) -> None:
    target({"side_m": 6000, "inputs": ["a"]}).replace(splits(PRODUCTS[0]))
    assert target({"inputs": ["a"], "side_m": 6000}).exists()
    assert not target({"side_m": 6000, "inputs": ["b"]}).exists()
    assert not target({"side_m": 6000}).exists()
    assert not TileRows("split", TILE, By("Another", {"side_m": 6000, "inputs": ["a"]})).exists()


def test_a_marker_alone_is_refused(tables: Path) -> None:
    with pytest.raises(BadTable, match="a marker without rows"):
        target().touch()


def test_rows_that_go_take_with_them_what_refers_to_them(tables: Path) -> None:
    target().replace(splits(PRODUCTS[0]))
    TileRows("alignment", TILE, By("AlignPatches", {})).replace(pairs(PRODUCTS[0], 0, 24))
    TileRows("patch", TILE, By("GridPatches", {})).replace(patches(PRODUCTS[0]).iloc[1:])
    assert len(held("split", "patch_id")) == 24
    assert [name for (name,) in held("alignment", "v1_name")] == ["S2A_MSIL2A_20170613T101031_1_0"]


def test_rows_that_went_and_came_back_have_lost_what_referred_to_them(tables: Path) -> None:
    """A setting is changed, the run stopped early, and the setting changed back: nothing may pass for complete."""
    aligned, labels = (
        TileRows("alignment", TILE, By("AlignPatches", {})),
        TileRows("label", TILE, By("LabelPatches", {})),
    )
    rows = pairs(PRODUCTS[0], 0, 24)
    target().replace(splits(PRODUCTS[0]))
    target(tile=OTHER).replace(splits(PRODUCTS[1]))
    aligned.replace(rows)
    labels.replace(pd.DataFrame({"patch_id": rows["patch_id"], "label": "Pastures"}))
    leakage = WholeTable("overlap", By("FindSplitLeakage", {}))
    leakage.replace(pd.DataFrame(columns=schema.columns("overlap")))
    aligned.replace(rows)
    assert labels.exists() and leakage.exists()
    aligned.replace(rows.iloc[1:])
    aligned.replace(rows)
    assert aligned.exists() and target().exists() and leakage.exists()
    assert not labels.exists()
    TileRows("patch", TILE, By("GridPatches", {})).replace(patches(PRODUCTS[0]).iloc[1:])
    TileRows("patch", TILE, By("GridPatches", {})).replace(patches(PRODUCTS[0]))
    assert set(held("marker", "task", "tile")) == {
        *((task, OTHER) for task in ("ReadProduct", "GridPatches", "AssignSplits")),
        *((task, TILE) for task in ("ReadProduct", "GridPatches")),
    }


def test_validity_is_set_for_the_patches_tested_and_null_for_the_others(tables: Path) -> None:
    valid = TileValidity("patch", TILE, By("CutPatches", {}))
    ids = list(splits(PRODUCTS[0])["patch_id"])
    for tested in ({0: True, 1: False}, {1: True, 2: True}):
        valid.replace(pd.DataFrame({"patch_id": [ids[n] for n in tested], "valid": list(tested.values())}))
        states = dict(held(f"patch WHERE tile = '{TILE}'", "patch_id", "valid"))
        assert {n: states[patch] for n, patch in enumerate(ids) if states[patch] is not None} == tested
    assert len(held("patch", "patch_id")) == 50


def test_doubled_rows_are_named_and_nothing_changes(tables: Path) -> None:
    ids = list(splits(PRODUCTS[0])["patch_id"])
    with pytest.raises(BadTable, match=rf"{TILE}.*each patch_id once; found: more than once: .*{ids[11]}.*12 in all"):
        target().replace(pd.concat([splits(PRODUCTS[0]), splits(PRODUCTS[0]).iloc[5:17]]).sort_values("patch_id"))
    assert not target().exists()
    assert not held("split", "patch_id")


def test_rows_that_the_table_refuses_are_named(tables: Path) -> None:
    with pytest.raises(BadTable, match=r"33UUP_20170611: rows of AssignSplits.*sideways.*split_known"):
        target().replace(splits(PRODUCTS[0], "sideways"))
    stranger = pd.DataFrame({"patch_id": ["S2A_MSIL2A_20170611T101031_N9999_R022_T33UUP_77_77"], "split": ["test"]})
    with pytest.raises(BadTable, match=r"77_77.*not present"):
        target().replace(stranger)
    assert not held("split", "patch_id")


def test_a_v1_name_of_two_tiles_names_both_patches_and_both_tiles(tables: Path) -> None:
    one, two = pairs(PRODUCTS[0], 3, 4), pairs(PRODUCTS[1], 7, 8, first=1)
    TileRows("alignment", TILE, By("AlignPatches", {})).replace(one)
    named = f"{one['v1_name'][1]} = {two['patch_id'][0]} of {OTHER} and {one['patch_id'][1]} of {TILE}"
    for _ in range(2):
        with pytest.raises(BadAlignment, match=named):
            TileRows("alignment", OTHER, By("AlignPatches", {})).replace(two)
        TileRows("alignment", OTHER, By("AlignPatches", {})).replace(pairs(PRODUCTS[1], 8, first=9))  # then the rerun
    assert len(held("alignment", "patch_id")) == 3


def test_patches_may_exchange_their_v1_names(tables: Path) -> None:
    rows = pairs(PRODUCTS[0], 3, 4)
    aligned = TileRows("alignment", TILE, By("AlignPatches", {}))
    aligned.replace(rows)
    turned = rows.assign(v1_name=list(rows["v1_name"])[::-1])
    aligned.replace(turned)
    assert held("alignment", "patch_id", "v1_name") == [tuple(row) for row in turned.itertuples(index=False)]


def _fill_in_child(name: ProductName, times: int) -> None:
    for _ in range(times):
        fill(name)
        target(tile=name.tile_key).replace(splits(name))
    os._exit(0)


def test_processes_replace_rows_side_by_side(tables: Path) -> None:
    """Three tiles, two processes each, on the same rows at once."""
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_fill_in_child, args=(name, 5)) for name in PRODUCTS[2:5] for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 6
    assert len(held("split", "patch_id")) == 75
    assert held("marker WHERE task = 'AssignSplits'", "tile", "rows") == [(n.tile_key, 25) for n in PRODUCTS[2:5]]


def kill_server(data: Path) -> None:
    """The server and, which follows from it, its backends."""
    cluster = data / "database" / "cluster"
    os.kill(int((cluster / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def lives(process: Path) -> bool:
        with suppress(OSError):
            return (process / "cwd").readlink() == cluster
        return False

    while any(lives(process) for process in Path("/proc").glob("[0-9]*")):
        time.sleep(0.01)


def test_a_killed_server_is_started_again_and_has_kept_what_was_committed(tables: Path) -> None:
    target().replace(splits(PRODUCTS[0]))
    kill_server(tables)
    assert target().exists()
    assert len(held("split", "patch_id")) == 25


def test_a_server_killed_in_mid_transaction_is_an_error_that_says_what_to_do(tables: Path) -> None:
    with pytest.raises(DatabaseError, match="run again"), database.transaction() as cursor:
        cursor.execute("DELETE FROM product")
        kill_server(tables)
        cursor.execute("SELECT 1")
    assert len(held("product", "tile")) == 2


def test_the_user_s_own_server(settings: Set, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A second cluster, reached by a URL; once it is gone, the error says so and hides the password."""
    folder = tmp_path_factory.mktemp("own")
    address = open_server(folder)
    url = f"postgresql://{address.user}:secret@/{address.database}?host={address.host}&port={address.port}"
    settings("dataset", "data_dir", str(folder / "data"))
    settings("database", "url", url)
    fill(PRODUCTS[0])
    target().replace(splits(PRODUCTS[0]))
    with psycopg2.connect(host=address.host, port=address.port, user=address.user, dbname=address.database) as own:
        cursor = own.cursor()
        cursor.execute("SELECT count(*) FROM split")
        assert cursor.fetchone() == (25,)
    assert not (folder / "data" / "database").exists()
    own.close()
    close_server(folder)
    with pytest.raises(DatabaseError, match=r"start it, or correct \[database\] url") as gone:
        target().exists()
    assert "secret" not in str(gone.value)
    assert f"PostgreSQL at {address.host}:{address.port}/{address.database};" in str(gone.value)


# Other forms are found by the check of the configuration.
@pytest.mark.parametrize("url", ["postgresql://user:secret@127.0.0.1:1/name"])
def test_a_database_that_cannot_be_reached(settings: Set, tmp_path: Path, url: str) -> None:
    settings("dataset", "data_dir", str(tmp_path))
    settings("database", "url", url)
    with pytest.raises(DatabaseError, match=r"next: .*correct") as failed:
        database.query("SELECT 1")
    assert "secret" not in str(failed.value)
    assert not list(tmp_path.iterdir())


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


def test_a_file_counts_only_with_the_record_of_what_it_was_made_from(settings: Set, tmp_path: Path) -> None:
    settings("dataset", "data_dir", str(tmp_path))
    made = MadeFile("folder/a.csv", By("Task", {"level": 6}))
    assert isinstance(made, luigi.LocalTarget)
    assert not made.exists()
    made.file.parent.mkdir()
    made.file.write_text("x")
    assert not made.exists()
    assert made.digest() == ""
    made.record("abc")
    assert made.exists()
    assert made.digest() == "abc"
    assert not MadeFile("folder/a.csv", By("Task", {"level": 7})).exists()
    (tmp_path / "made_from" / "folder" / "a.csv.json").write_text("{")
    assert not made.exists()
    made.record("abc")
    made.file.unlink()
    assert not made.exists()


def _by_csv_module(header: str, rows: list[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("patch_id", header), *sorted(rows)])
    return text.getvalue().encode()


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
        key, wanted = name.tile_key, name in PRODUCTS[:2]
        ids = list(splits(name)["patch_id"])
        values = {
            "split": [("train", "validation", "test")[k % 3] for k in range(25)],
            "country": ["Kosovo" if k % 2 else "Serbia" for k in range(25)],
        }
        for table, column in values.items():
            frame = pd.DataFrame({"patch_id": ids, table: column}).sample(frac=1, random_state=n)
            TileRows(table, key, By(table, {})).replace(frame)
            rows[table] += zip(ids, column, strict=True) if wanted else []
        aligned = pairs(name, 9, 3, 24, first=10 * n)
        TileRows("alignment", key, By("AlignPatches", {})).replace(aligned)
        rows["s2v1_name"] += zip(aligned["patch_id"], aligned["v1_name"], strict=True) if wanted else []
        labelled = [
            (aligned["patch_id"][k], label) for k in (2, 0) for label in ("b, with comma", "Zebra", "a", 'x "y"')
        ]
        TileRows("label", key, By("LabelPatches", {})).replace(pd.DataFrame(labelled, columns=["patch_id", "label"]))
        rows["label"] += labelled if wanted else []
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
