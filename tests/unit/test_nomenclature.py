from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.tiles.nomenclature import Nomenclature, read_nomenclature

SHIPPED = read_nomenclature(TRACKED_ARTIFACTS / "nomenclature.toml")
CODES = sorted(SHIPPED.clc)
PIXELS = 14_400

TEXT = """
[[class]]
name = "Towns"
codes = [111, 112]
[[class]]
name = "Water"
codes = [511]
[clc]
111 = "Continuous urban fabric"
112 = "Discontinuous urban fabric"
511 = "Water courses"
523 = "Sea and ocean"
"""


def _counts(patches: dict[str, dict[int, int]]) -> pd.DataFrame:
    rows = [(patch, code, pixels) for patch, counts in patches.items() for code, pixels in counts.items()]
    return pd.DataFrame(rows, columns=["patch_id", "code", "pixels"])


def _pairs(labels: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(labels["patch_id"], labels["label"], strict=True))


def test_the_shipped_nomenclature_has_19_classes_of_44_codes() -> None:
    assert len(SHIPPED.classes) == 19
    assert len(SHIPPED.clc) == 44
    assert SHIPPED.classes[0] == "Urban fabric"
    assert SHIPPED.classes[-1] == "Marine waters"
    without = sorted(set(SHIPPED.clc) - set(SHIPPED.class_of))
    assert without == [122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423]


def test_the_published_labels_are_classes_of_the_shipped_nomenclature(published: Path) -> None:
    labels = set()
    for path in published.glob("metadata*.parquet"):
        for listed in pd.read_parquet(path, columns=["labels"])["labels"]:
            labels.update(listed)
            assert list(listed) == sorted(listed)
    assert labels <= set(SHIPPED.classes)
    assert len(labels) >= 15


@given(
    st.dictionaries(
        st.sampled_from(["A_00_00", "B_01_07", "C_90_90"]),
        st.dictionaries(st.sampled_from([*CODES, 999]), st.integers(1, 3000), min_size=1, max_size=6),
    ),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)
def test_labels_are_the_distinct_classes_of_patches_with_little_else(
    patches: dict[str, dict[int, int]], limit: float
) -> None:
    """A second formulation, patch by patch."""
    expected = []
    for patch, counts in sorted(patches.items()):
        without = sum(pixels for code, pixels in counts.items() if code not in SHIPPED.class_of)
        if without < limit * sum(counts.values()):
            expected += [
                (patch, label) for label in sorted({SHIPPED.class_of[c] for c in counts if c in SHIPPED.class_of})
            ]
    assert _pairs(SHIPPED.labels(_counts(patches), limit)) == expected


@pytest.mark.parametrize(("without", "kept"), [(3599, True), (3600, False), (3601, False)])
@pytest.mark.parametrize("code", [999, 122])
def test_a_quarter_without_a_class_is_too_much(without: int, kept: bool, code: int) -> None:
    labels = SHIPPED.labels(_counts({"A": {code: without, 311: PIXELS - without}}))
    assert _pairs(labels) == ([("A", "Broad-leaved forest")] if kept else [])


def test_a_map_has_the_labels_of_its_counts() -> None:
    codes = np.full((120, 120), 512, "uint16")
    codes[:20], codes[20] = 999, 111
    assert SHIPPED.labels_of(codes) == ["Inland waters", "Urban fabric"]
    codes[:30] = 999
    assert SHIPPED.labels_of(codes) == []


def test_the_same_counts_give_clc_s_own_classes() -> None:
    """The 12 codes without one of the 19 classes included, whatever part of the patch they are; never 999."""
    counts = _counts({"B": {112: 1, 111: 5, 122: 14_394}, "A": {999: 14_399, 523: 1}})
    assert _pairs(SHIPPED.clc_labels(counts)) == [
        ("A", "Sea and ocean"),
        ("B", "Continuous urban fabric"),
        ("B", "Discontinuous urban fabric"),
        ("B", "Road and rail networks and associated land"),
    ]


def test_another_nomenclature_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    mine = read_nomenclature(path)
    assert mine.classes == ("Towns", "Water")
    assert _pairs(mine.labels(_counts({"A": {111: 5000, 511: 7000, 523: 2400}}))) == [("A", "Towns"), ("A", "Water")]


@pytest.mark.parametrize("label", [Nomenclature.labels, Nomenclature.clc_labels])
def test_codes_that_clc_does_not_have_are_named(label: object) -> None:
    assert callable(label)
    with pytest.raises(BadInput, match="found: 113, 600"):
        label(SHIPPED, _counts({"A": {600: 1, 113: 2, 111: 3}}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (TEXT.replace("[511]", "[511, 112]"), r"twice: \[112\]"),
        (TEXT.replace("[511]", "[512]"), r"not in \[clc\]: \[512\]"),
        (TEXT.replace("codes = [511]", ""), "codes"),
        (TEXT.replace("[511]", '"511"'), "codes = '511', which is no list of codes"),
        (TEXT.replace("[511]", "[511.9]"), "511.9, which is no whole number"),
        (TEXT.replace("[511]", "[true]"), "True, which is no whole number"),
        (TEXT.replace("[511]", '["511"]'), "'511', which is no whole number"),
        (f"{TEXT}0511 = 'Brooks'", r"'0511' in \[clc\], which is no code"),
        (f"{TEXT}5_11 = 'Brooks'", r"'5_11' in \[clc\], which is no code"),
        (f"{TEXT}\"٥١٢\" = 'Brooks'", r"in \[clc\], which is no code"),
        (f"{TEXT}[colour]\n+511 = [0, 0, 0]", "TOML"),
        (f"{TEXT}[colour]\n0511 = [0, 0, 0]", r"'0511' in \[colour\], which is no code"),
        (f"{TEXT}[colour]\n511 = [0, 0, 0.5]", "0.5, which is no whole number"),
        (f"nothing = 999.5{TEXT}", "999.5, which is no whole number"),
        (
            TEXT.replace("codes = [511]", "codes = [511]\ncolor = 1\nindex = 2"),
            r"of \[\[class\]\]: \['color', 'index'\]",
        ),
        ("[[class]", "TOML"),
    ],
)
def test_a_nomenclature_that_is_none_is_refused(tmp_path: Path, changed: str, words: str) -> None:
    path = tmp_path / f"{abs(hash(changed))}.toml"
    path.write_text(changed)
    with pytest.raises(BadInput, match=words):
        read_nomenclature(path)


def test_the_shipped_file_names_no_code_twice() -> None:
    """By text: every code is once among the classes, once in [clc]."""
    text = (TRACKED_ARTIFACTS / "nomenclature.toml").read_text()
    classes, clc = text.split("[clc]")
    listed = [int(code) for line in re.findall(r"codes = \[(.*)\]", classes) for code in line.split(",")]
    assert len(listed) == len(set(listed)) == 32
    assert len(re.findall(r"^\d{3} = ", clc, re.MULTILINE)) == 44


def test_a_nomenclature_without_classes_says_so_in_words(tmp_path: Path) -> None:
    path = tmp_path / "n.toml"
    path.write_text('[codes]\n80 = "Water"\n')
    with pytest.raises(BadInput, match="found: no class;"):
        read_nomenclature(path)
    path.write_text('[[class]]\nname = "Water"\n[codes]\n80 = "Water"\n')
    with pytest.raises(BadInput, match="found: no codes;"):
        read_nomenclature(path)
