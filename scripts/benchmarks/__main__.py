"""`scripts/bench NAME`: measure speed and memory beside reference work in the same run.

`scripts/bench NAME --help` says how each is measured.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks
from ben_luigi.commands import command

_HELPERS = {"__main__", "finished_dataset", "form_readers", "simulation", "synthetic_tile", "timing"}


def main() -> int:
    """Run one benchmark; without a name, list them."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in _HELPERS)
    parser = command.parser("scripts/bench", __doc__)
    parser.add_argument("name", metavar="NAME", choices=names, help=f"one of {', '.join(names)}")
    name = parser.parse_args(sys.argv[1:2]).name
    return int(importlib.import_module(f"benchmarks.{name}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
