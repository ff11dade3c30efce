"""What is said about libraries that are missing or too old."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig

import pytest

from ben_luigi.domain import libraries
from ben_luigi.domain.errors import BadInput


def test_what_is_missing_or_too_old_is_said_in_one_line_with_what_to_type() -> None:
    libraries.require("form x", ("numpy", "pyarrow>=1"))
    with pytest.raises(BadInput) as told:
        libraries.require("form x", ("no_such_module", "numpy>=99", "pyarrow"))
    assert "\n" not in str(told.value)
    assert told.value.expected == "the Python packages no_such_module, numpy>=99, pyarrow"
    assert told.value.found.startswith("no no_such_module, numpy ")
    assert told.value.remedy.endswith("-m pip install no_such_module 'numpy>=99'")


def test_what_is_to_be_typed_runs_pip_in_this_environment() -> None:
    words = shlex.split(libraries.installing("numpy").removeprefix("type: "))
    assert words[0] == sys.executable
    ran = subprocess.run([*words, "--dry-run", "--no-deps"], capture_output=True, text=True, check=True)
    assert "Requirement already satisfied: numpy" in ran.stdout


def test_an_environment_without_pip_is_told_what_uv_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "executable", "/my environments/x/bin/python")
    told = libraries.installing("numpy>=2")
    assert told == "type: uv pip install --python '/my environments/x/bin/python' 'numpy>=2'"


def test_who_may_not_write_to_the_environment_is_told_who_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip would install into the home, where the isolated program does not look; root may write everywhere."""
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    place = sysconfig.get_path("purelib")
    assert libraries.installing("numpy").startswith(f"as a user who may write to {place}, type: ")
