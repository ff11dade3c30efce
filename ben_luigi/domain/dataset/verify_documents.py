"""Verify that STAC, Croissant, `comparison.json`, README and LICENSE describe this dataset as they should.

STAC and Croissant follow from the files and `patches.parquet`, except for title and description; so they are made again
and compared. The lengths and hashes of files that they state are claims, which are checked together.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain.dataset import croissant, readme, stac
from ben_luigi.domain.dataset.comparison import COMPARISON
from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import FLAGGED, FLAGS, METADATA
from ben_luigi.domain.dataset.verify_claims import SIZE, Claims
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_json import Json, differences, entry, read_json
from ben_luigi.domain.dataset.verify_patches import SAME_DEGREES
from ben_luigi.domain.dataset.verify_provenance import Provenance
from ben_luigi.domain.dataset.verify_rows import Rows, tile_named
from ben_luigi.domain.formats.tables import read_own

STAC = f"stac/{stac.COLLECTION}"
_SHA256 = "1220"
"""Code and length of sha256, the first two bytes of its multihash."""

Facts = dict[str, tuple[int, str]]
"""Length in bytes and sha256 of files, by name."""


def check_stac(
    folder: Path,
    listed: Mapping[tuple[str, ...], Claims],
    findings: Findings,
    form: Form = FORM_V2,
    *,
    has_report: bool,
    is_complete: bool,
    keys: Mapping[str, str] | None = None,
) -> Json | None:
    """Add findings about `stac/`, and its collection's claims about the files `listed`; return the collection.

    `is_complete` says whether all rows of the metadata can be used; only then each of `patches.parquet` was checked.
    `keys` are those of the tiles, by tile name, as far as the provenance states them.
    """
    collection = read_json(folder, STAC, findings)
    if collection is None:
        return None
    facts: Facts = {}
    for name, claims in ((name, claims) for names, claims in listed.items() for name in names):
        asset = entry(collection, "assets", name)
        facts[name] = entry(asset, "file:size"), str(entry(asset, "file:checksum"))[len(_SHA256) :]
        if asset is not None:
            claims.add(name, STAC, {SIZE: facts[name][0], "sha256": facts[name][1]})
    if findings.has(PATCHES) or not (folder / PATCHES).is_file():
        findings.skip(f"stac/: whether it follows from {PATCHES}, which cannot be used as it is")
        return collection
    if not is_complete:
        findings.skip(f"stac/: whether it follows from {PATCHES}: there are rows that are missing or cannot be used")
        return collection
    patches = read_own(folder / PATCHES, stac.columns(form))
    if not len(patches):
        return collection
    title, description = (str(collection.get(name)) for name in ("title", "description"))
    documents = stac.describe(patches, facts, title, description, form, has_report=has_report, keys=keys)
    there = {path.relative_to(folder / "stac").as_posix() for path in (folder / "stac").rglob("*") if path.is_file()}
    findings.add_all("stac", "surplus", sorted(there - documents.keys()))
    findings.add_all("stac", "missing", sorted(documents.keys() - there))
    for name in sorted(documents.keys() & there):
        _compare(folder, f"stac/{name}", documents[name], stac.text, findings)
    return collection


def check_croissant(
    folder: Path,
    described: Sequence[str],
    collection: Json | None,
    claims: Claims,
    findings: Findings,
    form: Form = FORM_V2,
) -> None:
    """Add findings about `croissant.json`, and its claims about files; title and description must be those of STAC."""
    document = read_json(folder, CROISSANT, findings)
    if document is None:
        return
    entries = document.get("distribution")
    by_id = {str(entry(part, "@id")): part for part in entries} if isinstance(entries, list) else {}
    facts: Facts = {}
    for name in described:
        size = str(entry(by_id.get(name), "contentSize")).removesuffix(" B")
        facts[name] = int(size) if re.fullmatch(r"[0-9]{1,18}", size) else -1, str(entry(by_id.get(name), "sha256"))
        if name in by_id:
            claims.add(name, CROISSANT, {SIZE: facts[name][0], "sha256": facts[name][1]})
    texts = {"title": document.get("alternateName"), "description": document.get("description")}
    for name, text in texts.items():
        if collection is not None and text != collection.get(name):
            findings.differ(CROISSANT, f"another {name} than in {STAC}", name, collection.get(name), text)
    title, description = map(str, texts.values())
    expected = croissant.describe(facts, title, description, form)
    _compare(folder, CROISSANT, expected, croissant.text, findings)


def _compare(folder: Path, file: str, expected: Json, text: Callable[[Json], str], findings: Findings) -> None:
    """Compare a document with the expected one, value by value, and finally byte by byte."""
    found = read_json(folder, file, findings)
    if found is None:
        return
    expected = json.loads(text(expected))
    wrong = list(differences(expected, found, SAME_DEGREES))
    for at, mine, other in wrong:
        findings.differ(file, "not what follows from the files", at, mine, other)
    if (
        not wrong
        and found == expected
        and (folder / file).read_bytes() != text(expected).encode(errors="surrogatepass")
    ):
        findings.add(file, "other white space, or another order, than it is written with")


def check_readme(
    folder: Path,
    rows: Rows,
    collection: Json | None,
    has_report: bool,
    findings: Findings,
    form: Form = FORM_V2,
    missing: Mapping[str, Mapping[str, str]] | None = None,
    lacking: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add findings about `README.md`: its title must be that of STAC, its counts those of the metadata.

    `missing` are the tiles that it must list as left out, with product and finding; `lacking` the layers that products
    of tiles lack.
    """
    try:
        found = (folder / readme.README).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        findings.add(readme.README, f"cannot be read ({error})")
        return
    title = readme.title_of(found)
    if collection is not None and title != collection.get("title"):
        findings.differ(readme.README, f"another title than in {STAC}", "title", collection.get("title"), title)
    if not rows.complete:
        findings.skip(f"{readme.README}: its counts, since there are rows that are missing or cannot be used")
        return
    if form.about.is_v2:
        expected = readme.describe(title, len(rows), int(rows.flagged.sum()), form, has_report=has_report)
    else:
        expected = readme.describe_own(title, len(rows), form, _years(rows), has_report=has_report)
    _compare_text(
        folder, readme.README, readme.with_missing(expected[readme.README], missing or {}, lacking or {}), findings
    )


