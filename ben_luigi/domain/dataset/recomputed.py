"""Compute ids, split, alignment and country of every patch from product names, and compare with published metadata.

The rules are those of BigEarthNet v2, the only dataset whose metadata are published, whatever recipe is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ben_luigi.domain import files, given
from ben_luigi.domain.cdse.resolve import read_tile_names
from ben_luigi.domain.dataset import comparison, metadata
from ben_luigi.domain.dataset.form import FORM_V2
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats.tables import read_parquet
from ben_luigi.domain.names import ZONE_FORM, ProductName
from ben_luigi.domain.placement import alignment, split
from ben_luigi.domain.placement.country import countries
from ben_luigi.domain.placement.grid import PatchGrid, tile_square


@dataclass(frozen=True)
class Computed:
    """The results from the product names: one row per patch, and one per pair of patch and v1 patch."""

    patches: pd.DataFrame  # patch_id, epsg, split, country
    pairs: pd.DataFrame  # patch_id, v1_name
    zones: frozenset[int]  # EPSG codes with v1 geometry
    findings: pd.DataFrame  # finding, v1_name
    whole: bool  # whether every product's zone has v1 geometry


def compute(names: list[ProductName], v1_spatial: Path, borders: Path) -> Computed:
    """Compute grid, split, alignment and country of every patch of these products."""
    spatial = alignment.spatial_files(v1_spatial)
    zones = {epsg: alignment.V1Patches(alignment.read_v1(path)) for epsg, path in spatial.items()}
    patches, pairs = [], []
    for name in (product.converted() for product in names):
        grid = PatchGrid(name.tile_name, tile_square(name), FORM_V2.patch_m)
        columns = {
            "patch_id": pd.array(grid.ids(), dtype="str"),
            "epsg": name.epsg,
            "split": split.splits(grid, FORM_V2.split),
            "country": countries(grid, borders, FORM_V2.countries),
        }
        patches.append(pd.DataFrame(columns))
        if name.epsg in zones:
            pairs.append(alignment.align(grid, name.sensing_time, zones[name.epsg]))
    aligned = pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame({"patch_id": [], "v1_name": []})
    alignment.check_pairs(aligned, "all tiles")
    v1 = pd.concat([zones[epsg].table for epsg in sorted({name.epsg for name in names} & set(zones)) or list(zones)])
    findings = alignment.findings(v1, aligned["v1_name"])
    whole = {name.epsg for name in names} <= set(zones)
    return Computed(pd.concat(patches, ignore_index=True), aligned, frozenset(zones), findings, whole)


Equal = dict[str, dict[str, int]]


def compare(computed: Computed, published: pd.DataFrame, s1s2: pd.DataFrame) -> Equal:
    """Return for each column the number of published rows for which it was computed, and of those that are equal."""
    ours = computed.patches.merge(computed.pairs, on="patch_id", how="left").merge(s1s2, on="v1_name", how="left")
    rows = published.merge(ours, on="patch_id", how="left", suffixes=("", "_ours"))
    comparable = _zones(rows["patch_id"]).isin(computed.zones)

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


def _zones(patch_ids: pd.Series) -> pd.Series:
    return patch_ids.str.extract(ZONE_FORM, expand=False).astype(int) + 32600


def rebuild(computed: Computed, published: pa.Table, lists: dict[str, pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of both files from published labels and computed columns; `lists` are s1s2, snow and cloud."""

    def mapping(frame: pd.DataFrame, *names: str) -> pa.Table:
        table = pa.Table.from_arrays([pa.array(frame[name], pa.string()) for name in frame.columns], names=list(names))
        return table.sort_by("patch_id")

    labels = pa.table(
        {
            "patch_id": published["patch_id"].take(pc.list_parent_indices(published["labels"].combine_chunks())),
            "label": pc.list_flatten(published["labels"]),
        }
    )
    return metadata.join(
        metadata.Mappings(
            labels=labels.sort_by([("patch_id", "ascending"), ("label", "ascending")]),
            s2v1=mapping(computed.pairs, "patch_id", "s2v1_name"),
            split=mapping(computed.patches[["patch_id", "split"]], "patch_id", "split"),
            country=mapping(computed.patches[["patch_id", "country"]], "patch_id", "country"),
            **lists,
        )
    )


def _compare_rows(rebuilt: dict[str, pa.Table], published: dict[str, pa.Table]) -> Iterator[tuple[bool, str]]:
    for name, rows in published.items():
        equal = rebuilt[name].schema.equals(rows.schema) and rebuilt[name].equals(rows)
        same = (
            rows.num_rows
            if equal
            else len({str(row) for row in rows.to_pylist()} & {str(row) for row in rebuilt[name].to_pylist()})
        )
        yield (
            equal,
            f"{name}: {rows.num_rows} rows, rebuilt equal {same}" + ("" if equal else "; or other types or order"),
        )


