"""Verify single files: of the published kind, on the square of their patch, and consistent with `patches.parquet`."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ben_luigi.domain.dataset import sentinel1
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.geoparquet import PATCHES, SHARES
from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.dataset.verify_patches import Described
from ben_luigi.domain.dataset.verify_rows import Rows
from ben_luigi.domain.formats import geotiff
from ben_luigi.domain.formats.tiffheader import TiffHeader, read_header, read_pixels
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid, Square
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.recipe.model import OF_PRODUCT, Layer
from ben_luigi.domain.tiles import reference_maps, scene_classes
from ben_luigi.domain.vocabulary import RESOLUTION_M

_S1_PIXEL_M = 10
_TIE_POINT = struct.Struct("<2d")

LabelsOf = Callable[[np.ndarray], list[str]]


@lru_cache(maxsize=16)  # the files of a patch are read one after the other
def s2_tile(patch_id: str) -> str:
    """Return the tile of a patch, which is its folder in the archives."""
    return PatchId.parse(patch_id).tile_name


class Ground:
    """Checks of single files, which share the place of each patch and what is stated about its files."""

    def __init__(
        self,
        rows: Rows,
        grids: Mapping[str, PatchGrid],
        labels_of: LabelsOf,
        described: Described | None,
        findings: Findings,
        form: Form = FORM_V2,
    ) -> None:
        self._codes = np.array(form.codes)
        self._checks_s1 = not form.about.is_v2
        self._rows = rows
        self._grids = grids
        self._labels_of = labels_of
        self._described = described
        self._findings = findings
        self._patch = _Patch(-1, "", Square(0, 0, 0, 0), [])

    @property
    def wants_hashes(self) -> bool:
        """Whether the checks need the sha256 of files."""
        return self._described is not None

    def check_s2(self, row: int, band: str, data: bytes, sha256: bytes) -> Iterator[str | tuple[str, str]]:
        """Yield what is wrong with a file of S2 reflectance."""
        patch, pixel_m = self._at(row), RESOLUTION_M[band]
        square = patch.square
        self._note_s2(patch, band, sha256)
        kind = geotiff.template(int(square.side_m) // pixel_m, pixel_m, square.epsg)
        start, stop = kind.tie_point_at, kind.tie_point_at + _TIE_POINT.size
        if len(data) == kind.size and data[:start] + data[stop : len(kind.header)] == _around_tie_point(kind):
            left, top = _TIE_POINT.unpack_from(data, start)
            pixels = np.frombuffer(data, dtype="<u2", offset=len(kind.header))
        else:
            header, pixels = read_header(data), read_pixels(data)
            if len(data) != kind.size:
                yield f"of another length than {kind.size:,} bytes", f"found {len(data):,}"
            yield from _unlike(header, pixel_m, "uint16", 0.0, square)
            left, top = header.left, header.top
        if not pixels.all():
            yield "with no-data pixels"
        yield from _elsewhere(square, left, top)

    def check_s1(self, row: int, band: str, data: bytes, sha256: bytes) -> Iterator[str]:
        """Yield what is wrong with a file of S1 backscatter."""
        header, square = read_header(data), self._at(row).square
        yield from _unlike(header, _S1_PIXEL_M, "float32", header.nodata, square)
        yield from _elsewhere(square, header.left, header.top)
        if self._checks_s1:
            pixels = read_pixels(data)
            if not np.isfinite(pixels).all() or (header.nodata is not None and (pixels == header.nodata).any()):
                yield "with no-data pixels"

    def check_layer(self, layer: Layer, row: int, kind: str, data: bytes, sha256: bytes) -> Iterator[str]:
        """Yield what is wrong with a file of a further layer."""
        header, pixels, square = read_header(data), read_pixels(data), self._at(row).square
        if layer == OF_PRODUCT["scl"]:
            self._check_shares(row, pixels)
        yield from _unlike(header, layer.kinds[kind], layer.dtype, layer.nodata, square)
        yield from _elsewhere(square, header.left, header.top)

    def check_map(self, row: int, kind: str, data: bytes, sha256: bytes) -> Iterator[str]:
        """Yield what is wrong with a reference map, and whether the labels do not follow from it."""
        header, codes, square = read_header(data), read_pixels(data), self._at(row).square
        yield from _unlike(header, reference_maps.PIXEL_M, "uint16", 0.0, square)
        yield from _elsewhere(square, header.left, header.top)
        if sorted(self._labels_of(codes)) != sorted(self._rows.labels[row]):
            yield "with other classes than the labels in the metadata"
        if self._described is not None and self._described.known[row]:
            if sha256:
                self._check_hash(row, "reference_map_sha256", self._described.map_sha256[row], sha256)
            self._check_land_cover(row, codes, self._described.pixels[row])

    def _note_s2(self, patch: _Patch, band: str, sha256: bytes) -> None:
        """Collect the hashes of a patch's files, and compare them once they are complete."""
        if self._described is None or not self._described.known[patch.row] or not sha256:
            return
        patch.hashes.append(f"{sha256.hex()}  {patch.name}_{band}.tif\n")
        if len(patch.hashes) == len(BANDS):
            found = hashlib.sha256("".join(patch.hashes).encode()).digest()
            self._check_hash(patch.row, "s2_sha256", self._described.s2_sha256[patch.row], found)

    def _check_hash(self, row: int, column: str, described: np.ndarray, found: bytes) -> None:
        if described.tobytes() != found:
            what = f"{column}: not that of the files in the archive"
            self._findings.differ(PATCHES, what, self._rows.patch_id(row), found.hex(), described.tobytes().hex())

    def _check_land_cover(self, row: int, codes: np.ndarray, described: np.ndarray) -> None:
        found = np.bincount(codes.reshape(-1), minlength=int(self._codes.max()) + 1)[self._codes]
        for at in np.flatnonzero(found != described).tolist():
            what = f"clc_{self._codes[at]}: not the part of the reference map"
            numbers = (f"{int(pixels)} pixels" for pixels in (found[at], described[at]))
            self._findings.differ(PATCHES, what, self._rows.patch_id(row), *numbers)

    def _check_shares(self, row: int, classes: np.ndarray) -> None:
        """Compare the shares of a patch, if there are any, with its scene classification."""
        if self._described is None or not self._described.known[row] or np.isnan(self._described.shares[row]).any():
            return
        valid = max(1, int((~np.isin(classes, scene_classes.INVALID)).sum()))
        for at, of in enumerate(scene_classes.COUNTED.values()):
            share, said = np.float32(np.isin(classes, of).sum() / valid), self._described.shares[row, at]
            if share != said:
                what = f"{SHARES[at]}: not the part of the scene classification"
                self._findings.differ(PATCHES, what, self._rows.patch_id(row), float(share), float(said))

    def _at(self, row: int) -> _Patch:
        """Return the patch of a row; its files are read one after the other."""
        if row != self._patch.row:
            name = self._rows.patch_id(row)
            square = self._grids[s2_tile(name)].patch(int(self._rows.x[row]), int(self._rows.y[row]))
            self._patch = _Patch(row, name, square, [])
        return self._patch


