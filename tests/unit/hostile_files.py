"""Files of users, whole and in hostile versions, and what reads each of them: see test_hostile_files.

Run as a program it reads the versions whose paths come on standard input, with little memory, and says for each on
standard output what has become of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ben_luigi.domain import inputs
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.dataset import comparison, differences, links, metadata, sentinel1, subset, version1
from ben_luigi.domain.dataset.sentinel1_stream import collect
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.files import file_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.products import l1c, product
from ben_luigi.domain.report import rendering, report_map
from ben_luigi.domain.tiles import nomenclature
from ben_luigi.sample.safe import write_zip
from tests.conftest import ROOT
from tests.unit.products import SIDE_M, SmallProduct
from tests.unit.s1_patches import SQUARE, member, s1_tiff, tar_gz
from tests.unit.v1_folder import V1Folder

TRACKED = ROOT / "tracked_artifacts"
ADDRESS_SPACE_BYTES = 2**31
"""More than what is in use when reading begins."""

LINE_END = frozenset({"all but a byte"})
TEXT = frozenset({"empty", "one byte", "a quarter", "half", "all but a byte"})
COLUMN_NOT_LOOKED_AT = {"a quote that does not close", "names with spaces"}
_CPU_S = 600
_V1 = "S2A_MSIL2A_20170613T101031_{}_57"
_S1 = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_{}_57"
_L1C = ProductName.parse("S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE")


@dataclass(frozen=True)
class Kind:
    """A kind of file: `make` writes a whole one into a folder and gives its path, `read` reads it there.

    `harmless` are versions in which it may be whole still.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    harmless: frozenset[str] = frozenset()


@cache
def l2a_members() -> dict[str, bytes]:
    """The files of a small L2A product."""
    return SmallProduct().members()


def _l2a(folder: Path, file: str) -> Path:
    safe = SmallProduct().write(folder, l2a_members())
    return safe / file


def _read_l2a(path: Path) -> object:
    safe = next(parent for parent in path.parents if parent.suffix == ".SAFE")
    found = product.read_product(safe, SIDE_M)
    for band in product.BANDS:
        found.verify(band)
    return found


def l1c_members() -> dict[str, bytes]:
    """The files of an L1C product whose images are none."""
    granule = "GRANULE/L1C_T33UUP_A010309_20170613T101608"
    images = {f"{granule}/IMG_DATA/T33UUP_20170613T101031_{band}.jp2": band.encode() * 99 for band in l1c.BANDS}
    return {**images, f"{granule}/AUX_DATA/A": b"a", "DATASTRIP/DS/QI_DATA/Q": b"q", "MTD_MSIL1C.xml": b"<m/>"}


def manifest(members: dict[str, bytes], algorithm: str = "MD5") -> bytes:
    """`manifest.safe` of these files."""
    entry = (
        '<dataObject><byteStream><fileLocation href="./{}"/><checksum checksumName="{}">{}</checksum></byteStream>'
        "</dataObject>"
    )
    listed = (entry.format(name, algorithm, hashlib.md5(data).hexdigest()) for name, data in members.items())
    return f"<x>{''.join(listed)}</x>".encode()


def _l1c_zip(folder: Path) -> Path:
    members = l1c_members()
    path = folder / "product.zip"
    write_zip({**members, "manifest.safe": manifest(members)}, path, str(_L1C), _L1C.sensing_time)
    return path


def _l1c_manifest(folder: Path) -> Path:
    members = l1c_members()
    for name, data in {**members, "manifest.safe": manifest(members)}.items():
        (folder / str(_L1C) / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / str(_L1C) / name).write_bytes(data)
    return folder / str(_L1C) / "manifest.safe"


def _read_l1c(path: Path) -> object:
    container = path if path.suffix == ".zip" else path.parent
    l1c.verify(container, _L1C)
    with tempfile.TemporaryDirectory() as folder:
        return l1c.unpack(container, Path(folder))


