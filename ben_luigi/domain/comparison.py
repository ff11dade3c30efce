"""What was made, held against the published run of BigEarthNet v2.

Each line of the comparison is *equal*, *different* (and how) or *not comparable* (and why).
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadArchive, BadInput, some

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
    """Figures of the published run: sha256 of lists, md5 of files, counts.

    `country` and `label` count the patches of both metadata files in train, validation and test.
    """

    sha256: Mapping[str, str]
    md5: Mapping[str, str]
    counts: Mapping[str, int]
    country: Mapping[str, Sequence[int]]
    label: Mapping[str, Sequence[int]]


def read_published(path: Path) -> Published:
    """Read `tracked_artifacts/published.toml`."""
    try:
        return Published(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(path, expected="the figures of the published run", found=str(error)) from error


def compare(what: str, ours: str, published: str, *, excuse: str = "", note: str = "") -> Line:
    """Compare two values; `excuse` says why a difference means nothing."""
    if not ours or not published:
        return Line(what, NOT_COMPARABLE, ours, published, excuse or "there is no such value")
    if ours == published:
        return Line(what, EQUAL, ours, published, note)
    return Line(what, NOT_COMPARABLE if excuse else DIFFERENT, ours, published, excuse or note)


def changed_rows(ours: Mapping[str, str], published: Mapping[str, str]) -> str:
    """In words, which keys of two mappings are new, missing or have another value; empty if none."""
    new = sorted(set(ours) - set(published))
    missing = sorted(set(published) - set(ours))
    other = sorted(key for key in set(ours) & set(published) if ours[key] != published[key])
    found = (("other value", other), ("missing", missing), ("new", new))
    return "; ".join(f"{word}: {some(keys)}" for word, keys in found if keys)


def hash_list(rows: Iterable[tuple[str, str]], path: Path) -> str:
    """Publish `name,hash-sha256` from file stems, ascending, and sha256; gives the sha256 of the list."""
    digest = hashlib.sha256()
    last = ""
    with files.published(path) as work, work.open("wb") as file:
        for name, sha256 in chain([("name", "hash-sha256")], rows):
            if last != "name" and not last < name:
                raise BadArchive("hash list", expected="names in ascending order", found=f"{name} after {last}")
            line = f"{name},{sha256}\n".encode()
            file.write(line)
            digest.update(line)
            last = name
    return digest.hexdigest()


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


def table(lines: Iterable[Mapping[str, str]]) -> str:
    """The lines as text for people."""
    rows: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        rows.setdefault((line["state"], line["note"]), []).append(line["what"])
    return "\n".join(
        f"  {state}{f' ({note})' if note else ''}: {', '.join(whats)}" for (state, note), whats in rows.items()
    )
