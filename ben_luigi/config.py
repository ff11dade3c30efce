"""The sections of `luigi.cfg`, and the few things that follow from several options together.

Paths are taken as they are written, relative ones from the current folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import luigi
from luigi.parameter import ParameterVisibility

from ben_luigi.domain.placement.grid import TILE_SIDE_M

TRACKED_ARTIFACTS = Path(__file__).resolve().parent.parent / "tracked_artifacts"

_SEN2COR_GB = 6
"""Memory that one conversion may need."""

_CDSE = "dataspace.copernicus.eu"
_SECRET = re.compile(r"\s*(password\s*[=:]\s*[^\s$]|url\s*[=:]\s*\w+://[^/@\s]*:[^/@\s$]+@)")


class dataset(luigi.Config):  # noqa: N801 (the name of the section)
    """What to make, and where."""

    data_dir = luigi.Parameter(default="data", description="folder of everything that the pipeline makes")
    tiles = luigi.Parameter(default="", description="tile keys, separated by commas or spaces; all by default")
    world = luigi.ChoiceParameter(
        default="auto",
        choices=["auto", "sample", "real"],
        description="auto: the sample world, unless [inputs], [cdse] or [sen2cor] name anything of the real one",
    )


class inputs(luigi.Config):  # noqa: N801
    """Paths of the inputs. What is not given, and is pinned, is fetched."""

    tile_names_csv = luigi.Parameter(default="", description="CSV of v1 patch name, L1C product name, link")
    l1c_dir = luigi.Parameter(default="", description="L1C zips or .SAFE folders: start there, with the tiles in it")
    l2a_dir = luigi.Parameter(default="", description="L2A .SAFE folders: start there, with the tiles in it")
    clc_gpkg = luigi.Parameter(default="", description="CORINE Land Cover 2018 GeoPackage")
    countries_geojson = luigi.Parameter(default="", description="Natural Earth 1:110m admin-0 countries")
    v1_spatial_dir = luigi.Parameter(default="", description="folder of bigearthnet_v1_spatial_<epsg>.parquet")
    v1_s2_dir = luigi.Parameter(default="", description="extracted BigEarthNet-S2 v1.0; v1_spatial_dir is made from it")
    s1_dir = luigi.Parameter(default="", description="BigEarthNet-S1-v1.0, extracted or as .tar.gz")
    s1_md5 = luigi.Parameter(default="", description="md5 of that .tar.gz; by default of the published one")
    s1s2_mapping_csv = luigi.Parameter(default="", description="CSV of v1 S2 patch name, S1 patch name")
    snow_csv = luigi.Parameter(default="", description="list of v1 names of patches with seasonal snow")
    cloud_csv = luigi.Parameter(default="", description="list of v1 names of patches with cloud or shadow")
    published_tile_ids_csv = luigi.Parameter(default="", description="published tile ids, to compare with")
    compare_with_dir = luigi.Parameter(
        default="", description="dataset folder, such as the published one, to compare with row by row"
    )
    published_l1c_hashes_csv = luigi.Parameter(default="", description="published L1C hashes, to compare with")


class cdse(luigi.Config):  # noqa: N801
    """The Copernicus Data Space Ecosystem."""

    catalogue_url = luigi.Parameter(default="", description="OData root of the catalogue")
    token_url = luigi.Parameter(default="", description="OpenID Connect token endpoint")
    download_url = luigi.Parameter(default="", description="OData root of the downloads")
    user = luigi.Parameter(default="", description="account; else from the environment, CDSE_USER")
    password = luigi.Parameter(
        default="", visibility=ParameterVisibility.PRIVATE, description="else from the environment, CDSE_PASSWORD"
    )
    parallel = luigi.IntParameter(default=1, description="downloads at once, 1 to 4")
    credentials = luigi.Parameter(
        default="~/.config/ben_luigi/netrc", description="netrc-style file, mode 0600, with the account by host"
    )
    tries = luigi.IntParameter(default=3, description="tries a tile, over reruns and hosts, before it rests")
    pause_s = luigi.FloatParameter(default=30.0, description="pause after the first failed try; doubles each time")
    cool_down_h = luigi.FloatParameter(default=6.0, description="hours that a tile rests after its tries")
    bandwidth_mb_s = luigi.FloatParameter(default=0.0, description="MB/s of all downloads together; 0: no limit")
    accept_superseded = luigi.BoolParameter(
        default=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="take a reprocessed product where the original is gone",
    )


class sen2cor(luigi.Config):  # noqa: N801
    """The external program that converts L1C to L2A."""

    executable = luigi.Parameter(default="", description="path of L2A_Process; else from PATH")
    any_version = luigi.BoolParameter(
        default=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="take another version than 2.11, which made the published data",
    )
    parallel = luigi.IntParameter(
        default=0, description="conversions at once; 0: half of the cores, as far as memory allows"
    )


class database(luigi.Config):  # noqa: N801
    """PostgreSQL."""

    url = luigi.Parameter(
        default="",
        visibility=ParameterVisibility.PRIVATE,
        description="postgresql://user:password@host:port/name; else the pipeline's own server in data_dir",
    )


@dataclass(frozen=True)
class TileSettings:
    """What a tile must look like: section [tile].

    Not a luigi.Config, whose options `--tile-...` would make the `--tile` of the tasks ambiguous.
    """

    side_m: int = TILE_SIDE_M
    check_extent: bool = True
    accept_offset: bool = False
    threads: int = 1


def tile() -> TileSettings:
    """The section [tile]."""
    settings, default = luigi.configuration.get_config(), TileSettings()
    return TileSettings(
        side_m=settings.getint("tile", "side_m", default.side_m),
        check_extent=settings.getboolean("tile", "check_extent", default.check_extent),
        accept_offset=settings.getboolean("tile", "accept_offset", default.accept_offset),
        threads=settings.getint("tile", "threads", default.threads),
    )


class archive(luigi.Config):  # noqa: N801
    """The archives."""

    level = luigi.IntParameter(default=6, description="zstd level")
    keep_tar = luigi.BoolParameter(
        default=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="write the uncompressed .tar too, into archives/",
    )


class subset(luigi.Config):  # noqa: N801
    """Which patches of the tiles to take; all, into `dataset/`, if nothing is said."""

    name = luigi.Parameter(default="subset", description="the result is in subsets/<name>/")
    tiles = luigi.Parameter(default="", description="tile keys, separated by commas or spaces")
    countries = luigi.Parameter(default="", description="countries, separated by commas or spaces")
    seasons = luigi.Parameter(default="", description="seasons, separated by commas or spaces")
    splits = luigi.Parameter(default="", description="splits, separated by commas or spaces")
    labels = luigi.Parameter(default="", description="labels, of which a patch has one at least, separated by ;")
    area = luigi.Parameter(default="", description="west, south, east, north in degrees; or path of a GeoJSON file")
    sample = luigi.IntParameter(default=0, description="how many patches to take of these, so that each class occurs")


class metadata(luigi.Config):  # noqa: N801
    """The parquet files and the labels in them."""

    writer = luigi.ChoiceParameter(
        default="default", choices=["default", "published"], description="published: DuckDB's bytes"
    )
    nomenclature = luigi.Parameter(
        default=str(TRACKED_ARTIFACTS / "nomenclature.toml"), description="classes and their CLC codes"
    )
    unlabeled_limit = luigi.FloatParameter(
        default=0.25, description="a patch keeps its labels if less than this part of it is unlabelled"
    )


class retention(luigi.Config):  # noqa: N801
    """What is kept of that from which nothing more has to be made."""

    l1c = luigi.ChoiceParameter(
        default="keep", choices=["keep", "delete-after-l2a"], description="the downloaded L1C zips"
    )
    l2a = luigi.ChoiceParameter(
        default="keep", choices=["keep", "delete-after-cut"], description="the L2A products that Sen2Cor made"
    )
    parts = luigi.ChoiceParameter(
        default="keep",
        choices=["keep", "delete-after-archive"],
        description="what an archive was joined of, and the S1 patches collected from the .tar.gz",
    )


class cron(luigi.Config):  # noqa: N801
    """What `scripts/cron-rerun` keeps, and whom it tells of a change for the worse."""

    keep_logs = luigi.IntParameter(default=100, description="logs of so many runs are kept")
    mail_to = luigi.Parameter(default="", description="address of the mail; else what is said goes to cron's own mail")
    smtp = luigi.Parameter(default="", description="host:port that takes the mail; else the program sendmail")
    webhook = luigi.Parameter(
        default="", visibility=ParameterVisibility.PRIVATE, description='URL that takes a POST of {"text": ...}'
    )


def data_dir() -> Path:
    """The folder of everything that the pipeline makes, absolute."""
    return Path(dataset().data_dir).expanduser().absolute()


def selection() -> dict[str, str]:
    """What `[subset]` says, by option; empty for all patches."""
    options = subset()
    said = {name: str(getattr(options, name) or "") for name, _ in subset.get_params() if name != "name"}
    return {name: text for name, text in said.items() if text}


def result_folder() -> str:
    """The folder of the finished dataset, relative to `data_dir()`: `dataset`, or `subsets/<name>`."""
    return f"subsets/{subset().name}" if selection() else "dataset"


def parts_folder() -> str:
    """The folder of what its archives are joined from, relative to `data_dir()`."""
    return f"archives/{result_folder()}" if selection() else "archives"


@lru_cache(maxsize=1)
def is_sample() -> bool:
    """Whether the run is on the sample world; found once, since it is asked for each target."""
    return _names_nothing_real()


def _names_nothing_real() -> bool:
    world = str(dataset().world)
    if world != "auto":
        return world == "sample"
    given, service = inputs(), cdse()
    named = [getattr(given, option) for option, _ in inputs.get_params()]
    named += [service.catalogue_url, service.token_url, service.download_url, service.user, sen2cor().executable]
    return not any([*named, os.environ.get("CDSE_USER", "")])


@lru_cache(maxsize=64)
def given_input(option: str) -> Path | None:
    """The path that `[inputs] option` gives, absolute, or None; found once."""
    path = str(getattr(inputs(), option))
    return Path(path).expanduser().absolute() if path else None


def selected_tiles() -> list[str]:
    """The tile keys of `[dataset] tiles`; empty for all."""
    return str(dataset().tiles).replace(",", " ").split()


def catalogue_url() -> str:
    """OData root of the catalogue."""
    return str(cdse().catalogue_url) or f"https://catalogue.{_CDSE}/odata/v1"


def token_url() -> str:
    """OpenID Connect token endpoint."""
    return str(cdse().token_url) or f"https://identity.{_CDSE}/auth/realms/CDSE/protocol/openid-connect/token"


def download_url() -> str:
    """OData root of the downloads."""
    return str(cdse().download_url) or f"https://download.{_CDSE}/odata/v1"


def account_environment() -> dict[str, str]:
    """User and password at CDSE by the names of their environment variables; the configuration's come first."""
    given = {"CDSE_USER": str(cdse().user), "CDSE_PASSWORD": str(cdse().password)}
    return {**os.environ, **{name: value for name, value in given.items() if value}}


