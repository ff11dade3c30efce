"""Two datasets of the same squares, whose pixels differ by what is known: an analytic scene, sampled elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import from_origin

from ben_luigi.domain.dataset import twin
from ben_luigi.domain.dataset.registration import Difference, Shift
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import geotiff, shards
from ben_luigi.domain.names import PatchId, ProductName
from ben_luigi.domain.placement.grid import PatchGrid, tile_square
from ben_luigi.domain.report import report_twin
from ben_luigi.domain.tiles import patches
from ben_luigi.domain.vocabulary import RESOLUTION_M

OURS = ProductName.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20170613T101608.SAFE")
THEIRS = ProductName.parse("S2B_MSIL2A_20170615T101031_N0500_R022_T33UUP_20230101T101608.SAFE")
FARTHER = ProductName.parse("S2B_MSIL2A_20170618T101031_N0500_R022_T33UUP_20230101T101608.SAFE")
SIDE_M = 3660
OFFSET, SCALE = 1000.0, 0.5


def scene(side_px: int, seed: int, east_px: float = 0.0, south_px: float = 0.0) -> np.ndarray:
    """Hills of several widths, at places that do not depend on pixels, as seen from a shifted place: (row, col)."""
    rng = np.random.default_rng(seed)
    east, south = rng.uniform(-20, side_px + 20, (2, 300))
    width, height = rng.uniform(0.8, 6, 300), rng.normal(0, 400, 300)
    at = np.arange(side_px) + 0.5
    across = np.exp(-((at - east_px - east[:, None]) ** 2) / (2 * width[:, None] ** 2))
    down = np.exp(-((at - south_px - south[:, None]) ** 2) / (2 * width[:, None] ** 2))
    return np.asarray(8000 + np.einsum("k,ky,kx->yx", height, down, across))


def stored(pixels: np.ndarray) -> np.ndarray:
    """Pixels as a product stores them."""
    return np.asarray(np.clip(pixels, 1, 65_535).round().astype("uint16"))


def differing(side_px: int, pairs: int, east_px: float, south_px: float) -> Difference:
    found, noise = Difference(side_px), np.random.default_rng(7)
    for seed in range(pairs):
        theirs = OFFSET + SCALE * scene(side_px, seed, east_px, south_px) + noise.normal(0, 10, (side_px, side_px))
        found.add(stored(scene(side_px, seed)), stored(theirs))
    return found


@pytest.mark.parametrize("side_px", [120, 60, 20, 115])
@pytest.mark.parametrize(("east", "south"), [(0, 0), (0.3, -0.7), (-0.5, 0.5), (0.1, 0.2), (0.8, 0.4)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel(side_px: int, east: float, south: float) -> None:
    """And so are offset and scale, in spite of the shift."""
    found = differing(side_px, 40, east, south)
    assert found.shift is not None
    # Half a step, or on images of 20 pixels a whole one.
    assert found.shift == pytest.approx((east, south), abs=0.051 if side_px > 20 else 0.101)
    assert found.scale == pytest.approx(SCALE, rel=0.02)
    assert found.offset == pytest.approx(OFFSET, abs=100)


@pytest.mark.parametrize("shift", [(1.5, 0.4), (-2.2, 3.1), (7.0, -4.6), (20.3, -12.9)])
def test_a_shift_of_many_pixels_is_found_too(shift: tuple[float, float]) -> None:
    found = differing(120, 20, *shift).shift
    assert found == pytest.approx(shift, abs=0.051 if max(shift) < 10 else 0.101)


def test_without_a_shift_offset_scale_and_correlation_are_exact() -> None:
    found = Difference(60)
    for seed in range(3):
        ours = stored(scene(60, seed)) // 2 * 2
        found.add(ours, ours // 2 + 1000)
    assert found.shift == Shift(0, 0) and found.correlation == pytest.approx(1)
    assert found.scale == pytest.approx(0.5) and found.offset == pytest.approx(1000)
    assert found.equal == 0 and found.pairs == 3


def test_equal_images_are_told_as_such_and_no_data_does_not_count() -> None:
    ours, theirs = stored(scene(60, 1)), stored(scene(60, 1))
    theirs[:10] = 0
    found = Difference(60)
    found.add(ours, theirs)
    assert found.equal == 1 and found.correlation == pytest.approx(1) and found.shift is None
    found.add(ours, ours)
    assert found.shift == Shift(0, 0)


@pytest.mark.parametrize("value", [0, 1234])
def test_uniform_images_tell_nothing(value: int) -> None:
    found = Difference(20)
    found.add(np.full((20, 20), value, "uint16"), stored(scene(20, 1)))
    assert (found.shift, found.scale, found.offset, found.correlation) == (None, None, None, None)


def test_unrelated_images_have_no_shift() -> None:
    found = Difference(120)
    for seed in range(20):
        found.add(stored(scene(120, seed)), stored(scene(120, 1000 + seed)))
    assert found.shift is None and found.correlation == pytest.approx(0, abs=0.1)


def test_pairs_may_be_added_in_parts() -> None:
    """The rows of all tiles are merged from those of each."""
    whole, parts = differing(60, 6, 0.4, 0.2), Difference(60)
    for seeds in (range(2), range(2, 6)):
        part, noise = Difference(60), np.random.default_rng(7)
        for seed in range(6):
            theirs = OFFSET + SCALE * scene(60, seed, 0.4, 0.2) + noise.normal(0, 10, (60, 60))
            if seed in seeds:
                part.add(stored(scene(60, seed)), stored(theirs))
        parts.merge(part)
    assert (parts.pairs, parts.shift, parts.scale) == (whole.pairs, whole.shift, whole.scale)
    assert (parts.offset, parts.correlation, parts.equal) == (whole.offset, whole.correlation, whole.equal)


def grid_of(product: ProductName, patch_m: int = 1200) -> PatchGrid:
    return PatchGrid(product.tile_name, tile_square(product, SIDE_M), patch_m)


def seed_of(patch: PatchId, band: str) -> int:
    return 1000 * list(RESOLUTION_M).index(band) + 10 * patch.x + patch.y


def write_ours(folder: Path) -> dict[str, Path]:
    """A shard of the nine patches of a tile."""
    shard, grid = folder / "ours" / f"{OURS.tile_key}.tar", grid_of(OURS)
    shard.parent.mkdir()
    with shards.writing(shard, shard.with_suffix(".parquet")) as writer:
        for patch in map(PatchId.parse, grid.ids().to_pylist()):
            left, top = edges(grid, patch)
            for band in sorted(RESOLUTION_M):
                pixels = stored(scene(1200 // RESOLUTION_M[band], seed_of(patch, band)))
                data = geotiff.gdal_bytes(pixels, left, top, RESOLUTION_M[band], grid.square.epsg)
                writer.add(str(patch), patches.member_name(patch, band), data)
    return {OURS.tile_key: shard}


def edges(grid: PatchGrid, patch: PatchId) -> tuple[float, float]:
    return grid.square.left + patch.x * grid.patch_m, grid.square.top - patch.y * grid.patch_m


def write_theirs(
    folder: Path,
    product: ProductName = THEIRS,
    differs: Callable[[str], tuple[float, float]] = lambda band: (0, 0),
    patch_m: int = 1200,
    east_m: float = 0,
) -> Path:
    """The same squares by another product, as folders of files that GDAL writes, each band shifted by what it says."""
    grid = grid_of(product, patch_m)
    for patch in map(PatchId.parse, grid.ids().to_pylist()):
        left, top = edges(grid, patch)
        for band, pixel_m in RESOLUTION_M.items():
            pixels = stored(OFFSET + SCALE * scene(patch_m // pixel_m, seed_of(patch, band), *differs(band)))
            path = folder / patches.member_name(patch, band)
            path.parent.mkdir(parents=True, exist_ok=True)
            place = {"crs": f"EPSG:{grid.square.epsg}", "transform": from_origin(left + east_m, top, pixel_m, pixel_m)}
            kind = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": len(pixels), "width": len(pixels)}
            with rasterio.open(path, "w", **kind, **place) as raster:
                raster.write(pixels, 1)
    return folder


@pytest.fixture(scope="module")
def shards_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_ours(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another dataset, unpacked: bands of 10 m lie 0.3 pixels farther to the west and 0.6 to the south."""
    return write_theirs(
        tmp_path_factory.mktemp("theirs"), differs=lambda band: (-0.3, 0.6) if RESOLUTION_M[band] == 10 else (0, 0)
    )


