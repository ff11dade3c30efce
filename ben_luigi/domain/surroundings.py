"""What other programs have left in the environment reaches neither the libraries here nor the programs started here.

GDAL takes every one of its options from the environment, PROJ the folder of its database, libpq the server to ask: set
for another installation, they change what is read and written. So a C library sees the variables of a short list and no
others, and so does each program that is started. What Python's libraries read is removed for them too. All the rest
stays in `os.environ`, where the configuration may ask for it by name (`${NAME}`).
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import warnings
from pathlib import Path

_KEPT = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|HOSTNAME|TERM|COLUMNS|LINES|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TEMP|TMP"
    "|XDG_[A-Z_]+|SSL_CERT_(FILE|DIR)|KRB5[A-Z_0-9]+"
)
_REMOVED = re.compile(
    "(GDAL|PROJ|PYPROJ|GEOS|AWS|AZURE|OSS|SWIFT|NPY|NUMPY|PANDAS|ARROW|TQDM)_.*|LUIGI_PGSQL_DRIVER|LUIGI_CONFIG_PARSER|SSLKEYLOGFILE"
)
_FIXED = {"GDAL_CONFIG_FILE": os.devnull, "PROJ_SKIP_READ_USER_WRITABLE_DIRECTORY": "YES"}
"""GDAL and PROJ read files in the user's home too, unless they are told not to."""

_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")
ISOLATED = ["-I", "-X", "utf8"]


def shut_out() -> None:
    """Do all of this for the current process; before GDAL, PROJ and libpq are loaded."""
    for name in list(os.environ):
        if _REMOVED.fullmatch(name):
            del os.environ[name]
        elif not _KEPT.fullmatch(name):
            os.unsetenv(name)  # for C libraries and children; `os.environ` keeps it
    os.environ.update(_FIXED)
    never_proxied(*_LOOPBACK)
    if "SSL_CERT_FILE" in os.environ and not {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} & {*os.environ}:
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"]  # which requests does not know
    _own_libraries_first()
    if "PYTHONWARNINGS" in os.environ:
        _usual_warnings()


def of_child(more: str = "") -> dict[str, str]:
    """The environment of a program that is started; `more` is a pattern of further names that it is given."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name) or re.fullmatch(more, name)}


def own_python() -> list[str]:
    """How to start this Python once more: isolated if this one is, as the commands in `scripts/` are."""
    return [sys.executable, *(ISOLATED if sys.flags.isolated else [])]


def never_proxied(*hosts: str) -> None:
    """Have these hosts asked directly, whatever proxy the environment names. `*` there means all hosts already."""
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    listed = [host.strip() for host in exempt.split(",") if host.strip()]
    both = "*" if "*" in listed else ",".join(dict.fromkeys([*listed, *hosts]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = both


def _own_libraries_first() -> None:
    """Those of this environment before modules of the current folder and of PYTHONPATH, such as a stray `numpy.py`."""
    own = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    sys.path.sort(key=lambda entry: not any(Path(entry).is_relative_to(folder) for folder in own))


def _usual_warnings() -> None:
    """Python's own choice of warnings, whatever PYTHONWARNINGS says: with `error` a hint would end a run."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
