"""Import Luigi without its reading the configuration.

Luigi reads its files as it is imported. What is wrong in them would end in a traceback that quotes the line, before we
can say it. So nothing is read then; `loading` gives Luigi the values once they are checked. `scripts/environment` has
plain `luigi --module ben_luigi` run this file first of all: it must not import anything of ours.
"""

import sys
import warnings
from configparser import RawConfigParser

if "luigi" not in sys.modules:
    _read, RawConfigParser.read = RawConfigParser.read, lambda *_, **__: []  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that LUIGI_CONFIG_PATH names no file
            import luigi  # noqa: F401
    finally:
        RawConfigParser.read = _read  # type: ignore[method-assign]
