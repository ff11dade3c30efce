from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.dataset import comparison
from ben_luigi.domain.dataset.comparison import DIFFERENT, EQUAL, NOT_COMPARABLE
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA, SCHEMA
from ben_luigi.domain.errors import BadInput


@pytest.mark.parametrize(
    ("ours", "published", "reason", "state"),
    [
        ("a", "a", "", EQUAL),
        ("a", "a", "another writer", EQUAL),
        ("a", "b", "", DIFFERENT),
        ("a", "b", "another writer", NOT_COMPARABLE),
        ("", "b", "", NOT_COMPARABLE),
        ("a", "", "no list", NOT_COMPARABLE),
    ],
)
def test_a_line_says_what_there_is_to_say(ours: str, published: str, reason: str, state: str) -> None:
    line = comparison.compare("x", ours, published, reason=reason)
    assert line.state == state
    assert line.note or state != NOT_COMPARABLE


def test_changed_rows_are_named() -> None:
    said = comparison.changed_rows({"same": "1", "other": "2", "new": "3"}, {"same": "1", "other": "4", "gone": "5"})
    assert said == "other value: other; missing: gone; new: new"
    assert comparison.changed_rows({"a": "1"}, {"a": "1"}) == ""


def test_patches_are_counted_by_split_country_and_label() -> None:
    rows = pa.table(
        {
            "split": ["train", "test", "train"],
            "country": ["Austria", "Austria", "Serbia"],
            "labels": [["Pastures"], ["Pastures", "Mixed forest"], ["Arable land"]],
        }
    )
    assert comparison.counted(rows) == {
        "split": {"test": 1, "train": 2},
        "country": {"Austria": 2, "Serbia": 1},
        "label": {"Arable land": 1, "Mixed forest": 1, "Pastures": 2},
    }


def rows(*patches: tuple[str, str, bool]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "patch_id": f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_{number:02d}",
                "labels": ["Pastures"],
                "split": split,
                "country": country,
                "s1_name": "s1",
                "s2v1_name": "v1",
                "contains_seasonal_snow": snow,
                "contains_cloud_or_shadow": False,
            }
            for number, (split, country, snow) in enumerate(patches)
        ],
        schema=SCHEMA,
    )


def test_counts_are_compared_where_there_is_a_figure() -> None:
    figures = comparison.Published(
        sha256={},
        md5={},
        counts={"patches": 3, METADATA: 2, FLAGGED: 1, FLAGS[0]: 1, FLAGS[1]: 4, "tiles": 1},
        split={"train": 1, "test": 1, "validation": 7},
        country={"Austria": [1, 0, 1], "Finland": [1, 2, 3]},
        label={},
    )
    unflagged = rows(("train", "Austria", False), ("train", "Serbia", False))
    lines = comparison.compare_counts(unflagged, rows(("test", "Austria", True)), figures, "")
    found = {line.what: (line.state, line.ours, line.note) for line in lines}
    assert found == {
        "patches": (EQUAL, "3", ""),
        f"rows of {METADATA}": (EQUAL, "2", ""),
        f"rows of {FLAGGED}": (EQUAL, "1", ""),
        FLAGS[0]: (EQUAL, "1", ""),
        FLAGS[1]: (DIFFERENT, "0", "4 fewer"),
        "tiles": (EQUAL, "1", ""),
        f"test in {METADATA}": (DIFFERENT, "0", "1 fewer"),
        f"train in {METADATA}": (DIFFERENT, "2", "1 more"),
        f"validation in {METADATA}": (DIFFERENT, "0", "7 fewer"),
        "country Austria": (EQUAL, "2", ""),
        "country Finland": (DIFFERENT, "0", "6 fewer"),
        "country Serbia": (NOT_COMPARABLE, "1", "no published figure is known"),
        "label Pastures": (NOT_COMPARABLE, "3", "no published figure is known"),
    }
    lines = comparison.compare_counts(unflagged, unflagged, figures, "only 2 tiles")
    assert {line.note for line in lines if line.state == NOT_COMPARABLE} == {"only 2 tiles"}


def test_the_published_figures_fit_each_other() -> None:
    figures = comparison.read_published(TRACKED_ARTIFACTS / "published.toml")
    counts = figures.counts
    assert sum(figures.split.values()) == counts[METADATA] == counts["patches"] - counts[FLAGGED]
    assert counts[FLAGGED] == sum(counts[flag] for flag in FLAGS)


def test_the_published_rows_are_counted(published: Path) -> None:
    """Beside the figures of the whole, those of three zones are fewer; counted once more by pandas."""
    figures = comparison.read_published(TRACKED_ARTIFACTS / "published.toml")
    paths = (published / f"{Path(name).stem}_zones_31_32_33.parquet" for name in (METADATA, FLAGGED))
    tables = [pq.read_table(path) for path in paths]
    lines = {line.what: line for line in comparison.compare_counts(tables[0], tables[1], figures, "")}
    unflagged, flagged = (table.to_pandas() for table in tables)
    for split, count in unflagged["split"].value_counts().items():
        assert lines[f"{split} in {METADATA}"].ours == f"{count:,}"
        assert lines[f"{split} in {METADATA}"].state == DIFFERENT
    assert (
        lines["label Pastures"].ours == f"{sum('Pastures' in x for f in (unflagged, flagged) for x in f['labels']):,}"
    )
    assert sum(what.startswith("label ") for what in lines) <= 19


def test_a_comparison_is_json_and_a_table(tmp_path: Path) -> None:
    lines = [comparison.compare("ids", "a", "a"), comparison.compare("hashes", "a" * 64, "b", note="other value: x")]
    comparison.write(tmp_path / "c.json", lines, world="real")
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["world"] == "real"
    assert [line["state"] for line in content["compared"]] == [EQUAL, DIFFERENT]
    said = [line.split() for line in comparison.table(content["compared"]).splitlines()]
    assert said == [
        ["ours", "published"],
        ["different", "(other", "value:", "x):", "1"],
        ["hashes", "aaaaaaaaaaa...", "b"],
        ["equal:", "1"],
        ["ids", "a", "a"],
    ]


def test_where_nothing_is_comparable_only_the_reason_is_said() -> None:
    lines = [comparison.compare(what, "a", "b", reason="made of 1 of 125 products") for what in ("ids", "hashes")]
    assert comparison.table([vars(line) for line in lines]).split() == f"{NOT_COMPARABLE}: {lines[0].note}".split()


def test_figures_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[sha256]\n")
    with pytest.raises(BadInput):
        comparison.read_published(tmp_path / "p.toml")
