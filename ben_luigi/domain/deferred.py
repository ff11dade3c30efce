"""Load large libraries when something in them is first asked for: a run with nothing to do needs few of them.

`import pandas as pd` then binds a stand-in, which loads the library at the first `pd.DataFrame`. Names that are
imported from a library, or used while a module is loaded, load it at once. A module of ours can be deferred as well.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from contextlib import nullcontext
from types import ModuleType
from typing import Any

from ben_luigi.domain.surroundings import without

_OF_RASTERIO = ("dtypes", "enums", "errors", "features", "shutil", "transform", "vrt", "windows")
LIBRARIES = (
    *("fiona", "jinja2", "pandas", "pyarrow.compute", "pyarrow.csv", "pyarrow.parquet", "pyproj", "pyproj.exceptions"),
    *("pystac", "rasterio", *(f"rasterio.{part}" for part in _OF_RASTERIO), "shapely"),
)
_TRIES_BOTO3 = ("fiona", "rasterio")
"""They load it if it is there: a fifth of the start of every command."""
_lock = threading.RLock()
_waiting: list[_Deferred] = []


class _Deferred(ModuleType):
    """Stands for a library that has not been loaded, and afterwards has all that it has.

    A library and the modules in it that are deferred too are loaded together.
    """

    _is_loading = False

    def __init__(self, name: str, container: ModuleType | None) -> None:
        super().__init__(name)
        self._together: list[_Deferred] = container._together if isinstance(container, _Deferred) else []
        self._together.append(self)

    def __getattr__(self, name: str) -> Any:
        if name in ("__wrapped__", "__warningregistry__"):  # what inspect and warnings ask each module for
            raise AttributeError(name)
        self.load()
        return getattr(sys.modules[self.__name__], name)

    def load(self) -> None:
        """Load the library in the place of its stand-in."""
        library, *_ = names = [each.__name__ for each in self._together]
        with _lock:
            if self._together[0]._is_loading or self not in _waiting:
                return
            self._together[0]._is_loading = True
            for name, each in zip(names, self._together, strict=True):
                if sys.modules.get(name) is each:
                    del sys.modules[name]
            try:
                with without("boto3") if library in _TRIES_BOTO3 else nullcontext():
                    loaded = [importlib.import_module(name) for name in names]
            finally:
                self._together[0]._is_loading = False
            for each, module in zip(self._together, loaded, strict=True):
                each.__dict__.update(module.__dict__)
                _waiting.remove(each)


def defer(*libraries: str) -> None:
    """Load these when something in them is first asked for, unless they have been loaded; what contains them, now.

    What contains them may be deferred as well, by a name before theirs.
    """
    for name in libraries:
        package, _, part = name.rpartition(".")
        container = importlib.import_module(package) if package else None
        if name not in sys.modules:
            sys.modules[name] = library = _Deferred(name, container)
            _waiting.append(library)
            if container is not None:
                setattr(container, part, library)


def load_all() -> None:
    """Load all that has been deferred: before processes are forked, which would each load it for themselves."""
    if not _waiting:
        return
    gc.disable()  # nothing of what is imported is garbage
    try:
        for library in tuple(_waiting):
            library.load()
        for part in ("pandas_compat", "vendored.version"):  # which a table from pandas asks for
            importlib.import_module(f"pyarrow.{part}")
        gc.freeze()  # processes forked from this one neither look through it nor copy it
    finally:
        gc.enable()
