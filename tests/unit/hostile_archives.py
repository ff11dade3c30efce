"""Hostile versions of a tar archive of Sentinel-1: headers, names and lengths that no program should trust."""

from __future__ import annotations

import gzip
import tarfile
from typing import Any

from tests.unit.hostile_changes import Version, write
from tests.unit.hostile_files import s1_name
from tests.unit.s1_patches import member, s1_tiff, tar_gz


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