def _md5(rebuilt: dict[str, pa.Table], figures: comparison.Published) -> Iterator[tuple[bool, str]]:
    """Compare the md5 of both files, as DuckDB writes them, with the published ones."""
    with TemporaryDirectory() as folder:
        try:
            paths = metadata.write(rebuilt.values(), Path(folder), "published")
        except BadInput as error:
            yield True, f"md5 not compared: {error}"
            return
        for name, path in paths.items():
            md5 = files.file_hash(path, "md5")
            equal = md5 == figures.md5[name]
            yield equal, f"{name}: md5 {md5}, {'as published' if equal else f'published is {figures.md5[name]}'}"


def _published(folder: Path) -> dict[str, pa.Table]:
    """Return the published rows of each file, sorted."""
    found = [path for path in given.entries(folder) if path.match("metadata*.parquet")]
    if not found:
        raise BadInput(folder, expected="published metadata*.parquet", found="none", remedy="put them there")
    stem = metadata.FLAGGED.removesuffix(".parquet")
    of = {name: [path for path in found if path.name.startswith(stem) == (name == metadata.FLAGGED)] for name in _NAMES}
    return {
        name: pa.concat_tables([_read(path) for path in paths]).sort_by("patch_id").replace_schema_metadata(None)
        for name, paths in of.items()
        if paths
    }


def _read(path: Path) -> pa.Table:
    try:
        return read_parquet(path)
    except (OSError, ValueError) as error:
        raise BadInput(path, expected="published metadata", found=str(error), remedy="fetch it again") from error


_NAMES = (metadata.METADATA, metadata.FLAGGED)


def _one(folder: Path, name: str) -> Path:
    found = sorted(path for path in given.entries(folder) if path.name == name or path.name.startswith(f"{name}."))
    if not found:
        raise BadInput(folder, expected=f"{name}, plain or compressed", found="none", remedy="put it there")
    return found[0]


def _s1s2(folder: Path) -> pa.Table:
    return metadata.read_csv(_one(folder, "s1s2_mapping.csv"), ["s2v1_name", "s1_name"], header=False)


def _flags(folder: Path) -> dict[str, pa.Table]:
    """Read the lists of patches with snow, and with cloud or shadow."""
    return {
        "snow": metadata.read_csv(_one(folder, "patches_with_seasonal_snow.csv"), ["s2v1_name"], header=False),
        "cloud": metadata.read_csv(_one(folder, "patches_with_cloud_and_shadow.csv"), ["s2v1_name"], header=False),
    }


def check(folder: Path, figures: comparison.Published) -> tuple[Equal, list[tuple[bool, str]]]:
    """Compute and compare for a folder with published files.

    Return what is equal per column, and (equal, text) per file. Raise BadInput, BadAlignment or OSError if the folder
    lacks a file, or if a file is malformed.
    """
    names = read_tile_names(_one(folder, "tile_names_and_links.csv"))
    computed = compute(names, folder / "v1_spatial", _one(folder, "ne_110m_admin_0_countries.geojson"))
    published, s1s2 = _published(folder), _s1s2(folder)
    frames = pd.concat([table.to_pandas() for table in published.values()], ignore_index=True)
    columns = compare(computed, frames, s1s2.rename_columns(["v1_name", "s1_name"]).to_pandas())
    comparable = {name: rows.filter(_in_zones(rows, computed.zones)) for name, rows in published.items()}
    findings = [(True, f"{finding}: {some(its)}") for finding, its in computed.findings.groupby("finding")["v1_name"]]
    if not all_equal(columns):
        return columns, findings
    try:
        lists = {"s1s2": s1s2, **_flags(folder)}
    except BadInput as error:
        return columns, [*findings, (True, f"files not rebuilt: {error}")]
    rebuilt = metadata.divide(pa.concat_tables(rebuild(computed, pa.concat_tables(comparable.values()), lists)))
    return columns, [
        *findings,
        *_compare_rows(rebuilt, comparable),
        *(_md5(rebuilt, figures) if computed.whole else []),
    ]


def all_equal(columns: Equal) -> bool:
    """Return whether every row that was computed is equal, in each column."""
    return all(column["rows"] == column["equal"] for column in columns.values())


def _in_zones(rows: pa.Table, zones: frozenset[int]) -> pa.Array:
    return pa.array(_zones(rows["patch_id"].to_pandas()).isin(zones))
