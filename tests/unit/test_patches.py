"""Cutting a tile against the slow way: arrays indexed pixel by pixel, files written by GDAL, tars read by `tarfile`."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadProduct, DiskError, PipelineError
from ben_luigi.domain.formats import geotiff, shards
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import PatchGrid
from ben_luigi.domain.products.product import BANDS, Product, read_product
from ben_luigi.domain.tiles import patches
from ben_luigi.domain.tiles.decoding import Column, spans
from ben_luigi.domain.vocabulary import RESOLUTION_M
from tests.unit.products import NAME, SIDE_M, SmallProduct, noise

SIDE = SIDE_M // 1200
EVERY = np.arange(SIDE**2)
GRID = PatchGrid(NAME.tile_name, SmallProduct().square)


def with_zeros(*places: tuple[str, int, int]) -> SmallProduct:
    """A product with a 0 at (row, col) of a band."""
    pixels = {band: noise(band) for band, _, _ in places}
    for band, row, col in places:
        pixels[band][row, col] = 0
    return SmallProduct(pixels=pixels)


HOLED = with_zeros(("B02", 120, 240), ("B02", 119, 119), ("B09", 40, 59), ("B8A", 60, 0), ("B12", 182, 182))
"""0 in the corners of patches (2, 1) and (0, 0), at an edge of (2, 2) and (0, 1), and outside of all patches."""


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return read_product(HOLED.write(tmp_path_factory.mktemp("holed")), SIDE_M)


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return SmallProduct().members()


@pytest.fixture
def whole(members: dict[str, bytes], tmp_path: Path) -> Product:
    return read_product(SmallProduct().write(tmp_path / "l2a", members), SIDE_M)


def cut(product: Product, folder: Path, wanted: np.ndarray = EVERY, threads: int = 1) -> np.ndarray:
    return patches.cut(product, GRID, wanted, folder / "tile.tar", folder / "tile.parquet", threads=threads)


def slowly(product: SmallProduct, wanted: np.ndarray) -> tuple[dict[str, bytes], list[bool]]:
    """The files that a shard must hold, in order, and which patches are valid."""
    made, valid = {}, []
    for position in wanted.tolist():
        patch = PatchId(NAME.tile_name, *divmod(position, SIDE))
        left, top = 300_000 + 1200 * patch.x, 5_400_000 - 1200 * patch.y
        cuts = {}
        for band, pixels in product.bands.items():
            side = 1200 // RESOLUTION_M[band]
            cuts[band] = pixels[patch.y * side : (patch.y + 1) * side, patch.x * side : (patch.x + 1) * side]
        valid.append(not any(0 in pixels for pixels in cuts.values()))
        for band, pixels in sorted(cuts.items()) if valid[-1] else ():
            name = f"BigEarthNet-S2/{NAME.tile_name}/{patch}/{patch}_{band}.tif"
            made[name] = geotiff.gdal_bytes(pixels, left, top, RESOLUTION_M[band], 32633)
    return made, valid


def content(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard, "r:") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in members.items() if file is not None}


def nothing_in(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.is_file()]


def test_files_are_those_of_the_slow_way(holed: Product, tmp_path: Path) -> None:
    made, valid = slowly(HOLED, EVERY)
    assert [divmod(place, SIDE) for place in EVERY.tolist() if not valid[place]] == [(0, 0), (0, 1), (2, 1), (2, 2)]
    assert cut(holed, tmp_path).tolist() == valid
    found = content(tmp_path / "tile.tar")
    assert list(found) == list(made) == sorted(made)
    assert found == made
    index = shards.read_index(tmp_path / "tile.parquet")
    assert index["sha256"].to_pylist() == [hashlib.sha256(data).hexdigest() for data in made.values()]
    assert index["name"].to_pylist() == [Path(name).stem for name in made]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.sampled_from(EVERY.tolist())), threads=st.integers(1, 4))
def test_any_choice_of_patches(holed: Product, tmp_path: Path, wanted: set[int], threads: int) -> None:
    chosen = np.array(sorted(wanted), dtype="int64")
    made, valid = slowly(HOLED, chosen)
    assert cut(holed, tmp_path, chosen, threads=threads).tolist() == valid
    assert content(tmp_path / "tile.tar") == made
    assert len(shards.read_index(tmp_path / "tile.parquet")) == 12 * sum(valid)


def test_other_zone(tmp_path: Path) -> None:
    name = replace(NAME, mgrs="29SND")
    small = SmallProduct(name)
    product = read_product(small.write(tmp_path), SIDE_M)
    grid = PatchGrid(name.tile_name, product.square)
    assert patches.cut(product, grid, EVERY[4:5], tmp_path / "tile.tar", tmp_path / "tile.parquet").all()
    found = content(tmp_path / "tile.tar")
    left, top = product.square.left + 1200, product.square.top - 1200
    assert list(found.values()) == [
        geotiff.gdal_bytes(pixels[part, part], left, top, pixel_m, 32629)
        for band, pixels in small.bands.items()
        for pixel_m in [RESOLUTION_M[band]]
        for part in [slice(1200 // pixel_m, 2400 // pixel_m)]
    ]


@given(rows=st.sets(st.integers(0, 90), min_size=1), block_px=st.sampled_from([64, 192, 640, 1024]))
def test_spans_leave_out_rows_of_blocks_that_nobody_wants(rows: set[int], block_px: int) -> None:
    wanted = np.array(sorted(rows))
    found = list(spans(wanted, 120, block_px))
    assert [place for first, last in found for place in range(first, last + 1)] == list(range(len(wanted)))
    needed = {px // block_px for row in rows for px in range(row * 120, row * 120 + 120)}
    read = {px // block_px for first, last in found for px in range(wanted[first] * 120, int(wanted[last]) * 120 + 120)}
    assert read == needed


def test_blocks_that_nobody_wants_are_not_decoded(whole: Product, tmp_path: Path) -> None:
    """What lies in them may even be damaged, if no manifest is there to tell."""
    (whole.folder / "manifest.safe").unlink()
    product = read_product(whole.folder, SIDE_M)
    damage(product.bands["B02"], 35)
    made, _ = slowly(SmallProduct(), EVERY[:2])
    assert cut(product, tmp_path, EVERY[:2]).all()
    assert content(tmp_path / "tile.tar") == made
    with pytest.raises(BadProduct, match=r"B02_10m"):
        cut(product, tmp_path, EVERY)


def damage(path: Path, block: int) -> None:
    """Shorten the data of a JPEG 2000 block, so that the file's structure stays in order."""
    data = path.read_bytes()
    at = data.index(b"\xff\x90\x00\x0a" + block.to_bytes(2, "big"))
    length = int.from_bytes(data[at + 6 : at + 10], "big")
    box = data.index(b"jp2c") - 4
    assert int.from_bytes(data[box : box + 4], "big") == len(data) - box
    short = data[at : at + length // 2]
    short = short[:6] + len(short).to_bytes(4, "big") + short[10:]
    data = data[:at] + short + data[at + length :]
    path.write_bytes(data[:box] + (len(data) - box).to_bytes(4, "big") + data[box + 4 :])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("band", ["B01", "B08", "B12"])
def test_block_that_cannot_be_decoded(whole: Product, tmp_path: Path, band: str, threads: int) -> None:
    (whole.folder / "manifest.safe").unlink()
    product = read_product(whole.folder, SIDE_M)
    damage(product.bands[band], 0)
    with pytest.raises(BadProduct, match=f"33UUP_20170613: .*_{band}_.*; expected: JPEG 2000 blocks that can be"):
        cut(product, tmp_path, threads=threads)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_band_truncated_after_its_header_was_read(
    whole: Product, tmp_path: Path, kept: float, with_manifest: bool
) -> None:
    """Even if what is wanted lies in the part that is left."""
    if not with_manifest:
        whole = replace(whole, checksums={})
    path = whole.bands["B05"]
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    for wanted in (EVERY, EVERY[:1]):
        with pytest.raises(BadProduct, match=r"33UUP_20170613: .*B05_20m.jp2"):
            cut(whole, tmp_path, wanted)
    assert nothing_in(tmp_path)


def test_flipped_bit(whole: Product, tmp_path: Path) -> None:
    """OpenJPEG decodes it to other pixels without a word; the manifest knows better."""
    path = whole.bands["B11"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.raises(BadProduct, match=r"B11_20m.jp2; expected: md5"):
        cut(whole, tmp_path)
    assert nothing_in(tmp_path)


def test_band_that_is_gone(whole: Product, tmp_path: Path) -> None:
    whole.bands["B8A"].unlink()
    with pytest.raises(BadProduct, match="B8A_20m"):
        cut(whole, tmp_path)
    assert nothing_in(tmp_path)


def test_empty_tile_gives_an_empty_shard(tmp_path: Path) -> None:
    empty = SmallProduct(pixels={band: np.zeros_like(noise(band)) for band in BANDS})
    product = read_product(empty.write(tmp_path / "l2a"), SIDE_M)
    assert not cut(product, tmp_path).any()
    assert content(tmp_path / "tile.tar") == {}
    assert len(shards.read_index(tmp_path / "tile.parquet")) == 0


def test_nothing_wanted_gives_an_empty_shard(whole: Product, tmp_path: Path) -> None:
    assert cut(whole, tmp_path, EVERY[:0]).shape == (0,)
    assert content(tmp_path / "tile.tar") == {}
    assert len(shards.read_index(tmp_path / "tile.parquet")) == 0


def test_progress_ends_at_one(whole: Product, tmp_path: Path) -> None:
    parts: list[float] = []
    patches.cut(whole, GRID, EVERY, tmp_path / "a.tar", tmp_path / "a.parquet", progress=parts.append)
    assert parts == pytest.approx([1 / 3, 2 / 3, 1])


def test_another_gdal_does_not_go_unnoticed(whole: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = geotiff.gdal_bytes

    def other(pixels: np.ndarray, left: float, *place: Any, **more: Any) -> bytes:
        return theirs(pixels, left + (pixels.max() > 1), *place, **more)

    geotiff.template.cache_clear()
    monkeypatch.setattr(geotiff, "gdal_bytes", other)
    with pytest.raises(PipelineError, match="the bytes that GDAL writes"):
        cut(whole, tmp_path)
    assert nothing_in(tmp_path)


def in_a_process(work: Callable[[], object]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30)
    return process.exitcode


def test_killed_in_the_middle(whole: Product, tmp_path: Path) -> None:
    def dies(part: float) -> None:
        if part > 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        patches.cut(whole, GRID, EVERY, tmp_path / "tile.tar", tmp_path / "tile.parquet", progress=dies)

    assert in_a_process(work) == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.is_file()]
    assert all(path.name.startswith(".unfinished-") for path in left)
    assert left
    assert cut(whole, tmp_path).all()
    files.sweep(tmp_path, older_than_s=-1)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["tile.parquet", "tile.tar"]


@pytest.mark.parametrize("most_bytes", [0, 100_000, 1_500_000])
def test_full_disk(whole: Product, tmp_path: Path, most_bytes: int) -> None:
    """A limit on the size of files stands in for it: writing fails in the same place, with another errno."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        with pytest.raises(DiskError, match="File too large"):
            cut(whole, tmp_path)

    assert in_a_process(work) == 0
    assert nothing_in(tmp_path)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 65_535), min_size=4, max_size=40),
    st.sampled_from([-1000, -1, -65_000]),
)
def test_an_offset_is_removed_from_every_pixel_but_no_data(values: list[int], offset: int) -> None:
    """Against one pixel after the other: what would be 0 or negative is 1, and counted."""
    pixels = np.array(values[: len(values) // 2 * 2], dtype="uint16").reshape(2, 1, -1)
    expected = [0 if value == 0 else max(value + offset, 1) for value in pixels.ravel().tolist()]
    dark = sum(0 < value <= -offset for value in pixels.ravel().tolist())
    column, clipped = Column(0, np.arange(2), {"B02": pixels.copy(), "B8A": pixels.copy()}).with_offset(offset)
    assert [column.pixels[band].ravel().tolist() for band in ("B02", "B8A")] == [expected, expected]
    assert clipped == 2 * dark and column.pixels["B02"].dtype == np.uint16


def test_patches_of_a_product_with_an_offset_are_those_of_the_one_without(holed: Product, tmp_path: Path) -> None:
    """Validity goes by the product's own 0; pixels of 1,000 and less are 1."""
    pixels = {band: np.maximum(noise(band).astype("int32") - 1000, 1).astype("uint16") for band in BANDS}
    for band, at in HOLED.pixels.items():
        pixels[band][at == 0] = 0
    made, valid = slowly(SmallProduct(pixels=pixels), EVERY)
    clipped: list[int] = []
    found = patches.cut(
        holed, GRID, EVERY, tmp_path / "tile.tar", tmp_path / "tile.parquet", offset=-1000, clipped=clipped.append
    )
    assert found.tolist() == valid
    assert content(tmp_path / "tile.tar") == made
    assert sum(clipped) == sum(
        int(np.count_nonzero(noise(band)[part[0], part[1]] <= 1000))
        for band in BANDS
        for place in EVERY[found].tolist()
        for x, y in [divmod(place, SIDE)]
        for side in [1200 // RESOLUTION_M[band]]
        for part in [(slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side))]
    )
