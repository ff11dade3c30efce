"""Statistics of a dataset are those that numpy finds in all pixels at once."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.io import MemoryFile

from ben_luigi.domain.dataset import members
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.forms import pixel_counts, statistics
from ben_luigi.domain.forms.pixels import pixels_in
from ben_luigi.domain.forms.source import Source
from ben_luigi.domain.report import report_statistics
from tests.unit.exports import counted, in_big_endian, part_in, varied_dataset
from tests.unit.small_dataset import PRODUCTS, S1, S2, Dataset

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def of_numpy(values: np.ndarray) -> dict[str, Any]:
    exact = values.astype("float64")
    found = np.percentile(exact, statistics.PERCENTILES)
    return {
        "pixels": values.size,
        "mean": pytest.approx(exact.mean(), rel=1e-12, abs=1e-12),
        "standard_deviation": pytest.approx(exact.std(), rel=1e-9, abs=1e-9),
        "minimum": exact.min(),
        "maximum": exact.max(),
        "percentiles": {str(percent): value for percent, value in zip(statistics.PERCENTILES, found, strict=True)},
    }


@given(hnp.arrays("uint16", st.integers(1, 40), elements=st.integers(0, 65_535)))
def test_counted_integers_have_the_statistics_of_numpy(values: np.ndarray) -> None:
    counted = statistics.of_counts(np.bincount(values, minlength=65_536))
    assert counted == of_numpy(values)


def measured(dataset: Path) -> dict[str, Any]:
    return statistics.statistics(Source.open(dataset), counted(Source.open(dataset)))


@given(hnp.arrays("float32", st.integers(2, 60), elements=FLOATS))
def test_the_order_of_floats_is_kept(values: np.ndarray) -> None:
    order = pixel_counts.ordered(values)
    assert (values[order.argsort()] == np.sort(values)).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels of Sentinel-1 of all sizes and both signs; one is infinite, one is no number."""
    made, rng = Dataset(), np.random.default_rng(1)
    for number, name in enumerate(made.names(S1)):
        (files,) = (files for files in made.parts[S1] if name in files)
        data = bytearray(files[name])
        pixels = rng.normal(-12, 4, 120 * 120).astype("<f4")
        pixels[:3] = (np.inf, np.nan, -0.0) if number == 3 else (0.0, 1e-30, 40.0)
        data[-pixels.nbytes :] = pixels.tobytes()
        files[name] = bytes(data)
    return made.write(tmp_path_factory.mktemp("statistics") / "dataset")


def pixels(dataset: Path) -> dict[tuple[str, str], np.ndarray]:
    """All pixels of each band and part, read by GDAL."""
    plain, flagged = (
        pq.read_table(dataset / name).to_pylist()
        for name in ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
    )
    parts: dict[str, list[str]] = {}
    for row in plain + flagged:
        of_row = ["flagged"] if row in flagged else [row["split"], "overall"]
        parts |= {row["patch_id"]: of_row, row["s1_name"]: of_row}
    found = defaultdict(list)
    for archive in (S2, S1):
        for member in members.read(dataset / f"{archive}.tar.zst"):
            assert isinstance(member, members.Member)
            key, _, band = Path(member.name).stem.rpartition("_")
            with MemoryFile(member.data) as file, file.open() as raster:
                for part in parts[key]:
                    found[band, part].append(raster.read(1).ravel())
    return {key: np.concatenate(arrays) for key, arrays in found.items()}


def test_all_pixels_of_a_dataset(dataset: Path, tmp_path: Path) -> None:
    reached: list[float] = []
    source = Source.open(dataset)
    statistics.write(source, counted(source), tmp_path / "statistics.json", reached.append)
    assert reached == sorted(reached)
    assert reached[-1] == 1
    said = json.loads((tmp_path / "statistics.json").read_text())
    found = {
        (band, part): values for band, about in said["bands"].items() for part, values in about["statistics"].items()
    }
    expected = pixels(dataset)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        finite = values[np.isfinite(values)]
        not_finite = {"not_finite": values.size - finite.size} if values.dtype == "float32" else {}
        assert found[key] == {**of_numpy(finite), **not_finite}, key
    assert sum(values.get("not_finite", 0) for (_, part), values in found.items() if part != "overall") == 2


def test_they_do_not_depend_on_the_byte_order_of_the_tiffs(tmp_path: Path) -> None:
    little = measured(varied_dataset().write(tmp_path / "little"))
    big = measured(in_big_endian(varied_dataset()).write(tmp_path / "big"))
    assert big == little


@pytest.mark.parametrize(("carrying", "unit"), [(1, "plus 1,000 in 1 of 2 tiles"), (2, "plus 1,000")])
def test_they_are_of_pixels_as_stored_and_say_which_carry_the_offset(
    carrying: int, unit: str, dataset: Path, tmp_path: Path
) -> None:
    plain = measured(dataset)
    assert plain["bands"]["B02"]["unit"] == "reflectance times 10,000" and "offset_tiles" not in plain
    shutil.copytree(dataset, tmp_path / "dataset")
    names = [str(product.converted()) for product in PRODUCTS]
    tiles = {
        name: {"l2a_name": name, "boa_offset": number < carrying}
        for number, name in enumerate([*names, names[0].replace("33UUP", "33UVP")])
    }
    (tmp_path / "dataset" / "provenance.json").write_text(json.dumps({"tiles": tiles}))
    said = measured(tmp_path / "dataset")
    assert said.pop("offset_tiles") == [product.converted().tile_name for product in PRODUCTS[:carrying]]
    assert said["bands"]["B02"].pop("unit") == f"reflectance times 10,000, {unit}"
    assert said["bands"]["VV"]["unit"] == "dB"
    assert said["bands"]["B02"]["statistics"] == plain["bands"]["B02"]["statistics"]


