"""`scripts/bench metadata`: from product names to both metadata files, beside a DuckDB SQL join of the same CSVs.

Products, version 1 patches and labels are made up, as many as there really are: 125 tiles of 8281 patches, 57 in 100 of
them aligned and labelled. Borders are those given, else the sample world's. The same again for ten times the tiles.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import groupby, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from ben_luigi.commands import command
from ben_luigi.domain.dataset import metadata
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement import alignment
from ben_luigi.domain.placement.country import nearest
from ben_luigi.domain.placement.grid import PATCH_M, PatchGrid, tile_square
from ben_luigi.sample.countries import write_countries
from benchmarks.timing import Spent, pairs, report, rounds, spent

_LABELS = ["Arable land", '"Land principally occupied by agriculture, with much else"', "Marine waters", "Pastures"]
_COLUMNS = {"label": "label", "s2v1": "s2v1_name", "split": "split", "country": "country"}


@dataclass(frozen=True)
class Continent:
    """A folder with everything that the work on the tiles starts from, and what it makes.

    It has `tiles` tiles, taken evenly from `of` so that a small one lies among the same countries as a large one.
    """

    folder: Path
    tiles: int
    of: int
    borders: Path

    def products(self) -> Iterator[ProductName]:
        """Products over as many squares, each sensed at another time; by zone, and within it by tile name."""
        return iter(_spread(self.tiles, self.of))

    def csv(self, name: str) -> Path:
        """The mapping table of that name."""
        return self.folder / f"patch_id_{name}_mapping.csv"

    def grids(self) -> Iterator[tuple[ProductName, PatchGrid]]:
        """Products with their grids, in the order of their names: that of the mapping tables."""
        for name in sorted(self.products(), key=lambda name: name.tile_name):
            yield name, PatchGrid(name.tile_name, tile_square(name))


@lru_cache
def _spread(tiles: int, of: int) -> tuple[ProductName, ...]:
    # Made up once, before anything is measured: all of them for a small continent too, so that each of its parts would
    # seem to grow less than it does.
    found = sorted(islice(made_up_products(), of), key=lambda name: (name.epsg, name.mgrs))
    return tuple(sorted(found[:: of // tiles], key=lambda name: (name.epsg, name.tile_name)))


def require_products(parser: ArgumentParser, tiles: int) -> None:
    """End with what is wrong if fewer products can be made up."""
    there = sum(1 for _ in islice(made_up_products(), tiles))
    if there < tiles:
        parser.error(f"expected at most {there} tiles in all; found {tiles}")


def made_up_products() -> Iterator[ProductName]:
    """Products over 9,527 squares of eight zones, each sensed at a time of its own."""
    start = datetime(2017, 6, 1, 9)
    squares = product("VUTSRQPN", "ABCDEFGHJKLMNPQRSTUV", "ABCDEFGHJKLMNPQRSTUVWXYZ", range(29, 37))
    number = 0
    for band, row, column, zone in squares:
        sensed = start + timedelta(days=number % 330, seconds=number)
        text = f"S2A_MSIL2A_{sensed:%Y%m%dT%H%M%S}_N9999_R022_T{zone}{band}{column}{row}_20180601T000000.SAFE"
        try:
            name = ProductName.parse(text)
            tile_square(name)
        except BadName:
            continue
        number += 1
        yield name


def _lines(*columns: pa.Array) -> bytes:
    """CSV lines of columns that are quoted where they need it."""
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*columns, ","), "", "\n")
    ends = np.frombuffer(lines.buffers()[1], "int32")
    return bytes(memoryview(lines.buffers()[2])[: ends[len(lines)]])


def make(world: Continent) -> None:
    """Write the version 1 geometries, the lists and the labels."""
    random = np.random.default_rng(1)
    zones: dict[int, list[tuple[pa.Array, np.ndarray]]] = {}
    files = {name: (world.folder / f"{name}.csv").open("wb") for name in ("s1s2", "snow", "cloud")}
    with world.csv("label").open("wb") as labels:
        labels.write(b"patch_id,label\n")
        for name, grid in world.grids():
            aligned = np.flatnonzero(random.random(grid.patches_a_side**2) < 0.57)
            place = pc.binary_join_element_wise(
                pa.array(grid.x[aligned].astype(str)), pa.array(grid.y[aligned].astype(str)), "_"
            )
            v1 = pc.binary_join_element_wise(f"S2A_MSIL2A_{name.sensing}", place, "_")
            s1 = pc.binary_join_element_wise(f"S1A_IW_GRDH_1SDV_{name.sensing}_{name.mgrs}", place, "_")
            zones.setdefault(name.epsg, []).append((v1, grid.edges[aligned][:, [0, 3]].T))
            files["s1s2"].write(_lines(v1, s1))
            files["snow"].write(_lines(v1.filter(pa.array(random.random(len(v1)) < 0.1))))
            files["cloud"].write(_lines(v1.filter(pa.array(random.random(len(v1)) < 0.02))))
            _label(labels, grid.ids().take(pa.array(aligned)), random)
    for file in files.values():
        file.close()
    (world.folder / "v1").mkdir()
    for epsg, tiles in zones.items():
        left, top = np.concatenate([corner for _, corner in tiles], axis=1)
        squares = shapely.to_wkb(shapely.box(left, top - PATCH_M, left + PATCH_M, top))
        table = pa.table({"patch_name": pa.chunked_array([v1 for v1, _ in tiles]), "geom": pa.array(squares)})
        pq.write_table(table, world.folder / "v1" / f"bigearthnet_v1_spatial_{epsg}.parquet")


def _label(file: BinaryIO, ids: pa.Array, random: np.random.Generator) -> None:
    has = random.random((len(ids), len(_LABELS))) < 0.6
    has[:, 0] |= ~has.any(axis=1)
    patch, label = np.nonzero(has)
    file.write(_lines(ids.take(pa.array(patch)), pa.array(_LABELS).take(pa.array(label))))


def place(world: Continent) -> None:
    """Grid and split of every patch, into the split mapping."""
    with world.csv("split").open("wb") as file:
        file.write(b"patch_id,split\n")
        for _, grid in world.grids():
            file.write(_lines(grid.ids(), pa.array(grid.splits())))


def locate(world: Continent) -> None:
    """Country of every patch, into the country mapping."""
    with world.csv("country").open("wb") as file:
        file.write(b"patch_id,country\n")
        for _, grid in world.grids():
            file.write(_lines(grid.ids(), pa.array(nearest(grid, world.borders))))


def align(world: Continent) -> None:
    """Pairs of all tiles, zone by zone, into the v1 mapping."""
    spatial = alignment.spatial_files(world.folder / "v1")
    found: dict[str, bytes] = {}
    for epsg, names in groupby(world.products(), key=lambda name: name.epsg):
        zone = alignment.V1Patches(alignment.read_v1(spatial[epsg]))
        for name in names:
            pairs_of_tile = alignment.align(PatchGrid(name.tile_name, tile_square(name)), name.sensing_time, zone)
            found[name.tile_name] = _lines(*(pa.array(pairs_of_tile[column], pa.string()) for column in pairs_of_tile))
    with world.csv("s2v1").open("wb") as file:
        file.write(b"patch_id,s2v1_name\n")
        file.writelines(found[tile] for tile in sorted(found))


def join(world: Continent, writer: str = "default") -> None:
    """The join, and both files."""

    def mapping(name: str) -> pa.RecordBatchReader:
        return metadata.open_csv(world.csv(name), ["patch_id", _COLUMNS[name]], header=True)

    def given(name: str, *columns: str) -> pa.Table:
        # Not by `read_csv`, which takes no more than version 1 can have: there are more with ten times the tiles.
        return metadata.open_csv(world.folder / f"{name}.csv", columns, header=False).read_all().combine_chunks()

    blocks = metadata.join(
        metadata.Mappings(
            labels=mapping("label"),
            s2v1=mapping("s2v1").read_all(),
            split=mapping("split"),
            country=mapping("country"),
            s1s2=given("s1s2", "s2v1_name", "s1_name"),
            snow=given("snow", "s2v1_name"),
            cloud=given("cloud", "s2v1_name"),
        )
    )
    metadata.write(blocks, world.folder / writer, writer)


def everything(world: Continent) -> None:
    """From names to both files, in one process."""
    for part in (place, locate, align, join):
        part(world)


def join_by_sql(world: Continent) -> None:
    """The reference's way: DuckDB reads the CSVs, joins them, and writes both files."""
    csv = {name: f"read_csv('{world.csv(name)}', header = true, all_varchar = true) AS m_{name}" for name in _COLUMNS}
    one = {
        name: f"read_csv('{world.folder / name}.csv', header = false, columns = {columns}) AS m_{name}"
        for name, columns in (
            ("s1s2", "{'s2v1_name': 'VARCHAR', 's1_name': 'VARCHAR'}"),
            ("snow", "{'s2v1_name': 'VARCHAR'}"),
            ("cloud", "{'s2v1_name': 'VARCHAR'}"),
        )
    }
    flags = [f"s2v1_name IN (SELECT s2v1_name FROM {one[name]})" for name in ("snow", "cloud")]
    with duckdb.connect() as connection:
        connection.execute(
            f"""CREATE TABLE joined AS
                SELECT patch_id, labels, split, country, s1_name, s2v1_name,
                       {flags[0]} AS {metadata.FLAGS[0]}, {flags[1]} AS {metadata.FLAGS[1]}
                FROM (SELECT patch_id, list(label ORDER BY label) AS labels FROM {csv["label"]} GROUP BY patch_id)
                JOIN {csv["s2v1"]} USING (patch_id) JOIN {csv["split"]} USING (patch_id)
                JOIN {csv["country"]} USING (patch_id) JOIN {one["s1s2"]} USING (s2v1_name)"""
        )
        flagged = " OR ".join(metadata.FLAGS)
        for name, where in ((metadata.METADATA, f"NOT ({flagged})"), (metadata.FLAGGED, flagged)):
            path = world.folder / "reference" / name
            path.parent.mkdir(exist_ok=True)
            select = f"SELECT * FROM joined WHERE {where} ORDER BY patch_id"
            connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, CODEC 'zstd')")


