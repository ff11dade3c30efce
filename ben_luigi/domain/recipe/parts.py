"""Say in what a recipe differs from the default one, as far as a result depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ben_luigi.domain.recipe.model import Recipe

_LATER = ("band",)
"""Keys that recipes have not always had: without a value they are left out, so that older results stay true."""


def differing(recipe: Recipe, default: Recipe, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of those `keys` (`split`, `patches.side_m`, `name`) in which a recipe differs from the default.

    The value is `{"recipe": {key: value}}`, in the types of JSON, or empty. A file counts here as one, whatever its
    name: what is in it counts, and its reader says so.
    """
    found = {key: value for key in keys if (value := _plain(_at(recipe, key))) != _plain(_at(default, key))}
    return {"recipe": found} if found else {}


def _at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in _LATER or one is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return "a file"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
