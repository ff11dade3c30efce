"""Damage to each kind of file in a data folder, and what becomes of it in the next run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPAIRED, NAMED, UNREAD, PASSED_ON = "repaired", "named", "not read", "PASSED ON"
"""What became of it. What is not read stays as it is, and nothing was made of it since."""

_VOLATILE = {"at", "by", "tries", "record_sha256"}
"""Keys of our own JSON that tell of a run, and not of the content."""


def truncated(path: Path) -> None:
    """Without its second half."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path: Path) -> None:
    """With another bit in the middle, and as long as before."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    """Of no length."""
    path.write_bytes(b"")


def folder(path: Path) -> None:
    """A folder in its place, in which somebody has put something."""
    _gone(path)
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def dangling(path: Path) -> None:
    """A link to nothing in its place."""
    _gone(path)
    path.symlink_to("/nowhere/at/all")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncated,
    "one bit": flipped,
    "empty": empty,
    "a folder": folder,
    "a link": dangling,
}


@dataclass(frozen=True)
class Kind:
    """A kind of file in a data folder: the first that fits `pattern` stands for it.

    What is `made_of_it`, given by patterns and by tasks that write rows, goes before a run that must read it. All kinds
    of a `turn` are damaged at once: nothing is made of one of them that is another one.
    """

    name: str
    turn: int
    pattern: str
    made_of_it: tuple[str, ...] = ()
    rows_of_it: tuple[str, ...] = ()
    may_go: bool = False
    """Whether it is needed only as long as something is to be made of it."""

    def path(self, data: Path) -> Path:
        """The file."""
        found = sorted(path for path in data.glob(self.pattern) if path.is_file())
        assert found, f"{self.name}: there is no {self.pattern}"
        return found[0]


_PROVENANCE, _COMPARISON, _REPORT = "dataset/provenance.json", "dataset/comparison.json", "dataset/report"
_PARTS = {name: f"archives/{name}/*.tar.zst" for name in ("BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps")}
_PRODUCT = {"rows_of_it": ("ReadProduct", "CutPatches"), "made_of_it": ("patches/*.parquet",), "may_go": True}
_MADE_OF_PRODUCT: Any = _PRODUCT
KINDS = (
    Kind("fetched input", 1, "inputs/ne_110m_admin_0_countries.geojson"),
    Kind("fetched list", 1, "inputs/tile_names_and_links.csv", may_go=True),
    Kind("fetched input in a folder", 1, "inputs/v1_spatial_dir/*.parquet"),
    Kind("hash of an input", 1, "inputs/clc_gpkg.hash.json", (_PROVENANCE,)),
    Kind("input that was tried", 1, "inputs/published_tile_ids_csv.tried.json", (_COMPARISON,)),
    Kind("catalogue's answers", 1, "tiles/products.json", ("tiles/bigearthnet_s2_tile_ids.csv",)),
    Kind("catalogue's table", 1, "tiles/states.csv", (_PROVENANCE,)),
    Kind("ids of tiles", 1, "tiles/bigearthnet_s2_tile_ids.csv", (_COMPARISON,)),
    Kind("L1C zip", 1, "l1c/*.zip", ("l2a/*/product.json",), may_go=True),
    Kind("report on L1C", 2, "l1c/*.json", ("tiles/l1c_drift.json",)),
    Kind("hashes of L1C", 1, "tiles/ben_s2_l1c_hashes.csv", (_COMPARISON,)),
    Kind("drift of L1C", 1, "tiles/l1c_drift.json", (_COMPARISON,)),
    Kind("L2A note", 2, "l2a/*/product.json", ("patches/*.parquet",), ("ReadProduct", "CutPatches")),
    Kind("L2A band", 2, "l2a/*/*.SAFE/GRANULE/*/IMG_DATA/R10m/*_B03_10m.jp2", **_MADE_OF_PRODUCT),
    Kind("L2A metadata", 2, "l2a/*/*.SAFE/MTD_MSIL2A.xml", **_MADE_OF_PRODUCT),
    Kind("L2A manifest", 2, "l2a/*/*.SAFE/manifest.safe", **_MADE_OF_PRODUCT),
    Kind("shard", 1, "patches/*.tar", (_PARTS["BigEarthNet-S2"],)),
    Kind("index of a shard", 1, "patches/*.parquet", (_PARTS["BigEarthNet-S2"],)),
    Kind("map shard", 2, "reference_maps/*.tar", (_PARTS["Reference_Maps"],)),
    Kind("index of a map shard", 2, "reference_maps/*.parquet", (_PARTS["Reference_Maps"],)),
    Kind("S1 shard", 1, "s1/*.tar", (_PARTS["BigEarthNet-S1"],), may_go=True),
    Kind("index of an S1 shard", 1, "s1/*.parquet", (_PARTS["BigEarthNet-S1"],), may_go=True),
    Kind("what was collected of S1", 1, "s1/collected.json", (_PARTS["BigEarthNet-S1"],), may_go=True),
    *(
        Kind(f"mapping of {name}", 1, f"metadata/patch_id_{name}_mapping.csv", ("dataset/metadata.parquet",))
        for name in ("label", "s2v1", "split", "country")
    ),
    Kind("findings on v1", 2, "metadata/alignment_findings.csv", (_REPORT,)),
    Kind("leaks", 1, "metadata/split_leakage.csv", (_REPORT,)),
    Kind("counts of overlaps", 1, "metadata/split_leakage.json", (_COMPARISON,)),
    Kind("part of S1", 2, _PARTS["BigEarthNet-S1"], ("dataset/BigEarthNet-S1.tar.zst",), may_go=True),
    Kind("part of S2", 2, _PARTS["BigEarthNet-S2"], ("dataset/BigEarthNet-S2.tar.zst",), may_go=True),
    Kind("part of maps", 1, _PARTS["Reference_Maps"], ("dataset/Reference_Maps.tar.zst",), may_go=True),
    Kind("hashes of a tar", 1, "archives/BigEarthNet-S2.tar.json", ("archives/BigEarthNet-S2.json",)),
    Kind("hashes of what was joined", 1, "archives/BigEarthNet-S2.tar.zst.json", ("archives/BigEarthNet-S2.json",)),
    Kind("hashes of both", 1, "archives/Reference_Maps.json", (_COMPARISON,)),
    Kind("verified", 2, "archives/verified.json"),
    Kind("metadata", 2, "dataset/metadata.parquet", ("dataset/patches.parquet",)),
    Kind("metadata of flagged patches", 2, "dataset/metadata_for_patches_with_*.parquet", ("dataset/patches.parquet",)),
    Kind("patches.parquet", 1, "dataset/patches.parquet", ("dataset/stac",)),
    Kind("archive of S2", 1, "dataset/BigEarthNet-S2.tar.zst"),
    Kind("archive of S1", 1, "dataset/BigEarthNet-S1.tar.zst", ("dataset/s1_hashes.csv",)),
    Kind("archive of maps", 2, "dataset/Reference_Maps.tar.zst"),
    Kind("list of hashes", 1, "dataset/patch_hashes.csv"),
    Kind("list of hashes of maps", 1, "dataset/reference_map_hashes.csv"),
    Kind("list of hashes of S1", 2, "dataset/s1_hashes.csv"),
    Kind("provenance", 2, _PROVENANCE, (_REPORT,)),
    Kind("comparison", 2, _COMPARISON, (_REPORT,)),
    Kind("Croissant", 1, "dataset/croissant.json"),
    Kind("README", 1, "dataset/README.md"),
    Kind("LICENSE", 2, "dataset/LICENSE"),
    Kind("STAC", 2, "dataset/stac/collection.json"),
    Kind("picture of a tile", 1, "render/*/rgb.png", (_REPORT,)),
    Kind("report", 1, "dataset/report/index.html"),
    Kind("record of a shard", 1, "made_from/patches/*.tar.json", (_PARTS["BigEarthNet-S2"],)),
    Kind("record of an index", 2, "made_from/reference_maps/*.parquet.json", (_PARTS["Reference_Maps"],)),
    Kind("record of a note", 2, "made_from/l2a/*/product.json.json", ("patches/*.parquet",)),
    Kind("record of metadata", 2, "made_from/dataset/metadata.parquet.json", ("dataset/patches.parquet",)),
    Kind("record of an archive", 1, "made_from/dataset/BigEarthNet-S2.tar.zst.json", ("archives/BigEarthNet-S2.json",)),
    Kind("record of the report", 1, "made_from/dataset/report.json"),
)


@dataclass(frozen=True)
class Damaged:
    """A file that was damaged, and what it was before."""

    kind: Kind
    path: Path
    whole: bytes

    @classmethod
    def by(cls, damage: Callable[[Path], None], kind: Kind, data: Path) -> Damaged:
        """Damage the file of a kind."""
        path = kind.path(data)
        whole = path.read_bytes()
        damage(path)
        return cls(kind, path, whole)

    def is_repaired(self) -> bool:
        """Whether it is what it was; a product may have got another name."""
        try:
            found = self.path.read_bytes()
        except OSError:
            return False
        return found == self.whole or _lasting(found) == _lasting(self.whole)

    def restore(self) -> None:
        """Make it what it was."""
        if not self.is_repaired():
            _gone(self.path)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(self.whole)


def drop(data: Path, kinds: Iterable[Kind]) -> set[str]:
    """Remove what was made of the kinds, with its records; gives the tasks whose rows are to go too."""
    kinds = list(kinds)
    for pattern in {pattern for kind in kinds for pattern in kind.made_of_it}:
        for path in list(data.glob(pattern)):
            _gone(path)
            _gone(data / "made_from" / f"{path.relative_to(data)}.json")
    return {task for kind in kinds for task in kind.rows_of_it}


def outcomes(damaged: Sequence[Damaged], whole: bool, said: str) -> dict[str, str]:
    """What became of each kind, given whether the dataset is whole, and what was said."""

    def outcome(one: Damaged) -> str:
        if one.is_repaired():
            return REPAIRED
        if one.path.name in said:
            return NAMED
        return UNREAD if whole else PASSED_ON

    return {one.kind.name: outcome(one) for one in damaged}


def _lasting(content: bytes) -> Any:
    """Our own JSON without what tells of a run; None if it is something else."""
    try:
        said = json.loads(content)
    except ValueError:
        return object()
    return {key: value for key, value in said.items() if key not in _VOLATILE} if isinstance(said, dict) else said


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
