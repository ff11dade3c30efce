"""`scripts/verify [FOLDER]`: whether a finished dataset, ours or downloaded, is whole and fits together."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.nomenclature import read_nomenclature
from ben_luigi.domain.verify import verify_dataset
from ben_luigi.run import configure


def main() -> int:
    """Print what is wrong, a line each; exit code 1 if anything is, 2 if it could not be told."""
    parser = argparse.ArgumentParser(prog="scripts/verify", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("folder", type=Path, nargs="?", help="folder of the dataset; by default that of the pipeline")
    folder = parser.parse_args().folder
    configure()
    folder = folder or config.data_dir() / config.result_folder()
    try:
        options = config.metadata()
        labels_of = read_nomenclature(Path(str(options.nomenclature))).labels_of
        findings = verify_dataset(folder, partial(labels_of, unlabeled_limit=float(options.unlabeled_limit)))
    except (PipelineError, OSError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    print(f"{folder}: {f'{len(findings)} findings' if findings else 'whole, and all of it fits together'}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
