"""Make a folder of links to selected patches that are unpacked elsewhere, in the layout of the dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ben_luigi.domain import given
from ben_luigi.domain.errors import BadInput, BadName, some
from ben_luigi.domain.formats.tables import read_parquet
from ben_luigi.domain.names import PatchId
from ben_luigi.domain.tiles import patches, reference_maps

_SHOWN = 120


def read_list(path: Path) -> list[PatchId]:
    """Read the patch ids in a list.

    It is a Parquet file with a column `patch_id`, or a text file whose first column has them, with or without a header.
    Raise BadInput if it cannot be read, BadName if an entry is not a patch id.
    """
    try:
        if path.suffix == ".parquet":
            names = read_parquet(path, ["patch_id"])["patch_id"].to_pylist()
        else:
            names = [line.partition(",")[0].strip().strip('"') for line in given.lines(path) if line.strip()]
            names = names[1:] if names[:1] == ["patch_id"] else names
    except (OSError, ValueError) as error:
        expected = "a text, or a parquet file with a column patch_id"
        raise BadInput(path, expected=expected, found=str(error), remedy="correct the list") from error
    return [_patch_id(path, str(name)) for name in dict.fromkeys(names)]


def _patch_id(path: Path, name: str) -> PatchId:
    try:
        return PatchId.parse(name)
    except BadName as error:
        subject = f"{path}: {error.subject[:_SHOWN]}"
        raise BadName(subject, expected=error.expected, found=error.found, remedy="correct the list") from error


def link(wanted: Iterable[PatchId], source: Path, folder: Path) -> int:
    """Link the S2 folder and, if it exists, the reference map of each patch into `folder`; return the number of
    patches.

    `source` holds `BigEarthNet-S2/<tile>/<patch id>/`, as `ExportPatches` or `tar` make it. Raise BadInput, before
    anything is linked, naming patches that are missing, or existing files that are not links.
    """
    wanted = list(wanted)
    missing = [patch for patch in wanted if not _place(source, patches.ARCHIVE, patch).is_dir()]
    if missing:
        tiles = sorted({str(patch.tile.key) for patch in missing})
        raise BadInput(
            source,
            expected="folders of the patches in the list",
            found=f"none of {some(missing)}",
            remedy=f"ben-luigi export --tile unpacks a tile; needed: {some(tiles)}",
        )
    links = {
        _place(folder, archive, patch): _place(source, archive, patch)
        for patch in wanted
        for archive in (patches.ARCHIVE, reference_maps.ARCHIVE)
        if _place(source, archive, patch).is_dir()
    }
    occupied = [link for link in links if link.exists() and not link.is_symlink()]
    if occupied:
        raise BadInput(folder, expected="room for links", found=some(occupied), remedy="take another folder")
    for link, target in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve(), target_is_directory=True)
    return len(wanted)


def _place(folder: Path, archive: str, patch: PatchId) -> Path:
    return folder / archive / patch.tile_name / str(patch)
