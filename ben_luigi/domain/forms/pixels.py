"""Get the pixels of a patch's TIFFs, and tell by a digest whether those of a form are equal to them."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ben_luigi.domain.dataset.sentinel1 import BANDS as S1_BANDS
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats.tiffheader import TIE_POINT, byte_order, entries, native, read_header, read_pixels
from ben_luigi.domain.forms.source import KINDS, MAP, S2, Source
from ben_luigi.domain.products.product import BANDS
from ben_luigi.domain.vocabulary import RESOLUTION_M

DTYPES = {**dict.fromkeys((*BANDS, MAP), "uint16"), **dict.fromkeys(S1_BANDS, "float32")}
"""The type of a pixel by kind of file."""
PIXEL_M = {**RESOLUTION_M, MAP: 10, **dict.fromkeys(S1_BANDS, 10)}
"""The side of a pixel in metres by kind of file."""
GROUPS = {
    "s2_10m": tuple(band for band in BANDS if RESOLUTION_M[band] == 10),
    "s2_20m": tuple(band for band in BANDS if RESOLUTION_M[band] == 20),
    "s2_60m": tuple(band for band in BANDS if RESOLUTION_M[band] == 60),
    "s1": tuple(reversed(S1_BANDS)),
}
"""The bands of one pixel size and type together, in their order; VV before VH, as ConfigILM and rico-hdl have them."""
_PLACED = BANDS[1]
"""The band whose TIFFs say where patches lie."""
DIGEST_BYTES = 8
_CORNER_AT, _CORNER_BYTES = 3 * 8, 2 * 8
"""Where in the tie point x and y of the corner are: after its place in the raster (OGC 19-008r4, ModelTiepointTag)."""


class Place(NamedTuple):
    """Where a patch lies: EPSG code of its UTM zone, and upper-left corner in metres there."""

    epsg: int
    left_m: float
    top_m: float


class Places:
    """Where the patches of all rows lie, in the order of the rows: EPSG codes, west and north edges in metres."""

    def __init__(self, rows: int) -> None:
        self.epsg = np.zeros(rows, dtype="int32")
        self.left_m, self.top_m = np.zeros(rows), np.zeros(rows)

    def note(self, row: int, place: Place) -> None:
        """Keep where the patch of a row lies."""
        self.epsg[row], self.left_m[row], self.top_m[row] = place

    def columns(self, rows: Sequence[int] | slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return EPSG codes, west and north edges of these rows."""
        return self.epsg[rows], self.left_m[rows], self.top_m[rows]

    def of(self, row: int) -> Place:
        """Return where the patch of a row lies."""
        return Place(int(self.epsg[row]), float(self.left_m[row]), float(self.top_m[row]))


def side_px(kind: str, patch_m: int) -> int:
    """Return the side in pixels of a file of this kind, of a patch of `patch_m` metres."""
    return patch_m // PIXEL_M[kind]


def pixels_of(files: Mapping[str, bytes], patch_m: int, subject: str) -> dict[str, np.ndarray]:
    """Return the pixels (row, col) of each TIFF, by kind. Raise BadInput about `subject` if they are of another form.

    The form is that of the dataset: `patch_m` metres a side, uint16 of S2 and maps, float32 of S1. All are in the byte
    order of this machine, whatever that of the TIFF.
    """
    found = {}
    for kind, data in files.items():
        layout = _layouts.get(kind)
        known = layout.read(data) if layout is not None else None
        if known is not None and known.shape == (side_px(kind, patch_m),) * 2:
            found[kind] = known
            continue
        pixels = read_pixels(data, f"{subject}_{kind}.tif")
        check(kind, pixels, patch_m, subject)
        _layouts[kind] = _Layout.of(data, pixels)
        found[kind] = pixels
    return found


