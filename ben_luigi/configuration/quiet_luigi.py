"""Import Luigi without letting it read the configuration.

Luigi reads its files at import. An error in them would end in a traceback that quotes the line, before this project can
report it. So nothing is read here; `loading` passes the values on once they are checked. `scripts/environment` makes
plain `luigi --module ben_luigi` run this file first, so it must not import anything of this project.
"""

import sys
import warnings
from configparser import RawConfigParser

if "luigi" not in sys.modules:
    _read, RawConfigParser.read = RawConfigParser.read, lambda *_, **__: []  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LUIGI_CONFIG_PATH may name a file that is missing
            import luigi  # noqa: F401
    finally:
        RawConfigParser.read = _read  # type: ignore[method-assign]