def downloads_at_once() -> int:
    """How many downloads may run at once, over all hosts: 1 to 4, as CDSE allows."""
    return min(max(1, int(cdse().parallel)), 4)


def workers() -> int:
    """How many tasks this process runs at once: `--workers`, or what `[core]` says."""
    return int(luigi.interface.core().workers)


def sen2cor_at_once() -> int:
    """How many conversions may run at once: half of the cores by default, and no more than memory allows.

    On the sample world one a core: its stand-in is light.
    """
    cores = len(os.sched_getaffinity(0))
    if _names_nothing_real():
        return cores
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return int(sen2cor().parallel) or max(1, min(cores // 2, int(memory_gb // _SEN2COR_GB)))


def tells_secrets(file: Path) -> bool:
    """Whether a configuration file has a password in it that others can read; `${NAME}` of the environment is none."""
    if not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    return any(_SECRET.match(line) for line in file.read_text(encoding="utf-8").splitlines())


_set_by_us: set[tuple[str, str]] = set()


def set_defaults() -> None:
    """Tell Luigi what follows from our options, unless its own sections say otherwise.

    The local scheduler's resources: how many downloads and conversions may run at once. The folder of the lock that
    keeps a command from running twice: one for each user and data folder. What surrounds each task, and that it has a
    process of its own even with one worker: so the main process can be stopped at any moment.
    """
    settings = luigi.configuration.get_config()
    place = hashlib.sha256(str(data_dir()).encode()).hexdigest()[:12]
    for section, name, value in (
        ("resources", "cdse", str(downloads_at_once())),
        ("resources", "sen2cor", str(sen2cor_at_once())),
        ("worker", "task_process_context", "ben_luigi.state.turns.Turn"),
        ("worker", "force_multiprocessing", "true"),
        ("core", "lock_pid_dir", str(Path(tempfile.gettempdir()) / f"ben_luigi-{os.getuid()}-{place}")),
    ):
        if (section, name) in _set_by_us or not settings.has_option(section, name):
            _set_by_us.add((section, name))
            settings.set(section, name, value)
