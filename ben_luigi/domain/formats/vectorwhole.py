"""Tell whether a vector file was read to its end, and each of its polygons with it.

GDAL's reader ends alike at an error and at the end of the file, and a feature whose geometry it cannot read looks like
one without geometry. But GDAL says each error in the thread that reads, and several formats state what they hold.
"""

from __future__ import annotations

import logging
import mmap
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.parsers import expat

import numpy as np

from ben_luigi.domain import given

_SQLITE = b"SQLite format 3\0"
# ESRI, Shapefile Technical Description (1998): the index has 100 bytes of header, and of each record its place and the
# length of its content, in words of 16 bits. A polygon of one ring, which has four points at least, has 112 bytes.
_INDEX_HEADER, _RING_WORDS = 100, 56
_RECORD_SEPARATOR = b"\x1e"
_CHUNK_BYTES = 2**20
_TEXT_OR_BRACE = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}]', re.DOTALL)


class _Heard(logging.Handler):
    """Collects what GDAL says in one thread of errors while it reads: fiona logs it, and raises nothing."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._thread = threading.get_ident()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error of this thread."""
        if record.thread in (None, self._thread):
            self.said.append(record.getMessage())


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yield a list, to which each error is added that GDAL meets in this thread while the block lasts."""
    handler, log = _Heard(), logging.getLogger("fiona")
    level = log.level
    log.setLevel(min(log.getEffectiveLevel(), logging.ERROR))  # a user may want to see none of them
    log.addHandler(handler)
    try:
        yield handler.said
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def check_pages(path: Path) -> None:
    """Raise ValueError if a database of SQLite, such as a GeoPackage, ends within a page: it reads the rest as zeros.

    Raise OSError if the file cannot be read. Any other file passes.
    """
    with given.open_file(path) as file:
        head = file.read(18)
    if not head.startswith(_SQLITE) or len(head) < 18:
        return
    page_bytes = int.from_bytes(head[16:18], "big")
    size = path.stat().st_size
    if size % (2**16 if page_bytes == 1 else page_bytes or 1):
        raise ValueError(f"{size:,} bytes, which are no whole pages: the file is truncated")


def check_text(path: Path, driver: str) -> None:
    """Raise ValueError if GDAL would read less than the text of a file, without saying so.

    That is a GML that is no whole XML: GDAL finds that out when it opens it, and then reads nothing. And it is a
    GeoJSON of a feature per line after a byte order mark, which GDAL takes for one of the first feature alone.
    Raise OSError if the file cannot be read. Any other file passes.
    """
    if driver == "GML":
        _check_xml(path)
    elif driver in ("GeoJSON", "ESRIJSON", "TopoJSON"):
        with given.open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            objects = _objects(text)
        if objects > 1:
            raise ValueError(f"{objects:,} objects of JSON, of which GDAL reads the first: make one collection of them")


def _check_xml(path: Path) -> None:
    try:
        with given.open_file(path) as file:
            expat.ParserCreate().ParseFile(file)
    except expat.ExpatError as error:
        raise ValueError(f"XML that is truncated or damaged: {error}") from error


def _objects(text: mmap.mmap) -> int:
    """Return how many objects of JSON a text has that are in no other."""
    depth = objects = 0
    for found in _TEXT_OR_BRACE.finditer(text):
        if found[0] == b"{":
            objects += depth == 0
            depth += 1
        elif found[0] == b"}":
            depth -= 1
    return objects


def check_count(path: Path, driver: str, stated: int | None, features: int) -> None:
    """Raise ValueError unless as many features were read as a file has; OSError if that cannot be read.

    `stated` is what GDAL says that the file states, which for some kinds of files counts what was deleted in it.
    """
    counts: dict[str, Callable[[], int | None]] = {
        "FlatGeobuf": lambda: stated,
        "GeoJSONSeq": lambda: _texts(path),
        "MapInfo File": lambda: _attributes(path) if path.suffix.lower() == ".mif" else None,
    }
    there = counts.get(driver, lambda: None)()
    if there is not None and there != features:
        raise ValueError(f"{features:,} features that can be read, of {there:,}: the file is truncated or damaged")


def _texts(path: Path) -> int:
    """Return how many texts of JSON a sequence has: one a line, or (RFC 8142) one after each separator."""
    with given.open_file(path) as file:
        if file.read(1) != _RECORD_SEPARATOR:
            file.seek(0)
            return sum(not line.isspace() for line in file)
        file.seek(0)
        return sum(chunk.count(_RECORD_SEPARATOR) for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))


def _attributes(path: Path) -> int | None:
    """Return how many rows lie beside the geometries of MapInfo's format for exchange, or None where none lie."""
    for beside in given.listed(path.absolute().parent):
        if beside.stem == path.stem and beside.suffix.lower() == ".mid":
            with given.open_file(beside) as file:
                return sum(not line.isspace() for line in file)
    return None


def with_ring(path: Path, driver: str) -> np.ndarray:
    """Return of each record of a Shapefile whether it has a ring by the length in the index; nothing of other files.

    Raise OSError if the index cannot be read.
    """
    if driver != "ESRI Shapefile":
        return np.empty(0, bool)
    index = next((one for one in given.listed(path.absolute().parent) if _is_index(one, path)), None)
    if index is None:
        return np.empty(0, bool)
    with given.open_file(index) as file:
        content = file.read()[_INDEX_HEADER:]
    record = struct.calcsize(">ii")
    numbers = np.frombuffer(content[: len(content) // record * record], ">i4").reshape(-1, 2)
    return np.asarray(numbers[:, 1] >= _RING_WORDS)


def _is_index(one: Path, path: Path) -> bool:
    return one.stem == path.stem and one.suffix.lower() == ".shx"
