"""`scripts/bench verify`: verify a finished dataset of one made-up tile, beside `zstd` reading its archives.

Each file of each archive is looked at, as the last task of a run does. The dataset has none of the files that this
pipeline adds; those are small.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.domain.dataset.verify import verify_dataset
from ben_luigi.stages.finalize import rules_of_default
from benchmarks import finished_dataset
from benchmarks.timing import pairs, report


def _tar_bytes(archive: Path) -> int:
    listed = subprocess.run(["zstd", "-dc", archive], check=True, capture_output=True).stdout
    return len(listed)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print it."""
    parser = command.parser("scripts/bench verify", __doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/bench/archive"), metavar="FOLDER", help="where the dataset is kept"
    )
    parser.add_argument("--patches-a-side", type=int, default=30, metavar="N", help="of the tile; by default 30: 900")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of both, in turn; by default 3")
    options = parser.parse_args(argv)
    folder = finished_dataset.make(options.folder, options.patches_a_side)
    archives = sorted(folder.glob("*.tar.zst"))
    ours = partial(verify_dataset, folder, rules_of_default().labels_of)
    reference = partial(subprocess.run, ["zstd", "-tq", *archives], check=True)
    ratio = pairs("verify / zstd -t", ours, reference, runs=options.runs)
    facts = {"patches": options.patches_a_side**2, "tars, MB": round(sum(map(_tar_bytes, archives)) / 1e6, 1)}
    report([ratio], facts, ("zstandard", "pyarrow"))
    return 0