class _Layout(NamedTuple):
    """Where the pixels lie in a TIFF without compression, and all bytes before them but those of its place.

    TIFFs of one kind differ only in place and pixels, so each is compared with the last one instead of being parsed,
    which takes a hundredth of the time.
    """

    length: int
    before: bytes
    after: bytes
    after_at: int
    pixels_at: int
    dtype: str
    shape: tuple[int, int]
    corner: struct.Struct
    epsg: int | None

    @classmethod
    def of(cls, data: bytes, pixels: np.ndarray) -> _Layout | None:
        """Return the layout of a TIFF with these pixels; None if they do not lie at its end as they are."""
        if len(data) < pixels.nbytes:  # compressed, as reference maps are
            return None
        at, order = {tag: start for tag, _, start in entries(data)}, byte_order(data)
        pixels_at = len(data) - pixels.nbytes
        stored = pixels.astype(pixels.dtype.newbyteorder(order), copy=False)
        if TIE_POINT not in at or data[pixels_at:] != stored.tobytes() or at[TIE_POINT] >= pixels_at:
            return None
        corner = at[TIE_POINT] + _CORNER_AT
        after_at = corner + _CORNER_BYTES
        height, width = pixels.shape
        before, after = data[:corner], data[after_at:pixels_at]
        xy = struct.Struct(f"{order}2d")
        epsg = _stated_epsg(data, xy.unpack_from(data, corner))
        return cls(len(data), before, after, after_at, pixels_at, stored.dtype.str, (height, width), xy, epsg)

    def read(self, data: bytes) -> np.ndarray | None:
        """Return the pixels of a TIFF that has this layout; None if it has another."""
        if not self._is_of(data):
            return None
        return native(np.frombuffer(data, self.dtype, offset=self.pixels_at)).reshape(self.shape)

    def place(self, data: bytes) -> Place | None:
        """Return where a TIFF that has this layout lies; None if it has another, or its header has to be asked."""
        if self.epsg is None or not self._is_of(data):
            return None
        left, top = self.corner.unpack_from(data, len(self.before))
        return Place(self.epsg, left, top) if math.isfinite(left) and math.isfinite(top) else None

    def _is_of(self, data: bytes) -> bool:
        return (
            len(data) == self.length
            and data.startswith(self.before)
            and data[self.after_at : self.pixels_at] == self.after
        )


def _stated_epsg(data: bytes, corner: tuple[float, ...]) -> int | None:
    """Return the EPSG code of a TIFF whose corner is its tie point; None if it states none, or another corner."""
    try:
        header = read_header(data)
    except BadInput:
        return None
    return header.epsg if corner == (header.left, header.top) else None


_layouts: dict[str, _Layout | None] = {}
"""The layout of the last TIFF of each kind that was parsed."""


def check(kind: str, pixels: np.ndarray, patch_m: int, subject: str) -> None:
    """Raise BadInput if pixels are not of the type and number of their kind."""
    side = side_px(kind, patch_m)
    if pixels.shape != (side, side) or pixels.dtype.name != DTYPES[kind]:
        raise BadInput(
            f"{subject}_{kind}.tif",
            expected=f"{side} x {side} pixels of {DTYPES[kind]}",
            found=f"{' x '.join(map(str, pixels.shape))} of {pixels.dtype.name}",
            remedy="run ben-luigi verify on the dataset, which names all that is wrong",
        )


def place_of(files: Mapping[str, bytes], subject: str) -> Place:
    """Return where a patch lies, by one of its TIFFs of Sentinel-2. Raise BadInput about `subject` if it does not say.

    The last TIFF that `pixels_of` has parsed says where the bytes of the place are in others like it.
    """
    layout = _layouts.get(_PLACED)
    place = layout.place(files[_PLACED]) if layout is not None else None
    return place or _place_of(files[_PLACED], f"{subject}_{_PLACED}.tif")


def _place_of(data: bytes, subject: str) -> Place:
    header = read_header(data, subject)
    if header.epsg is None:
        raise BadInput(
            subject,
            expected="a TIFF with the EPSG code of its CRS",
            found="none",
            remedy="run ben-luigi verify on the dataset, which names all that is wrong",
        )
    return Place(header.epsg, header.left, header.top)


