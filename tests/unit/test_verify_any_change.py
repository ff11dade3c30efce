"""Whatever is changed in a finished dataset, a byte or a value, is noticed, and is no error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ben_luigi.domain import files
from ben_luigi.domain.dataset.comparison import COMPARISON
from ben_luigi.domain.dataset.croissant import CROISSANT
from ben_luigi.domain.dataset.provenance import PROVENANCE
from ben_luigi.domain.dataset.verify import DESCRIBED, OURS, REPORT
from ben_luigi.domain.dataset.verify_documents import STAC
from ben_luigi.domain.dataset.verify_rules import References
from tests.unit.small_dataset import TILES, look

TILE = next(iter(TILES))
ITEM = f"stac/{TILE}/{TILE}.json"
ODD: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    "9" * 5000,
    "",
    "x",
    "\ud800",
    [],
    [None],
    {},
    {"a": 1},
)
"""Values of every type, and at the ends of their ranges."""


@settings(max_examples=100, deadline=None)
@given(
    file=st.sampled_from([STAC, ITEM, CROISSANT, PROVENANCE, COMPARISON]), at=st.floats(0, 1), odd=st.sampled_from(ODD)
)
def test_whatever_value_stands_in_a_document_is_no_error(
    whole: Path, references: References, file: str, at: float, odd: object
) -> None:
    path = whole / file
    good = path.read_text()
    document = json.loads(good)
    places = list(places_in(document))
    part, key = places[int(at * (len(places) - 1))]
    part[key] = odd
    try:
        path.write_text(json.dumps(document))
        wrong = look(whole, references, recorded={file: files.text_hash(good)}).wrong
    finally:
        path.write_text(good)
    assert any(line.startswith(f"{file}: ") for line in wrong)
    assert all(line.isprintable() for line in wrong)


def places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """All objects and lists of a document, with each of their keys."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in entries:
        yield document, key
        if isinstance(value, dict | list):
            yield from places_in(value)


FILES = [*DESCRIBED, *OURS, ITEM]
RECORDED = (PROVENANCE, COMPARISON, REPORT)
"""Of these only the pipeline's record tells every byte: nothing else has their hashes."""


@settings(max_examples=100, deadline=None)
@given(file=st.sampled_from(FILES), at=st.floats(0, 1), mask=st.integers(1, 255))
def test_a_byte_that_is_changed_in_any_file_is_noticed(
    whole: Path, references: References, file: str, at: float, mask: int
) -> None:
    """In all but two kinds of places.

    Digits of a coordinate of a STAC item beyond a tenth of a millimetre: another PROJ may give others, and no hash of
    items is kept. And the pages of the report behind the first one: nothing tells their hashes, and nothing is made of
    them; their bytes are not looked at.
    """
    recorded = {name: files.file_hash(whole / name) for name in RECORDED}
    path = whole / file
    good = path.read_bytes()
    content = bytearray(good)
    content[int(at * (len(good) - 1))] ^= mask
    try:
        path.write_bytes(content)
        wrong = look(whole, references, recorded=recorded).wrong
    finally:
        path.write_bytes(good)
    # Of another title only that it differs is known, so the README is named that does not have it.
    assert any(line.startswith(f"{file}: ") or f"another title than in {file}: " in line for line in wrong) or (
        file == ITEM and not wrong and same_but_for_last_digits(good, bytes(content))
    )


def same_but_for_last_digits(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts have the same words, and the same numbers up to nine decimal places."""
    number = re.compile(rb"-?\d+\.\d+")
    words = [number.sub(b"", text) for text in (one, other)]
    values = [[float(text) for text in number.findall(text)] for text in (one, other)]
    return words[0] == words[1] and all(abs(a - b) <= 1e-9 for a, b in zip(*values, strict=True))
