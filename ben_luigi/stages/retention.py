"""Remove products that are not needed any more, as far as `[retention]` allows it.

Only what the pipeline has made itself is removed, and only once everything made from it is complete. Its report or note
stays, so that nothing that is finished becomes incomplete; a task that needs the product again makes it again.
"""

from __future__ import annotations

import logging
from pathlib import Path

import luigi

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.stages.archive_parts import S1, archive_names, is_by_tile
from ben_luigi.stages.archive_shards import from_folder, shard_folder
from ben_luigi.stages.archives import Archive, ArchiveLayer, ArchiveReferenceMaps, ArchiveS1, ArchiveS2, archiving
from ben_luigi.stages.atmosphere import ConvertToL2A, FindL2A, ReadProduct, l2a_task, made_product
from ben_luigi.stages.download import DownloadL1C
from ben_luigi.stages.layers import CutLayer
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.placement import ClassifyPatches
from ben_luigi.stages.resolve import known_tiles
from ben_luigi.stages.statistics import WriteStatistics
from ben_luigi.state import stored

_log = logging.getLogger(__name__)
_ARCHIVES = (ArchiveS2, ArchiveReferenceMaps, ArchiveS1, ArchiveLayer)


def retire_after(task: luigi.Task) -> None:
    """Remove what `task`, which has just succeeded, was the last to need."""
    if isinstance(task, ConvertToL2A):
        _retire_l1c(str(task.tile))
    elif isinstance(task, ReadProduct | CutPatches | ClassifyPatches | CutLayer):
        _retire_l2a(str(task.tile))
        _retire_l1c(str(task.tile))
    elif isinstance(task, _ARCHIVES):
        _retire_parts(task)
    elif isinstance(task, WriteStatistics) and S1 in archive_names():
        _retire_parts(ArchiveS1())


def retire_all() -> None:
    """Remove everything that is not needed any more, even if it was made before `[retention]` was set."""
    options = config.retention()
    if {options.l1c, options.l2a, options.parts} == {"keep"}:
        return
    for tile in known_tiles():
        _retire_l1c(tile)
        _retire_l2a(tile)
    for archive in archiving():
        _retire_parts(archive)


def _retire_l1c(tile: str) -> None:
    """Remove the downloaded product; the user's own files stay."""
    product = DownloadL1C(tile=tile).output()["product"].file
    if config.retention().l1c != "keep" and product.exists() and _is_used(tile):
        _remove(product)


def _retire_l2a(tile: str) -> None:
    """Remove the product that was made from L1C, or fetched; the user's own files stay."""
    task = l2a_task(tile)
    is_ours = not isinstance(task, FindL2A)
    if config.retention().l2a != "keep" and is_ours and task.complete() and _is_cut(tile):
        _remove(made_product(tile))


def _is_used(tile: str) -> bool:
    """Return whether nothing more is made from the L1C product."""
    of_l1c = [CutLayer(tile=tile, layer=layer.name) for layer in config.product_layers() if layer.name == "l1c"]
    return all(task.complete() for task in of_l1c) and (ConvertToL2A(tile=tile).complete() or _is_cut(tile))


def _is_cut(tile: str) -> bool:
    """Return whether nothing more is made from the L2A product."""
    made = [ReadProduct(tile=tile), CutPatches(tile=tile), ClassifyPatches(tile=tile)]
    return all(task.complete() for task in [*made, *_of_l2a(tile)])


def _of_l2a(tile: str) -> list[CutLayer]:
    return [CutLayer(tile=tile, layer=layer.name) for layer in config.product_layers() if layer.name != "l1c"]


def _retire_parts(archive: Archive) -> None:
    """Remove the compressed parts, and the S1 patches that were collected from the `.tar.gz`."""
    is_collected = archive.name == S1 and not is_by_tile(S1)
    if config.retention().parts == "keep":
        return
    parts = f"{config.parts_folder()}/{archive.name}"
    found = sorted({*(config.data_dir() / parts).glob("*.tar.zst"), *stored.lying_in(parts)})
    if is_collected and not from_folder(S1):
        found += [path for path in (config.data_dir() / shard_folder(S1)).glob("*") if path.is_file()]
    if found and archive.complete() and (not is_collected or _is_counted()):
        for path in found:
            _remove(path)


def _is_counted() -> bool:
    """Return whether the pixels of Sentinel-1 are counted, or will not be, as of a subset: they come once for both."""
    return bool(config.selection()) or WriteStatistics().complete()


def _remove(path: Path) -> None:
    """Rename, then remove, so that a half-removed product never looks complete.

    Do nothing if another process, which has ended its run at the same time, was faster.
    """
    is_removed = stored.remove(path.relative_to(config.data_dir()).as_posix())
    gone = files.unfinished(path)
    try:
        path.rename(gone)
    except FileNotFoundError:
        if not is_removed:
            return
    files.remove(gone)
    _log.info("removed   %s: nothing more is made from it", path.relative_to(config.data_dir()))
