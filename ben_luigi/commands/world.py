"""`--world WORLD`, which several commands take: the sample world, or the real one, for this time."""

from __future__ import annotations

from collections.abc import Sequence

import luigi

from ben_luigi.commands.arguments import WORLD_OPTIONS
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.vocabulary import WORLDS


def take(arguments: Sequence[str]) -> list[str]:
    """The arguments without the world, which counts from now on as `[dataset] world` of the configuration.

    What there is depends on it, so it is taken before Luigi looks at the arguments. Raises BadName if it is no world.
    """
    left: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, is_whole, value = argument.partition("=")
        if name not in WORLD_OPTIONS:
            left.append(argument)
            continue
        world = value if is_whole else next(rest, "")
        if world not in WORLDS:
            found = repr(world) if world else "nothing"
            raise BadName(name, expected=f"one of {', '.join(WORLDS)}", found=found, remedy=f"type {name} real")
        luigi.configuration.get_config().set("dataset", "world", world)
    return left
