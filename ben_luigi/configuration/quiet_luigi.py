"""Import Luigi without letting it read the configuration, or load optional libraries that nothing here makes it use.

Luigi reads its files at import. An error in them would end in a traceback that quotes the line, before this project can
report it. So nothing is read here; `loading` passes the values on once they are checked. `scripts/environment` and
`setup.py` make plain `luigi --module ben_luigi` run this file first, so it must not import anything of this project.
"""

import sys
import warnings
from configparser import RawConfigParser
from contextlib import suppress

UNUSED = (
    "jsonschema",
    "tornado",
)  # for schemas of parameters, and for coroutines: a fifth of what Luigi costs to import

if "luigi" not in sys.modules:
    _hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]  # None: it cannot be imported, as documented
    _read, RawConfigParser.read = RawConfigParser.read, lambda *_, **__: []  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings(), suppress(ImportError):  # it may lie where Python will look only later
            warnings.simplefilter("ignore")  # LUIGI_CONFIG_PATH may name a file that is missing
            import luigi  # noqa: F401
    finally:
        RawConfigParser.read = _read  # type: ignore[method-assign]
        for _name in _hidden:
            del sys.modules[_name]
