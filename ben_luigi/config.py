"""Declare the sections of `luigi.cfg`, and the few values that follow from several options together.

Relative paths are relative to the current folder. Ranges are declared here and nowhere else: the checks of the
configuration and the table of `docs/configuration.md` are made from these declarations.
"""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi

from ben_luigi.configuration.kinds import Area, Choice, PathName, Real, Switch, Text, WebAddress, Whole, Words
from ben_luigi.domain import machine, private, surroundings
from ben_luigi.domain.names import is_tile_key
from ben_luigi.domain.vocabulary import (
    COUNTRIES,
    GOOGLE_URL,
    MIRROR,
    PATCH_M,
    SEASONS,
    SOURCES,
    SPLITS,
    SUBSET_NAME,
    TILE_SIDE_M,
)

_PACKAGE = Path(__file__).resolve().parent
TRACKED_ARTIFACTS = next(
    folder / "tracked_artifacts"
    for folder in (_PACKAGE, _PACKAGE.parent)  # in a wheel; in a checkout
    if (folder / "tracked_artifacts").is_dir()
)

_SEN2COR_GB = 6
"""Memory that one conversion may need."""

_TILES = "keys such as 33UUP_20170613"
_EEA = "https://image.discomap.eea.europa.eu/arcgis/rest/services"
_CDSE = "dataspace.copernicus.eu"
_SAMPLE_SOURCES = ("folder", "cdse")
_ACCOUNT = ("CDSE_USER", "CDSE_PASSWORD")


class _Section(luigi.Config):
    """A section whose text never shows the secrets in it."""

    def __repr__(self) -> str:
        values = self.to_str_params()  # without private ones
        return f"{self.get_task_family()}({', '.join(f'{name}={value}' for name, value in values.items())})"

    __str__ = __repr__


class dataset(_Section):  # noqa: N801 (the name of the section)
    """What to make, and where."""

    data_dir: str = PathName(default="data", folder=True, description="folder of everything that the pipeline makes")
    tiles: str = Words(fits=is_tile_key, allowed=_TILES, description="tile keys; all by default")
    allow_missing: bool = Switch(
        default=False, description="make the dataset without the products that no source has, and list them"
    )
    world: str = Choice(
        choices=("auto", "sample", "real"),
        description="auto: the sample world, unless [inputs], [cdse] or [sen2cor] name anything of the real one",
    )


class inputs(_Section):  # noqa: N801
    """Paths of the inputs. Pinned inputs that are not given are fetched."""

    tile_names_csv: str = PathName(description="CSV of v1 patch name, L1C product name, link")
    l1c_dir: str = PathName(description="L1C zips or .SAFE folders: start there, with the tiles in it")
    l2a_dir: str = PathName(description="L2A .SAFE folders: start there, with the tiles in it")
    clc_gpkg: str = PathName(description="CORINE Land Cover 2018 GeoPackage")
    countries_geojson: str = PathName(description="Natural Earth 1:110m admin-0 countries")
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
        description="dataset folder, such as the published one, to compare with row by row"
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
        fits=lambda text: re.fullmatch(MIRROR, text) is not None,
        allowed="URLs with {name} in them, and {zone}, {band}, {square} as needed",
        description="your own mirrors: URL templates of a product's folder",
    )
    parallel: int = Whole(default=8, least=1, most=16, description="number of files fetched at once, over all products")


class land_cover(_Section):  # noqa: N801
    """CORINE Land Cover 2018."""

    source: str = Choice(
        choices=("auto", "geopackage", "service"),
        description="auto: [inputs] clc_gpkg if it is given, else the EEA's open service, square by square",
    )
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
    parallel: int = Whole(default=0, description="conversions at once; 0: half of the cores, as far as memory allows")


class database(_Section):  # noqa: N801
    """PostgreSQL."""

    url: str = Text(
        secret=True,
        pattern="postgres(ql)?([+][a-z0-9]+)?://.*",
        allowed="postgresql://user:password@host:port/name",
        description="your own server; by default an embedded one in data_dir",
    )


class tile:  # noqa: N801
    """What a tile must look like.

    This is not a luigi.Config, whose options `--tile-...` would make the `--tile` of the tasks ambiguous.
    """

    side_m: int = Whole(default=TILE_SIDE_M, least=PATCH_M, description="side of a tile in metres")
    check_extent: bool = Switch(default=True, description="whether the raster must lie where its MGRS name says")
    accept_offset: bool = Switch(
        default=False,
        description="take L2A products whose pixels carry an offset (BOA_ADD_OFFSET; baselines from 04.00)",
    )
    threads: int = Whole(default=1, least=1, description="threads that decode one tile")

    def __init__(self) -> None:
        for name, parameter in options_of(type(self)).items():
            setattr(self, name, parameter.task_value("tile", name))


