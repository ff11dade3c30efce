"""Stand in for Sen2Cor's `L2A_Process`, in the sample world only: same command line, same faults, no physics."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from ben_luigi.domain import deferred
from ben_luigi.domain.surroundings import without

BANNER = "Sentinel-2 Level 2A Processor (Sen2Cor). Version: 02.11.00, STAND-IN of the sample world, no physics in it"


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one L1C `.SAFE` folder as the command line says; return the exit code."""
    parser = argparse.ArgumentParser("L2A_Process", description=BANNER)
    parser.add_argument("input_dir", type=Path, metavar="X.SAFE", help="folder of the L1C product")
    parser.add_argument("--output_dir", type=Path, help="folder for the L2A product; default: beside the L1C product")
    arguments = parser.parse_args(argv)
    gc.disable()  # a program that ends soon
    deferred.defer(*deferred.LIBRARIES)
    with without("boto3"):  # which rasterio loads if it is installed
        from ben_luigi.sample import sen2cor_conversion  # only now: the version is asked for before each conversion
    print(f"{BANNER}, started ...", flush=True)
    try:
        sen2cor_conversion.convert(
            arguments.input_dir.resolve(), (arguments.output_dir or arguments.input_dir.parent).resolve()
        )
    except sen2cor_conversion.StopError as reason:
        print(reason, flush=True)
        return 1
    print("Progress[%]: 100.00 : Application terminated successfully.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