def _text(name: str, *rows: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text("".join(f"{row}\r\n" for row in rows))
        return folder / name

    return make


def _parquet(name: str, table: Callable[[], pa.Table]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pq.write_table(table(), folder / name)
        return folder / name

    return make


def metadata_table() -> pa.Table:
    """Rows of the metadata."""
    values = [["a"], [["Pastures"]], ["train"], ["Austria"], ["s1"], ["v1"], [True], [False]]
    columns = [pa.array(value, column.type) for value, column in zip(values, metadata.SCHEMA, strict=True)]
    return pa.table(columns, schema=metadata.SCHEMA)


def _v1_geometry(folder: Path) -> Path:
    version1.write_spatial(folder, 32633, [_V1.format(0)], np.array([[331_200.0, 5_331_600.0]]))
    return folder / "bigearthnet_v1_spatial_32633.parquet"


def _v1_patch(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        name = _V1.format(0)
        return V1Folder(name, 32633, 331_200, 5_331_600).write(folder / "v1", tiff=True) / f"{name}_{suffix}"

    return make


def _read_v1(path: Path) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return version1.extract(path.parents[1], Path(folder))


def _s1_file(folder: Path) -> Path:
    for band in sentinel1.BANDS:
        path = folder / _S1.format(0) / f"{_S1.format(0)}_{band}.tif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(s1_tiff())
    return path


def _squares(names: object) -> dict[str, Square]:
    return {_S1.format(0): SQUARE}


def _read_s1_file(path: Path) -> object:
    with tempfile.TemporaryDirectory() as folder:
        names, out = [_S1.format(0)], Path(folder) / "part"
        return sentinel1.write_folder_part(path.parents[1], names, out, 1, expected=_squares(names))


def s1_name(band: str, x: int = 0) -> str:
    """The name of a file of Sentinel-1 in the published archive; that of x = 0 is kept."""
    return f"{_S1.format(x)}/{_S1.format(x)}_{band}.tif"


@cache
def s1_archive() -> bytes:
    """An archive with the files of two patches."""
    return tar_gz(member(s1_name(band, x), s1_tiff()) for x in (1, 0) for band in sentinel1.BANDS)


def _s1_archive(folder: Path) -> Path:
    (folder / "s1.tar.gz").write_bytes(s1_archive())
    return folder / "s1.tar.gz"


def _read_s1_archive(path: Path, md5: str) -> object:
    parts = sentinel1.parts_of([_S1.format(0)])
    with tempfile.TemporaryDirectory() as folder:
        collect(path, parts, Path(folder), md5=md5, squares=_squares)
    return None


def _copied(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes((TRACKED / name).read_bytes())
        return folder / name

    return make


def _geojson(folder: Path) -> Path:
    ring = [[5, 45], [6, 45], [6, 46], [5, 45]]
    feature = {
        "type": "Feature",
        "properties": {"NAME_LONG": "Austria"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (folder / "some.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return folder / "some.geojson"


KINDS = {
    "L1C zip": Kind(_l1c_zip, _read_l1c),
    "L1C manifest": Kind(_l1c_manifest, _read_l1c),
    "L2A metadata": Kind(lambda folder: _l2a(folder, "MTD_MSIL2A.xml"), _read_l2a, LINE_END),
    "L2A manifest": Kind(lambda folder: _l2a(folder, "manifest.safe"), _read_l2a, LINE_END),
    "L2A band": Kind(lambda folder: _l2a(folder, SmallProduct().image("B05")), _read_l2a),
    "list of products": Kind(
        _text("names.csv", *(f"{_V1.format(x)},{_L1C},https://x" for x in range(9))),
        resolve.read_tile_names,
        TEXT | COLUMN_NOT_LOOKED_AT,
    ),
    "list of ids": Kind(
        _text("ids.csv", "tile,id", f"{_L1C},f602623e-fd82-5a53-ba09-b05ce085e40c"), resolve.read_tile_ids, TEXT
    ),
    "list of L1C hashes": Kind(_text("l1c.csv", "name,hash-sha256", f"a.out,{'0' * 64}"), l1c.read_hashes, TEXT),
    "list of flags": Kind(
        _text("snow.csv", *(_V1.format(x) for x in range(9))),
        lambda path: metadata.read_csv(path, ["s2v1_name"], header=False),
        TEXT,
    ),
    "S1-S2 mapping": Kind(
        _text("s1s2.csv", *(f"{_V1.format(x)},{_S1.format(x)}" for x in range(9))),
        lambda path: metadata.read_csv(path, ["s2v1_name", "s1_name"], header=False),
        TEXT,
    ),
    "hash list": Kind(
        _text("hashes.csv", "name,hash-sha256", *(f"{x},{'0' * 64}" for x in range(9))),
        lambda path: list(differences.hash_rows(path, lambda name: True)),
        TEXT,
    ),
    "metadata": Kind(
        _parquet(metadata.METADATA, metadata_table),
        lambda path: list(differences.metadata_rows(path.parent, lambda name: True)),
    ),
    "text list of patches": Kind(
        _text("patches.txt", "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"),
        links.read_list,
        TEXT | COLUMN_NOT_LOOKED_AT,
    ),
    "table of patches": Kind(
        _parquet(
            "patches.parquet", lambda: pa.table({"patch_id": ["S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"]})
        ),
        links.read_list,
    ),
    "v1 geometry": Kind(_v1_geometry, alignment.read_v1),
    "v1 JSON": Kind(_v1_patch("labels_metadata.json"), _read_v1),
    "v1 TIFF": Kind(_v1_patch("B02.tif"), _read_v1),
    "S1 file": Kind(_s1_file, _read_s1_file),
    "S1 archive": Kind(
        _s1_archive, lambda path: _read_s1_archive(path, hashlib.md5(s1_archive(), usedforsecurity=False).hexdigest())
    ),
    "S1 archive with its own md5": Kind(_s1_archive, lambda path: _read_s1_archive(path, file_hash(path, "md5"))),
    "nomenclature": Kind(_copied("nomenclature.toml"), nomenclature.read_nomenclature, TEXT),
    "colours": Kind(_copied("clc_colours.toml"), rendering.read_colours, TEXT),
    "pinned inputs": Kind(_copied("inputs.toml"), inputs.read_pinned, TEXT),
    "published figures": Kind(_copied("published.toml"), comparison.read_published, TEXT),
    "area": Kind(_geojson, lambda path: subset.read_area(str(path))),
    "outlines": Kind(_geojson, report_map.outlines),
}


def judge(kind: str, path: Path) -> tuple[str, str]:
    """What has become of a file: ("read", ""), ("refused", the error) or ("traceback", what was raised)."""
    try:
        KINDS[kind].read(path)
    except PipelineError as error:
        return "refused", str(error)
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"[:1000]
    return "read", ""


def _peak(path: Path = Path("/proc/self")) -> int:
    """The most memory that this process has had since it was asked last, in bytes, and begin anew."""
    (line,) = (line for line in (path / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    (path / "clear_refs").write_text("5")
    return int(line.split()[1]) * 1024


def main() -> None:
    """Judge each of the lines `kind <tab> path`; print outcome, error and growth of memory in bytes, as JSON."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ADDRESS_SPACE_BYTES, in_use + ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    for line in sys.stdin:
        kind, _, path = line.rstrip("\n").partition("\t")
        _peak()
        before = _peak()
        outcome, error = judge(kind, Path(path))
        print(json.dumps([kind, path, outcome, error, _peak() - before]), flush=True)


if __name__ == "__main__":
    main()
