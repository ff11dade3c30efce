"""`--world WORLD`, which several commands take: the sample world, or the real one, for this time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import luigi

from ben_luigi import config
from ben_luigi.domain.errors import BadName

_NAMES = ("--world", "--dataset-world")
_ALLOWED = config.options_of(config.dataset)["world"].known


def add(used: argparse.ArgumentParser) -> None:
    """Have the help tell of it."""
    used.add_argument(
        "--world",
        choices=_ALLOWED,
        help="the sample world or the real one, as [dataset] world says else: real needs no account and no setting",
    )


def take(arguments: Sequence[str]) -> list[str]:
    """The arguments without the world, which counts from now on as `[dataset] world` of the configuration.

    What there is depends on it, so it is taken before Luigi looks at the arguments. Raises BadName if it is no world.
    """
    left: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, is_whole, value = argument.partition("=")
        if name not in _NAMES:
            left.append(argument)
            continue
        world = value if is_whole else next(rest, "")
        if world not in _ALLOWED:
            found = repr(world) if world else "nothing"
            raise BadName(name, expected=f"one of {', '.join(_ALLOWED)}", found=found, remedy=f"type {name} real")
        luigi.configuration.get_config().set("dataset", "world", world)
    return left
