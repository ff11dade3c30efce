"""Summarise the pairs of patches of different splits that overlap on the ground, from `split_leakage.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ben_luigi.domain.errors import BadInput

COLUMNS = ["patch_id_a", "split_a", "patch_id_b", "split_b", "overlap"]
"""The columns that are read; `overlap` is the fraction of a patch that both share, 0 to 1."""

_SHOWN = 20


def read_leakage(path: Path) -> dict[str, Any]:
    """Return the pairs and patches in all, the mean and largest overlap by splits, and the pairs that overlap most.

    Raise BadInput if the list has other columns.
    """
    try:
        pairs = pd.read_csv(path)
        if not {*COLUMNS} <= {*pairs.columns}:
            raise ValueError(f"columns {', '.join(map(str, pairs.columns))}")
    except (OSError, ValueError) as error:
        raise BadInput(
            path,
            expected=f"a CSV with columns {', '.join(COLUMNS)}",
            found=str(error),
            remedy="remove the file, and run again",
        ) from error
    both = pairs[["split_a", "split_b"]].to_numpy(dtype=str)
    pairs["splits"] = [" and ".join(sorted(row)) for row in both.tolist()]
    rows = pairs.groupby("splits")["overlap"].agg(pairs="size", mean="mean", largest="max").reset_index()
    most = pairs.sort_values(["overlap", "patch_id_a", "patch_id_b"], ascending=[False, True, True]).head(_SHOWN)
    return {
        "pairs": len(pairs),
        "patches": len(set(pairs["patch_id_a"]) | set(pairs["patch_id_b"])),
        "rows": rows.to_dict("records"),
        "most": most.to_dict("records"),
    }
