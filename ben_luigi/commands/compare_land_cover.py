"""`ben-luigi compare-land-cover [GEOPACKAGE]`: where maps from the EEA's service and from a GeoPackage differ.

It compares what has been fetched from the service, in land_cover/ of the data folder, with the GeoPackage given, or
that of [inputs] clc_gpkg, tile by tile: IDs of polygons that only one of them has, that have another code or outline,
and pixels of the reference maps. Nothing is fetched: `ben-luigi run FetchLandCover --mgrs 33UUP` does that, with
--world real or --land-cover-source service. The exit code is 1 if any pixel differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.commands import command, world
from ben_luigi.commands.arguments import compare_land_cover as parser
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.errors import BadInput, BadName, PipelineError, some
from ben_luigi.domain.names import TileKey
from ben_luigi.domain.tiles import clc
from ben_luigi.domain.tiles.land_cover_comparison import compare
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.land_cover import kept_squares
from ben_luigi.stages.places import listed_grids
from ben_luigi.stages.prerequisites import input_path
from ben_luigi.state import recipes

_MOST = 20


def main(arguments: Sequence[str]) -> int:
    """Compare tile by tile."""
    used = parser()
    try:
        given = used.parse_args(world.take(arguments))
        configure(writes=False)
        config.set_defaults()
        found = dict(_compared(given.geopackage or input_path("clc_gpkg"), given.tile))
    except BadName as error:
        return command.refuse(used, error)
    except PipelineError as error:
        return command.refuse(used, error, command.code_of(error))
    print(json.dumps(found, indent=1) if given.json else "\n".join(_words(found)))
    return ExitCode.FINDINGS if any(one["differing_pixels"] for one in found.values()) else ExitCode.DONE


def _compared(geopackage: Path, tiles: Sequence[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The comparison of each tile whose square has been fetched."""
    squares, grids = kept_squares(), listed_grids()
    known = [tile for tile in grids if TileKey.parse(tile).mgrs in squares]
    wanted = known if tiles is None else list(tiles)
    if not known:
        raise BadInput(
            config.data_dir() / "land_cover",
            expected="polygons that came from the EEA's service",
            found="none",
            remedy="fetch them: ben-luigi run FetchLandCover --mgrs 33UUP --land-cover-source service"
            + recipes.option(),
        )
    for tile in wanted:
        if tile not in known:
            remedy = f"correct --tile, or fetch its square: ben-luigi run FetchLandCover{recipes.option()}"
            raise BadName(f"tile {tile!r}", expected=f"one of {some(known)}", found="another", remedy=remedy)
        grid = grids[tile][0]
        service = clc.read_polygons(squares[TileKey.parse(tile).mgrs], grid.square, whole=False)
        yield tile, asdict(compare(service, clc.read_polygons(geopackage, grid.square), grid))


def _words(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for tile, facts in found.items():
        service, geopackage = facts["polygons"]
        pixels = facts["differing_pixels"]
        yield f"{tile}: {service:,} polygons of the service, {geopackage:,} of the GeoPackage; {pixels:,} pixels differ"
        rows = {
            "only from the service": facts["only_first"],
            "only in the GeoPackage": facts["only_second"],
            "another code (service, GeoPackage)": [
                f"{key} {one}, {other}" for key, (one, other) in facts["codes"].items()
            ],
            "another outline (metres apart)": [f"{key} {apart:.3g}" for key, apart in facts["outlines"].items()],
            "pixels (patch, x, y, codes)": [
                f"{pixel['patch']} {pixel['x']:.0f} {pixel['y']:.0f} {pixel['codes'][0]}, {pixel['codes'][1]}"
                for pixel in facts["pixels"]
            ],
        }
        for what, names in rows.items():
            if names:
                yield f"  {what}: {some(names, _MOST).replace(', ...', '; ...')}"
