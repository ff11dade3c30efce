"""Keep what other programs have left in the environment away from the libraries here and the programs started here.

GDAL reads every one of its options from the environment, PROJ the folder of its database, libpq the server to connect
to: variables set for another installation change what is read and written. So C libraries and child processes see the
variables of a short list only, and variables that Python libraries read are removed. All others stay in `os.environ`,
where the configuration may refer to them as `${NAME}`.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEPT = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|HOSTNAME|TERM|COLUMNS|LINES|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TEMP|TMP"
    "|XDG_[A-Z_]+|SSL_CERT_(FILE|DIR)|KRB5[A-Z_0-9]+"
)
_REMOVED = re.compile(
    "(GDAL|PROJ|PYPROJ|GEOS|AWS|AZURE|OSS|SWIFT|NPY|NUMPY|PANDAS|ARROW|TQDM)_.*|LUIGI_PGSQL_DRIVER|LUIGI_CONFIG_PARSER|SSLKEYLOGFILE"
)
_FIXED = {"GDAL_CONFIG_FILE": os.devnull, "PROJ_SKIP_READ_USER_WRITABLE_DIRECTORY": "YES"}
"""GDAL and PROJ also read files in the user's home unless these variables prevent it."""

_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")
ISOLATED = ["-I", "-X", "utf8"]
_taken_out: dict[str, str] = {}


def shut_out() -> None:
    """Clean the environment of the current process. Call this before GDAL, PROJ and libpq are loaded."""
    for name in list(os.environ):
        if _REMOVED.fullmatch(name):
            _taken_out[name] = os.environ.pop(name)
        elif not _KEPT.fullmatch(name):
            os.unsetenv(name)  # for C libraries and children; `os.environ` keeps it
    os.environ.update(_FIXED)
    never_proxied(*_LOOPBACK)
    if "SSL_CERT_FILE" in os.environ and not {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} & {*os.environ}:
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"]  # requests reads the first name only
    _own_libraries_first()
    if "PYTHONWARNINGS" in os.environ:
        _usual_warnings()


def as_found() -> dict[str, str]:
    """Return the environment with all that `shut_out` keeps from children: for this program, started once more."""
    return {**os.environ, **_taken_out}


def give_back(pattern: str) -> None:
    """Put variables back that were removed, for a library that is to have them: `AWS_.*` for boto3.

    GDAL would obey them too, so this is for a process that reads no rasters after it.
    """
    os.environ.update({name: value for name, value in _taken_out.items() if re.fullmatch(pattern, name)})


@contextmanager
def given_back(pattern: str) -> Iterator[None]:
    """Put variables back while a library looks for its credentials, in a process that may read rasters as well."""
    there = {name: value for name, value in _taken_out.items() if re.fullmatch(pattern, name)}
    there = {name: value for name, value in there.items() if name not in os.environ}
    os.environ.update(there)
    try:
        yield
    finally:
        for name in there:
            del os.environ[name]


@contextmanager
def without(module: str) -> Iterator[None]:
    """Within it, a module that has not been imported yet cannot be: for one that a library imports if it is there."""
    is_there = module in sys.modules
    if not is_there:
        sys.modules[module] = None  # type: ignore[assignment]  # as documented for `import`
    try:
        yield
    finally:
        if not is_there:
            del sys.modules[module]


def of_child(more: str = "") -> dict[str, str]:
    """Return the environment for a child process; `more` is a pattern of further names to pass on."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name) or re.fullmatch(more, name)}


def of_own_python() -> dict[str, str]:
    """Return the environment for this Python, started again: it may find its own library by LD_LIBRARY_PATH alone."""
    return of_child("LD_LIBRARY_PATH")


def own_python() -> list[str]:
    """Return the command that starts this Python again, isolated (`-I`) if this process is."""
    return [sys.executable, *(ISOLATED if sys.flags.isolated else [])]


def never_proxied(*hosts: str) -> None:
    """Exempt these hosts from any proxy that the environment names. `*` in no_proxy means all hosts already."""
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    listed = [host.strip() for host in exempt.split(",") if host.strip()]
    both = "*" if "*" in listed else ",".join(dict.fromkeys([*listed, *hosts]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = both


def _own_libraries_first() -> None:
    """Put this environment's libraries before the current folder and PYTHONPATH, where a stray `numpy.py` may lie."""
    own = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    sys.path.sort(key=lambda entry: not any(Path(entry).is_relative_to(folder) for folder in own))


def _usual_warnings() -> None:
    """Restore Python's default warning filters, whatever PYTHONWARNINGS says: with `error` a hint would end a run."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