def check_same(world: Continent) -> None:
    """AssertionError unless both ways gave the same rows."""
    for name in (metadata.METADATA, metadata.FLAGGED):
        ours, reference = (pq.read_table(world.folder / way / name) for way in ("default", "reference"))
        assert ours.equals(reference.cast(ours.schema)), name


def _figures(runs: Sequence[Spent], patches: int) -> str:
    wall_s, cpu_s, peak_mb = (
        statistics.median(getattr(run, what) for run in runs) for what in ("wall_s", "cpu_s", "peak_mb")
    )
    return (
        f"{wall_s:.2f} s on the clock, {cpu_s:.2f} s of CPU, {patches / wall_s:,.0f} patches/s, peak {peak_mb:.0f} MB"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = command.parser("scripts/bench metadata", __doc__)
    parser.add_argument("--tiles", type=int, default=125, metavar="N", help="how many; by default 125")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="of ours and of the reference, in turn; by default 5"
    )
    parser.add_argument(
        "--times", type=int, default=10, metavar="N", help="also for so many times the tiles, by default 10; 1: not"
    )
    parser.add_argument(
        "--borders",
        type=Path,
        metavar="FILE",
        help="GeoJSON of Natural Earth's 1:110m countries; else the sample world's",
    )
    options = parser.parse_args(arguments)
    require_products(parser, options.tiles * options.times)
    with TemporaryDirectory() as folder:
        borders = options.borders or Path(folder) / "borders.geojson"
        if not options.borders:
            write_countries(borders)
        return _measure(Path(folder), borders, options.tiles, options.runs, options.times)


