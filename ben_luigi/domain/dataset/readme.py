"""Write `README.md` and `LICENSE` of the finished dataset, for people who have nothing but its folder.

The texts depend on the title, the number of patches, and whether there is a report. The licence is named and linked, as
section 3.1 (a) of CDLA-Permissive-1.0 allows in place of its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ben_luigi.domain import files
from ben_luigi.domain.dataset.form import FORM_V2, NOMENCLATURE, RECIPE, Form, hash_list
from ben_luigi.domain.dataset.rights import CITATION as CITATION
from ben_luigi.domain.dataset.rights import LICENSE as LICENSE
from ben_luigi.domain.dataset.rights import citation, licence
from ben_luigi.domain.dataset.stac import LICENSE as LICENSE_ID
from ben_luigi.domain.dataset.time_series import TIME_SERIES
from ben_luigi.domain.tiles.layers import archive_of

README = "README.md"

_REPORT_ROW = "| `report/index.html` | the dataset to look at, in any browser |\n"
_README = """\
# {title}

Pairs of Sentinel-1 and Sentinel-2 patches of 1,200 m by 1,200 m over ten European countries, with reference maps of
CORINE Land Cover 2018 and labels of 19 classes. There are {patches:,} patches. {flagged:,} of them have seasonal snow,
cloud or cloud shadow.

## Files

| File | Content |
| --- | --- |
| `BigEarthNet-S2.tar.zst` | Sentinel-2: 12 bands per patch, uint16, surface reflectance times 10,000 |
| `BigEarthNet-S1.tar.zst` | Sentinel-1: VV and VH per patch, float32, dB |
| `Reference_Maps.tar.zst` | one map per patch, uint16: CORINE Land Cover 2018 codes, 999 where there is none |
| `metadata.parquet` | one row per patch: labels, split, country, names, flags |
| `metadata_for_patches_with_snow_cloud_or_shadow.parquet` | the same for the {flagged:,} flagged patches |
| `patches.parquet` | GeoParquet: both tables, with place, time, product, land cover and hashes |
| `patch_hashes.csv`, `reference_map_hashes.csv`, `s1_hashes.csv` | name and sha256 of every TIFF |
| `stac/`, `croissant.json` | the dataset as a STAC collection and in Croissant |
{layers}| `provenance.json` | the products of each tile, and the versions of all software |
| `comparison.json` | this dataset beside the published one |
{report}
## How to unpack and read it

```sh
for archive in BigEarthNet-S1 BigEarthNet-S2 Reference_Maps; do tar --zstd -xf $archive.tar.zst; done
```

A patch is in `BigEarthNet-S2/<tile>/<patch id>/`, one TIFF per band. `<tile>` is the patch id without its last two
fields. Its Sentinel-1 patch has the name in column `s1_name`, and is in `BigEarthNet-S1/<S1 tile>/<s1_name>/`. Its map
is in `Reference_Maps/<tile>/<patch id>/`. The coordinate reference system of each file is the UTM zone of its tile.
The column `split` says which patches are for training, validation and test. If `provenance.json` states a `boa_offset`
of a tile, it is to be added to the pixels of Sentinel-2 to have reflectance times 10,000.
{more}
## Licence, attribution and citation

`LICENSE` has the licence, and the attribution that has to stay with the data. Cite this paper:

> K. N. Clasen, L. Hackel, T. Burgert, G. Sumbul, B. Demir, V. Markl: reBEN: Refined BigEarthNet Dataset for Remote
> Sensing Image Analysis. 2024. <https://doi.org/10.48550/arXiv.2407.03653>
"""
_LICENSE = f"""\
SPDX-License-Identifier: {LICENSE_ID}

This dataset is provided under the Community Data License Agreement - Permissive, Version 1.0.
The text of the agreement: https://cdla.dev/permissive-1-0/

Whoever publishes the data or a part of them passes on this licence or the link to it, marks the files that were
changed, and keeps this attribution:

- BigEarthNet v2 (reBEN): BigEarthNet, https://bigearth.net
- Contains modified Copernicus Sentinel data 2017 and 2018.
- Reference maps and labels are made from CORINE Land Cover 2018: European Union, Copernicus Land Monitoring Service,
  European Environment Agency (EEA), https://land.copernicus.eu/en/products/corine-land-cover/clc2018
"""


def describe(title: str, patches: int, flagged: int, form: Form = FORM_V2, *, has_report: bool) -> dict[str, str]:
    """Return the two texts by file name; `patches` counts the rows of both tables, `flagged` those of the second."""
    words = {
        "report": _REPORT_ROW if has_report else "",
        "layers": "".join(f"| `{file}` | {what} |\n" for file, what in _layer_files(form).items()),
        "more": _of_layers(form),
    }
    return {README: _README.format(title=title, patches=patches, flagged=flagged, **words), LICENSE: _LICENSE}


_OWN_README = """\
# {title}

A dataset of {patches:,} patches of Sentinel-2, {side_m:,} m by {side_m:,} m, with reference maps of land cover and
labels. Version {about.version}. `{recipe}` says what it was made from, and how: `ben_luigi` makes it again, and
`ben-luigi verify` checks this folder by it.

## Files

| File | Content |
| --- | --- |
{rows}

## How to unpack and read it

```sh
for archive in {archives}; do tar --zstd -xf $archive.tar.zst; done
```

A patch is in `BigEarthNet-S2/<tile>/<patch id>/`, one TIFF per band. `<tile>` is the patch id without its last two
fields. Its map is in `Reference_Maps/<tile>/<patch id>/`. The coordinate reference system of each file is the UTM zone
of its tile. The column `split` says which patches are for training, validation and test.
{more}
## Licence and citation

