"""JSON, TOML, XML and Parquet of a user's file, read in bounded memory: ValueError for whatever is wrong with it."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ben_luigi.domain.errors import some
from ben_luigi.domain.given import open_file, read_bytes

_TOML_BYTES, _TOML_DOTS = 2**20, 100
_XML_BYTES, _XML_PIECE_BYTES = 2**23, 2**20
_XML_DEPTH, _XML_ELEMENTS = 100, 200_000
_PARQUET_BYTES, _FOOTER_BYTES = 2**30, 2**25
_VALUE_BYTES = 8


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


def read_parquet(path: Path, columns: Sequence[str] = (), most_bytes: int = _PARQUET_BYTES) -> pa.Table:
    """Read columns of a Parquet file (all by default) in this order, of at most `most_bytes` when decoded.

    OSError, ValueError. Text stays dictionary-coded until its length is known: a few bytes may stand for any number of
    long values.
    """
    _check_footer(path)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = columns or schema.names
            missing = [column for column in columns if column not in schema.names]
            if missing:
                raise ValueError(f"columns {some(schema.names)}")
            coded = _check_size(file.metadata, columns, most_bytes)
        with pq.ParquetFile(path, read_dictionary=coded) as file:
            table = file.read(columns=list(columns)).select(columns)
        size = sum(_decoded_bytes(chunk) for column in table.columns for chunk in column.chunks)
        if size > most_bytes:
            raise ValueError(f"{size:,} bytes when decoded, where there are {most_bytes:,} at most")
        fields = [schema.field(column) for column in columns]
        fields = [field.with_type(_castable(field.type)) for field in fields]
        return table.cast(pa.schema(fields, schema.metadata))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _check_footer(path: Path) -> None:
    """Check the length of a file's description of itself, which is read whole: the last bytes but four say it."""
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
    if length > _FOOTER_BYTES and length < size:
        raise ValueError(f"{length:,} bytes that describe the file, where there are {_FOOTER_BYTES:,} at most")


def _castable(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is decoded to: pyarrow 26 has no cast from dictionaries to views."""
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _check_size(metadata: pq.FileMetaData, columns: Sequence[str], most_bytes: int) -> list[str]:
    """Check what a file says of its own size; give the paths of the columns of text in it."""
    size, texts = 0, set()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.split(".")[0] in columns:
                size += column.total_uncompressed_size + _VALUE_BYTES * column.num_values
                texts |= {column.path_in_schema} if column.physical_type == "BYTE_ARRAY" else set()
    size += _VALUE_BYTES * len(columns) * metadata.num_rows
    if size > most_bytes:
        raise ValueError(f"{size:,} bytes, by its own account, where there are {most_bytes:,} at most")
    return sorted(texts)


def _decoded_bytes(values: pa.Array) -> int:
    """Return the length of an array with its dictionaries decoded, in bytes."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return int(values.nbytes) + _decoded_bytes(values.flatten())
    if pa.types.is_dictionary(values.type):
        lengths = pc.binary_length(values.dictionary).take(values.indices)
        return int(pc.sum(lengths).as_py() or 0)
    return int(values.nbytes)
