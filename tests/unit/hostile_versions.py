"""Hostile versions of the files of hostile_files: each takes the path of a whole file and puts something else there."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.hostile_files import s1_name
from tests.unit.s1_patches import member, s1_tiff, tar_gz

Version = Callable[[Path], object]


def write(content: bytes) -> Version:
    """Other content."""
    return lambda path: path.write_bytes(content)


def change(old: bytes, new: bytes) -> Version:
    """The same, with something replaced."""

    def version(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return version


def json_with(**changed: object) -> Version:
    """JSON with other values."""

    def version(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return version


def cut(part: float) -> Version:
    """Cut short."""
    return lambda path: os.truncate(path, int(part * path.stat().st_size))


def instead(make: Callable[[Path], object]) -> Version:
    """Something else in its place."""

    def version(path: Path) -> None:
        path.unlink()
        make(path)

    return version


def packed(suffix: str, content: bytes, times: int) -> Callable[[Path], Path]:
    """A text that unpacks to much: `content` so many times, packed, under the name with the suffix."""

    def version(path: Path) -> Path:
        pack = bz2.compress if suffix == ".bz2" else gzip.compress
        found = path.with_name(path.name + suffix)
        found.write_bytes(pack(content) * times)
        path.unlink()
        return found

    return version


def sparse(size: int) -> Version:
    """So many bytes of 0, which take no room."""
    return lambda path: os.truncate(path, size)


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


def _archive(*members: tuple[tarfile.TarInfo, bytes]) -> Version:
    return write(tar_gz(members))


def _kept(size: int | None = None, **changed: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file that is kept, whose header says something else."""
    info, data = member(s1_name("VV"), s1_tiff())
    for name, value in changed.items():
        setattr(info, name, value)
    return info, data


def _raw(*blocks: bytes) -> Version:
    return write(gzip.compress(b"".join(blocks) + bytes(1024), 1))


def _header(size: int, kind: bytes, name: str = "x") -> bytes:
    """A member's header, which may say any size, below 0 too."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


def _sparse_header(name: str, size: int) -> bytes:
    """The header of an old GNU sparse file without data, which goes on in further blocks."""
    block = bytearray(_header(0, tarfile.GNUTYPE_SPARSE, name))
    block[482], block[483:495] = 1, b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


_KEPT = f"BigEarthNet-S1-v1.0/{s1_name('VV')}"
_MANY = 2**26
S1_ARCHIVE: dict[str, Version] = {
    "a file of 40 GB": _raw(_header(40 * 10**9, tarfile.REGTYPE, _KEPT)),
    "another file of 40 GB": _raw(_header(40 * 10**9, tarfile.REGTYPE)),
    "a length below 0": _raw(_header(-512, tarfile.REGTYPE), s1_tiff()),
    "a kept length below 0": _raw(_header(-512, tarfile.REGTYPE, _KEPT), s1_tiff()),
    "a name of 64 MB": _raw(_header(_MANY, tarfile.GNUTYPE_LONGNAME), bytes(_MANY)),
    "pax records of 64 MB": _raw(_header(_MANY, tarfile.XHDTYPE), b"%d path=" % _MANY, bytes(_MANY)),
    "pax records that are none": _raw(
        _header(512, tarfile.XHDTYPE), b"20 GNU.sparse.map=a\n".ljust(512, b"\0"), _header(0, b"0")
    ),
    "ten thousand pax headers": _raw((_header(512, tarfile.XHDTYPE) + b"9 path=a\n".ljust(512, b"\0")) * 10_000),
    "a map of 64 MB of a sparse file": _raw(
        _sparse_header("x", 1), (b"00000000001\0" * 42 + b"\1").ljust(512, b"\0") * (_MANY // 512)
    ),
    "a sparse file of 40 GB": _raw(_sparse_header(_KEPT, 40 * 10**9), bytes(512)),
    "links and devices": _archive(
        _kept(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), _kept(type=tarfile.LNKTYPE, linkname="x", size=0)
    ),
    "names out of the folder": _archive(_kept(name="/" + s1_name("VV")), _kept(name="../../" + s1_name("VH"))),
    "nothing": write(gzip.compress(bytes(1024))),
    "no tar": write(gzip.compress(b"x" * 10_000)),
    "a name of many letters in gzip's header": write(b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 10_000_000),
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
