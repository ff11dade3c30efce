"""`scripts/clear-tries TILE...`: let tiles that rest after failed downloads be tried again at once."""

from __future__ import annotations

import argparse
import sys

from ben_luigi.domain.errors import PipelineError
from ben_luigi.run import configure
from ben_luigi.state import budget


def main() -> int:
    """Clear the failed tries of the tiles named, and say how many there were."""
    parser = argparse.ArgumentParser(prog="scripts/clear-tries", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("tiles", nargs="+", metavar="TILE", help="tile key, as in 33UUP_20170613")
    tiles = parser.parse_args().tiles
    configure()
    try:
        for tile in tiles:
            print(f"{tile}: {budget.clear(tile)} failed tries cleared")
    except PipelineError as error:
        print(f"clear-tries: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