def test_bands(dataset: Path) -> None:
    said = measured(dataset)
    assert said["band_order"]["s2_10m"] == ["B02", "B03", "B04", "B08"]
    assert said["band_order"]["s1"] == ["VV", "VH"]
    assert said["bands"]["B8A"]["centre_wavelength_nm"] == {"S2A": 864.7, "S2B": 864.0}
    assert said["bands"]["B12"]["centre_wavelength_nm"] == {"S2A": 2202.4, "S2B": 2185.7}


def test_classes_of_each_part(tmp_path: Path) -> None:
    """The patches of the second file of metadata are a part of their own, and not in their split or overall."""
    made = Dataset()
    for row, labels, split in zip(
        made.rows,
        (["Pastures"], ["Arable land"], ["Pastures"], ["Arable land", "Pastures"], ["Pastures"], ["Arable land"]),
        ("train", "train", "train", "train", "test", "test"),
        strict=True,
    ):
        row |= {"labels": labels, "split": split}
    said = measured(made.write(tmp_path / "dataset"))
    assert said["patches"] == {"train": 3, "validation": 0, "test": 1, "flagged": 2}

    def of_class(*counts: tuple[int, float | None]) -> dict[str, dict[str, float | None]]:
        parts = ("train", "validation", "test", "flagged", "overall")
        found = zip(parts, counts, strict=True)
        return {part: {"patches": patches, "positive_weight": weight} for part, (patches, weight) in found}

    assert said["classes"] == {
        "Arable land": of_class((2, 0.5), (0, None), (0, None), (1, 1.0), (2, 1.0)),
        "Pastures": of_class((2, 0.5), (0, None), (1, 0.0), (1, 1.0), (3, 1 / 3)),
    }


def test_counts_of_parts_give_the_same_bytes_as_those_of_all_in_any_order(dataset: Path, tmp_path: Path) -> None:
    source = Source.open(dataset)
    statistics.write(source, counted(source), tmp_path / "whole")
    paths = []
    for archive in (S2, S1):
        for patch in source.patches(archive):
            one = pixel_counts.PixelCounts()
            one.add(part_in(source, patch), pixels_in(source, patch.files, "a patch"))
            paths.append(tmp_path / f"{archive}-{patch.row}.parquet")
            one.write(paths[-1])
    for ordered in (paths, paths[::-1], paths[5:] + paths[:5]):
        statistics.write(source, pixel_counts.PixelCounts.read(ordered), tmp_path / "parts")
        assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(("archive", "what"), [(S2, "B01 in "), (S1, "VH in ")])
def test_a_patch_that_is_not_counted_is_noticed(archive: str, what: str, dataset: Path) -> None:
    source, counts, left_out = Source.open(dataset), pixel_counts.PixelCounts(), ""
    for name in (S2, S1):
        for patch in source.patches(name):
            if (name, patch.row) == (archive, 2):
                left_out = part_in(source, patch)
            else:
                counts.add(part_in(source, patch), pixels_in(source, patch.files, "a patch"))
    with pytest.raises(
        BadInput, match=f"{what}{left_out}, as the metadata.*remove the files .* counts/ beside the parts"
    ):
        statistics.statistics(source, counts)


FINITE = hnp.arrays("float32", st.integers(1, 60), elements=st.floats(-60, 20, width=32))


@given(st.lists(FINITE, min_size=1, max_size=5))
def test_mean_and_deviation_of_patches_are_those_of_all_their_pixels(patches: list[np.ndarray]) -> None:
    floats = pixel_counts.Floats()
    for values in patches:
        floats.add(values)
    every = np.concatenate(patches).astype("float64")
    mean, deviation = floats.mean_and_deviation()
    assert mean == pytest.approx(every.mean(), rel=1e-12, abs=1e-12)
    assert deviation == pytest.approx(every.std(), rel=1e-9, abs=1e-9)


def test_what_is_kept_of_a_patch_takes_eight_bytes_each() -> None:
    """There is a number, a sum and a deviation of each patch and band; a number of Python takes 32 bytes."""
    tracemalloc.start()
    try:
        parts = [pixel_counts.Floats(), pixel_counts.Floats()]
        for part in parts:
            part.add(np.ones(1, "float32"))
            part.sums.extend(float(number) for number in range(200_000))
        parts[0].take(parts[1])
        assert len(parts[0].sums) == 400_002
        assert tracemalloc.get_traced_memory()[1] < 12 * 10**6
    finally:
        tracemalloc.stop()


def test_whole_numbers_are_shown_as_such() -> None:
    shown = {95: "95", 5037: "5,037", -20.0: "-20.00", 4331.02: "4,331.02", 4331.0: "4,331"}
    assert {value: report_statistics._figure(value) for value in shown} == shown
