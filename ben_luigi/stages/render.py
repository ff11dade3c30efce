"""Render pictures of patches and tiles, at any time during a run, to `render/`, one folder per tile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import luigi
import numpy as np

from ben_luigi import config
from ben_luigi.domain import files, given
from ben_luigi.domain.dataset import metadata
from ben_luigi.domain.errors import BadArgument, BadName, DamagedFile, some
from ben_luigi.domain.formats.shards import ShardReader
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.report import rendering
from ben_luigi.domain.tiles.nomenclature import read_nomenclature
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import patch_grid, product_row
from ben_luigi.stages.prerequisites import HashInput, input_path, input_task
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import PRIORITY, OverTiles, known_tiles, product_of, source_task, tiles
from ben_luigi.stages.task import PipelineTask, TileTask
from ben_luigi.state import database, recipes
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile

COLOURS = config.TRACKED_ARTIFACTS / "clc_colours.toml"
_FORMATS = ("png", "tif")
_SHOWN = 20
"""Most pictures that are named one by one."""
_FLAGGED = {"snow": ("snow_csv",), "cloud": ("cloud_csv",), "any": ("snow_csv", "cloud_csv")}


def colours() -> dict[int, tuple[int, int, int]]:
    """Return the colour of each code of the land cover: CORINE's own, or those of the recipe's nomenclature."""
    if config.recipe().is_default:
        return rendering.read_colours(COLOURS)
    return rendering.colours_of(read_nomenclature(config.nomenclature()))


class RenderTile(OverTiles, TileTask):
    """An overview of a tile: its patches in true colour, and its reference maps in the colours of the land cover."""

    format: str = luigi.ChoiceParameter(default="png", choices=_FORMATS, description="png, or tif for GeoTIFF")
    priority = PRIORITY["archive"]
    code = (rendering, COLOURS)

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the shards."""
        return [CutPatches(tile=self.tile), MakeReferenceMaps(tile=self.tile)]

    def settings(self) -> dict[str, Any]:
        """Return the nomenclature of another recipe than the default one, which has the colours."""
        return {} if config.recipe().is_default else {"nomenclature": files.file_hash(config.nomenclature())}

    def output(self) -> dict[str, MadeFile]:
        """Return the two pictures."""
        return {name: self.file(f"render/{self.tile}/{name}.{self.format}") for name in ("rgb", "reference_map")}

    def make(self) -> None:
        """Draw them."""
        grid = patch_grid(self.tile)
        with _shard(CutPatches(tile=self.tile)) as shard:
            rgb = rendering.rgb_overview(shard, grid, boa_offset=_boa_offset(self.tile))
        with _shard(MakeReferenceMaps(tile=self.tile)) as shard:
            codes = rendering.map_overview(shard, grid, read_nomenclature(config.nomenclature()).nothing)
        for name, picture in {"rgb": rgb, "reference_map": rendering.map_picture(codes, colours())}.items():
            _write(self.output()[name].file, picture, grid.covered)


