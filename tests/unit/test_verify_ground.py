"""Files with one fault give one line, however many they are, and whatever the fault of each looks like."""

from __future__ import annotations

from pathlib import Path

from rasterio.io import MemoryFile

from tests.unit.small_dataset import S2, Dataset, look, write_references


def test_files_of_many_lengths_give_a_line_per_length_that_is_expected(tmp_path: Path) -> None:
    """As of a dataset that somebody has packed TIFF by TIFF."""
    dataset = Dataset()
    for at, files in enumerate(dataset.parts[S2]):
        dataset.parts[S2][at] = {name: _packed(data) for name, data in files.items()}
    found = [
        line
        for line in look(dataset.write_all(tmp_path / "made"), write_references(tmp_path)).wrong
        if "length" in line
    ]
    assert [line.partition(": ")[2].partition(": ")[0] for line in sorted(found)] == [
        f"of another length than {length} bytes" for length in ("1,172", "29,196", "7,572")
    ]
    assert all("... (" in line and line.count(" (found ") == 10 for line in found)


def _packed(data: bytes) -> bytes:
    with MemoryFile(data) as old, old.open() as raster, MemoryFile() as new:
        with new.open(**{**raster.profile, "compress": "deflate"}) as other:
            other.write(raster.read())
        return bytes(new.read())
