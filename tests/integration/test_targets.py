"""Rows and markers in a real PostgreSQL: replaced as a whole, with their marker or not at all."""

from __future__ import annotations

import csv
import multiprocessing
import os
import time
from pathlib import Path

import luigi
import pandas as pd
import pytest

from ben_luigi.domain.dataset import leakage
from ben_luigi.domain.errors import BadAlignment, BadTable
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.vocabulary import SPLITS
from ben_luigi.stages.leakage import LEAKS
from ben_luigi.state import database, schema
from ben_luigi.state.targets import MadeFile
from ben_luigi.state.tile_rows import TileRows, TileValidity, WholeTable
from tests.integration.database_rows import (
    OTHER,
    PRODUCTS,
    TILE,
    By,
    Set,
    fill,
    grid,
    held,
    pairs,
    patches,
    splits,
    target,
)

ELSEWHERE = "CREATE TEMPORARY TABLE marker (task text, tile text) ON COMMIT DROP; SET LOCAL search_path TO ''"
KEPT = {"split", "overlap"}


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


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("DELETE FROM label WHERE patch_id = (SELECT min(patch_id) FROM label)", {"split", "alignment", "overlap"}),
        ("DELETE FROM alignment WHERE patch_id = (SELECT min(patch_id) FROM label)", {"split", "overlap"}),
        ("DELETE FROM patch WHERE patch_id = (SELECT min(patch_id) FROM label)", set()),
        ("DELETE FROM overlap", {"split", "alignment", "label"}),
        ("DELETE FROM split WHERE false", {"split", "alignment", "label", "overlap"}),
        ("TRUNCATE label", {"split", "alignment", "overlap"}),
        ("TRUNCATE patch CASCADE", set()),
        (f"{ELSEWHERE}; DELETE FROM public.alignment WHERE patch_id = (SELECT min(patch_id) FROM public.label)", KEPT),
        (f"{ELSEWHERE}; TRUNCATE public.alignment CASCADE", KEPT),
    ],
)
def test_rows_that_somebody_deletes_take_their_markers_with_them(tables: Path, statement: str, left: set[str]) -> None:
    """As a person does it, by SQL: a marker of rows that are gone would pass them off as made."""
    of_tile = {"split": "AssignSplits", "alignment": "AlignPatches", "label": "LabelPatches"}
    both = {TILE: PRODUCTS[0], OTHER: PRODUCTS[1]}
    for tile, name in both.items():
        rows = pairs(name, 0, 24, first=2 * (tile == OTHER))
        target(tile=tile).replace(splits(name))
        TileRows("alignment", tile, By("AlignPatches", {})).replace(rows)
        TileRows("label", tile, By("LabelPatches", {})).replace(
            pd.DataFrame({"patch_id": rows["patch_id"], "label": "Pastures"})
        )
    one, other = (patches(name).assign(split=split) for name, split in zip(both.values(), SPLITS, strict=False))
    found = leakage.overlaps(pd.concat([one, other], ignore_index=True))
    WholeTable("overlap", By("FindSplitLeakage", {})).replace(found.leaks)
    with database.transaction() as cursor:
        cursor.execute(statement)
    marked = set(held("marker", "task", "tile"))
    wanted = {of_tile.get(table, "FindSplitLeakage"): table in left for table in (*of_tile, "overlap")}
    assert {task: (task, TILE) in marked or (task, "") in marked for task in wanted} == wanted
    of_other = {task for task in of_tile.values() if (task, OTHER) in marked}
    assert of_other == {task for table, task in of_tile.items() if "TRUNCATE" not in statement or table in left}


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


def _remove_in_child(name: ProductName) -> None:
    TileRows("patch", name.tile_key, By("GridPatches", {})).replace(patches(name).iloc[:0])
    os._exit(0)


def test_rows_are_written_once_more_when_the_database_ends_a_deadlock(tables: Path) -> None:
    """Patches of two tiles are removed at once, each with the overlaps of both, and in another order."""
    one, other = (patches(name).assign(split=split) for name, split in zip(PRODUCTS, ("train", "test"), strict=False))
    WholeTable("overlap", By("FindSplitLeakage", {})).replace(
        leakage.overlaps(pd.concat([one, other], ignore_index=True)).leaks
    )
    ids = list(splits(PRODUCTS[1])["patch_id"])
    child = multiprocessing.get_context("fork").Process(target=_remove_in_child, args=(PRODUCTS[0],))
    with database.transaction() as cursor:
        cursor.execute("SET LOCAL deadlock_timeout = '1min'")  # so the other one is undone
        cursor.execute("DELETE FROM patch WHERE patch_id = %s", (ids[-1],))
        child.start()
        is_stuck = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
        while not any(row for (row,) in database.rows(is_stuck)):
            time.sleep(0.02)
        cursor.execute("DELETE FROM patch WHERE patch_id = %s", (ids[0],))
    child.join(60)
    assert child.exitcode == 0
    assert not held(f"patch WHERE tile = '{TILE}'", "patch_id")
    assert len(held("patch", "patch_id")) == 23


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
