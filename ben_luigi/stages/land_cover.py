"""CORINE Land Cover: from the GeoPackage that is given, or from the EEA's open service, square by square."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import addresses, config
from ben_luigi.domain import files
from ben_luigi.domain.cdse.http import Patience
from ben_luigi.domain.errors import BadInput, BadName, DamagedFile, some, without_userinfo
from ben_luigi.domain.fetching import asking, land_cover
from ben_luigi.domain.names import ProductName, TileKey
from ben_luigi.domain.placement.grid import Square, tile_square
from ben_luigi.domain.tiles import clc, land_vector
from ben_luigi.domain.tiles.clc import Polygons
from ben_luigi.domain.tiles.land_raster import Raster
from ben_luigi.stages.land_source import GEOPACKAGE, is_land_raster, land_cover_content
from ben_luigi.stages.prerequisites import ALSO_BEFORE_LARGE, input_path, input_task
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import PRIORITY, known_tiles, source_task
from ben_luigi.stages.sample_world import side_m
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.targets import MadeFile

_LOOPBACK_PATIENCE = Patience(tries=asking.PATIENCE.tries, first_pause_s=0.1)


class FetchLandCover(PipelineTask):
    """CORINE's polygons on one MGRS square, from the EEA's open service; tiles of other days share them."""

    mgrs: str = luigi.Parameter(description="MGRS square, as 33UUP")
    resources = {"land_cover": 1}  # noqa: RUF012 (as Luigi declares it: the service is asked by one at a time)
    priority = PRIORITY["maps"]

    def requires(self) -> Any:
        """The list of products, which says what squares there are."""
        return source_task()

    def made_of(self) -> list[PipelineTask]:
        """Nothing of ours."""
        return []

    def settings(self) -> dict[str, Any]:
        """The service, without a password in its URL, since this is written to files, and what it is asked for."""
        service = "the sample world" if config.is_sample() else without_userinfo(addresses.land_cover_url())
        return {"service": service, "box": self._box()}

    def check_arguments(self) -> None:
        """BadName if no tile lies on the square."""
        if known_tiles():
            self._name()

    def output(self) -> dict[str, MadeFile]:
        """The polygons, as a GeoPackage; and a note on them."""
        return {
            "polygons": self.file(f"land_cover/{self.mgrs}.gpkg"),
            "note": self.file(f"land_cover/{self.mgrs}.json"),
        }

    def make(self) -> None:
        """Fetch those that no square beside it has."""
        target = self.output()
        with _asked() as of:
            kept = land_cover.fetch(
                of,
                self._box(),
                target["polygons"].file,
                subject=f"land cover of square {self.mgrs}",
                others=self._others(),
                progress=Progress(self, f"land cover of {self.mgrs}", "polygons").at,
            )
        files.write_json(target["note"].file, {**asdict(kept), "service": self.settings()["service"]})

    def polygons(self, square: Square) -> Polygons:
        """The polygons of a tile on this square; BadInput if it lies elsewhere than its name says."""
        west, south, east, north = self._box()
        asked = clc.bounds(square)
        if asked[0] < west or asked[1] < south or asked[2] > east or asked[3] > north:
            raise BadInput(
                f"land cover of square {self.mgrs}",
                expected="tiles that lie where their MGRS names say",
                found=f"one at {square.left:.0f} {square.top:.0f} (EPSG:{square.epsg}), elsewhere",
                remedy="give the CLC 2018 GeoPackage as [inputs] clc_gpkg, which has all places",
            )
        return clc.read_polygons(self.output()["polygons"].file, square, whole=False)

    def _box(self) -> tuple[float, float, float, float]:
        """In EPSG:3035, as far as the square's name tells where it is."""
        return _bounds(self._name(), side_m())

    def _name(self) -> ProductName:
        """The name of a product on the square; BadName if no tile lies on it."""
        known = _squares()
        if self.mgrs not in known:
            squares = some(sorted(known))
            raise BadName(
                f"square {self.mgrs!r}", expected=f"one of {squares}", found="another", remedy="correct --mgrs"
            )
        return known[self.mgrs]

    def _others(self) -> Iterator[Path]:
        """The polygons of squares beside it that are there, and are as they were made."""
        west, south, east, north = self._box()
        for mgrs, name in sorted(_squares().items()):
            box = _bounds(name, side_m())
            if mgrs != self.mgrs and box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south:
                target = FetchLandCover(mgrs=mgrs).output()["polygons"]
                with suppress(DamagedFile):
                    if target.exists():
                        yield target.check()


def _squares() -> dict[str, ProductName]:
    """The MGRS squares that tiles lie on, each with a product there."""
    return {name.mgrs: name for name in known_tiles().values()}


@lru_cache(maxsize=4096)
def _bounds(name: ProductName, side_m: int) -> tuple[float, float, float, float]:
    """The box of a product's square, which takes milliseconds: each fetch looks at those of all squares."""
    return clc.bounds(tile_square(name, side_m))


@contextmanager
def _asked() -> Iterator[Any]:
    """The service's layer; on the sample world a server of our own that fails now and then."""
    if not config.is_sample():
        with asking.Asker() as asker:
            yield land_cover.layer(addresses.land_cover_url(), asker)
        return
    from ben_luigi.sample.eea_server import EeaServer  # only now: real runs do not need it

    with EeaServer.failing() as server, asking.Asker(_LOOPBACK_PATIENCE) as asker:
        yield land_cover.layer(server.layer_url, asker)


def land_cover_task(tile: str) -> PipelineTask:
    """The task that stands for the land cover of a tile."""
    if config.land_cover_from_service():
        return FetchLandCover(mgrs=TileKey.parse(tile).mgrs)
    return input_task("clc_gpkg")


def polygons_of(tile: str, square: Square) -> Polygons | Raster:
    """The polygons of a tile, which lies on `square`, or its raster, once `land_cover_task` is complete."""
    task = land_cover_task(tile)
    if isinstance(task, FetchLandCover):
        return task.polygons(square)
    path, content = input_path("clc_gpkg"), land_cover_content()
    if is_land_raster(path):
        return Raster(path, content.codes)
    if path.suffix.lower() == GEOPACKAGE or content == clc.CORINE:
        return clc.read_polygons(path, square, content=content)
    return land_vector.read_polygons(path, square, content)


def from_service() -> list[FetchLandCover]:
    """The tasks that bring the polygons of all tiles from the service; none where they come from a GeoPackage."""
    if not config.land_cover_from_service():
        return []
    return [FetchLandCover(mgrs=mgrs) for mgrs in sorted(_squares())]


def service_facts() -> dict[str, Any]:
    """The notes on the polygons that came from the service, by MGRS square; empty if none did."""
    notes = {task.mgrs: task.output()["note"].read_json() for task in from_service()}
    if not notes:
        return {}
    kept = ("box", "polygons", "sha256", "other_areas")
    return {
        "name": next(iter(notes.values()))["service"],
        "proof": "unproven: from the service, whose vertices nobody has held against the published GeoPackage's",
        "squares": {mgrs: {name: note[name] for name in kept} for mgrs, note in notes.items()},
    }


ALSO_BEFORE_LARGE.append(lambda: [*from_service()[:1]])  # one square shows whether the service is there


def kept_squares() -> dict[str, Path]:
    """The polygons that have been fetched, as they were made, by MGRS square, whatever the maps are made from now."""
    found = {mgrs: FetchLandCover(mgrs=mgrs) for mgrs in sorted(_squares())}
    return {mgrs: task.output()["polygons"].check() for mgrs, task in found.items() if task.is_there()}
