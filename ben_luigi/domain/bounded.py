"""JSON, TOML and XML of a user's file, read in bounded memory: ValueError for whatever is wrong with it."""

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
        raise ValueError(f"no text in UTF-8: {error.reason} at byte {error.start:,}") from None


def parse_json(data: bytes) -> Any:
    """Parse JSON; ValueError also for what is nested too deep."""
    try:
        return json.loads(_decoded(data))
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def read_json(path: Path, most_bytes: int = 2**24) -> Any:
    """Read a JSON file of at most `most_bytes`. OSError, ValueError."""
    return parse_json(read_bytes(path, most_bytes))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 1 MiB. OSError, ValueError."""
    text = _decoded(read_bytes(path, _TOML_BYTES))
    if any(line.count(".") > _TOML_DOTS for line in text.split("\n")):  # tomllib's memory grows with their square
        raise ValueError(f"TOML with more than {_TOML_DOTS} dots in a line")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("TOML that is nested too deep") from error


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse XML of at most 8 MiB, 100 levels and 200,000 elements, without a document type. ValueError."""
    if len(data) > _XML_BYTES:
        raise ValueError(f"{len(data):,} bytes of XML, where there are {_XML_BYTES:,} at most")
    parser = ElementTree.XMLParser(target=_Bounded())
    try:
        for start in range(0, len(data), _XML_PIECE_BYTES):  # an error ends it with the piece in which it is found
            parser.feed(data[start : start + _XML_PIECE_BYTES])
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error
    return root


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file as `parse_xml` does. OSError, ValueError."""
    return parse_xml(read_bytes(path, _XML_BYTES))


class _Bounded(ElementTree.TreeBuilder):
    """Builds the tree of an XML file; refuses a document type, with which entities without end could come."""

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
