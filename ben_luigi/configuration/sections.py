"""Declare the sections of `luigi.cfg`: each option with its kind, range, default and description.

Ranges are declared here and nowhere else: the checks of the configuration and the table of `docs/configuration.md` are
made from these declarations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi

from ben_luigi.configuration.kept import Kept, KeptSection
from ben_luigi.configuration.kinds import (
    Area,
    Choice,
    Countries,
    Declared,
    Options,
    PathName,
    Real,
    RecipeName,
    StoreUrl,
    Switch,
    Text,
    TileKeys,
    WebAddress,
    Whole,
    Words,
)
from ben_luigi.domain.vocabulary import (
    FORMS,
    MIRROR,
    MISSING_LAYERS,
    PATCH_M,
    PIXELS,
    PRODUCT_LAYERS,
    SEASONS,
    SOURCES,
    SPLITS,
    SUBSET_NAME,
    TILE_SIDE_M,
    WORLDS,
)

_PACKAGE = Path(__file__).resolve().parents[1]
TRACKED_ARTIFACTS = next(
    folder / "tracked_artifacts"
    for folder in (_PACKAGE, _PACKAGE.parent)  # in a wheel; in a checkout
    if (folder / "tracked_artifacts").is_dir()
)

_WORD = r"\S+"
_MAIL_ADDRESS = r'[^\s@<>()\[\],;:"\\]+@[\w.-]*\w'


class _Section(Declared, luigi.Config, metaclass=KeptSection):
    """A section whose text never shows the secrets in it."""

    def __repr__(self) -> str:
        values = self.to_str_params()  # without private ones
        return f"{self.get_task_family()}({', '.join(f'{name}={value}' for name, value in values.items())})"

    __str__ = __repr__


class _OfFilesOnly(metaclass=Kept):
    """A section that is no luigi.Config and has no options of the command line.

    Luigi would take a task's `--tile` or `--layer` for the beginning of `--tile-...` or `--layers-...`.
    """

    def __init__(self) -> None:
        for name, parameter in options_of(type(self)).items():
            setattr(self, name, parameter.task_value(type(self).__name__, name))


class dataset(_Section):  # noqa: N801 (the name of the section)
    """What to make, and where."""

    recipe: str = RecipeName(
        default="bigearthnet_v2",
        artifacts=TRACKED_ARTIFACTS,
        description="recipe to follow: what the dataset is made of, and how",
    )
    data_dir: str = PathName(default="data", folder=True, description="folder of everything that the pipeline makes")
    store: str = StoreUrl(description="where shards, archives and forms live; by default in data_dir")
    cache_gb: float = Real(default=200.0, least=0.001, description="with a store: what of it is in data_dir, at most")
    tiles: str = TileKeys(description="tile keys; all by default")
    allow_missing: bool = Switch(
        default=False, description="make the dataset without the products that no source has, and list them"
    )
    world: str = Choice(
        choices=WORLDS,
        description="auto: the sample world, unless [inputs], [cdse] or [sen2cor] name anything of the real one",
    )


class inputs(_Section):  # noqa: N801
    """Paths of the inputs. Pinned inputs that are not given are fetched."""

    tile_names_csv: str = PathName(description="CSV of v1 patch name, L1C product name, link")
    l1c_dir: str = PathName(description="L1C zips or .SAFE folders: start there, with the tiles in it")
    l2a_dir: str = PathName(description="L2A .SAFE folders: start there, with the tiles in it")
    clc_gpkg: str = PathName(description="CORINE Land Cover 2018 GeoPackage")
    countries_geojson: str = PathName(description="Natural Earth 1:110m admin-0 countries")
    region_polygons: str = PathName(description="polygons of regions, for recipes that name this option")
    land_cover_raster: str = PathName(description="raster of land-cover codes, for recipes that name this option")
    v1_spatial_dir: str = PathName(description="folder of bigearthnet_v1_spatial_<epsg>.parquet")
    v1_s2_dir: str = PathName(description="extracted BigEarthNet-S2 v1.0; v1_spatial_dir is made from it")
    s1_dir: str = PathName(description="BigEarthNet-S1-v1.0, extracted or as .tar.gz")
    s1_md5: str = Text(
        pattern="[0-9a-fA-F]{32}",
        allowed="32 hexadecimal digits",
        description="md5 of that .tar.gz; by default that of the published one",
    )
    s1s2_mapping_csv: str = PathName(description="CSV of v1 S2 patch name, S1 patch name")
    snow_csv: str = PathName(description="list of v1 names of patches with seasonal snow")
    cloud_csv: str = PathName(description="list of v1 names of patches with cloud or shadow")
    published_tile_ids_csv: str = PathName(description="published tile ids, to compare with")
    compare_with_dir: str = PathName(
        description="dataset folder, such as the published one, to compare with, row by row and pixel by pixel"
    )
    published_l1c_hashes_csv: str = PathName(description="published L1C hashes, to compare with")


class sources(_Section):  # noqa: N801
    """Where L1C products come from, besides CDSE."""

    order: str = Words(
        known=SOURCES,
        default=", ".join(SOURCES),
        description="sources of products, in the order in which they are asked; others are not asked",
    )
    google_url: str = WebAddress(description="public bucket with the layout of Google's; by default Google's")
    mirrors: str = Words(
        pattern=MIRROR,
        allowed="URLs with {name} in them, and {zone}, {band}, {square} as needed",
        description="your own mirrors: URL templates of a product's folder",
        hidden=True,
    )
    parallel: int = Whole(default=8, least=1, most=16, description="number of files fetched at once, over all products")


class land_cover(_Section):  # noqa: N801
    """CORINE Land Cover 2018."""

    source: str = Choice(
        choices=("auto", "geopackage", "service"),
        description="auto: the GeoPackage if [inputs] clc_gpkg or service_key is given, else the EEA's open service",
    )
    service_key: str = PathName(
        description="service key of land.copernicus.eu, JSON of mode 0600, with which the GeoPackage is fetched"
    )
    api_url: str = WebAddress(description="interface that takes the service key; by default that of land.copernicus.eu")
    service_url: str = WebAddress(description="layer of an ArcGIS map server with CORINE, .../MapServer/0")


class cdse(_Section):  # noqa: N801
    """The Copernicus Data Space Ecosystem."""

    catalogue_url: str = WebAddress(description="OData root of the catalogue")
    token_url: str = WebAddress(description="OpenID Connect token endpoint")
    download_url: str = WebAddress(description="OData root of the downloads")
    trace_url: str = WebAddress(description="root of the traces, which prove what no manifest lists")
    user: str = Text(description="account; by default the environment variable CDSE_USER")
    password: str = Text(secret=True, description="its password; by default the environment variable CDSE_PASSWORD")
    parallel: int = Whole(default=1, least=1, most=4, description="downloads at once over all workers and hosts")
    credentials: str = PathName(
        default="~/.config/ben_luigi/netrc", description="netrc-style file, mode 0600, with the account by host"
    )
    tries: int = Whole(default=3, least=1, description="attempts per tile, over reruns and hosts, before it rests")
    pause_s: float = Real(
        default=30.0, description="seconds of pause after the first failed attempt; it doubles each time"
    )
    cool_down_h: float = Real(default=6.0, description="hours that a tile rests after its last attempt")
    bandwidth_mb_s: float = Real(default=0.0, description="limit in MB/s for all downloads together; 0: no limit")
    accept_superseded: bool = Switch(default=False, description="take a reprocessed product where the original is gone")


class sen2cor(_Section):  # noqa: N801
    """The external program that converts L1C to L2A."""

    executable: str = PathName(description="path of L2A_Process; by default the one on PATH")
    accept_licence: bool = Switch(
        default=False, description="accept ESA's licence of Sen2Cor, so that it is installed where there is none"
    )
    any_version: bool = Switch(
        default=False, description="accept other versions than 2.11, which made the published data"
    )
    where: str = Choice(
        choices=("here", "elsewhere", "job"),
        description="elsewhere: they are left to other hosts that share luigid; job: this run is a job of a cluster",
    )
    parallel: int = Whole(default=0, description="conversions at once; 0: half of the cores, as far as memory allows")
    memory_gb: float = Real(
        default=6.0, least=0.1, most=1024.0, description="memory that one conversion may need; none starts with less"
    )


class database(_Section):  # noqa: N801
    """PostgreSQL."""

    url: str = Text(
        secret=True,
        pattern="postgres(ql)?([+][a-z0-9]+)?://.*",
        allowed="postgresql://user:password@host:port/name",
        description="your own server; by default an embedded one in data_dir",
    )


class tile(_OfFilesOnly):  # noqa: N801
    """What a tile must look like."""

    side_m: int = Whole(default=TILE_SIDE_M, least=PATCH_M, description="side of a tile in metres")
    check_extent: bool = Switch(default=True, description="whether the raster must lie where its MGRS name says")
    accept_offset: bool = Switch(
        default=False,
        description="take L2A products whose pixels carry an offset (BOA_ADD_OFFSET; baselines from 04.00)",
    )
    threads: int = Whole(default=1, least=1, description="threads that decode one tile")


class layers(_OfFilesOnly):  # noqa: N801
    """Further layers of the dataset, on the grid of its patches, that each product has besides the twelve bands."""

    of_product: str = Words(
        known=PRODUCT_LAYERS, description="layers to take from each product, each an archive Layer_<name>.tar.zst"
    )
    missing: str = Choice(
        choices=MISSING_LAYERS,
        description="what becomes of a layer that a product lacks: an error, or its tile is left out of that layer",
    )


class archive(_Section):  # noqa: N801
    """The archives."""

    level: int = Whole(default=6, least=1, most=22, description="zstd level")
    keep_tar: bool = Switch(
        default=False,
        description="also write the uncompressed .tar to archives/; else one that is out of date is removed",
    )


class subset(_Section):  # noqa: N801
    """Which patches to select; without any condition, all patches go into `dataset/`."""

    name: str = Text(
        default="subset",
        pattern=SUBSET_NAME,
        allowed="letters, digits, dots, hyphens and underscores",
        description="the result is in subsets/<name>/",
    )
    tiles: str = TileKeys(description="tile keys")
    countries: str = Countries(description="countries")
    seasons: str = Words(known=SEASONS, description="seasons")
    splits: str = Words(known=SPLITS, description="splits")
    labels: str = Words(
        separator=";",
        allowed="classes of the nomenclature, separated by ;",
        description="labels; a patch needs at least one of them",
    )
    area: str = Area(description="area that a patch must intersect")
    sample: int = Whole(
        default=0, description="number of patches to draw from these, so that each class occurs; 0: all"
    )


class forms(_Section):  # noqa: N801
    """The forms in which the finished dataset is exported, for the programs that people train with."""

    make: str = Words(known=FORMS, description="forms that are made with the dataset, in forms/<form>/")
    seed: int = Whole(default=0, description="number by which the shards of webdataset are shuffled")
    file_mb: int = Whole(default=1000, least=1, description="size of a file in MB, as far as the form has several")
    pixels: str = Choice(
        choices=PIXELS, description="what a column of parquet holds: TIFFs, lists of pixels, or their bytes"
    )


class metadata(_Section):  # noqa: N801
    """The parquet files and the labels in them."""

    writer: str = Choice(choices=("default", "published"), description="published: DuckDB's bytes")
    nomenclature: str = PathName(
        default=str(TRACKED_ARTIFACTS / "nomenclature.toml"), description="classes and their CLC codes"
    )
    unlabeled_limit: float = Real(
        default=0.25, most=1, description="a patch keeps its labels if less than this fraction of it is unlabelled"
    )


class retention(_Section):  # noqa: N801
    """What is kept after everything that needs it has been made."""

    l1c: str = Choice(choices=("keep", "delete-after-l2a"), description="the downloaded L1C products")
    l2a: str = Choice(choices=("keep", "delete-after-cut"), description="the L2A products that Sen2Cor made")
    parts: str = Choice(
        choices=("keep", "delete-after-archive"),
        description="the parts of an archive, and the S1 patches collected from the .tar.gz",
    )


class cron(_Section):  # noqa: N801
    """How many logs `ben-luigi cron-rerun` keeps, and who is notified when things get worse."""

    keep_logs: int = Whole(default=100, least=1, description="number of runs of each host whose logs are kept")
    mail_to: str = Text(
        pattern=f"{_MAIL_ADDRESS}(,{_MAIL_ADDRESS})*",
        allowed="an address, name@host",
        description="address of the mail; by default the notice is printed, and cron mails it",
    )
    smtp: str = Text(
        pattern=r"\S+:\d{1,5}",
        allowed="host:port",
        description="server that takes the mail; by default the program sendmail",
    )
    webhook: str = WebAddress(secret=True, description='URL that takes a POST of {"text": ...}')


class slurm(_Section):  # noqa: N801
    """What `ben-luigi submit slurm` asks for, for each conversion."""

    partition: str = Text(pattern=_WORD, allowed="names, without spaces", description="partitions, as sbatch has them")
    account: str = Text(pattern=_WORD, allowed="a name, without spaces", description="account that is charged")
    cores: int = Whole(default=2, least=1, most=1024, description="cores of a job")
    memory_gb: int = Whole(default=8, least=1, most=1024, description="memory of a job, in GB")
    time: str = Text(
        default="04:00:00",
        pattern=r"\d+(-\d+)?(:\d\d){0,2}",
        allowed="minutes, hours:minutes:seconds, or days-hours",
        description="time that a job may take",
    )
    parallel: int = Whole(default=0, description="jobs at once; 0: as many as the cluster runs")
    more: str = Options(description="further options of sbatch, such as --qos=long")


SECTIONS: dict[str, type] = {
    section.__name__: section
    for section in (
        dataset,
        inputs,
        sources,
        land_cover,
        cdse,
        sen2cor,
        slurm,
        database,
        tile,
        layers,
        archive,
        subset,
        forms,
        metadata,
        retention,
        cron,
    )
}
"""All sections of this project, by name, in the order of `luigi.cfg`."""


def options_of(section: type) -> dict[str, Any]:
    """Return the options of a section, by name; they are Luigi parameters."""
    return {name: value for name, value in vars(section).items() if isinstance(value, luigi.Parameter)}
