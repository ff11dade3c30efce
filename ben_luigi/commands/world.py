"""`--world WORLD` and `--recipe RECIPE`, which several commands take: another world, another recipe, for this time."""

from __future__ import annotations

from collections.abc import Sequence

import luigi

from ben_luigi.commands.arguments import RECIPE_OPTIONS, WORLD_OPTIONS
from ben_luigi.configuration import loading
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.vocabulary import WORLDS


def take(arguments: Sequence[str]) -> list[str]:
    """The arguments without world and recipe, which count from now on as those of the configuration.

    What there is depends on them, so they are taken before Luigi looks at the arguments. Raise BadName if it is no
    world; exit if anything is wrong in the recipe.
    """
    left: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, is_whole, value = argument.partition("=")
        if name not in (*WORLD_OPTIONS, *RECIPE_OPTIONS):
            left.append(argument)
            continue
        given = value if is_whole else next(rest, "")
        if name in RECIPE_OPTIONS:
            loading.follow(given, name)
            continue
        if given not in WORLDS:
            found = repr(given) if given else "nothing"
            raise BadName(name, expected=f"one of {', '.join(WORLDS)}", found=found, remedy=f"type {name} real")
        luigi.configuration.get_config().set("dataset", "world", given)
    return left
