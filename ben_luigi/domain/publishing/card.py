"""Write the card of a dataset: what it is, its columns, how it is loaded, licence and citation.

At the Hugging Face Hub the card is `README.md`, and begins with metadata in YAML, of which JSON's texts are a part
(https://huggingface.co/docs/hub/datasets-cards).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from ben_luigi.domain import given
from ben_luigi.domain.dataset.about import About
from ben_luigi.domain.dataset.croissant import descriptions
from ben_luigi.domain.dataset.form import Form
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.dataset.metadata import METADATA
from ben_luigi.domain.dataset.readme import LICENSE, README
from ben_luigi.domain.errors import BadInput, some
from ben_luigi.domain.formats.tables import opened
from ben_luigi.domain.forms.source import KINDS, MAP, S1, S2, offset_tiles
from ben_luigi.domain.publishing.contents import table_of
from ben_luigi.domain.publishing.examples import UNZIP, example_of
from ben_luigi.domain.publishing.package import Package

_TILES_SHOWN = 20
_CLC = re.compile(r"clc_\d+")
_PREFIX = "bigearthnet:"
_SPLIT_FILE = re.compile(r"([a-z-]+)-\d{5,6}\.(parquet|tar)")
_STAC = "as STAC defines it"
_STAC_COLUMNS = {
    "id": "name of the patch",
    "assets": "the TIFF of each band: tar (`href`), `offset` and `size` in bytes",
}
# fmt: off
_LICENSES = {
    **{name: name for name in (
        "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
        "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0",
    )},
    "pddl-1.0": "pddl", "odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "etalab-2.0": "etalab-2.0",
}
# fmt: on
"""The identifiers of licences at the Hub, by that of SPDX in lower case."""
_SIZES = {
    10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M", 10**8: "10M<n<100M",
    10**9: "100M<n<1B", 10**10: "1B<n<10B", 10**11: "10B<n<100B", 10**12: "100B<n<1T",
}  # fmt: skip
"""The Hub's words for a number of rows, by the number that it is less than."""


def text(package: Package, form: Form, *, is_flat: bool = False) -> str:
    """Return the card in Markdown, without metadata; `is_flat` tells that each folder is sent as a zip.

    Raise BadInput if the table of patches, or what the form has, cannot be read.
    """
    own = package.dataset / README
    told = own.read_text(encoding="utf-8").strip() if own.is_file() and not package.form else ""
    parts = [
        told or f"# {package.title}\n\n{package.description}",
        *([] if told else _offset(package)),
        _columns(package, form),
    ]
    unzips = is_flat and any("/" in item.name for item in package.items)
    example = (UNZIP if unzips else "") + example_of(package.folder, package.form)
    parts.append(f"## How to load it\n\n```python\n{example.strip()}\n```")
    if not told:
        parts.append(_rights(package.about))
    return "\n\n".join(parts) + "\n"


def _offset(package: Package) -> Iterator[str]:
    """Yield that pixels carry BOA_ADD_OFFSET, if those of some tile do: forms keep the pixels as they are."""
    if tiles := offset_tiles(package.dataset):
        yield (
            "Pixels of Sentinel-2 carry BOA_ADD_OFFSET: subtract 1,000 from them to have reflectance * 10,000, in the "
            f"tiles {some(sorted(tiles), _TILES_SHOWN)}. `patches.parquet` of the dataset itself says it of each patch."
        )


def front_matter(package: Package) -> str:
    """Return the metadata that the Hub reads, between lines of `---`."""
    about = package.about
    known = _LICENSES.get(about.license.lower())
    size = next((words for most, words in _SIZES.items() if package.patches < most), "n>1T")
    lines = [f"pretty_name: {json.dumps(package.title, ensure_ascii=False)}", f"license: {known or 'other'}"]
    if known is None:
        lines.append(f"license_name: {json.dumps(about.license.lower())}")
        lines.append(f"license_link: {json.dumps(about.license_url or LICENSE)}")
    lines += [
        "task_categories:\n- image-classification\n- image-segmentation",
        "tags:\n- remote-sensing\n- geospatial",
        *(["- sentinel-1"] if package.has_sentinel1 else []),
        "- sentinel-2\n- land-cover",
        f"size_categories:\n- {json.dumps(size)}",
        f"version: {json.dumps(about.version)}",
        *_configs(package),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _configs(package: Package) -> Iterator[str]:
    """Yield which files the Hub loads as which split: of Parquet and WebDataset; of a dataset, the table of patches."""
    names = [item.name for item in package.items]
    splits = sorted({found[1]: found[2] for name in names if (found := _SPLIT_FILE.fullmatch(name))}.items())
    if splits:
        yield "configs:\n- config_name: default\n  data_files:"
        for split, suffix in splits:
            yield f'  - split: {split.replace("-", "_")}\n    path: "{split}-*.{suffix}"'
    elif table := next((name for name in (PATCHES, METADATA) if name in names), None):
        yield f'configs:\n- config_name: patches\n  data_files: "{table}"'


def _columns(package: Package, form: Form) -> str:
    """Return the table of what the form has, of its columns, or of those of the table of patches."""
    described = {**_bands(), **descriptions(form)}
    if own := table_of(package.form, package.folder, package.kinds, described):
        return own
    path = next((path for path in _tables(package) if path.is_file()), None)
    if path is None:
        return ""
    try:
        with opened(path) as table:
            schema = table.schema_arrow
    except (OSError, pa.ArrowException) as error:
        remedy = "name the folder of a dataset, or make or fetch the file again"
        raise BadInput(path, expected="a table of patches, as Parquet", found=str(error), remedy=remedy) from error
    rows = list(_rows(schema, described))
    return "\n".join([f"## Columns of `{path.name}`", "", "| column | type | what |", "| --- | --- | --- |", *rows])


def _tables(package: Package) -> Iterator[Path]:
    own = {"parquet": "*-*.parquet", "geoparquet": PATCHES}.get(package.form)
    if own:
        yield from given.find(package.folder, own)
    yield package.dataset / PATCHES
    yield package.dataset / METADATA


def _rows(schema: pa.Schema, described: Mapping[str, str]) -> Iterator[str]:
    """Yield a row per column; those of the land cover's codes are one row."""
    codes = [name for name in schema.names if _CLC.fullmatch(name)]
    is_stac = "stac_version" in schema.names
    for field in schema:
        if field.name in codes[1:]:
            continue
        name, kind = field.name, str(field.type)
        what = described.get(name.removeprefix(_PREFIX), _STAC_COLUMNS.get(name, _STAC) if is_stac else "")
        if field.name in codes:
            name, what = f"`{codes[0]}` ... `{codes[-1]}`", "part of the patch with that code of the land cover"
        else:
            name = f"`{name}`"
        if pa.types.is_struct(field.type):
            kind = "struct"
        yield f"| {name} | {kind} | {what} |"


def _bands() -> dict[str, str]:
    """Return what the columns of a form hold that the table of patches has not."""
    bands = {band: f"band {band} of Sentinel-2" for band in KINDS[S2]}
    radar = {band: f"polarisation {band} of Sentinel-1, dB" for band in KINDS[S1]}
    place = {"epsg": "EPSG code of the UTM zone", "left_m": "west edge, metres", "top_m": "north edge, metres"}
    return {**bands, **radar, MAP: "reference map: codes of the land cover", **place}


def _rights(about: About) -> str:
    cite = f" Cite it as:\n\n```bibtex\n{about.citation}\n```" if about.citation else ""
    return f"## Licence and citation\n\n[{about.license}]({about.license_url or LICENSE}).{cite}"
