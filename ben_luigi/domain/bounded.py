"""Read JSON, TOML and XML that a user gives, in bounded memory.

Whatever is wrong with the content raises ValueError; what cannot be read at all raises OSError.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ben_luigi.domain.given import read_bytes

_TOML_BYTES, _TOML_DOTS = 2**20, 100
_XML_BYTES, _XML_PIECE_BYTES = 2**23, 2**20
_XML_DEPTH, _XML_ELEMENTS = 100, 200_000


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8: {error.reason} at byte {error.start:,}") from None


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8. Raise ValueError if it is malformed or nested too deep."""
    try:
        return json.loads(_decoded(data))
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def read_json(path: Path, most_bytes: int = 2**24) -> Any:
    """Read a JSON file of at most `most_bytes`.

    Raise OSError if it cannot be read, ValueError if it is malformed or too large.
    """
    return parse_json(read_bytes(path, most_bytes))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 1 MiB.

    Raise OSError if it cannot be read, ValueError if it is malformed or too large.
    """
    text = _decoded(read_bytes(path, _TOML_BYTES))
    if any(line.count(".") > _TOML_DOTS for line in text.split("\n")):  # tomllib needs memory in their square
        raise ValueError(f"TOML with more than {_TOML_DOTS} dots in a line")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("TOML that is nested too deep") from error


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse XML of at most 8 MiB, 100 levels and 200,000 elements.

    Raise ValueError if it is larger, malformed, or declares a document type: entities declared there can expand without
    bound ("billion laughs").
    """
    if len(data) > _XML_BYTES:
        raise ValueError(f"{len(data):,} bytes of XML, where at most {_XML_BYTES:,} are allowed")
    parser = ElementTree.XMLParser(target=_Bounded())
    try:
        # In pieces, so that an element that breaks a bound stops the parser within the piece that contains it.
        for start in range(0, len(data), _XML_PIECE_BYTES):
            parser.feed(data[start : start + _XML_PIECE_BYTES])
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error
    return root


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file within the bounds of `parse_xml`.

    Raise OSError if it cannot be read, ValueError if it is malformed or too large.
    """
    return parse_xml(read_bytes(path, _XML_BYTES))


class _Bounded(ElementTree.TreeBuilder):
    """Build the tree of an XML document; refuse more than the bounds allow, and a document type."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = 0

    def start(self, tag: Any, attrs: Any, /) -> ElementTree.Element:
        self._depth += 1
        self._elements += 1
        if self._depth > _XML_DEPTH or self._elements > _XML_ELEMENTS:
            raise ValueError(f"XML of more than {_XML_DEPTH} levels or {_XML_ELEMENTS:,} elements")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        raise ValueError("a document type")
