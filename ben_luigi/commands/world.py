"""`--world WORLD` and `--recipe RECIPE`, which several commands take: another world, another recipe, for this time."""

from __future__ import annotations

from collections.abc import Sequence

import luigi

from ben_luigi.commands.arguments import RECIPE_OPTIONS, require_recipe, require_world, taken_out
from ben_luigi.configuration import loading


def take(arguments: Sequence[str]) -> list[str]:
    """The arguments without world and recipe, which count from now on as those of the configuration.

    What there is depends on them, so they are taken before Luigi looks at the arguments. Raise BadName if it is no
    world, or if no recipe is named; exit if anything is wrong in the recipe.
    """
    left, taken = taken_out(arguments)
    for option, text in taken:
        if option in RECIPE_OPTIONS:
            require_recipe(option, text)
            loading.follow(text, option)
        else:
            require_world(option, text)
            luigi.configuration.get_config().set("dataset", "world", text)
    return left
