"""Keep the sample world out of a data folder of the real one, whose results it would replace."""

from __future__ import annotations

from pathlib import Path

from ben_luigi.domain import files
from ben_luigi.domain.errors import BadInput

_NOTE = "world.json"


def require_own(folder: Path, *, is_sample: bool) -> None:
    """Raise BadInput if a run on the sample world is asked for where one on the real world has begun."""
    if is_sample and (folder / _NOTE).exists():
        raise BadInput(
            f"the sample world in {folder}",
            expected="a folder without results of the real world, which it would replace",
            found=f"{_NOTE}: the real world has been run there",
            remedy="add --world real, or name another [dataset] data_dir; to begin anew, remove that file",
        )


def enter(folder: Path, *, is_sample: bool) -> None:
    """Note the world of a run in `folder`. Raise BadInput as `require_own` does.

    The real world may follow the sample world, whose results are made again in seconds.
    """
    require_own(folder, is_sample=is_sample)
    if not is_sample and not (folder / _NOTE).exists():
        files.write_json(folder / _NOTE, {"world": "real"})