class archive(_Section):  # noqa: N801
    """The archives."""

    level: int = Whole(default=6, least=1, most=22, description="zstd level")
    keep_tar: bool = Switch(default=False, description="also write the uncompressed .tar to archives/")


class subset(_Section):  # noqa: N801
    """Which patches to select; without any condition, all patches go into `dataset/`."""

    name: str = Text(
        default="subset",
        pattern=SUBSET_NAME,
        allowed="letters, digits, dots, hyphens and underscores",
        description="the result is in subsets/<name>/",
    )
    tiles: str = Words(fits=is_tile_key, allowed=_TILES, description="tile keys")
    countries: str = Words(known=COUNTRIES, description="countries")
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

    keep_logs: int = Whole(default=100, least=1, description="number of runs whose logs are kept")
    mail_to: str = Text(
        pattern=r"\S+@\S+",
        allowed="an address, name@host",
        description="address of the mail; by default the notice is printed, and cron mails it",
    )
    smtp: str = Text(
        pattern=r"\S+:\d{1,5}",
        allowed="host:port",
        description="server that takes the mail; by default the program sendmail",
    )
    webhook: str = WebAddress(secret=True, description='URL that takes a POST of {"text": ...}')


SECTIONS: dict[str, type] = {
    section.__name__: section
    for section in (
        dataset,
        inputs,
        sources,
        land_cover,
        cdse,
        sen2cor,
        database,
        tile,
        archive,
        subset,
        metadata,
        retention,
        cron,
    )
}
"""All sections of this project, by name, in the order of `luigi.cfg`."""


def options_of(section: type) -> dict[str, Any]:
    """Return the options of a section, by name; they are Luigi parameters."""
    return {name: value for name, value in vars(section).items() if isinstance(value, luigi.Parameter)}


def value(option: str) -> Any:
    """Return the value of an option, given as section and name: `archive.level`."""
    section, _, name = option.partition(".")
    return getattr(globals()[section](), name)


def result_options() -> dict[str, Any]:
    """Return the options, with values, that results depend on or are removed by: `archive.level` and so on."""
    sections = (dataset, inputs, land_cover, tile, archive, subset, metadata, retention)
    options = [f"{section.__name__}.{name}" for section in sections for name in options_of(section)]
    options += ["sen2cor.any_version", "cdse.catalogue_url", "cdse.accept_superseded"]
    return {option: value(option) for option in options if option != "dataset.data_dir"}


def data_dir() -> Path:
    """Return the absolute path of the folder of everything that the pipeline makes."""
    return Path(dataset().data_dir).expanduser().absolute()


def selection() -> dict[str, str]:
    """Return the values of `[subset]`, by option; empty for all patches."""
    options = subset()
    values = {name: str(getattr(options, name) or "") for name, _ in subset.get_params() if name != "name"}
    return {name: text for name, text in values.items() if text}


def result_folder() -> str:
    """Return the folder of the finished dataset, relative to `data_dir()`: `dataset`, or `subsets/<name>`."""
    return f"subsets/{subset().name}" if selection() else "dataset"


def parts_folder() -> str:
    """Return the folder of the parts of its archives, relative to `data_dir()`."""
    return f"archives/{result_folder()}" if selection() else "archives"


@lru_cache(maxsize=1)
def is_sample() -> bool:
    """Return whether the run is on the sample world; cached, since every target asks for it."""
    return _names_nothing_real()


def _names_nothing_real() -> bool:
    world = str(dataset().world)
    if world != "auto":
        return world == "sample"
    given, service = inputs(), cdse()
    named = [getattr(given, option) for option, _ in inputs.get_params()]
    named += [sources().google_url, sources().mirrors]
    named += [
        land_cover().service_url,
        service.catalogue_url,
        service.trace_url,
        service.token_url,
        service.download_url,
        service.user,
        sen2cor().executable,
    ]
    return not any([*named, os.environ.get("CDSE_USER", "")])


@lru_cache(maxsize=64)
def given_input(option: str) -> Path | None:
    """Return the path that `[inputs] option` gives, absolute, or None; cached."""
    path = str(getattr(inputs(), option))
    return Path(path).expanduser().absolute() if path else None


def selected_tiles() -> list[str]:
    """Return the tile keys of `[dataset] tiles`; empty for all."""
    return str(dataset().tiles).replace(",", " ").split()


def land_cover_from_service() -> bool:
    """Whether CORINE's polygons come from the EEA's open service."""
    choice = str(land_cover().source)
    if choice != "auto":
        return choice == "service"
    return given_input("clc_gpkg") is None and not is_sample()


def land_cover_url() -> str:
    """The layer of CORINE's polygons."""
    return str(land_cover().service_url) or f"{_EEA}/Corine/CLC2018_LAEA/MapServer/0"


