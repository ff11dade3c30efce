"""Compare a dataset with the published run of BigEarthNet v2.

Each line of the comparison is *equal*, *different* (with the difference) or *not comparable* (with the reason).
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
    """One comparison: its state, our value, the published value, and a note."""

    what: str
    state: str
    ours: str
    published: str
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Figures of the published run: sha256 of lists, md5 of files, counts; patches per split in `metadata.parquet`.

    `country` and `label` count the patches of both metadata files in train, validation and test.
    """

    sha256: Mapping[str, str]
    md5: Mapping[str, str]
    counts: Mapping[str, int]
    split: Mapping[str, int]
    country: Mapping[str, Sequence[int]]
    label: Mapping[str, Sequence[int]]


def read_published(path: Path) -> Published:
    """Read `tracked_artifacts/published.toml`. Raise BadInput if it is malformed."""
    try:
        return Published(**read_toml(path))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            path, expected="the figures of the published run", found=str(error), remedy="restore it from this project"
        ) from error


def compare(what: str, ours: str, published: str, *, reason: str = "", note: str = "") -> Line:
    """Compare two values; `reason` says why a difference has no meaning."""
    if not ours or not published:
        return Line(what, NOT_COMPARABLE, ours, published, reason or "there is no such value")
    if ours == published:
        return Line(what, EQUAL, ours, published, note)
    if reason:
        return Line(what, NOT_COMPARABLE, ours, published, reason)
    return Line(what, DIFFERENT, ours, published, note or "other content; [inputs] compare_with_dir can tell which")


def compare_rows(what: str, difference: str) -> Line:
    """Return the line of a row-by-row comparison with another run; an empty `difference` means equal."""
    return Line(what, DIFFERENT if difference else EQUAL, "", "", difference)


def changed_rows(ours: Mapping[str, str], published: Mapping[str, str]) -> str:
    """Describe the keys of `ours` that are new, missing or have another value; return an empty text if none are."""
    new = sorted(set(ours) - set(published))
    missing = sorted(set(published) - set(ours))
    other = sorted(key for key in set(ours) & set(published) if ours[key] != published[key])
    found = (("other value", other), ("missing", missing), ("new", new))
    return "; ".join(f"{word}: {some(keys)}" for word, keys in found if keys)


def compare_counts(unflagged: pa.Table, flagged: pa.Table, figures: Published, reason: str) -> Iterator[Line]:
    """Compare the contents of both metadata files: rows, flags, tiles; patches per split, country and label."""
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
    """Count the patches per split, country and label in metadata rows, as far as there are such columns."""

    def count(values: pa.ChunkedArray) -> dict[str, int]:
        entries = pc.value_counts(values).to_pylist()
        return dict(sorted((entry["values"], entry["counts"]) for entry in entries if entry["values"] is not None))

    return {
        **{name: count(rows[name]) for name in ("split", "country") if name in rows.column_names},
        "label": count(pc.list_flatten(rows["labels"])),
    }


def write(path: Path, lines: Iterable[Line], **facts: object) -> None:
    """Write `comparison.json` atomically: the lines under `compared`, and `facts` beside them."""
    content = {"compared": [asdict(line) for line in lines], **facts}
    files.write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def table(lines: Sequence[Mapping[str, str]]) -> str:
    """Return the lines as text, differences first, long values shortened.

    Where nothing is comparable for one common reason, the text is that reason only.
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
