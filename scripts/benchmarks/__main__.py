"""`scripts/bench NAME`: run the module of that name."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

_HELPERS = {"__main__", "synthetic_tile", "timing"}


def main() -> int:
    """Run one benchmark; without a name, list them."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in _HELPERS)
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: scripts/bench NAME [--help]; NAME is one of {', '.join(names)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
