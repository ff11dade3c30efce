"""Map CORINE Land Cover codes to classes, and count the labels of a patch.

The labels come from the pixels of a patch's reference map, not from areas of polygons (those give other labels for 3 %
of the published patches): every class on the map, unless a quarter of the patch or more has no class (`UNLABELED`). The
nomenclature is data: `tracked_artifacts/nomenclature.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.recipe import nomenclature as files

NO_CLC = files.NOTHING
"""The value of a reference map where CLC has no polygon."""

# fmt: off
CLC_CODES = (
    111, 112, 121, 122, 123, 124, 131, 132, 133, 141, 142,
    211, 212, 213, 221, 222, 223, 231, 241, 242, 243, 244,
    311, 312, 313, 321, 322, 323, 324, 331, 332, 333, 334, 335,
    411, 412, 421, 422, 423, 511, 512, 521, 522, 523,
)
# fmt: on
"""The 44 classes of CLC 2018 at its third level."""

UNLABELED_LIMIT = 0.25
"""A patch keeps its labels if strictly less than this fraction of its pixels has no class."""


@dataclass(frozen=True)
class Nomenclature:
    """Class names in their order, the class of each code that has one, and the names of all codes (`clc`).

    `nothing` is what pixels of a map have where the land cover has nothing; `colours` are those of the codes, if the
    file has them: red, green, blue.
    """

    classes: tuple[str, ...]
    class_of: Mapping[int, str]
    clc: Mapping[int, str]
    nothing: int = NO_CLC
    colours: Mapping[int, files.Colour] = field(default_factory=dict)

    @property
    def codes(self) -> tuple[int, ...]:
        """All codes that a map may have, ascending, and at the end that for nothing."""
        return (*sorted(self.clc), self.nothing)

    def labels(self, counts: pd.DataFrame, unlabeled_limit: float = UNLABELED_LIMIT) -> pd.DataFrame:
        """Return the labels (patch_id, label; sorted) for class counts (patch_id, code, pixels).

        Patches that lose their labels are left out. The pixels of a patch's rows are all of its pixels.
        """
        self._check(counts)
        rows = counts.assign(label=counts["code"].map(dict(self.class_of)))
        total = rows.groupby("patch_id")["pixels"].sum()
        without = rows[rows["label"].isna()].groupby("patch_id")["pixels"].sum().reindex(total.index, fill_value=0)
        kept = total.index[(without < unlabeled_limit * total).to_numpy()]
        labelled = rows.loc[rows["label"].notna() & rows["patch_id"].isin(kept), ["patch_id", "label"]]
        return labelled.drop_duplicates().sort_values(["patch_id", "label"], ignore_index=True)

    def clc_labels(self, counts: pd.DataFrame) -> pd.DataFrame:
        """Return CLC's own classes (patch_id, label; sorted) for class counts (patch_id, code, pixels).

        Every class on a patch counts, with its CLC name, as in the 43-class labels of BigEarthNet v1.
        """
        self._check(counts)
        named = counts.assign(label=counts["code"].map(dict(self.clc)))
        labelled = named.loc[named["label"].notna(), ["patch_id", "label"]]
        return labelled.sort_values(["patch_id", "label"], ignore_index=True)

    def _check(self, counts: pd.DataFrame) -> None:
        unknown = sorted(set(counts["code"]) - set(self.clc) - {self.nothing})
        if unknown:
            raise BadInput(
                "CLC class counts",
                expected="codes of CLC 2018 or 999",
                found=some(unknown),
                remedy="check [inputs] clc_gpkg, and the codes in [metadata] nomenclature",
            )

    def labels_of(self, codes: np.ndarray, unlabeled_limit: float = UNLABELED_LIMIT) -> list[str]:
        """Return the sorted labels of one reference map (an array of codes); empty if it keeps none."""
        pixels = np.bincount(codes.reshape(-1))
        found = np.flatnonzero(pixels).tolist()
        without = sum(int(pixels[code]) for code in found if code not in self.class_of)
        if without >= unlabeled_limit * codes.size:
            return []
        return sorted({self.class_of[code] for code in found if code in self.class_of})


@lru_cache(maxsize=4)
def read_nomenclature(path: Path) -> Nomenclature:
    """Read a nomenclature file, as `recipe.nomenclature.read` does. Raise BadInput if codes overlap or are unknown."""
    found = files.read(path)
    return Nomenclature(found.classes, found.class_of, found.names, found.nothing, found.colours)
