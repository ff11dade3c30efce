"""Say which recipe is followed: what it says, which products it has found, and what is made by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.domain.recipe.words import described
from ben_luigi.stages.finalize import dataset_tasks, finished_archives
from ben_luigi.stages.resolve import known_tiles
from ben_luigi.state.targets import MadeFile, MadeFolder


def recipe() -> dict[str, Any]:
    """Return which recipe is followed, what it says, which products it has found, and what is made by it."""
    followed, listed = config.recipe(), known_tiles()
    days = sorted(name.sensing_time.date().isoformat() for name in listed.values())
    return {
        "name": followed.name,
        "title": followed.title,
        "version": followed.version,
        "path": str(followed.path),
        "is_default": followed.is_default,
        "says": described(followed),
        "products": len(listed),
        "squares": len({name.mgrs for name in listed.values()}),
        "first_day": days[0] if days else None,
        "last_day": days[-1] if days else None,
        "makes": makes(),
    }


def makes() -> list[str]:
    """Return the names of the files and folders of the finished dataset, sorted."""
    folder = config.data_dir() / config.result_folder()
    made = [target for task in dataset_tasks() for target in task.targets().values()]
    names = [target.file.name + "/" * isinstance(target, MadeFolder) for target in made if _is_in(target, folder)]
    return sorted({*names, *finished_archives()})


def _is_in(target: object, folder: Path) -> bool:
    return isinstance(target, MadeFile) and target.file.parent == folder
