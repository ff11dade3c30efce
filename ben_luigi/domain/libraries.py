"""Tell which optional libraries are missing, and how they come into the environment that is in use.

The extras of the package (`ben_luigi[forms]`) are for people who install it; a checkout's environment knows none, since
the package is not installed there. So what to type names the packages, and this environment's Python.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec

from ben_luigi.domain.errors import BadInput


def require(subject: str, wanted: Sequence[str]) -> None:
    """Raise BadInput, with what to type, if a library is missing or too old.

    `wanted` are names of packages that are also those of their modules, as `lmdb`, or with the least major version
    `zarr>=3`.
    """
    lacking = {requirement: found for requirement in wanted if (found := _wrong(requirement))}
    if lacking:
        raise BadInput(
            subject,
            expected=f"the Python package{'s' * (len(wanted) > 1)} {', '.join(wanted)}",
            found=", ".join(lacking.values()),
            remedy=installing(*lacking),
        )


def module(requirement: str) -> str:
    """Return the name of the module of a package that `require` takes."""
    return requirement.partition(">=")[0]


def installing(*wanted: str) -> str:
    """Return the command line by which packages are installed in this environment."""
    python, place = shlex.quote(sys.executable), sysconfig.get_path("purelib")
    pip = f"{python} -m pip install"
    if find_spec("pip") is None:  # as in an environment that uv has made
        pip = f"uv pip install --python {python}"
    # Else pip would install into the user's home, where the isolated program does not look.
    who = "" if os.access(place, os.W_OK) else f"as a user who may write to {place}, "
    return f"{who}type: {pip} {shlex.join(wanted)}"


def _wrong(requirement: str) -> str:
    """Return what is there instead of a library; an empty text if it is there."""
    name, least = module(requirement), requirement.partition(">=")[2]
    if find_spec(name) is None:
        return f"no {name}"
    version = metadata.version(name) if least else ""
    return f"{name} {version}" if least and int(version.partition(".")[0]) < int(least) else ""
