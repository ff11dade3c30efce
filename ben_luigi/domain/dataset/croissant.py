"""Write `croissant.json`: the dataset in MLCommons' Croissant 1.0.

It describes the files with their hashes, the content of the archives, and one record per patch with the columns of
`patches.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ben_luigi.domain import files
from ben_luigi.domain.dataset import geoparquet, time_series
from ben_luigi.domain.dataset.form import FORM_V2, Form
from ben_luigi.domain.dataset.geoparquet import PATCHES
from ben_luigi.domain.tiles.layers import archive_of

CROISSANT = "croissant.json"
Json = dict[str, Any]

# fmt: off
_WORDS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)
# fmt: on
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{word: f"cr:{word}" for word in _WORDS},
}
"""The JSON-LD context that the specification of Croissant 1.0 prescribes."""

_FORMATS = {".parquet": "application/x-parquet", ".zst": "application/zstd", ".json": "application/json"}
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    pa.int16(): "sc:Integer",
    pa.int32(): "sc:Integer",
    pa.float32(): "sc:Float",
    pa.float64(): "sc:Float",
    geoparquet.SCHEMA.field("labels").type: "sc:Text",
    geoparquet.SCHEMA.field("sensing_time").type: "sc:DateTime",
}
_MEMBERS = {"BigEarthNet-S2": "*_B*.tif", "BigEarthNet-S1": "*_V*.tif", "Reference_Maps": "*_reference_map.tif"}


def describe(found: Mapping[str, tuple[int, str]], title: str, description: str, form: Form = FORM_V2) -> Json:
    """Return the document; `found` gives length in bytes and sha256 of each file, including `patches.parquet`.

    The time series is described as well if it is among the files.
    """
    about = form.about
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "BigEarthNet-v2" if about.is_v2 else about.name,
        "alternateName": title,
        "description": description,
        **({"url": "https://bigearth.net"} if about.is_v2 else {}),
        "version": about.version,
        **({"datePublished": "2024-07-04"} if about.is_v2 else {}),
        "license": about.license_url or about.license,
        **({"citeAs": about.citation} if about.citation else {}),
        "isLiveDataset": False,
        "distribution": [
            *(_file(name, *facts) for name, facts in sorted(found.items())),
            *(_members(archive, pattern) for archive, pattern in _MEMBERS.items() if archive in form.archives),
            *(
                _members(archive_of(layer.name), f"*_{layer.name}{'_B*' if layer.bands else ''}.tif")
                for layer in form.layers
            ),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "patches",
                "name": "patches",
                "description": "One record a patch.",
                "key": {"@id": "patches/patch_id"},
                "field": _fields(form),
            },
            *([_series()] if time_series.TIME_SERIES in found else []),
        ],
    }


def write(document: Json, path: Path) -> None:
    """Write the document atomically."""
    files.write_text(path, text(document))


def text(document: Json) -> str:
    """Return the text of the document as it is written."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _file(name: str, size_bytes: int, sha256: str) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size_bytes} B",
        "encodingFormat": _FORMATS[Path(name).suffix],
        "sha256": sha256,
    }


def _members(archive: str, pattern: str) -> Json:
    return {
        "@type": "cr:FileSet",
        "@id": archive,
        "name": archive,
        "description": f"The files in {archive}.tar.zst; extract it with tar --zstd.",
        "containedIn": {"@id": f"{archive}.tar.zst"},
        "encodingFormat": "image/tiff",
        "includes": f"{archive}/*/*/{pattern}",
    }


def _fields(form: Form) -> list[Json]:
    described = descriptions(form)
    fields = [field for field in form.patches_schema if field.type in _TYPES]
    return [_field(field, described[field.name], "patches", PATCHES) for field in fields]


def _series() -> Json:
    """Return the record set of the time series; each of its records is of a patch."""
    file, name = time_series.TIME_SERIES, "time_series"
    fields = [_field(field, time_series.DESCRIPTIONS[field.name], name, file) for field in time_series.SCHEMA]
    for field in fields:
        if field["name"] == "patch_id":
            field["references"] = {"field": {"@id": "patches/patch_id"}}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": "The patches of each square in the order of time, one record a patch.",
        "key": {"@id": f"{name}/patch_id"},
        "field": fields,
    }


def descriptions(form: Form) -> Mapping[str, str]:
    """Return the meaning of the columns of `patches.parquet`."""
    if form.about.is_v2:
        return geoparquet.DESCRIPTIONS
    *codes, nothing = form.codes
    return {
        **geoparquet.DESCRIPTIONS,
        **geoparquet.ORIGIN_DESCRIPTIONS,
        "labels": "classes of the nomenclature on the reference map",
        "country": "nearest of the countries that the recipe names",
        "s1_name": "name of the Sentinel-1 patch: its own, or that of the patch",
        "season": "spring, summer, fall or winter, by the recipe's rule",
        **{f"clc_{code}": f"part of the patch with code {code}, {form.code_names[code]}" for code in codes},
        f"clc_{nothing}": "part of the patch that the land cover does not cover",
    }


def _field(field: pa.Field, description: str, records: str, file: str) -> Json:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{field.name}",
        "name": field.name,
        "description": description,
        "dataType": _TYPES[field.type],
        **({"repeated": True} if pa.types.is_list(field.type) else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": field.name}},
    }
