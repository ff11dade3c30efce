"""Hostile versions of the files of hostile_files: each takes the path of a whole file and puts something else there."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.hostile_archives import S1_ARCHIVE
from tests.unit.hostile_changes import Version, change, cut, instead, json_with, packed, sparse, write
from tests.unit.s1_patches import s1_tiff

ANY: dict[str, Version] = {
    "empty": write(b""),
    "one byte": write(b"\0"),
    "a quarter": cut(0.25),
    "half": cut(0.5),
    "all but a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "random": write(random.Random(1).randbytes(10_000)),
    "a web page": write(b"<html><body>503 Service Unavailable</body></html>"),
    "40 GB of zeros": sparse(40 * 10**9),
    "a folder": instead(Path.mkdir),
    "a FIFO": instead(os.mkfifo),
    "a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "a link in a circle": instead(lambda path: path.symlink_to(path.name)),
    "unreadable": lambda path: path.chmod(0),
}
LEVELS = 1_000_000
XML = {
    "a million levels": write(b"<a>" * LEVELS),
    "a million levels, closed": write(b"<a>" * LEVELS + b"</a>" * LEVELS),
    "a million elements": write(b"<a>" + b"<b/>" * LEVELS + b"</a>"),
    "huge": write(b"<a>" + b" " * 2**24 + b"</a>"),
    "entities": write(b'<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>'),
    "an external entity": write(b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a>&a;</a>'),
    "an unknown encoding": write(b'<?xml version="1.0" encoding="klingon"?><a/>'),
    "a NUL": write(b"<a>\0</a>"),
}
CSV = {
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "UTF-16 without a mark": lambda path: path.write_text(path.read_text(), encoding="utf-16-le"),
    "a byte that is no UTF-8": lambda path: path.write_bytes(path.read_bytes()[:-9] + b"\xfc" + path.read_bytes()[-9:]),
    "a NUL": lambda path: path.write_bytes(path.read_bytes().replace(b"\r\n", b"\0\r\n", 2)),
    "a quote that does not close": lambda path: path.write_bytes(b'"' + path.read_bytes()),
    "a line of 1 GB": packed(".gz", b"x" * 2**24, 64),
    "a line of 1 GB, as bz2": packed(".bz2", b"x" * 2**24, 64),
    "a bz2 that is none": packed(".bz2", b"", 0),
    "a gz that is cut": lambda path: _cut_gz(path),
}
LIST = {**CSV, "names of another kind": write(b"a,b\r\n"), "names with spaces": change(b"\r\n", b" \r\n")}


def _cut_gz(path: Path) -> Path:
    found = path.with_name(path.name + ".gz")
    found.write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    return found


TOML = {
    "deep": write(b"a = " + b"[" * 100_000),
    "a key of many names": write(b"a." * 400_000 + b"b = 1"),
    "a table of many names": write(b"[" + b"a." * 400_000 + b"b]"),
    "huge": write(b"#" + b" " * 2**22),
}
DEEP_JSON = {
    "deep": write(b"[" * LEVELS),
    "deep objects": write(b'{"a":' * LEVELS),
    "a number": write(b"1"),
    "a list": write(b"[]"),
    "no text": write(b"\xff\xfe"),
}


def _long_values(column: str, schema: pa.Schema | None = None) -> Version:
    """A few bytes that stand for 4 GB: one value of 1 MiB, 4000 times."""

    def version(path: Path) -> None:
        table = pq.read_table(path)
        rows = table.take(pa.array([0] * 4000))
        values = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 2**20]))
        at = table.schema.names.index(column)
        pq.write_table(rows.set_column(at, column, values), path)
        assert path.stat().st_size < 2**20

    return version


def _nulls(column: str) -> Version:
    def version(path: Path) -> None:
        table = pq.read_table(path)
        at = table.schema.names.index(column)
        pq.write_table(table.set_column(at, column, pa.nulls(len(table), table.schema.field(at).type)), path)

    return version


PARQUET: dict[str, Version] = {
    "other columns": lambda path: pq.write_table(pa.table({"a": [1]}), path),
    "a footer that is long": lambda path: path.write_bytes(path.read_bytes()[:-8] + struct.pack("<I", 2**31) + b"PAR1"),
}


def _zip(change: Callable[[bytearray], object]) -> Version:
    def version(path: Path) -> None:
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return version


def _claim(content: bytearray) -> None:
    """Have each member claim 4 GB, 60 GB in all."""
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)


def _claim_directory(content: bytearray) -> None:
    """Have the directory claim 1 GB."""
    place = content.rfind(b"PK\5\6")
    content[place + 12 : place + 16] = struct.pack("<I", 10**9)


def _with_members(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Version:
    def version(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            top = archive.namelist()[0].split("/")[0]
            for name, data in members:
                archive.writestr(f"{top}/{name}", data, method, 1)

    return version


L1C_ZIP = {
    "members that claim 60 GB": _zip(_claim),
    "a directory that claims 1 GB": _zip(_claim_directory),
    "a member of 300 MB in little room": _with_members(("big", bytes(300 * 2**20))),
    "25,000 members": _with_members(*((f"{n}", b"") for n in range(25_000))),
    "a name as long as no path can be": _with_members(("/".join(["a" * 200] * 30), b"")),
    "compressed in an unusual way": _with_members(("big", bytes(2**20)), method=zipfile.ZIP_LZMA),
}
L1C_MANIFEST = {**XML, "an unknown algorithm": change(b"MD5", b"SHAKE-128"), "no checksums": write(b"<x/>")}
L2A_METADATA: dict[str, Version] = {
    **XML,
    "a time of the year 10000": change(
        b"2017-06-13T10:10:31.026Z</PRODUCT_START", b"9999-12-31T23:59:59-23:00</PRODUCT_START"
    ),
    "an offset that is no number": change(
        b"<Spectral_Information_List>", b"<o><BOA_ADD_OFFSET>x</BOA_ADD_OFFSET></o><Spectral_Information_List>"
    ),
    "a baseline of a million letters": change(b"99.99<", b"9" * 1_000_000 + b"<"),
    "another product": change(b"T33UUP", b"T33UVP"),
}


def _codestream(content: bytes) -> int:
    return content.index(b"jp2c") + 4


def _jp2(change: Callable[[bytes], bytes]) -> Version:
    return lambda path: path.write_bytes(change(path.read_bytes()))


L2A_BAND: dict[str, Version] = {
    "a box of 16 EB": _jp2(
        lambda jp2: jp2[: _codestream(jp2) - 8] + struct.pack(">I4sQ", 1, b"jp2c", 2**64 - 1) + jp2[_codestream(jp2) :]
    ),
    "a million boxes": _jp2(lambda jp2: jp2[:12] + struct.pack(">I4s", 8, b"free") * 1_000_000 + jp2[12:]),
    "a million tile-parts": _jp2(
        lambda jp2: (
            jp2[: jp2.index(b"\xff\x90\0\x0a")] + (b"\xff\x90\0\x0a\0\0" + struct.pack(">I", 14) + bytes(4)) * 1_000_000
        )
    ),
    "a tile-part of a byte": _jp2(lambda jp2: jp2.replace(b"\xff\x90\0\x0a\0\0", b"\xff\x90\0\x0a\0\0\0\0\0\1")),
    "a virtual raster": write(b'<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand band="1"/></VRTDataset>'),
    "a GeoTIFF": write(s1_tiff()),
    "another band": lambda path: shutil.copy(next(path.parents[1].glob("R60m/*_B01_60m.jp2")), path),
}


def _tag(tiff: bytes | bytearray, tag: int) -> int:
    """Where a tag stands in a TIFF's first directory."""
    (directory,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, directory)
    return next(
        at
        for at in range(directory + 2, directory + 2 + 12 * count, 12)
        if struct.unpack_from("<H", tiff, at)[0] == tag
    )