def catalogue_url() -> str:
    """Return the OData root of the catalogue."""
    return str(cdse().catalogue_url) or f"https://catalogue.{_CDSE}/odata/v1"


def token_url() -> str:
    """Return the OpenID Connect token endpoint."""
    return str(cdse().token_url) or f"https://identity.{_CDSE}/auth/realms/CDSE/protocol/openid-connect/token"


def download_url() -> str:
    """Return the OData root of the downloads."""
    return str(cdse().download_url) or f"https://download.{_CDSE}/odata/v1"


def source_order() -> list[str]:
    """Return the sources of products to ask, in their order; on the sample world those that it has."""
    order = str(sources().order or ", ".join(SOURCES)).replace(",", " ").split()
    return [name for name in order if name in _SAMPLE_SOURCES or not is_sample()]


def needs_account() -> bool:
    """Whether products are asked for at CDSE first, or nowhere else."""
    web = [name for name in source_order() if name != "folder"]
    return web[:1] == ["cdse"]


def google_url() -> str:
    """Return the address of the public bucket."""
    return str(sources().google_url).rstrip("/") or GOOGLE_URL


def mirrors() -> list[str]:
    """Return the URL templates of the user's mirrors."""
    return str(sources().mirrors).replace(",", " ").split()


def account_environment() -> dict[str, str]:
    """Return user and password at CDSE by the names of their environment variables.

    The configuration takes precedence.
    """
    given = dict(zip(_ACCOUNT, (str(cdse().user), str(cdse().password)), strict=True))
    return {name: value or os.environ.get(name, "") for name, value in given.items()}


def trace_url() -> str:
    """Return the root of CDSE's traces; empty if CDSE is not asked, or if a service without traces replaces it."""
    service = cdse()
    if service.trace_url or service.catalogue_url or "cdse" not in source_order() or is_sample():
        return str(service.trace_url)
    return f"https://trace.{_CDSE}/api/v1"


def downloads_at_once() -> int:
    """Return how many downloads may run at once, over all hosts."""
    return int(cdse().parallel)


def workers() -> int:
    """Return how many tasks this process runs at once: `--workers`, or the value in `[core]`."""
    return int(luigi.interface.core().workers)


def sen2cor_at_once() -> int:
    """Return how many conversions may run at once: by default half of the cores, limited by memory.

    On the sample world it is one per core, since the stand-in for Sen2Cor is light.
    """
    cores = machine.cores()
    if _names_nothing_real():
        return max(1, int(cores))
    memory_gb = machine.memory_bytes() / 2**30
    return int(sen2cor().parallel) or max(1, min(int(cores / 2), int(memory_gb / _SEN2COR_GB)))


def lock_folder() -> Path:
    """Return the folder where Luigi records which commands run on this host."""
    return data_dir() / "locks" / socket.gethostname()


def lock_this_command() -> None:
    """Let Luigi refuse to run the same command twice on this host, unless `[core] no_lock` says otherwise.

    Luigi makes its lock file writable for everybody, so nobody else may enter the folder. Raise PipelineError if it
    belongs neither to this user nor to the owner of the data folder.
    """
    if ("core", "no_lock") in _set_by_us:
        folder = lock_folder()
        private.make_folder(folder)
        private.check(folder, owners=frozenset({os.geteuid(), data_dir().stat().st_uid}))
        luigi.configuration.get_config().set("core", "no_lock", "false")


_set_by_us: set[tuple[str, str]] = set()


def set_defaults() -> None:
    """Set those of Luigi's options that follow from ours, unless its own sections say otherwise.

    They are the resources of the local scheduler (how many downloads and conversions may run at once); the context
    around each task; that each task has a process of its own even with one worker, so that the main process can be
    stopped at any moment; and the folder of Luigi's lock, which only `ben-luigi run` takes. luigid is reached without a
    proxy.
    """
    settings, core = luigi.configuration.get_config(), luigi.interface.core()
    surroundings.never_proxied(str(core.scheduler_host), urlsplit(str(core.scheduler_url)).hostname or "localhost")
    for section, name, value in (
        ("resources", "cdse", str(downloads_at_once())),
        ("resources", "sen2cor", str(sen2cor_at_once())),
        ("worker", "task_process_context", "ben_luigi.state.locks.task.Turn"),
        ("worker", "check_unfulfilled_deps", "false"),  # a task asks for what it lacks by itself
        ("worker", "force_multiprocessing", "true"),
        ("core", "lock_pid_dir", str(lock_folder())),
        ("core", "no_lock", "true"),
    ):
        if (section, name) in _set_by_us or not settings.has_option(section, name):
            _set_by_us.add((section, name))
            settings.set(section, name, value)
