"""Read and compare JSON documents: in which values do two of them differ?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ben_luigi.domain.dataset.verify_findings import Findings

Json = dict[str, Any]
_MISSING = "nothing"


def read_json(folder: Path, file: str, findings: Findings) -> Json | None:
    """Read the object in a file of the dataset. Add a finding and return None if there is none."""
    try:
        document = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        findings.add(file, f"cannot be read ({error})")
        return None
    if not isinstance(document, dict):
        findings.add(file, f"cannot be read (a {type(document).__name__} instead of an object)")
        return None
    return document


def entry(document: Any, *keys: str) -> Any:
    """Return the value at a path of keys; None if a value on the way is not an object, or lacks the key."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def differences(expected: Any, found: Any, tolerance: float, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two documents differ, with expected and found value; numbers within `tolerance` are equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            mine, other = (part.get(key, _MISSING) for part in (expected, found))
            yield from differences(mine, other, tolerance, f"{at}.{key}" if at else key)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (mine, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(mine, other, tolerance, f"{at}[{number}]")
    elif isinstance(expected, float) and isinstance(found, float) and abs(expected - found) <= tolerance:
        pass
    elif type(expected) is not type(found) or expected != found:
        yield at, expected, found