def _tiff(tag: int, kind: int, count: int, value: bytes) -> Version:
    """A TIFF with another entry in its directory."""

    def version(path: Path) -> None:
        content = bytearray(path.read_bytes())
        at = _tag(content, tag)
        content[at + 2 : at + 12] = struct.pack("<HI", kind, count) + value.ljust(4, b"\0")
        path.write_bytes(content)

    return version


def _tie_point(x: float) -> Version:
    def version(path: Path) -> None:
        content = bytearray(path.read_bytes())
        (values,) = struct.unpack_from("<I", content, _tag(content, 33922) + 8)
        struct.pack_into("<d", content, values + 24, x)
        path.write_bytes(content)

    return version


TIFF = {
    "a width of many values": _tiff(256, 3, 2**32 - 1, b"\x08"),
    "a width of 4 billion": _tiff(256, 4, 1, b"\xff" * 4),
    "a width that is no number": _tiff(256, 11, 1, struct.pack("<f", float("inf"))),
    "strips of many values": _tiff(273, 1, 2**24, b"\x08"),
    "a directory beyond its end": lambda path: path.write_bytes(b"II*\0\xff\xff\xff\xff" + path.read_bytes()[8:]),
    "a place that is no number": _tie_point(float("nan")),
    "a place without end": _tie_point(float("inf")),
    "pixels that are missing": cut(0.9),
}
V1_JSON: dict[str, Version] = {
    **DEEP_JSON,
    "huge": write(b'{"a": "' + b" " * 2**22 + b'"}'),
    "a surrogate": json_with(labels=["\ud800"]),
    "labels that are a text": json_with(labels="Pastures"),
    "labels that are numbers": json_with(labels=[1]),
    "a corner beyond all numbers": json_with(coordinates=dict.fromkeys(("ulx", "uly", "lrx", "lry"), 10**400)),
    "a corner that is no number": json_with(coordinates=dict.fromkeys(("ulx", "uly", "lrx", "lry"), float("nan"))),
    "a projection of lists": json_with(projection=[]),
    "a projection with a NUL": json_with(projection="\0"),
    "a time of the year 0": json_with(acquisition_date="0000-01-01"),
}
VERSIONS: dict[str, dict[str, Any]] = {
    "L1C zip": L1C_ZIP,
    "L1C manifest": L1C_MANIFEST,
    "L2A metadata": L2A_METADATA,
    "L2A manifest": {**XML, "an unknown algorithm": change(b"MD5", b"SHAKE-128")},
    "L2A band": L2A_BAND,
    "list of products": LIST,
    "list of ids": LIST,
    "list of L1C hashes": LIST,
    "list of flags": {**LIST, "256 MB of empty lines": packed(".gz", b"\n" * 2**24, 20)},
    "S1-S2 mapping": LIST,
    "hash list": CSV,
    "text list of patches": CSV,
    "metadata": {**PARQUET, "values of 4 GB": _long_values("country"), "no names": _nulls("patch_id")},
    "table of patches": {**PARQUET, "values of 4 GB": _long_values("patch_id"), "no names": _nulls("patch_id")},
    "v1 geometry": {**PARQUET, "values of 4 GB": _long_values("patch_name"), "no geometry": _nulls("geom")},
    "v1 JSON": V1_JSON,
    "v1 TIFF": TIFF,
    "S1 file": {**TIFF, "another place": _tie_point(300_010.0)},
    "S1 archive with its own md5": S1_ARCHIVE,
    "nomenclature": {
        **TOML,
        "a code without end": write(b'class = [{name = "a", codes = [inf]}]\n[clc]\n1 = "a"\n'),
        "a list": write(b"class = 1\nclc = []\n"),
    },
    "colours": {**TOML, "a list": write(b"colour = []\n"), "without end": write(b"colour = {1 = [inf, 1, 1]}\n")},
    "pinned inputs": TOML,
    "published figures": TOML,
    "area": {**DEEP_JSON, "huge": sparse(2**30)},
    "outlines": DEEP_JSON,
}