@dataclass(frozen=True)
class _Patch:
    """The patch whose files are being checked: row, name, square, and sha256sum's lines for its S2 files so far."""

    row: int
    name: str
    square: Square
    hashes: list[str]


@lru_cache(maxsize=64)
def _around_tie_point(kind: geotiff.Template) -> bytes:
    return kind.header[: kind.tie_point_at] + kind.header[kind.tie_point_at + _TIE_POINT.size :]


def _elsewhere(square: Square, left: float, top: float) -> Iterator[str]:
    if max(abs(square.left - left), abs(square.top - top)) > sentinel1.SAME_PLACE_M:
        yield "not on the square that the patch's name says"


def _unlike(header: TiffHeader, pixel_m: int, dtype: str, nodata: float | None, square: Square) -> Iterator[str]:
    side_px = int(square.side_m) // pixel_m
    expected = _described(side_px, side_px, pixel_m, dtype, nodata, square.epsg)
    found = _described(header.width, header.height, header.pixel_m, header.dtype, header.nodata, header.epsg)
    if found != expected:
        yield f"a TIFF of {found} instead of {expected}"


def _described(width: int, height: int, pixel_m: float, dtype: str, nodata: float | None, epsg: int | None) -> str:
    return f"{width} x {height} px of {pixel_m:g} m, {dtype}, no-data {nodata}, EPSG:{epsg}"
