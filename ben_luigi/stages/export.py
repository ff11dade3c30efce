"""Export a tile's patches as files, before or after the dataset is complete."""

from __future__ import annotations

from typing import Any

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.dataset import metadata, sentinel1
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats import shards
from ben_luigi.domain.placement.grid import Square
from ben_luigi.domain.recipe.model import FROM_FOLDER, FROM_RASTERS, FROM_V1, NO_SENTINEL1
from ben_luigi.stages.archive_parts import S1
from ben_luigi.stages.archive_shards import CollectS1, s1_place, s1_source, shard_files
from ben_luigi.stages.layers import CutSentinel1, OfLayer
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import FindSentinel1, selecting
from ben_luigi.stages.prerequisites import input_path, input_task
from ben_luigi.stages.reference_maps import LabelPatches, MakeReferenceMaps
from ben_luigi.stages.resolve import OverTiles
from ben_luigi.stages.task import PipelineTask, TileTask
from ben_luigi.state import database
from ben_luigi.state.cache import at_hand
from ben_luigi.state.targets import MadeFile

_FOLDER, _COLLECTED, _NONE = "the extracted BigEarthNet-S1", "the patches collected for the archive", "none"
_GIVEN, _CUT = "the folder that the recipe names", "the rasters that the recipe names"
_GIVEN_NAMES = """
SELECT s1_name, left_m, top_m, epsg FROM patch JOIN sentinel1 USING (patch_id) JOIN alignment USING (patch_id)
WHERE tile = %(tile)s AND valid AND EXISTS (SELECT FROM label WHERE label.patch_id = patch.patch_id) ORDER BY patch_id
"""
_IN_DATASET = """
SELECT patch_id, v1_name, left_m, top_m, epsg FROM patch JOIN alignment USING (patch_id)
WHERE tile = %(tile)s AND valid AND EXISTS (SELECT FROM label WHERE label.patch_id = patch.patch_id) ORDER BY patch_id
"""


class ExportPatches(OverTiles, TileTask):
    """A tile's patches and reference maps as folders of TIFFs, in `export/`, and its patches of Sentinel-1.

    Those of Sentinel-1 come from the extracted folder, or from the collected shards: 50 GB are not read for one tile.
    """

    def tile_tasks(self) -> list[PipelineTask]:
        """Return the shards, the labels, which tell the patches in the dataset, and Sentinel-1 if it is available."""
        made: list[PipelineTask] = [task(tile=self.tile) for task in (CutPatches, MakeReferenceMaps)]
        sentinel1_tasks: dict[str, list[PipelineTask]] = {
            _FOLDER: [input_task("s1s2_mapping_csv"), input_task("s1_dir")],
            _COLLECTED: [input_task("s1s2_mapping_csv"), CollectS1()],
            _GIVEN: [FindSentinel1(tile=self.tile), *s1_source(S1)],
            _CUT: [CutSentinel1(tile=self.tile)],
        }
        made += [OfLayer(layer.name)(tile=self.tile) for layer in config.all_layers()]
        return [*made, selecting(self.tile), LabelPatches(tile=self.tile), *sentinel1_tasks.get(_s1_from(), [])]

    def settings(self) -> dict[str, Any]:
        """Return where Sentinel-1 comes from."""
        return {"s1": _s1_from()}

    def output(self) -> MadeFile:
        """Return the number of exported patches."""
        return self.file(f"export/{self.tile}.json")

    def make(self) -> None:
        """Unpack the shards."""
        folder = config.data_dir() / "export"
        written: dict[str, int] = {}
        for task in (CutPatches(tile=self.tile), MakeReferenceMaps(tile=self.tile)):
            target = task.output()
            index = target["index"].check()
            with at_hand(target["tar"].file):
                written[target["tar"].file.parent.name] = shards.export(target["tar"].file, index, folder)
        rows = database.query(_IN_DATASET, tile=self.tile)
        written["in_dataset"] = len(rows)
        for layer in config.all_layers():
            target = OfLayer(layer.name)(tile=self.tile).output()
            with at_hand(target["tar"].file):
                written[layer.name] = shards.export(target["tar"].file, target["index"].check(), folder)
        written["s1"] = self._export_s1(rows) if _s1_from() != _NONE else 0
        files.write_json(self.output().file, written)

    def _export_s1(self, rows: Any) -> int:
        folder = config.data_dir() / "export"
        if _s1_from() == _CUT:
            target = CutSentinel1(tile=self.tile).output()
            with at_hand(target["tar"].file):
                return shards.export(target["tar"].file, target["index"].check(), folder)
        squares = self._given_squares() if _s1_from() == _GIVEN else self._squares_by_v1(rows)
        if _s1_from() in (_FOLDER, _GIVEN):
            s1_dir, folder_of = s1_place()
            return sentinel1.export(s1_dir, squares, folder, folder_of)
        parts = sentinel1.parts_of(squares)
        return sum(shards.export(*shard_files(S1, part), folder, names) for part, names in parts)

    def _given_squares(self) -> dict[str, Square]:
        """Return the square of each S1 patch of the user's folder that is the partner of a patch in the dataset."""
        rows = database.query(_GIVEN_NAMES, tile=self.tile)
        side_m = config.recipe().patches.side_m
        return {
            name: Square(left, top, side_m, epsg) for name, left, top, epsg in rows.itertuples(index=False, name=None)
        }

    def _squares_by_v1(self, rows: Any) -> dict[str, Square]:
        pairs = metadata.read_csv(input_path("s1s2_mapping_csv"), ["s2v1_name", "s1_name"], header=False)
        s1_of = dict(zip(pairs["s2v1_name"].to_pylist(), pairs["s1_name"].to_pylist(), strict=True))
        missing = [name for name in rows["v1_name"] if name not in s1_of]
        if missing:
            raise BadInput(
                input_path("s1s2_mapping_csv"),
                expected=f"the S1 patch of every patch of {self.tile}",
                found=f"none of {some(missing)}",
                remedy="correct [inputs] s1s2_mapping_csv",
            )
        return {
            s1_of[name]: Square(left, top, config.recipe().patches.side_m, epsg)
            for _, name, left, top, epsg in rows.itertuples(index=False, name=None)
        }

    def result_lines(self) -> list[str]:
        """Return the folder, and how many patches of each kind it has."""
        written = self.output().read_json()
        told = f"{written['s1']:,} of Sentinel-1, from {_s1_from()}"
        if config.recipe().sentinel1.source == NO_SENTINEL1:
            told = "none of Sentinel-1, as the recipe says"
        elif _s1_from() == _NONE:
            told = "none of Sentinel-1: for them give [inputs] s1_dir as an extracted folder, or run ArchiveS1 first"
        return [
            str(config.data_dir() / "export"),
            f"{written['patches']:,} patches of Sentinel-2, {written['in_dataset']:,} of them in the dataset",
            f"{written['reference_maps']:,} reference maps",
            *(f"{written[layer.name]:,} patches of the layer {layer.name}" for layer in config.all_layers()),
            told,
        ]


def _s1_from() -> str:
    """Return where the patches of Sentinel-1 are taken from."""
    source = config.recipe().sentinel1.source
    if source != FROM_V1:
        return {FROM_FOLDER: _GIVEN, FROM_RASTERS: _CUT}.get(source, _NONE)
    if input_path("s1_dir").is_dir():
        return _FOLDER
    return _COLLECTED if input_path("s1_dir").is_file() and CollectS1().complete() else _NONE
