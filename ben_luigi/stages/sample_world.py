"""Make the sample world of the recipe that is followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.errors import DamagedFile
from ben_luigi.domain.recipe.model import L2A
from ben_luigi.sample import launcher
from ben_luigi.sample.l2a_scenes import L2A_SCENES, TWINS, L2AScene
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SIDE_M
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import contents
from ben_luigi.state.targets import MadeFile

NEEDED = ("clc_gpkg", "countries_geojson", "v1_spatial_dir", "s1_dir", "s1s2_mapping_csv", "snow_csv", "cloud_csv")
"""The options of [inputs] that a run may take, whatever it starts from; `needed()` leaves out what it does not."""
_WORLD, _SAMPLE = "world", "sample"


def side_m() -> int:
    """Return the side of a tile in metres; tiles of the sample world are small."""
    return SIDE_M if config.is_sample() else config.tile().side_m


def made_up() -> dict[str, str]:
    """Return the settings by which what is of the sample world does not count as that of the real one."""
    return {_WORLD: _SAMPLE} if config.is_sample() else {}


def is_of_sample(record: Mapping[str, Any]) -> bool:
    """Return whether a result is of the sample world by its record, where a run on the real one asks."""
    made_from = record.get("made_from")
    return not config.is_sample() and isinstance(made_from, dict) and made_from.get(_WORLD) == _SAMPLE


def sample_world() -> World:
    """Return the paths of the sample world."""
    return World(config.data_dir() / "sample")


def sample_scenes() -> list[L2AScene]:
    """Return the L2A products that the sample world of the recipe has: those that its search is about."""
    search = config.recipe().products.search
    if search is not None and search.same_as is not None:
        return [*TWINS]
    wanted = set(search.tiles) if search is not None else set()
    return [scene for scene in L2A_SCENES if scene.product.mgrs in wanted] or [*L2A_SCENES]


def in_sample_world(option: str) -> Path:
    """Return the path in the sample world of the input `option`, or of the one that the recipe names in its place."""
    path: Path = getattr(sample_world(), config.named_option(option))
    return path


def is_stand_in_ours() -> bool:
    """Return whether the stand-in for Sen2Cor is run by the Python that is at work here."""
    return launcher.is_ours(sample_world().l2a_process)


def write_stand_in() -> None:
    """Write the program of the stand-in anew: the environment that it names may be gone, or another host's."""
    launcher.write(sample_world().l2a_process)


class MakeSampleWorld(PipelineTask):
    """The small world on which the pipeline runs by default."""

    recipe = ("products.level", "products.search")

    def output(self) -> dict[str, MadeFile]:
        """Return its catalogue's content, in the folder of the world, which appears as a whole, and hashes of its
        inputs.
        """
        return {"catalogue": self.file("sample/products.json"), "inputs": self.file("inputs/sample.json")}

    def make(self) -> None:
        """Make it, by one rename."""
        from ben_luigi.sample.world import make_l2a_world, make_world  # only now: real runs need none of it

        world, progress = sample_world(), Progress(self, "the sample world")
        files.withdraw(world.folder)
        if config.recipe().products.level == L2A:
            make_l2a_world(world.folder, sample_scenes(), progress)
        else:
            make_world(world.folder, progress)
        paths = {option: in_sample_world(option) for option in ("tile_names_csv", *NEEDED)}
        digests = {option: contents.sha256(path) for option, path in paths.items() if path.exists()}
        files.write_json(self.output()["inputs"].file, digests)

    def check(self, option: str, sha256: str) -> None:
        """Raise DamagedFile if an input has changed since it was made; then the whole world is made again."""
        expected = self.output()["inputs"].read_json()[option]
        if sha256 != expected:
            made = self.output()["catalogue"].file
            raise DamagedFile(made, expected=f"an input {option} beside it with sha256 {expected}", found=sha256)