class RenderPatches(OverTiles):
    """True-colour pictures of patches: of given ones, of those in a file, of a tile, or of the flagged ones."""

    patches: str = luigi.Parameter(default="", description="patch ids, separated by commas or spaces")
    patch_file: str = luigi.Parameter(default="", description="file with one patch id per line")
    tile: str = luigi.Parameter(default="", description="tile key, such as 33UUP_20170613: all of its patches")
    flagged: str = luigi.ChoiceParameter(
        default="no",
        choices=("no", *_FLAGGED),
        description="flagged patches, with snow, cloud or any, of --tile or of all tiles",
    )
    format: str = luigi.ChoiceParameter(default="png", choices=_FORMATS, description="png, or tif for GeoTIFF")
    code = (rendering,)

    def check_arguments(self) -> None:
        """Raise BadArgument or BadName unless patches are chosen in one way, by valid ids of existing tiles."""
        self._check_ways()
        for number, patch_id in enumerate(self._ids(), start=1):
            try:
                PatchId.parse(patch_id)
            except BadName as error:
                where = f"{self.patch_file}, patch {number}" if self.patch_file else "--patches"
                remedy = "correct it; ids are as S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
                raise BadName(where, expected=error.expected, found=patch_id, remedy=remedy) from error
        if known_tiles():
            self._named()

    def requires(self) -> Any:
        """Return the list of products, and the lists of flagged patches."""
        return [source_task(), *(input_task(option) for option in _FLAGGED.get(self.flagged, ()))]

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the shards."""
        return [CutPatches(tile=tile) for tile in self._chosen()]

    def made_of(self) -> list[PipelineTask]:
        """Return the shards, and the lists."""
        return [*super().made_of(), *(task for task in self.deps() if isinstance(task, HashInput))]

    def settings(self) -> dict[str, Any]:
        """Return which patches are asked for."""
        return self._asked()

    def _asked(self) -> dict[str, Any]:
        asked = {name: getattr(self, name) for name in ("patches", "tile", "flagged", "format")}
        return {**asked, **({"patch_file": self._file_digest()} if self.patch_file else {})}

    def output(self) -> MadeFile:
        """Return the list of the pictures that were made."""
        return self.file(f"render/{files.text_hash(json.dumps(self._asked()))[:12]}.json")

    def result_lines(self) -> list[str]:
        """Return the pictures; of many, the first ones and all folders."""
        pictures = [config.data_dir() / name for name in self.output().read_json()]
        folders = sorted({str(picture.parent) for picture in pictures})
        more = len(pictures) - _SHOWN
        rest = [f"and {more:,} more; all are in {', '.join(folders)}"] if more > 0 else []
        return [*map(str, pictures[:_SHOWN]), *rest] or ["no patch is flagged so: there is no picture"]

    def is_there(self) -> bool:
        """Return whether all the pictures that were made still exist."""
        try:
            pictures = self.output().read_json() if super().is_there() else [""]
        except DamagedFile:
            return False
        return all((config.data_dir() / name).is_file() for name in pictures)

    def make(self) -> None:
        """Choose the patches, and draw them."""
        named, pictures = self._named(), []
        for tile, ids in self._chosen().items():
            pictures += list(self._draw(tile, ids if named else self._of_tile(tile)))
        files.write_json(self.output().file, pictures)

    def _chosen(self) -> dict[str, list[str]]:
        """Return the tiles, each with the chosen patches."""
        named = self._named()
        if self.tile:
            product_of(self.tile)
        return named or {tile: [] for tile in ([self.tile] if self.tile else tiles())}

    def _named(self) -> dict[str, list[str]]:
        """Return the given patches, by tile; none if a tile or flags are given. Raise BadName or BadArgument."""
        self._check_ways()
        ids = self._ids()
        key_of = {name.converted().tile_name: key for key, name in tiles().items()}
        by_tile: dict[str, list[str]] = {}
        for patch_id in dict.fromkeys(ids):
            name = PatchId.parse(patch_id).tile_name
            if name not in key_of:
                raise BadArgument(
                    f"patch {patch_id}",
                    expected=f"a patch of the tiles {some(tiles())}",
                    found="a patch of none of them",
                    remedy="correct the id; [dataset] tiles says which tiles count",
                )
            by_tile.setdefault(key_of[name], []).append(patch_id)
        return by_tile

    def _check_ways(self) -> None:
        ways = [bool(self.patches), bool(self.patch_file), bool(self.tile) or self.flagged != "no"]
        if sum(ways) != 1:
            raise BadArgument(
                "RenderPatches",
                expected="one of --patches, --patch-file, and --tile or --flagged",
                found="none" if not any(ways) else "more than one",
                remedy="for example: ben-luigi render --tile 33UUP_20170613 --flagged snow",
            )

    def _ids(self) -> list[str]:
        return self._listed() if self.patch_file else self.patches.replace(",", " ").split()

    def _file_digest(self) -> str:
        """Return the hash of the list; empty if it does not exist, which `run` reports."""
        path = self._list()
        return files.file_hash(path) if given.kind(path) == given.FILE else ""

    def _list(self) -> Path:
        """Return the path of the list; with the `~` of an unknown user as it is, where nothing will be."""
        return Path(os.path.expanduser(self.patch_file))  # noqa: PTH111 - which raises there

    def _listed(self) -> list[str]:
        try:
            ids = [word for line in given.lines(self._list()) for word in line.split()]
        except (OSError, ValueError) as error:
            raise BadArgument(
                self.patch_file,
                expected="a file with a patch id in each line",
                found=str(error),
                remedy="correct --patch-file",
            ) from error
        if not ids:
            raise BadArgument(self.patch_file, expected="a patch id in each line", found="none", remedy="write some")
        return ids

    def _of_tile(self, tile: str) -> list[str]:
        """Return the written patches of a tile, only flagged ones if that is asked for."""
        rows = database.query(
            "SELECT patch_id, v1_name FROM patch JOIN alignment USING (patch_id) WHERE tile = %(tile)s AND valid "
            "ORDER BY x, y",
            tile=tile,
        )
        if self.flagged != "no":
            lists = [
                metadata.read_csv(input_path(option), ["s2v1_name"], header=False)["s2v1_name"].to_pylist()
                for option in _FLAGGED[self.flagged]
            ]
            rows = rows[rows["v1_name"].isin(np.concatenate(lists))]
        return [str(patch_id) for patch_id in rows["patch_id"]]

    def _draw(self, tile: str, ids: list[str]) -> Iterator[str]:
        """Draw patches of a tile, and yield the names of the pictures."""
        grid, boa_offset = patch_grid(tile), _boa_offset(tile)
        progress = Progress(self, f"pictures of {tile}", "%", 100)
        with _shard(CutPatches(tile=tile)) as shard:
            missing = [patch_id for patch_id in ids if patch_id not in shard]
            if missing:
                raise _not_written(tile, missing)
            for done, patch_id in enumerate(ids, start=1):
                name = f"render/{tile}/{patch_id}.{self.format}"
                reflectance = rendering.read_rgb(shard, patch_id, boa_offset=boa_offset)
                picture = rendering.true_colour(reflectance)
                _write(config.data_dir() / name, picture, rendering.patch_square(PatchId.parse(patch_id), grid))
                progress(done / len(ids))
                yield name


def _not_written(tile: str, ids: list[str]) -> BadArgument:
    rows = database.query("SELECT patch_id, valid FROM patch WHERE patch_id = ANY(%(ids)s)", ids=ids)
    valid = dict(zip(rows["patch_id"], rows["valid"], strict=True))

    def why(patch_id: str) -> str:
        if patch_id not in valid:
            return "lies outside of the tile"
        return "holds pixels without data" if valid[patch_id] is False else "has no v1 patch on its square"

    overview = f"ben-luigi run RenderTile --tile {tile}{recipes.option()}"
    return BadArgument(
        f"{tile}: patch {ids[0]}",
        expected="a patch that is written",
        found="; ".join(f"{patch_id} {why(patch_id)}" for patch_id in ids[:10]),
        remedy=f"leave it out; `{overview}` shows which patches there are",
    )


def _boa_offset(tile: str) -> bool:
    return bool(product_row(tile)["boa_offset"])


@contextmanager
def _shard(task: CutPatches | MakeReferenceMaps) -> Iterator[ShardReader]:
    target = task.output()
    target["index"].check()
    with at_hand(target["tar"].file), ShardReader(target["tar"].file) as shard:
        yield shard


def _write(path: Path, picture: np.ndarray, square: Square) -> None:
    data = rendering.geotiff(picture, square) if path.suffix == ".tif" else rendering.png(picture)
    with files.atomic_write(path) as work:
        work.write_bytes(data)
