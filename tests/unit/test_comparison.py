from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain import comparison
from ben_luigi.domain.comparison import DIFFERENT, EQUAL, NOT_COMPARABLE
from ben_luigi.domain.errors import BadArchive, BadInput


@pytest.mark.parametrize(
    ("ours", "published", "excuse", "state"),
    [
        ("a", "a", "", EQUAL),
        ("a", "a", "another writer", EQUAL),
        ("a", "b", "", DIFFERENT),
        ("a", "b", "another writer", NOT_COMPARABLE),
        ("", "b", "", NOT_COMPARABLE),
        ("a", "", "no list", NOT_COMPARABLE),
    ],
)
def test_a_line_says_what_there_is_to_say(ours: str, published: str, excuse: str, state: str) -> None:
    line = comparison.compare("x", ours, published, excuse=excuse)
    assert line.state == state
    assert line.note or state != NOT_COMPARABLE


def test_changed_rows_are_named() -> None:
    said = comparison.changed_rows({"same": "1", "other": "2", "new": "3"}, {"same": "1", "other": "4", "gone": "5"})
    assert said == "other value: other; missing: gone; new: new"
    assert comparison.changed_rows({"a": "1"}, {"a": "1"}) == ""


def test_a_hash_list_is_a_sorted_csv_and_its_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    rows = [("a_B01", "1"), ("a_B02", "2"), ("z", "3")]
    assert comparison.hash_list(rows, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_text() == "name,hash-sha256\na_B01,1\na_B02,2\nz,3\n"
    with pytest.raises(BadArchive, match="a_B01 after a_B02"):
        comparison.hash_list([rows[1], rows[0]], tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


def test_the_published_list_of_l1c_hashes_has_the_published_form(published: Path, tmp_path: Path) -> None:
    text = (published / "ben_s2_l1c_hashes.csv").read_text()
    rows = [tuple(line.split(",")) for line in text.splitlines()[1:]]
    assert (
        comparison.hash_list(((name, sha) for name, sha in rows), tmp_path / "l.csv")
        == (comparison.read_published(TRACKED_ARTIFACTS / "published.toml").sha256["l1c_hashes"])
    )


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


def test_a_comparison_is_json_and_a_table(tmp_path: Path) -> None:
    lines = [comparison.compare("ids", "a", "a"), comparison.compare("hashes", "a", "b", note="other value: x")]
    comparison.write(tmp_path / "c.json", lines, world="real")
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["world"] == "real"
    assert [line["state"] for line in content["compared"]] == [EQUAL, DIFFERENT]
    assert comparison.table(content["compared"]) == "  equal: ids\n  different (other value: x): hashes"


def test_figures_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[sha256]\n")
    with pytest.raises(BadInput):
        comparison.read_published(tmp_path / "p.toml")
