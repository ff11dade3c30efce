"""What tells that the content of a user's files may have changed, and what it is."""

from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from ben_luigi.domain.formats.companions import companions
from ben_luigi.state import contents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("given/a", "given/deep/b", "given/deep/er/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "given"


def _replace_as_it_was(path: Path) -> None:
    """By a file of the same length and time, as `cp -p` makes one."""
    before, other = path.stat(), path.with_name("other")
    other.write_text(path.read_text()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _write_later(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (2_000_000_000, 2_000_000_000))


def _move(path: Path) -> None:
    path.rename(path.with_name("z"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "in place": _write_later,
    "replaced": _replace_as_it_was,
    "longer": lambda path: path.write_text(path.read_text() + "."),
    "removed": Path.unlink,
    "renamed": _move,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["a", "deep/b", "deep/er/c"])
def test_any_change_of_a_file_shows(change: Callable[[Path], object], name: str, folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    change(folder / name)
    after = contents.signature(folder), contents.sha256(folder)
    assert after[0] != before[0] and after[1] != before[1]


def test_what_is_only_touched_or_copied_has_the_same_content(folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    os.utime(folder / "a", (2_000_000_000, 2_000_000_000))
    assert contents.signature(folder) != before[0]
    assert contents.sha256(folder) == contents.sha256(copy) == before[1]


def test_hidden_files_do_not_count(folder: Path) -> None:
    before = contents.signature(folder), contents.sha256(folder)
    for name in (".a", ".S2A.SAFE/b", "deep/.c"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert (contents.signature(folder), contents.sha256(folder)) == before


def test_of_too_many_files_only_the_upper_level_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not contents.is_too_large(folder)
    monkeypatch.setattr(contents, "_MOST_ENTRIES", 2)
    assert contents.is_too_large(folder)
    before = contents.sha256(folder)
    assert before == contents.signature(folder)
    (folder / "deep" / "new").touch()
    assert contents.sha256(folder) != before, "the time of its folder"


def test_a_fifo_in_a_folder_is_named(folder: Path) -> None:
    os.mkfifo(folder / "deep" / "pipe")
    with pytest.raises(OSError, match="a FIFO, not a file"):
        contents.sha256(folder)


WITH_PLACE = "<SRS>LOCAL_CS</SRS>"
STATISTICS = '<PAMRasterBand band="1"><Histograms><HistItem><HistMin>0</HistMin></HistItem></Histograms><Metadata>'
STATISTICS += '<MDI key="STATISTICS_MEAN">3</MDI></Metadata></PAMRasterBand>'


@pytest.mark.parametrize(
    ("raster", "beside"),
    [
        *(
            ("dem.tif", name)
            for name in ("dem.tfw", "dem.TFW", "dem.tifw", "dem.wld", "dem.tif.msk", "dem.tif.aux.xml")
        ),
        *(("dem.TIFF", name) for name in ("dem.tfw", "dem.tiffw")),
        *(("dem.asc", name) for name in ("dem.prj", "dem.asc.aux.xml")),
        *(("dem.bil", name) for name in ("dem.hdr", "dem.bil.hdr", "dem.prj", "dem.blw")),
        ("dem.img", "dem.ige"),
    ],
)
def test_what_lies_beside_a_raster_and_says_where_it_is_counts_as_its_content(
    raster: str, beside: str, tmp_path: Path
) -> None:
    (tmp_path / raster).write_text("pixels")
    said = [(contents.signature(tmp_path / raster), contents.sha256(tmp_path / raster))]
    for text in (f"<PAMDataset>{WITH_PLACE}</PAMDataset>", f"<PAMDataset>{WITH_PLACE}{WITH_PLACE}</PAMDataset>"):
        (tmp_path / beside).write_text(text)
        said.append((contents.signature(tmp_path / raster), contents.sha256(tmp_path / raster)))
    assert all(len(set(each)) == 3 for each in zip(*said, strict=True))


@pytest.mark.parametrize("has_place", [True, False])
def test_a_world_file_counts_where_gdal_reads_it(has_place: bool, tmp_path: Path) -> None:
    """One beside a GeoTIFF that has a place of its own changes nothing."""
    raster = tmp_path / "dem.tif"
    place = {"crs": "EPSG:32633", "transform": from_origin(600_000, 5_800_000, 10, 10)} if has_place else {}
    with (
        warnings.catch_warnings(action="ignore", category=rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(raster, "w", driver="GTiff", width=1, height=1, count=1, dtype="uint8", **place) as file,
    ):
        file.write(np.ones((1, 1, 1), "uint8"))
    before = contents.sha256(raster)
    (tmp_path / "dem.tfw").write_text("10\n0\n0\n-10\n5\n5\n")
    assert (contents.sha256(raster) == before) is has_place
    assert companions(raster) == ([] if has_place else [tmp_path / "dem.tfw"])


def test_what_programs_leave_beside_a_raster_that_they_look_at_does_not_count(tmp_path: Path) -> None:
    """Statistics and overviews; and what belongs to another raster."""
    raster = tmp_path / "dem.tif"
    raster.write_text("pixels")
    before = contents.signature(raster), contents.sha256(raster)
    (tmp_path / "dem.tif.aux.xml").write_text(f"<PAMDataset>{STATISTICS}</PAMDataset>")
    for name in ("dem.tif.ovr", "dem2.tfw", "dem.prj"):
        (tmp_path / name).touch()
    assert (contents.signature(raster), contents.sha256(raster)) == before


def test_what_a_virtual_raster_is_made_from_counts_in_an_archive_too_with_what_lies_beside_it(tmp_path: Path) -> None:
    place = {"crs": "EPSG:32633", "transform": from_origin(600_000, 5_800_000, 10, 10)}
    for name in ("a.tif", "b.tif"):
        with rasterio.open(tmp_path / name, "w", width=1, height=1, count=1, dtype="uint8", **place) as file:
            file.write(np.ones((1, 1, 1), "uint8"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.write(tmp_path / "b.tif", "within/b.tif")
    (tmp_path / "b.tif").unlink()
    said = []
    for name, source in (("a.vrt", tmp_path / "a.tif"), ("b.vrt", f"/vsizip/{tmp_path}/b.zip/within/b.tif")):
        rasterio.shutil.copy(source, tmp_path / name, driver="VRT")
    for change in (lambda: None, lambda: _write_later(tmp_path / "b.zip"), (tmp_path / "a.tif.msk").touch):
        change()
        said.append(tuple(contents.sha256(tmp_path / name) for name in ("a.vrt", "b.vrt")))
    (a, b), (same, other), (with_mask, _) = said
    assert a == same != with_mask and b != other
