"""Make up CORINE polygons over the sample tiles.

Each MGRS square is partitioned into cells with jagged edges (a Voronoi diagram whose edges are broken up). Some cells
have a hole with a lake or a village in it, lakes form multipolygons, some cells overlap their neighbours; one square
has a gap, one is covered only in its west, and there a sliver too thin for any pixel reaches into the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fiona
import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import mapping

from ben_luigi.domain.placement.footprints import EQUAL_AREA
from ben_luigi.domain.placement.grid import PATCH_M, Square
from ben_luigi.sample.scenes import SQUARES

CLC_EPSG = EQUAL_AREA
_SEED = 2018
_CELL_M = 1_250
_MARGIN_M = 600
_GRID_M = 0.01
"""Coordinates are multiples of this."""

_GAP_IN = "31UGR"
_HALF_IN = "35VNJ"

_CODES = {
    "31UGR": "211 211 211 211 231 231 231 231 242 242 243 243 311 311 311 312 313 313 324 112 112 121 122 131 222 412",
    "35VNJ": "312 312 312 312 312 313 313 313 324 324 412 412 512 512 512 243 211 112 142 332 335 423 322",
    "32TQM": "211 211 211 211 222 231 242 243 311 311 311 324 112 112 121 142 512 512",
    "21HUB": "211 211 211 231 231 231 321 321 311 313 324 112 411 512 512",
    "35VPK": "312 312 312 312 313 313 313 311 324 324 412 512 512 512 512 211 231 243 112 131 333",
}
"""Codes of the cells of each square, repeated and shuffled; 122, 131, 142, 332, 335 and 423 have no class."""
_HOLE_CODES = (512, 112, 131)


@dataclass(frozen=True)
class Parcel:
    """A CORINE polygon: `number` (its ID is EU-<number>), code, and outline in metres in the UTM zone of `mgrs`."""

    number: int
    code: int
    mgrs: str
    outline: shapely.MultiPolygon

    @property
    def clc_id(self) -> str:
        """The column ID; as text, EU-10 precedes EU-2."""
        return f"EU-{self.number}"


def land_cover(squares: Mapping[str, Square] = SQUARES) -> list[Parcel]:
    """Return all parcels on these squares, given by MGRS square; by number."""
    rng = np.random.default_rng(_SEED)
    drawn = [(mgrs, *parcel) for mgrs, square in squares.items() for parcel in _draw(mgrs, square, rng)]
    numbers = rng.permutation(len(drawn)) + 1
    parcels = [
        Parcel(int(number), code, mgrs, outline) for number, (mgrs, code, outline) in zip(numbers, drawn, strict=True)
    ]
    return sorted(parcels, key=lambda parcel: parcel.number)


def _draw(mgrs: str, square: Square, rng: np.random.Generator) -> list[tuple[int, shapely.MultiPolygon]]:
    cells = _cells(shapely.box(*square.bounds).buffer(_MARGIN_M, join_style="mitre"), rng)
    if mgrs == _GAP_IN:
        middle = shapely.Point(square.left + square.side_m / 2, square.top - square.side_m / 2)
        cells = [cell for cell in cells if not cell.contains(middle)]
    if mgrs == _HALF_IN:
        cells = [cell for cell in cells if cell.centroid.x < square.left + 0.55 * square.side_m]
    codes = rng.permutation(np.resize([int(code) for code in _CODES[mgrs].split()], len(cells)))
    holes = [_hole(cell, rng) for cell in cells[::9]]
    cells[::9] = [cell.difference(hole) for cell, hole in zip(cells[::9], holes, strict=True)]
    cells[4::13] = [shapely.set_precision(cell.buffer(30, join_style="mitre"), _GRID_M) for cell in cells[4::13]]
    parcels = [(int(code), _multi(cell)) for code, cell in zip(codes, cells, strict=True)]
    lakes = [holes[start : start + 3] for start in range(0, len(holes), 3)]
    parcels += [(_HOLE_CODES[i % 3], shapely.MultiPolygon(lake)) for i, lake in enumerate(lakes)]
    return [*parcels, (511, _multi(_sliver(square)))] if mgrs == _HALF_IN else parcels


def _cells(box: shapely.Polygon, rng: np.random.Generator) -> list[shapely.Polygon]:
    """Partition a box into cells of about _CELL_M, sorted by their position."""
    west, south, east, north = box.bounds
    x, y = np.meshgrid(np.arange(west, east, _CELL_M) + _CELL_M / 2, np.arange(south, north, _CELL_M) + _CELL_M / 2)
    seeds = np.column_stack([x.ravel(), y.ravel()]) + rng.uniform(-0.45, 0.45, (x.size, 2)) * _CELL_M
    straight = shapely.voronoi_polygons(shapely.multipoints(seeds), extend_to=box, only_edges=True)
    edges = shapely.get_parts(shapely.intersection(straight, box))
    edges = edges[np.lexsort(shapely.bounds(edges).T)]
    jagged = [_jagged(shapely.get_coordinates(edge), rng) for edge in edges]
    lines = shapely.union_all([*jagged, box.exterior], grid_size=_GRID_M)
    cells = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    cells = cells[shapely.area(cells) > 100]
    return list(cells[np.lexsort(shapely.bounds(cells).T)])


def _jagged(ends: np.ndarray, rng: np.random.Generator) -> shapely.LineString:
    """Break up a line (x, y in metres): a point about every 90 m, off the line by up to a tenth of its length."""
    start, end = ends[0], ends[-1]
    along = end - start
    position = np.linspace(0, 1, max(3, int(np.hypot(*along) / 90)))
    off = rng.uniform(-0.4, 0.4, len(position)) * position * (1 - position)
    points = start + position[:, None] * along + off[:, None] * np.array([-along[1], along[0]])
    return shapely.LineString(points.round(2))


def _hole(cell: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """Return an irregular patch of water or houses well inside a cell."""
    middle = cell.representative_point()
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    radius = cell.exterior.distance(middle) * rng.uniform(0.5, 0.95, angle.size)
    ring = np.column_stack([middle.x + radius * np.cos(angle), middle.y + radius * np.sin(angle)])
    return shapely.Polygon(ring.round(2))


def _sliver(square: Square) -> shapely.Polygon:
    """Return a strip of 3 m along a border of 10 m pixels, so without a pixel centre, through the eighth row of
    patches.
    """
    west, y = square.left + 0.4 * square.side_m, square.top - 7.5 * PATCH_M
    return shapely.box(west, y - 1.5, square.left + square.side_m, y + 1.5)


def _multi(geometry: shapely.Geometry) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"])


def write_clc(path: Path, parcels: list[Parcel], squares: Mapping[str, Square] = SQUARES) -> None:
    """Write the parcels of these squares as CORINE is published: a GeoPackage in EPSG:3035, with a spatial index."""
    schema = {"geometry": "MultiPolygon", "properties": {"Code_18": "str:3", "ID": "str:18"}}
    to_clc = {mgrs: Transformer.from_crs(square.epsg, CLC_EPSG, always_xy=True) for mgrs, square in squares.items()}
    with (
        fiona.Env(OGR_CURRENT_DATE="2020-05-20T00:00:00.000Z"),
        fiona.open(
            path,
            "w",
            driver="GPKG",
            layer=path.stem,
            crs=f"EPSG:{CLC_EPSG}",
            schema=schema,
            GEOMETRY_NAME="Shape",
            FID="OBJECTID",
        ) as file,
    ):
        file.writerecords(
            {
                "geometry": mapping(reprojected(parcel.outline, to_clc[parcel.mgrs])),
                "properties": {"Code_18": str(parcel.code), "ID": parcel.clc_id},
            }
            for parcel in parcels
        )


def reprojected(outline: shapely.Geometry, transformer: Transformer) -> shapely.Geometry:
    """An outline in another CRS, vertex by vertex."""
    return shapely.transform(outline, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1])))