def _measure(folder: Path, borders: Path, tiles: int, runs: int, times: int) -> int:
    world = Continent(folder / "small", tiles, tiles * times, borders)
    world.folder.mkdir()
    world.products()
    spent(partial(make, world))
    patches = tiles * 91**2
    facts: dict[str, object] = {"tiles": tiles, "patches": patches, "runs": runs}
    parts = {"grid, split": place, "country": locate, "alignment": align, "join, both files": join}
    for name, part in parts.items():
        facts[name] = _figures([spent(partial(part, world)) for _ in range(runs)], patches)
    if duckdb.__version__ == "1.0.0":  # the one that wrote the published files; Python 3.13 has later ones only
        published = [spent(partial(join, world, "published")) for _ in range(runs)]
        facts["join, both files, DuckDB's bytes"] = _figures(published, patches)
    facts["from names to both files"] = _figures([spent(partial(everything, world)) for _ in range(runs)], patches)
    ratios = [pairs("join and both files / SQL join", partial(join, world), partial(join_by_sql, world), runs=runs)]
    spent(partial(check_same, world))
    if times > 1:
        large = Continent(folder / "large", tiles * times, tiles * times, borders)
        large.folder.mkdir()
        large.products()
        spent(partial(make, large))
        work = {f"all, {times} times the patches / once": (partial(everything, large), float(times))}
        ratios += rounds(partial(everything, world), work, runs=min(runs, 3))
        facts[f"memory, {times} times the patches / once"] = (
            f"{ratios[1].ours.peak_mb / ratios[1].reference.peak_mb:.2f}"
        )
    report(ratios, facts, ("pyarrow", "pandas", "shapely", "duckdb"))
    return 0