def title_in(folder: Path, collection: Json | None) -> str:
    """Return the title of a dataset as STAC says it, else as README does; empty if neither is there."""
    if title := str((collection or {}).get("title", "")):
        return title
    try:
        return readme.title_of((folder / readme.README).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""


def check_rights(
    folder: Path, file: str, rows: Rows, findings: Findings, form: Form = FORM_V2, title: str = ""
) -> None:
    """Add a finding if `LICENSE` or `CITATION.cff` is not that of the dataset.

    Those of another recipe name the `title`, and the years of the tiles.
    """
    if form.about.is_v2:
        expected = readme.describe("", 0, 0, has_report=False)
    elif not rows.complete:
        findings.skip(f"{file}: there are rows that are missing or cannot be used")
        return
    elif not title:
        findings.skip(f"{file}: neither {STAC} nor {readme.README} is there, which say the title")
        return
    else:
        expected = readme.describe_own(title, 0, form, _years(rows), has_report=False)
    _compare_text(folder, file, expected[file], findings)


def _years(rows: Rows) -> list[int]:
    """Return the years in which the tiles of the rows were sensed."""
    return sorted({tile_named(name).sensing_time.year for name in rows.tiles})


def _compare_text(folder: Path, file: str, expected: str, findings: Findings) -> None:
    """Compare a text with the expected one, and report the first line that differs."""
    try:
        found = (folder / file).read_bytes()
    except OSError as error:
        findings.add(file, f"cannot be read ({error})")
        return
    if found != expected.encode():
        lines = zip_longest(expected.splitlines(), found.decode(errors="replace").splitlines())
        at = next((at for at, (mine, other) in enumerate(lines, 1) if mine != other), 0)
        findings.add(file, "not what follows from the files", f"line {at}" if at else "its line ends")


def check_comparison(
    folder: Path,
    rows: Rows,
    provenance: Provenance | None,
    hashed: Mapping[str, str],
    claims: Claims,
    findings: Findings,
) -> None:
    """Add findings about `comparison.json`, and its claims about files.

    `hashed` has the hash algorithm of each file that it lists. What it compares with is not part of the dataset.
    """
    document = read_json(folder, COMPARISON, findings)
    if document is None:
        return
    lines = document.get("compared")
    ours = {str(entry(line, "what")): entry(line, "ours") for line in lines} if isinstance(lines, list) else {}
    for file, algorithm in hashed.items():
        digest = ours.get(file.removesuffix(".csv"))
        if not isinstance(digest, str) or not digest:
            findings.add(COMPARISON, "without a line of", file)
        else:
            claims.add(file, COMPARISON, {algorithm: digest})
    keys = document.get("tiles")
    if provenance is not None and keys != provenance.keys:
        findings.differ(COMPARISON, "other tiles than in provenance.json", "tiles", provenance.keys, keys)
    if not rows.complete:
        return
    for at, mine, other in differences(_counts(rows), document.get("counts"), 0):
        findings.differ(COMPARISON, "counts: not those of the metadata", at, mine, other)
    for what, count in _numbers(rows).items():
        if ours.get(what) != f"{count:,}":
            findings.differ(COMPARISON, "not the number in the metadata", what, f"{count:,}", ours.get(what))


def _counts(rows: Rows) -> dict[str, dict[str, int]]:
    """Count the patches per split, country and label."""
    by_label = Counter(label for labels in rows.labels for label in labels)
    columns = {name: Counter(rows.others[name].to_pylist()) for name in ("split", "country")}
    return {**{name: dict(count) for name, count in columns.items()}, "label": dict(by_label)}


def _numbers(rows: Rows) -> dict[str, int]:
    """Return the figures that have lines of their own."""
    counts, flagged = _counts(rows), int(rows.flagged.sum())
    splits = Counter(rows.others["split"].filter(pa.array(~rows.flagged)).to_pylist())
    flags: dict[str, Any] = {flag: pc.sum(rows.others[flag]).as_py() or 0 for flag in FLAGS}
    return {
        "patches": len(rows),
        f"rows of {METADATA}": len(rows) - flagged,
        f"rows of {FLAGGED}": flagged,
        **flags,
        "tiles": len(rows.tiles),
        **{f"{split} in {METADATA}": count for split, count in splits.items()},
        **{f"{kind} {name}": count for kind in ("country", "label") for name, count in counts[kind].items()},
    }
