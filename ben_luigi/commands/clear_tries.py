"""`ben-luigi clear-tries TILE...`: retry tiles at once that rest after failed downloads."""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi.commands import command, world
from ben_luigi.commands.arguments import clear_tries as parser
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.errors import BadName, PipelineError
from ben_luigi.stages.resolve import check_tile
from ben_luigi.state import budget


def main(arguments: Sequence[str]) -> int:
    """Clear the failed tries of these tiles, and print their number."""
    used = parser()
    try:
        tiles = used.parse_args(world.take(arguments)).tiles
        configure()
        for tile in tiles:
            check_tile(tile)
        for tile in tiles:
            print(f"{tile}: {budget.clear(tile) or 'no'} failed tries cleared")
    except BadName as error:
        return command.refuse(used, error)
    except PipelineError as error:
        return command.refuse(used, error, command.code_of(error))
    return 0
