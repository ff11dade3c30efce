"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("imports", "loads"),
    [
        ("import ben_luigi.domain.names", False),
        ("from ben_luigi.domain import names", False),
        ("import luigi, ben_luigi.domain.names", False),
        ("import ben_luigi", True),
        ("import ben_luigi, luigi", True),
        ("import luigi, ben_luigi", True),
        ("__import__('ben_luigi')", True),  # as `luigi --module ben_luigi` does
        ("import ben_luigi.stages.patches", True),
    ],
)
def test_all_tasks_are_loaded_for_luigi_and_not_for_a_module_of_the_domain(imports: str, loads: bool) -> None:
    code = f"import sys\n{imports}\nprint('ben_luigi.stages.finalize' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{loads}\n"