def pixels_in(source: Source, files: Mapping[str, bytes], name: str) -> dict[str, np.ndarray]:
    """Return the pixels of a patch's TIFFs as `pixels_of` does. Raise BadInput about the archive that has them."""
    try:
        return pixels_of(files, source.form.patch_m, name)
    except BadInput as error:
        raise _in_archive(source, error) from error


def place_in(source: Source, files: Mapping[str, bytes], name: str) -> Place:
    """Return where a patch lies as `place_of` does. Raise BadInput about the archive that has its TIFFs."""
    try:
        return place_of(files, name)
    except BadInput as error:
        raise _in_archive(source, error) from error


def _in_archive(source: Source, error: BadInput) -> BadInput:
    """Return an error about a TIFF as one about the archive, or the folder unpacked from it, that has such TIFFs."""
    stem = error.subject.removesuffix(".tif")
    archive = next((name for name, kinds in KINDS.items() if stem.endswith(tuple(f"_{kind}" for kind in kinds))), S2)
    remedy = "fetch or make that file again; ben-luigi verify on the dataset names all that is wrong"
    expected = f"{error.subject}: {error.expected}"
    return BadInput(source.path(archive), expected=expected, found=error.found, remedy=remedy)


class Digests:
    """A digest of the pixels of each row and kind, to compare the dataset with a form of it, whatever their orders.

    With `of_tiffs` there is another one of the bytes around the pixels. Memory: 8 bytes per file, or 16.
    """

    def __init__(self, rows: int, kinds: Sequence[str], *, of_tiffs: bool = False) -> None:
        self._kinds = {kind: number for number, kind in enumerate(kinds)}
        self._around = np.zeros((rows, len(kinds)), dtype=f"V{DIGEST_BYTES}") if of_tiffs else None
        self._digests = np.zeros((rows, len(kinds)), dtype=f"V{DIGEST_BYTES}")
        self._has = np.zeros((rows, len(kinds)), dtype=bool)
        self._seen = np.zeros((rows, len(kinds)), dtype=bool)

    def note(self, row: int, kind: str, pixels: np.ndarray, tiff: bytes) -> None:
        """Keep the digests of the pixels that a file of the dataset has, and of its bytes."""
        at = row, self._kinds[kind]
        self._digests[at], self._has[at] = _digest(pixels), True
        if self._around is not None:
            self._around[at] = _digest_around(tiff, pixels)

    def judge(self, row: int, kind: str, pixels: np.ndarray, tiff: bytes | None) -> str:
        """Return what is wrong with pixels of a form, and with the TIFF if it has one; an empty text if both are those
        of the dataset.
        """
        at = row, self._kinds.get(kind, -1)
        if at[1] < 0 or not self._has[at]:
            return "surplus"
        if self._seen[at]:
            return "twice"
        self._seen[at] = True
        if self._digests[at].tobytes() != _digest(pixels):
            return "other pixels than in the dataset"
        if tiff is not None and self._around is not None and self._around[at].tobytes() != _digest_around(tiff, pixels):
            return "other bytes around the same pixels than in the dataset's TIFF"
        return ""

    def missing(self) -> list[tuple[int, str]]:
        """Return row and kind of what a form has not shown."""
        kinds = list(self._kinds)
        return [(row, kinds[number]) for row, number in np.argwhere(self._has & ~self._seen).tolist()]


def _digest(pixels: np.ndarray) -> bytes:
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.blake2b(f"{pixels.dtype.name} {pixels.shape} ".encode(), digest_size=DIGEST_BYTES)
    digest.update(little.data)
    return digest.digest()


def _digest_around(tiff: bytes, pixels: np.ndarray) -> bytes:
    """Return a digest of the bytes of a TIFF: where it ends with its pixels as they are, of those before them."""
    before = tiff[: -pixels.nbytes] if tiff.endswith(pixels.tobytes()) else tiff
    return hashlib.blake2b(before, digest_size=DIGEST_BYTES).digest()
