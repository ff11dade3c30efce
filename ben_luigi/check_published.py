"""Hold ids, split, alignment and country, computed from the product names, against published metadata.

`scripts/check-published DIR` takes a folder with `tile_names_and_links.csv`, `bigearthnet_s2_tile_ids.csv`,
`s1s2_mapping.csv` (each plain or compressed), `ne_110m_admin_0_countries.geojson`, `v1_spatial/` and published
`metadata*.parquet`, and prints for each column how many published rows there are, and how many came out equal. Rows of
a UTM zone without v1 geometry are checked for ids, split and country only.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ben_luigi.domain import alignment, metadata
from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.domain.country import countries
from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.domain.grid import PatchGrid, tile_square
from ben_luigi.domain.names import ProductName


@dataclass(frozen=True)
class Computed:
    """What follows from the product names: one row a patch, and one a pair of patch and v1 patch."""

    patches: pd.DataFrame  # patch_id, epsg, split, country
    pairs: pd.DataFrame  # patch_id, v1_name
    zones: frozenset[int]  # EPSG codes with v1 geometry


def compute(names: list[ProductName], v1_spatial: Path, borders: Path) -> Computed:
    """Grid, split, alignment and country of every patch of these products."""
    spatial = alignment.spatial_files(v1_spatial)
    zones = {epsg: alignment.read_v1(path) for epsg, path in spatial.items()}
    patches, pairs = [], []
    for name in (product.converted() for product in names):
        grid = PatchGrid(name.tile_name, tile_square(name))
        columns = {
            "patch_id": pd.array(grid.ids(), dtype="str"),
            "epsg": name.epsg,
            "split": grid.splits(),
            "country": countries(grid, borders),
        }
        patches.append(pd.DataFrame(columns))
        if name.epsg in zones:
            pairs.append(alignment.align(grid, name.sensing_time, zones[name.epsg]))
    aligned = pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame({"patch_id": [], "v1_name": []})
    alignment.check_pairs(aligned, "all tiles")
    return Computed(pd.concat(patches, ignore_index=True), aligned, frozenset(zones))


def compare(computed: Computed, published: pd.DataFrame, s1s2: pd.DataFrame) -> dict[str, dict[str, int]]:
    """For each column: the number of published rows that it could be computed for, and of those that came out equal."""
    ours = computed.patches.merge(computed.pairs, on="patch_id", how="left").merge(s1s2, on="v1_name", how="left")
    rows = published.merge(ours, on="patch_id", how="left", suffixes=("", "_ours"))
    zone = rows["patch_id"].str.extract(r"_T(\d\d)", expand=False).astype(int) + 32600
    comparable = zone.isin(computed.zones)

    def count(column: str, ours: str, of: pd.Series) -> dict[str, int]:
        return {"rows": int(of.sum()), "equal": int((rows[column] == rows[ours])[of].sum())}

    everything = pd.Series(True, index=rows.index)
    return {
        "ids": {"rows": len(rows), "equal": int(rows["epsg"].notna().sum())},
        "split": count("split", "split_ours", everything),
        "s1_name": count("s1_name", "s1_name_ours", comparable),
        "s2v1_name": count("s2v1_name", "v1_name", comparable),
        "country": count("country", "country_ours", everything),
    }


def _published(folder: Path) -> pd.DataFrame:
    found = sorted(folder.glob("metadata*.parquet"))
    if not found:
        raise BadInput(folder, expected="published metadata*.parquet", found="none")
    return pd.concat([pd.read_parquet(path) for path in found], ignore_index=True)


def _one(folder: Path, name: str) -> Path:
    found = sorted(path for path in folder.iterdir() if path.name == name or path.name.startswith(f"{name}."))
    if not found:
        raise BadInput(folder, expected=f"{name}, plain or compressed", found="none")
    return found[0]


def _mapping(folder: Path) -> pd.DataFrame:
    columns = ["v1_name", "s1_name"]
    mapping: pa.Table = metadata.read_csv(_one(folder, "s1s2_mapping.csv"), columns, header=False)
    return mapping.to_pandas()


def check(folder: Path) -> dict[str, dict[str, int]]:
    """Compute and compare for a folder laid out as above."""
    names = read_tile_names(_one(folder, "tile_names_and_links.csv"))
    computed = compute(names, folder / "v1_spatial", _one(folder, "ne_110m_admin_0_countries.geojson"))
    return compare(computed, _published(folder), _mapping(folder))


def main() -> int:
    """Print one JSON object; exit code 1 unless all rows are equal."""
    parser = argparse.ArgumentParser(prog="scripts/check-published", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    try:
        result = check(parser.parse_args().folder)
    except (PipelineError, OSError) as error:
        print(f"check-published: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0 if all(column["rows"] == column["equal"] for column in result.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
