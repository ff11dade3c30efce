"""Define the four products of the sample world: where they lie, and what each of them tests.

They have the names of real products, and lie in the upper-left corner of the real tile; everything in them is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ben_luigi.domain.names import ProductName
from ben_luigi.domain.placement.grid import PATCH_M, Square, tile_square

SIDE_M = 12_180
"""Side of a sample tile in metres: ten patches, and 180 m left over, as 600 m are on a real tile."""
PATCHES = SIDE_M // PATCH_M
"""Patches along a side."""


class Folders(Enum):
    """The state of the folders that CDSE drops when they are empty, and that Sen2Cor needs."""

    FILLED = "hold a file"
    ENTRIES = "are entries of the zip"
    DROPPED = "are gone"


@dataclass(frozen=True)
class Hole:
    """No-data in one band only: west of `right_m` and south of `top_m`, metres from the upper-left corner."""

    band: str
    right_m: int
    top_m: int


@dataclass(frozen=True)
class Scene:
    """A product and its peculiarities.

    `v1_lag_s` is by how many seconds version 1 dates its northern patches too late.
    """

    product: ProductName
    absolute_orbit: int
    s1_tile: str
    folders: Folders
    v1_lag_s: int = 0
    failed_check: str | None = None
    hole: Hole | None = None

    @property
    def square(self) -> Square:
        """The ground it covers."""
        return tile_square(self.product, SIDE_M)


def _product(name: str) -> ProductName:
    return ProductName.parse(f"{name}.SAFE")


SCENES = (
    Scene(
        _product("S2B_MSIL1C_20171015T104009_N0205_R008_T31UGR_20171015T104525"),
        absolute_orbit=3178,
        s1_tile="S1A_IW_GRDH_1SDV_20171016T055031",
        folders=Folders.ENTRIES,
    ),
    Scene(
        _product("S2A_MSIL1C_20180508T104031_N0206_R008_T31UGR_20180508T175127"),
        absolute_orbit=15019,
        s1_tile="S1A_IW_GRDH_1SDV_20180508T055029",
        folders=Folders.FILLED,
    ),
    Scene(
        _product("S2B_MSIL1C_20180204T094159_N0206_R036_T35VNJ_20180204T115809"),
        absolute_orbit=4779,
        s1_tile="S1A_IW_GRDH_1SDV_20180204T043318",
        folders=Folders.DROPPED,
        hole=Hole("B11", right_m=3 * PATCH_M, top_m=6 * PATCH_M + PATCH_M // 2),
    ),
    Scene(
        _product("S2B_MSIL1C_20180204T094159_N0206_R036_T35VPK_20180204T115809"),
        absolute_orbit=4779,
        s1_tile="S1A_IW_GRDH_1SDV_20180204T043253",
        folders=Folders.FILLED,
        v1_lag_s=1,
        failed_check="RADIOMETRIC_QUALITY",
    ),
)
"""Two seasons of one tile, and two tiles of another zone."""

SQUARES = {scene.product.mgrs: scene.square for scene in SCENES}
"""The ground of the sample world, by MGRS square."""