`LICENSE` has the licence, and the attribution that has to stay with the data. `CITATION.cff` says how to cite the
dataset.{cite}
"""
_OWN_FILES = {
    "BigEarthNet-S2.tar.zst": "Sentinel-2: 12 bands per patch, uint16",
    "BigEarthNet-S1.tar.zst": "Sentinel-1: VV and VH per patch, float32",
    "Reference_Maps.tar.zst": "one map per patch, uint16: codes of the land cover",
    "metadata.parquet": "one row per patch: labels, split, and what else the recipe gives",
    "metadata_for_patches_with_snow_cloud_or_shadow.parquet": "the same for patches with snow, cloud or shadow",
    "patches.parquet": "GeoParquet: the same, with place, time, product, land cover and hashes",
    TIME_SERIES: "which patches show the same square, in the order of time",
    "patch_hashes.csv": "name and sha256 of every TIFF of Sentinel-2",
    "reference_map_hashes.csv": "name and sha256 of every map",
    "s1_hashes.csv": "name and sha256 of every TIFF of Sentinel-1",
    "stac/": "the dataset as a STAC collection",
    "croissant.json": "the dataset in Croissant",
    "provenance.json": "the products of each tile, and the versions of all software",
    "LICENSE": "the licence, and the attribution that has to stay with the data",
    CITATION: "how to cite the dataset, in the Citation File Format",
    RECIPE: "the recipe",
    NOMENCLATURE: "codes, names and classes of the land cover",
    "report/index.html": "the dataset to look at, in any browser",
}
_OWN_SENTINEL1 = """
Its Sentinel-1 patch has the name in column `s1_name`, and is in `BigEarthNet-S1/<S1 tile>/<s1_name>/`. `<S1 tile>` is
that name without its last three fields.
"""
_OWN_LAYERS = """
Of each further layer, its file is in `Layer_<layer>/<tile>/<patch id>/<patch id>_<layer>.tif`, on the same square.
"""
_OWN_BANDS = """\
A layer of several bands has a file `<patch id>_<layer>_<band>.tif` of each.
"""


def describe_own(
    title: str, patches: int, form: Form, years: Sequence[int] = (), *, has_report: bool
) -> dict[str, str]:
    """Return README, LICENSE and CITATION.cff of a dataset of another recipe by file name.

    `patches` counts the rows of its metadata, `years` are those in which its tiles were sensed.
    """
    left_out = set() if form.has_sentinel1 else {"BigEarthNet-S1.tar.zst", "s1_hashes.csv"}
    left_out |= set() if form.has_flags else {"metadata_for_patches_with_snow_cloud_or_shadow.parquet"}
    left_out |= set() if has_report else {"report/index.html"}
    about = form.about
    listed = {**_OWN_FILES, **_layer_files(form)}
    more = [*([_OWN_SENTINEL1] if form.has_sentinel1 else []), _of_layers(form)]
    words = {
        "title": title,
        "patches": patches,
        "side_m": form.patch_m,
        "about": about,
        "recipe": RECIPE,
        "rows": "\n".join(f"| `{file}` | {what} |" for file, what in listed.items() if file not in left_out),
        "archives": " ".join(form.archives),
        "more": "".join(more),
        "cite": f" Cite it as:\n\n```bibtex\n{about.citation}\n```" if about.citation else "",
    }
    texts = {LICENSE: licence(title, about, years, form.attributions), CITATION: citation(title, about)}
    return {README: _OWN_README.format(**words), **texts}


def _of_layers(form: Form) -> str:
    """Return where the files of further layers are, if there are any."""
    several = _OWN_BANDS if any(layer.bands for layer in form.layers) else ""
    return f"{_OWN_LAYERS}{several}" if form.layers else ""


def _layer_files(form: Form) -> dict[str, str]:
    """Return archive and hash list of each further layer, and what they have."""
    found = {}
    for layer in form.layers:
        archive = archive_of(layer.name)
        nodata = "" if layer.nodata is None else f", {layer.nodata:g} where there is no data"
        per_patch = "one file" if len(layer.kinds) == 1 else f"{len(layer.kinds)} files"
        found[f"{archive}.tar.zst"] = f"layer {layer.name}: {per_patch} per patch, {layer.dtype}, {layer.how}{nodata}"
        found[hash_list(archive)] = f"name and sha256 of every file of the layer {layer.name}"
    return found


def with_missing(text: str, missing: Mapping[str, Mapping[str, str]], lacking: Mapping[str, Sequence[str]]) -> str:
    """Return a README that also lists what is missing.

    `missing` has the tiles left out: by tile, their product and where it was not found. `lacking` has by tile the
    layers that its product lacks.
    """
    parts = []
    if missing:
        rows = (f"- {tile}: `{facts['product']}` is {facts['found']}" for tile, facts in sorted(missing.items()))
        said = "These tiles are left out, since their products were not to be had when the dataset was made:"
        parts.append("\n".join([said, "", *rows]))
    if lacking:
        rows = (f"- {tile}: {', '.join(f'`{layer}`' for layer in layers)}" for tile, layers in sorted(lacking.items()))
        said = "The patches of these tiles are not in the archives of these layers, which their products lack:"
        parts.append("\n".join([said, "", *rows]))
    if not parts:
        return text
    before, heading, after = text.partition("## How to unpack and read it\n")
    return "\n\n".join([f"{before}## What is missing", *parts, f"{heading}{after}"])


def title_of(text: str) -> str:
    """Return the title in the first line of a README."""
    return text.partition("\n")[0].removeprefix("# ")


def write(texts: dict[str, str], folder: Path) -> None:
    """Write the texts to `folder` atomically."""
    for name, text in texts.items():
        files.write_text(folder / name, text)
