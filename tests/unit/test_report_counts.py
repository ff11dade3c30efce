"""The counts of the report, held against naive ones, and against the published metadata."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi import config
from ben_luigi.domain.dataset.comparison import read_published
from ben_luigi.domain.placement.country import COUNTRIES
from ben_luigi.domain.placement.grid import SPLITS
from ben_luigi.domain.report.report_counts import Counts, examples
from tests.unit.report_sources import NOMENCLATURE

PUBLISHED = read_published(config.TRACKED_ARTIFACTS / "published.toml")
CLASSES = NOMENCLATURE.classes
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "labels": st.lists(st.sampled_from(CLASSES), unique=True, max_size=5).map(sorted),
            "split": st.sampled_from(SPLITS),
            "country": st.sampled_from(COUNTRIES),
        }
    ),
    max_size=25,
)
SCHEMA = pa.schema([("labels", pa.list_(pa.string())), ("split", pa.string()), ("country", pa.string())])


@given(ROWS)
def test_all_tables_are_those_of_a_naive_count(rows: list[dict[str, object]]) -> None:
    counts = Counts.of(pa.Table.from_pylist(rows, schema=SCHEMA), CLASSES)
    naive: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        labels = list(row["labels"])  # type: ignore[call-overload]
        naive.update([("split", row["split"]), ("country", row["country"], row["split"])])
        naive.update(("label", label, row["split"]) for label in labels)
        naive.update(("by country", label, row["country"]) for label in labels)
        naive.update(("together", *pair) for pair in product(labels, labels))
    assert counts.by_split.tolist() == [naive["split", name] for name in SPLITS]
    for table, kind, names, others in (
        (counts.country_by_split, "country", COUNTRIES, SPLITS),
        (counts.label_by_split, "label", CLASSES, SPLITS),
        (counts.label_by_country, "by country", CLASSES, COUNTRIES),
        (counts.co_occurrence, "together", CLASSES, CLASSES),
    ):
        assert table.tolist() == [[naive[kind, name, other] for other in others] for name in names]


@given(st.integers(0, 40), st.integers(0, 12), st.integers(0, 5))
def test_examples_show_every_class_that_they_can(rows: int, most: int, seed: int) -> None:
    labels = np.random.default_rng(seed).random((rows, 9)) < 0.2
    chosen = examples(labels, most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, rows)
    shown = labels[chosen].any(axis=0)
    if most >= 9:  # each of them shows one more class at least
        assert (shown == labels.any(axis=0)).all()
    assert examples(labels, most) == chosen


def test_published_figures_add_up() -> None:
    assert set(PUBLISHED.country) == set(COUNTRIES)
    assert set(PUBLISHED.label) == set(CLASSES)
    assert sum(map(sum, PUBLISHED.country.values())) == PUBLISHED.counts["patches"]
    files = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
    assert sum(PUBLISHED.counts[name] for name in files) == PUBLISHED.counts["patches"]
    by_split = np.array(list(PUBLISHED.country.values())).sum(axis=0)
    assert (np.array(list(PUBLISHED.label.values())) <= by_split).all()


def test_published_figures_are_those_of_the_published_rows(published: Path) -> None:
    """Of the four countries that lie wholly in the zones at hand; and no class has fewer patches than there."""
    tables = [pq.read_table(path) for path in sorted(published.glob("metadata*.parquet"))]
    counts = Counts.of(pa.concat_tables(tables), CLASSES)
    for name in ("Austria", "Belgium", "Luxembourg", "Switzerland"):
        assert counts.country_by_split[COUNTRIES.index(name)].tolist() == list(PUBLISHED.country[name])
    assert (counts.label_by_split <= np.array([PUBLISHED.label[name] for name in CLASSES])).all()
