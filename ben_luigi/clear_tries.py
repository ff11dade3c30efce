"""`scripts/clear-tries TILE...`: let tiles that rest after failed downloads be tried again at once."""

from __future__ import annotations

import sys

from ben_luigi import command, terminal
from ben_luigi.domain.errors import PipelineError
from ben_luigi.run import configure
from ben_luigi.state import budget


def main() -> int:
    """Clear the failed tries of the tiles named, and say how many there were."""
    parser = command.parser("clear-tries", __doc__, {0: "cleared", command.CANNOT: "not all of them, and why"})
    parser.add_argument("tiles", nargs="+", metavar="TILE", help="tile key, as in 33UUP_20170613")
    tiles = parser.parse_args().tiles
    configure()
    try:
        for tile in tiles:
            print(f"{tile}: {budget.clear(tile) or 'no'} failed tries cleared")
    except PipelineError as error:
        return command.refuse(parser, error)
    return 0


if __name__ == "__main__":
    terminal.outlive_readers()
    sys.exit(main())
