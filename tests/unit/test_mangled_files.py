"""Files of users to which accidents have happened: read, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.unit.hostile_files import KINDS, judge
from tests.unit.mangling import MANGLINGS, mangled

SEEN_ELSEWHERE = {"L1C zip", "L1C manifest"}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - SEEN_ELSEWHERE))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(manglings=MANGLINGS)
def test_a_mangled_file_is_read_or_refused(
    kind: str, manglings: list[tuple[float, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each under a name of its own, since some readers remember what they have read."""
    path = KINDS[kind].make(tmp_path_factory.mktemp("mangled"))
    path.write_bytes(mangled(path.read_bytes(), manglings))
    outcome, error = judge(kind, Path(path))
    assert outcome != "traceback", error
    assert outcome == "read" or path.name in error or path.parent.name in error, error
