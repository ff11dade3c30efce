"""What describes a dataset is held against it: each thing damaged alone is named, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.dataset.comparison import COMPARISON
from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.form import HASH_LISTS
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import METADATA
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.readme import LICENSE, README
from ben_luigi.domain.dataset.verify import OURS, REPORT, verify_dataset
from ben_luigi.domain.dataset.verify_documents import STAC
from ben_luigi.domain.dataset.verify_rules import References
from ben_luigi.domain.files import file_hash
from tests.unit.small_dataset import (
    ITEM,
    KEY,
    MAPS,
    NOT_FOLLOWING,
    PRODUCTS,
    S1,
    S2,
    TILE,
    TITLE,
    Dataset,
    change_json,
    describe,
    labels_of,
    look,
    said,
)


@pytest.mark.parametrize("file", OURS)
def test_what_the_pipeline_makes_must_be_there_and_else_is_not_looked_at(
    folder: Path, references: References, file: str
) -> None:
    (folder / file).unlink()
    assert look(folder, references).wrong == [f"{file}: missing"]
    verdict = look(folder, references, require_all=False)
    claimed = {PATCHES: f"{STAC}, {CROISSANT}", **dict.fromkeys(HASH_LISTS.values(), COMPARISON)}
    expected = [f"{file}: missing, though there is one in {claimed[file]}"] if file in claimed else []
    assert verdict.wrong == expected
    assert f"{file}: it is not there" in verdict.not_looked_at


def test_of_a_downloaded_dataset_is_said_what_was_not_looked_at(tmp_path: Path) -> None:
    verdict = verify_dataset(Dataset().write(tmp_path), labels_of)
    assert verdict.wrong == []
    assert verdict.not_looked_at[: len(OURS)] == [f"{file}: it is not there" for file in sorted(OURS, key=ORDER.index)]
    assert len(verdict.not_looked_at) == len(OURS) + 4
    missing = verify_dataset(tmp_path, labels_of, require_all=True)
    assert sorted(missing.wrong) == sorted(f"{file}: missing" for file in OURS)


ORDER = [PROVENANCE, PATCHES, STAC, CROISSANT, README, LICENSE, COMPARISON, *HASH_LISTS.values(), REPORT]


def test_a_subset_has_no_report(folder: Path, references: References) -> None:
    shutil.rmtree(folder / "report")
    change_json(folder / PROVENANCE, lambda it: it["settings"].update(subset={"splits": "train"}))
    describe(folder, has_report=False)
    assert "`report/" not in (folder / README).read_text()
    assert [line.partition(":")[0] for line in look(folder, references).wrong] == [HASH_LISTS[S2], HASH_LISTS[MAPS]]
    for name in (HASH_LISTS[S2], HASH_LISTS[MAPS]):  # which list its own files only
        path = folder / name
        path.write_text("".join(line for line in path.open() if "_90_90_" not in line))
        change_json(folder / COMPARISON, lambda it, of=path: _set_ours(it["compared"], of))  # type: ignore[misc]
    describe(folder, has_report=False)
    verdict = look(folder, references)
    assert (verdict.wrong, verdict.not_looked_at) == ([], [])


def _set_ours(lines: list[dict[str, str]], path: Path) -> None:
    next(line for line in lines if line["what"] == path.stem)["ours"] = file_hash(path)


@pytest.mark.parametrize("file", [PATCHES, STAC, ITEM, CROISSANT, PROVENANCE, COMPARISON, README, LICENSE])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"[]", b"[" * 100_000, b"{}", b"null"])
def test_whatever_stands_in_a_files_place_is_a_finding(
    folder: Path, references: References, file: str, content: bytes
) -> None:
    (folder / file).write_bytes(content)
    wrong = look(folder, references).wrong
    assert wrong
    assert all(line.startswith((f"{file}: ", f"{CROISSANT}: another ", f"{README}: another ")) for line in wrong), wrong


def no_tile(it: Any) -> list[str]:
    del it["tiles"][KEY]
    return [f"{PROVENANCE}: tiles: without one of the metadata: {TILE}"]


def labelled(it: Any) -> list[str]:
    it["tiles"][KEY]["labelled"] = 2
    return [said(PROVENANCE, "labelled: not the rows of the tile in the metadata", TILE, 3, 2)]


def more_labelled(it: Any) -> list[str]:
    it["tiles"][KEY]["labelled"] = 4
    return [said(PROVENANCE, "labelled: not the rows of the tile in the metadata", TILE, 3, 4)]


def counts(it: Any) -> list[str]:
    it["tiles"][KEY]["reference_maps"] = 5
    return [
        said(
            PROVENANCE,
            "counts: more of a part than of the whole",
            KEY,
            "patches >= reference_maps >= labelled",
            [4, 5, 3],
        ),
        said("reference_map_hashes.csv", "not the files that provenance.json counts", "rows", 9, 8),
    ]


def failed(it: Any) -> list[str]:
    it["tiles"][KEY]["sensor_quality"] = "FAILED"
    return [said(PROVENANCE, "labelled: of a product that has not passed", KEY, 0, 3)]


def other_key(it: Any) -> list[str]:
    it["tiles"]["33UUQ_20170613"] = it["tiles"].pop(KEY)
    return [
        said(PROVENANCE, "tile: not the key of its product", "33UUQ_20170613", KEY, KEY),
        said(
            COMPARISON,
            f"other tiles than in {PROVENANCE}",
            "tiles",
            sorted(it["tiles"]),
            sorted([KEY, PRODUCTS[1].tile_key]),
        ),
    ]


def other_source(it: Any) -> list[str]:
    name = str(PRODUCTS[1])
    it["tiles"][KEY]["l1c"]["name"] = name
    return [
        said(PROVENANCE, "l1c: not what the tile's product was made of", KEY, f"a product of {TILE}", name),
        *(f"{PATCHES}: product: not as provenance.json or the tile's name says: {patches_expected(name)}",),
    ]


def patches_expected(name: str) -> str:
    return ", ".join(f"{TILE}_00_{y} (expected {name}, found {PRODUCTS[0]})" for y in ("01", "04", "45"))


def other_day(it: Any) -> list[str]:
    it["tiles"][KEY]["start_time"] = "2023-06-13 10:10:31.026"
    times = "(expected 2023-06-13 10:10:31.026000+00:00, found 2017-06-13 10:10:31.026000+00:00)"
    rows = ", ".join(f"{TILE}_00_{y} {times}" for y in ("01", "04", "45"))
    return [
        said(PROVENANCE, "start_time: not of its product's day", KEY, "2017-06-13", "2023-06-13 10:10:31.026"),
        f"{PATCHES}: sensing_time: not as provenance.json or the tile's name says: {rows}",
    ]


def lacking(it: Any) -> list[str]:
    it["tiles"][KEY]["lacks"] = 5
    return [said(PROVENANCE, "lacks: no list of layers", KEY, "a list of layers", 5)]


@pytest.mark.parametrize(
    "change",
    [no_tile, labelled, more_labelled, counts, failed, other_key, other_source, other_day, lacking],
    ids=lambda change: change.__name__,
)
def test_a_provenance_that_does_not_fit_is_named(
    folder: Path, references: References, change: Callable[[Any], list[str]]
) -> None:
    expected: list[str] = []
    change_json(folder / PROVENANCE, lambda it: expected.extend(change(it)))
    wrong = look(folder, references).wrong
    if change is no_tile:  # whose files are still listed, and which the comparison still names
        wrong = [line for line in wrong if not line.startswith((COMPARISON, "patch_hashes", "reference_map_hashes"))]
    assert wrong == expected


def test_squares_are_where_the_provenance_says(folder: Path, references: References) -> None:
    """So it can be told of products that lie elsewhere than their MGRS names say; here, 60 m to the east."""
    change_json(folder / PROVENANCE, lambda it: it["tiles"][KEY].update(left_m=it["tiles"][KEY]["left_m"] + 60))
    describe(folder)
    elsewhere = (
        "left_m: not as",
        "right_m: not as",
        "geometry: not as",
        "not on the square that the patch's name says",
    )
    wrong = look(folder, references).wrong
    files = [PATCHES, PATCHES, PATCHES, *(f"{archive}.tar.zst" for archive in HASH_LISTS)]
    for line, file, what in zip(wrong, files, [*elsewhere[:3], *[elsewhere[3]] * 3], strict=True):
        assert line.startswith(f"{file}: {what}")


def comparison_count(it: Any) -> list[str]:
    it["counts"]["split"]["train"] = 7
    return [said(COMPARISON, "counts: not those of the metadata", "split.train", 6, 7)]


def comparison_line(it: Any) -> list[str]:
    next(line for line in it["compared"] if line["what"] == "label Pastures")["ours"] = "5"
    return [said(COMPARISON, "not the number in the metadata", "label Pastures", 6, 5)]


def comparison_md5(it: Any) -> list[str]:
    line = next(line for line in it["compared"] if line["what"] == METADATA)
    good, line["ours"] = line["ours"], "0" * 32
    return [said(COMPARISON, "another md5 than the file has", METADATA, good, "0" * 32)]


def comparison_of_an_archive(it: Any) -> list[str]:
    line = next(line for line in it["compared"] if line["what"] == f"{S1}.tar.zst")
    good, line["ours"] = line["ours"], "0" * 32
    return [said(COMPARISON, "another md5 than the file has", f"{S1}.tar.zst", good, "0" * 32)]


@pytest.mark.parametrize(
    "change",
    [comparison_count, comparison_line, comparison_md5, comparison_of_an_archive],
    ids=lambda change: change.__name__,
)
def test_a_comparison_that_is_not_of_this_dataset_is_named(
    folder: Path, references: References, change: Callable[[Any], list[str]]
) -> None:
    expected: list[str] = []
    change_json(folder / COMPARISON, lambda it: expected.extend(change(it)))
    assert look(folder, references).wrong == expected


def test_a_file_that_was_changed_after_it_was_described_is_named_and_not_those_who_describe_it(
    folder: Path, references: References
) -> None:
    table = pq.read_table(folder / METADATA)
    pq.write_table(table, folder / METADATA, compression="none")
    (line,) = look(folder, references).wrong
    assert line.startswith(
        f"{METADATA}: not the file that is meant in {STAC}, {CROISSANT}, {COMPARISON}: size (expected "
    )


def test_what_zstd_and_tar_read_over_is_noticed_too(folder: Path, references: References) -> None:
    """A skippable frame, which has no content: only the hash of the whole archive tells it."""
    with (folder / f"{S1}.tar.zst").open("ab") as file:
        file.write(b"\x50\x2a\x4d\x18\x04\x00\x00\x00more")
    (line,) = look(folder, references).wrong
    assert line.startswith(f"{S1}.tar.zst: not the file that is meant in {STAC}, {CROISSANT}, {COMPARISON}: size (")


@pytest.mark.parametrize(
    ("file", "written", "instead", "wrong"),
    [
        (README, "# A", "# The", f"another title than in {STAC}: title (expected {TITLE}, found The small dataset)"),
        (README, "There are 6 ", "There are 7 ", f"{NOT_FOLLOWING}: line 4"),
        (LICENSE, "Permissive-1.0", "Permissive-2.0", f"{NOT_FOLLOWING}: line 1"),
        (LICENSE, "\n", "\r\n", f"{NOT_FOLLOWING}: its line ends"),
    ],
)
def test_a_readme_or_licence_that_is_not_of_this_dataset_is_named(
    folder: Path, references: References, file: str, written: str, instead: str, wrong: str
) -> None:
    path = folder / file
    text = path.read_bytes().decode()
    assert written in text
    path.write_bytes(text.replace(written, instead).encode())
    assert look(folder, references).wrong == [f"{file}: {wrong}"]


def test_a_tile_far_from_all_countries_is_a_finding_and_no_error(folder: Path, references: References) -> None:
    change_json(folder / PROVENANCE, lambda it: it["tiles"][KEY].update(top_m=0))
    wrong = look(folder, references).wrong
    assert any(f"{METADATA}: tile: far from all of the ten countries: {TILE} (" in line for line in wrong)