def check(table: pa.Table, days: int = 2) -> None:
    rows = table.to_pylist()
    assert [row["tile"] for row in rows] == ["all"] * 12 + [OURS.tile_key] * 12
    for row in rows:
        is_ten = row["pixel_m"] == 10
        assert (row["shift_x_px"], row["shift_y_px"]) == pytest.approx((-0.3, 0.6) if is_ten else (0, 0), abs=0.051)
        assert row["scale"] == pytest.approx(SCALE, rel=0.02) and row["offset"] == pytest.approx(OFFSET, abs=100)
        assert row["correlation"] == pytest.approx(1 if not is_ten else 0.99, abs=0.01) and row["patches"] == 9
        assert row["days_later"] == (None if row["tile"] == "all" else days)


def test_each_band_of_each_tile_is_told(shards_of: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    """By the folder, and by the archive that GNU tar and zstd make of it."""
    table = twin.compare(shards_of, folder)
    check(table)
    archive = tmp_path / "BigEarthNet-S2.tar.zst"
    subprocess.run(["tar", "--zstd", "-cf", archive, "-C", folder, "BigEarthNet-S2"], check=True)
    assert twin.compare(shards_of, tmp_path).equals(table)
    twin.write(table, tmp_path / "table.csv", tmp_path / "table.parquet")
    assert pq.read_table(tmp_path / "table.parquet").equals(table)
    read = pcsv.read_csv(tmp_path / "table.csv")
    assert read["band"].to_pylist() == table["band"].to_pylist()
    assert read["shift_y_px"].to_pylist() == pytest.approx(table["shift_y_px"].to_pylist())


def test_squares_are_matched_by_place_and_of_several_dates_the_nearest_is_taken(
    shards_of: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    both = write_theirs(tmp_path, FARTHER)
    table = twin.compare(shards_of, both)
    assert {row["days_later"] for row in table.to_pylist()[12:]} == {5}
    (both / "BigEarthNet-S2" / THEIRS.tile_name).symlink_to(folder / "BigEarthNet-S2" / THEIRS.tile_name)
    check(twin.compare(shards_of, both))
    ids = [path.name for path in (both / "BigEarthNet-S2" / FARTHER.tile_name).iterdir()]
    pq.write_table(pa.table({"patch_id": ids[:2]}), both / "metadata.parquet")
    told = twin.compare(shards_of, both).to_pylist()
    assert {(row["patches"], row["days_later"]) for row in told[12:]} == {(2, 5)}, "by its metadata, if it has them"


def test_what_cannot_be_compared_is_told(shards_of: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected: BigEarthNet-S2.tar.zst, or BigEarthNet-S2/; found: neither"):
        twin.compare(shards_of, tmp_path)
    other = write_theirs(tmp_path / "side", patch_m=600)
    with pytest.raises(BadInput, match=r"_00_00_B01: 20 \* 20 pixels of 60 m.*found: 10 \* 10 pixels of 60 m"):
        twin.compare(shards_of, other)
    moved = write_theirs(tmp_path / "moved", east_m=10)
    with pytest.raises(BadInput, match=r"from 300000 .*found: .*from 300010 "):
        twin.compare(shards_of, moved)
    elsewhere = ProductName.parse(str(THEIRS).replace("33UUP", "33UVP"))
    with pytest.raises(BadInput, match="no tile, column and row is in both datasets"):
        twin.compare(shards_of, write_theirs(tmp_path / "elsewhere", elsewhere))
    broken = tmp_path / "broken"
    (broken / "BigEarthNet-S2" / THEIRS.tile_name).mkdir(parents=True)
    patch = next((folder / "BigEarthNet-S2" / THEIRS.tile_name).iterdir())
    copy = broken / "BigEarthNet-S2" / THEIRS.tile_name / patch.name
    copy.mkdir()
    (copy / f"{patch.name}_B02.tif").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=f"{broken}: .*_B02.tif"):
        twin.compare(shards_of, broken)


def test_at_most_so_many_patches_of_a_tile_are_compared_evenly_spread() -> None:
    many = [f"{OURS.tile_name}_{x:02d}_{y:02d}" for x in range(90) for y in range(90)]
    (found,) = twin.match({OURS.tile_key: many}, [name.replace(OURS.tile_name, THEIRS.tile_name) for name in many])
    assert len(found.patches) == twin.MOST_PATCHES
    columns = {PatchId.parse(name).x for name in found.patches}
    assert min(columns) == 0 and max(columns) >= 88 and len(columns) > 80
    assert {name[-6:] for name in found.patches} == {name[-6:] for name in found.patches.values()}


def test_the_report_draws_a_mark_a_tile_and_the_line_of_no_difference(shards_of: dict[str, Path], folder: Path) -> None:
    told = report_twin.shown(twin.compare(shards_of, folder))
    assert (told["tiles"], told["days"]) == (1, "2 days later")
    rows = {row["band"]: row for row in told["rows"]}
    assert rows["B02"]["figures"][:2] == ["-0.3", "0.6"] and rows["B05"]["figures"][:2] == ["0.0", "0.0"]
    west, south = (rows["B02"]["strips"][at] for at in (0, 1))
    assert west["marks"][0]["x"] < west["same"] and south["marks"][0]["x"] > south["same"]
    assert south["marks"][0]["title"] == f"{OURS.tile_key}: 0.6"
    assert all(0 <= strip["marks"][0]["x"] <= told["width"] for row in rows.values() for strip in row["strips"])


def test_few_shards_are_open_at_once(shards_of: dict[str, Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of one square, of which the other dataset has one date: as many as there are share its patches."""
    monkeypatch.setattr(twin, "_MOST_OPEN", 1)
    shard = shards_of[OURS.tile_key]
    both = {OURS.tile_key: shard, "another": shard}
    table = twin.compare(both, folder).to_pylist()
    of_tiles = {key: [{**row, "tile": ""} for row in table if row["tile"] == key] for key in both}
    assert len(of_tiles["another"]) == 12 and of_tiles["another"] == of_tiles[OURS.tile_key]
    assert {row["patches"] for row in table if row["tile"] == "all"} == {18}
