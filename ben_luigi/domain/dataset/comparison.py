"""What was made, held against the published run of BigEarthNet v2.

Each line of the comparison is *equal*, *different* (and how) or *not comparable* (and why).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import files
from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.names import PatchId

COMPARISON = "comparison.json"
EQUAL, DIFFERENT, NOT_COMPARABLE = "equal", "different", "not comparable"


@dataclass(frozen=True)
class Line:
    """One thing compared: its state, our value, the published one, and what there is to say of it."""

    what: str
    state: str
    ours: str
    published: str
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Figures of the published run: sha256 of lists, md5 of files, counts; patches by split of `metadata.parquet`.

    `country` and `label` count the patches of both metadata files in train, validation and test.
    """

    sha256: Mapping[str, str]
    md5: Mapping[str, str]
    counts: Mapping[str, int]
    split: Mapping[str, int]
    country: Mapping[str, Sequence[int]]
    label: Mapping[str, Sequence[int]]


def read_published(path: Path) -> Published:
    """Read `tracked_artifacts/published.toml`."""
    try:
        return Published(**read_toml(path))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            path, expected="the figures of the published run", found=str(error), remedy="restore it from this project"
        ) from error


def compare(what: str, ours: str, published: str, *, reason: str = "", note: str = "") -> Line:
    """Compare two values; `reason` says why a difference means nothing."""
    if not ours or not published:
        return Line(what, NOT_COMPARABLE, ours, published, reason or "there is no such value")
    if ours == published:
        return Line(what, EQUAL, ours, published, note)
    if reason:
        return Line(what, NOT_COMPARABLE, ours, published, reason)
    return Line(what, DIFFERENT, ours, published, note or "other content; [inputs] compare_with_dir can tell which")


def compare_rows(what: str, difference: str) -> Line:
    """What was held against another run's row by row, and in what it differs, if it does."""
    return Line(what, DIFFERENT if difference else EQUAL, "", "", difference)


def changed_rows(ours: Mapping[str, str], published: Mapping[str, str]) -> str:
    """In words, which keys of two mappings are new, missing or have another value; empty if none."""
    new = sorted(set(ours) - set(published))
    missing = sorted(set(published) - set(ours))
    other = sorted(key for key in set(ours) & set(published) if ours[key] != published[key])
    found = (("other value", other), ("missing", missing), ("new", new))
    return "; ".join(f"{word}: {some(keys)}" for word, keys in found if keys)


def compare_counts(unflagged: pa.Table, flagged: pa.Table, figures: Published, reason: str) -> Iterator[Line]:
    """Compare what both metadata files hold: rows, flags, tiles; patches by split, country and label."""
    both = pa.concat_tables([unflagged, flagged])
    ours = {
        "patches": len(both),
        METADATA: len(unflagged),
        FLAGGED: len(flagged),
        **{flag: pc.sum(both[flag]).as_py() or 0 for flag in FLAGS},
        "tiles": len({PatchId.parse(patch).tile_name for patch in both["patch_id"].to_pylist()}),
    }
    for what, count in ours.items():
        name = f"rows of {what}" if what.endswith(".parquet") else what
        yield _compare_count(name, count, figures.counts[what], reason)
    by_split = counted(unflagged)["split"]
    for split in sorted(by_split.keys() | figures.split):
        yield _compare_count(f"{split} in {METADATA}", by_split.get(split, 0), figures.split.get(split, 0), reason)
    for kind, published in (("country", figures.country), ("label", figures.label)):
        found = counted(both)[kind]
        for name in sorted(found.keys() | published):
            count = sum(published[name]) if name in published else None
            yield _compare_count(f"{kind} {name}", found.get(name, 0), count, reason)


def _compare_count(what: str, ours: int, published: int | None, reason: str) -> Line:
    if published is None:
        return compare(what, f"{ours:,}", "", reason=reason or "no published figure is known")
    note = f"{abs(ours - published):,} {'more' if ours > published else 'fewer'}"
    return compare(what, f"{ours:,}", f"{published:,}", reason=reason, note="" if ours == published else note)


def counted(rows: pa.Table) -> dict[str, dict[str, int]]:
    """Patches by split, country and label of metadata rows."""

    def count(values: pa.ChunkedArray) -> dict[str, int]:
        entries = pc.value_counts(values).to_pylist()
        return dict(sorted((entry["values"], entry["counts"]) for entry in entries))

    return {
        "split": count(rows["split"]),
        "country": count(rows["country"]),
        "label": count(pc.list_flatten(rows["labels"])),
    }


def write(path: Path, lines: Iterable[Line], **facts: object) -> None:
    """Publish `comparison.json`: the lines under `compared`, and `facts` beside them."""
    content = {"compared": [asdict(line) for line in lines], **facts}
    files.write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def table(lines: Sequence[Mapping[str, str]]) -> str:
    """The lines as text for people: what is different first; of long values the beginning.

    Where nothing is comparable, for one reason, only the reason is said.
    """
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for line in sorted(lines, key=lambda line: (DIFFERENT, EQUAL, NOT_COMPARABLE).index(line["state"])):
        groups.setdefault((line["state"], line["note"]), []).append(line)
    if len(groups) == 1 and lines[0]["state"] == NOT_COMPARABLE:
        return f"  {NOT_COMPARABLE}: {lines[0]['note']}"
    text = []
    for (state, note), group in groups.items():
        text.append(f"  {state}{f' ({note})' if note else ''}: {len(group)}")
        text += [f"    {_row(line['what'], line['ours'], line['published'])}" for line in group]
    return "\n".join([f"    {_row('', 'ours', 'published')}", *text])


def _row(what: str, ours: str, published: str) -> str:
    return f"{_cut(what, 62):<62} {_cut(ours, 14):>14} {_cut(published, 14):>14}".rstrip()


def _cut(value: str, most: int) -> str:
    return value if len(value) <= most else f"{value[: most - 3]}..."
