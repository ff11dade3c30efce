"""Remember which file is the recipe of a folder of results: two recipes of one name would undo each other's work."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain import files
from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.recipe import reading

_NOTE = "followed.json"


def option() -> str:
    """Return the option by which another command follows this recipe, after a blank; nothing for the default one."""
    recipe = config.recipe()
    if recipe.is_default:
        return ""
    is_packaged = recipe.path.parent == config.TRACKED_ARTIFACTS / reading.FOLDER
    return f" --recipe {shlex.quote(recipe.path.stem if is_packaged else str(recipe.path))}"


def require_same(folder: Path, name: str, path: Path) -> None:
    """Raise BadInput if the results in `folder` follow another file that still says otherwise under this name.

    A recipe that was changed, moved or renamed is no other one.
    """
    try:
        before = Path(json.loads((folder / _NOTE).read_text(encoding="utf-8"))["path"])
        is_other = before != path and before.read_bytes() != path.read_bytes() and read_toml(before)["name"] == name
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_other:
        raise BadInput(
            f"recipe {name} in {path}",
            expected="one recipe of a name in a data folder",
            found=f"another one in {before}, by which {folder} was made",
            remedy="give one of them another name, or name another [dataset] data_dir",
        )


def follow(folder: Path, name: str, path: Path) -> None:
    """Note the file. Raise BadInput as `require_same` does."""
    require_same(folder, name, path)
    files.write_json(folder / _NOTE, {"path": str(path)})
