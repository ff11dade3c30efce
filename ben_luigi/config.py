"""Give the sections of `luigi.cfg`, and the values that follow from several options together.

Relative paths are relative to the current folder.
"""

from __future__ import annotations

from ben_luigi.configuration import loading  # before anything imports Luigi, which reads the files itself

# isort: split
import argparse
import os
import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi

from ben_luigi.configuration.kept import while_held
from ben_luigi.configuration.sections import (
    SECTIONS,
    TRACKED_ARTIFACTS,
    archive,
    cdse,
    cron,
    database,
    dataset,
    forms,
    inputs,
    land_cover,
    layers,
    metadata,
    options_of,
    retention,
    sen2cor,
    slurm,
    sources,
    subset,
    tile,
)
from ben_luigi.domain import machine, private, surroundings
from ben_luigi.domain.recipe import declared, parts, reading
from ben_luigi.domain.recipe.model import OF_PRODUCT, Layer, Recipe
from ben_luigi.domain.remembered import remembered
from ben_luigi.domain.vocabulary import MISSING_LAYERS, SOURCES

__all__ = [
    "SECTIONS",
    "TRACKED_ARTIFACTS",
    "archive",
    "cdse",
    "cron",
    "database",
    "dataset",
    "forms",
    "inputs",
    "land_cover",
    "layers",
    "metadata",
    "options_of",
    "retention",
    "sen2cor",
    "slurm",
    "sources",
    "subset",
    "tile",
]
"""What `configuration/sections.py` declares is had from here, with what follows from it."""

loading.load()  # whoever asks for a value has that of the files, checked

RECIPES = "recipes"
"""The folder in `[dataset] data_dir` with one folder per recipe."""

PUBLISHING = "publishing"
"""The folder in `data_dir()` with verdicts about folders, and notes of what is being published."""

SCHEDULER = ("scheduler_host", "scheduler_port", "scheduler_url")
"""The options in `[core]` that say where luigid is."""

HERE, ELSEWHERE, IN_A_JOB = "here", "elsewhere", "job"
"""Where conversions are made (`[sen2cor] where`)."""

_SAMPLE_SOURCES = ("folder", "google", "cdse")
_ACCOUNT = ("CDSE_USER", "CDSE_PASSWORD")


def value(option: str) -> Any:
    """Return the value of an option, given as section and name: `archive.level`."""
    section, _, name = option.partition(".")
    return getattr(SECTIONS[section](), name)


def result_options() -> dict[str, Any]:
    """Return the options, with values, that results depend on or are removed by: `archive.level` and so on."""
    sections = (dataset, inputs, land_cover, tile, layers, archive, subset, forms, metadata, retention)
    options = [f"{section.__name__}.{name}" for section in sections for name in options_of(section)]
    options += ["sen2cor.any_version", "cdse.catalogue_url", "cdse.accept_superseded"]
    return {option: value(option) for option in options if option != "dataset.data_dir"}


def take_typed(arguments: argparse.Namespace) -> None:
    """From now on take options that were typed on a command line, as Luigi has parsed it, for those of the files.

    Luigi takes them only while it runs; the rest of a command speaks of the same folders and the same scheduler, and
    those of Luigi's own options that follow from ours follow from these.
    """
    taken = {section: tuple(options_of(options)) for section, options in SECTIONS.items()}
    for section, names in {**taken, "core": ("local_scheduler", *SCHEDULER)}.items():
        for name in names:
            text = getattr(arguments, f"{section}_{name}", None)
            if text not in (None, False):  # as argparse has a switch of Luigi's that was not typed
                luigi.configuration.get_config().set(section, name, str(text))
    is_sample.cache_clear()
    given_input.cache_clear()
    set_defaults()


@while_held
def recipe() -> Recipe:
    """Return the recipe that is followed. Raise BadInput, with all findings, if it is wrong."""
    named = str(dataset().recipe)
    return (
        default_recipe() if reading.is_default_name(named) else _read_recipe(reading.locate(named, TRACKED_ARTIFACTS))
    )


@remembered()
def _read_recipe(path: Path) -> Recipe:
    return reading.read(path, TRACKED_ARTIFACTS)


@lru_cache(maxsize=1)
def default_recipe() -> Recipe:
    """Return the recipe of BigEarthNet v2."""
    return reading.read(reading.locate("", TRACKED_ARTIFACTS), TRACKED_ARTIFACTS)


def product_layers() -> tuple[Layer, ...]:
    """Return the layers that are taken from each product, in the order of `OF_PRODUCT`."""
    wanted = str(layers().of_product).replace(",", " ").split()
    return tuple(layer for name, layer in OF_PRODUCT.items() if name in wanted)


def skips_missing_layers() -> bool:
    """Return whether the patches of a tile have no layer that its product lacks."""
    return str(layers().missing) == MISSING_LAYERS[1]


def all_layers() -> tuple[Layer, ...]:
    """Return the further layers of the dataset: those of the recipe, then those that are taken from each product."""
    return (*recipe().layers, *product_layers())


def nomenclature() -> Path:
    """Return the path of the nomenclature: of the recipe, or for the default one that of `[metadata] nomenclature`."""
    return Path(str(metadata().nomenclature)) if recipe().is_default else recipe().land_cover.nomenclature


def unlabeled_limit() -> float:
    """Return the part of a patch without a class from which on it has no labels."""
    return float(metadata().unlabeled_limit if recipe().is_default else recipe().land_cover.unlabeled_limit)


def recipe_part(keys: Sequence[str]) -> dict[str, Any]:
    """Return what the recipe says otherwise than the default one of `keys`, such as `patches.side_m` or `split`.

    It is empty for the default recipe, so that what was made before there were recipes stays true.
    """
    wanted = recipe()
    return parts.differing(wanted, default_recipe(), keys) if keys and not wanted.is_default else {}


@while_held
def data_dir() -> Path:
    """Return the absolute path of the folder of everything that the pipeline makes.

    Each recipe but the default has a folder of its own in that of `[dataset] data_dir`, so that none makes what
    another has made once more, or takes it for its own.
    """
    return root_dir() if recipe().is_default else root_dir() / RECIPES / recipe().name


def root_dir() -> Path:
    """Return the absolute path of `[dataset] data_dir`, in which the folders of all recipes are."""
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


def forms_folder() -> str:
    """Return the folder of the exported forms of the dataset, relative to `data_dir()`, with one folder per form."""
    return f"forms/{result_folder()}" if selection() else "forms"


def wanted_forms() -> list[str]:
    """Return the forms that are made with the dataset."""
    return str(forms().make).replace(",", " ").split()


@lru_cache(maxsize=1)
def is_sample() -> bool:
    """Return whether the run is on the sample world; cached, since every target asks for it."""
    return _names_nothing_real()


def _names_nothing_real() -> bool:
    world = str(dataset().world)
    if world != "auto":
        return world == "sample"
    given, service = inputs(), cdse()
    named = [getattr(given, option) or _file_of_recipe(option) for option, _ in inputs.get_params()]
    named += [sources().google_url, sources().mirrors]
    named += [
        land_cover().service_url,
        land_cover().service_key,
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
    path = str(getattr(inputs(), named_option(option)))
    return Path(path).expanduser().absolute() if path else _file_of_recipe(option)


def named_option(option: str) -> str:
    """Return the option of [inputs] that the recipe names in the place of another one; else that one itself."""
    named = _in_place_of(option)
    return named if isinstance(named, str) else option


def is_of_recipe(option: str) -> bool:
    """Whether the recipe names another file than that of an option of [inputs], in its place."""
    return _in_place_of(option) not in (None, option)


def _file_of_recipe(option: str) -> Path | None:
    """Return the file that the recipe names in the place of an option of [inputs]."""
    named = _in_place_of(option)
    return named if isinstance(named, Path) else None


def _in_place_of(option: str) -> Path | str | None:
    """Return what the recipe names as the file that is usually that of an option of [inputs]."""
    wanted = recipe()
    search = wanted.products.search
    files = {
        declared.LIST_OPTION: search.same_as if search and search.same_as else wanted.products.list,
        declared.COUNTRIES_OPTION: wanted.countries.file,
        declared.LAND_COVER_OPTION: wanted.land_cover.file,
    }
    return files.get(option)


def selected_tiles() -> list[str]:
    """Return the tile keys of `[dataset] tiles`; empty for all."""
    return str(dataset().tiles).replace(",", " ").split()


def land_cover_from_service() -> bool:
    """Whether CORINE's polygons come from the EEA's open service; never where the recipe names a file of its own."""
    if is_of_recipe(declared.LAND_COVER_OPTION):
        return False
    choice = str(land_cover().source)
    if choice != "auto":
        return choice == "service"
    return given_input("clc_gpkg") is None and not land_cover().service_key and not is_sample()


def land_cover_key() -> Path | None:
    """Return the file of the service key by which CORINE's GeoPackage is fetched; None if it is not fetched so."""
    is_given = given_input("clc_gpkg") is not None or is_of_recipe("clc_gpkg")
    if is_sample() or land_cover_from_service() or is_given or not land_cover().service_key:
        return None
    return Path(str(land_cover().service_key)).absolute()


def source_order() -> list[str]:
    """Return the sources of products to ask, in their order; on the sample world those that it has."""
    order = str(sources().order or ", ".join(SOURCES)).replace(",", " ").split()
    return [name for name in order if name in _SAMPLE_SOURCES or not is_sample()]


def needs_account() -> bool:
    """Whether products are asked for at CDSE first, or nowhere else."""
    web = [name for name in source_order() if name != "folder"]
    return web[:1] == ["cdse"]


def account_environment() -> dict[str, str]:
    """Return user and password at CDSE by the names of their environment variables.

    The configuration takes precedence.
    """
    given = dict(zip(_ACCOUNT, (str(cdse().user), str(cdse().password)), strict=True))
    return {name: value or os.environ.get(name, "") for name, value in given.items()}


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
    return int(sen2cor().parallel) or max(1, min(int(cores / 2), machine.memory().size // sen2cor_bytes()))


def conversions() -> str:
    """Return where conversions are made: HERE, ELSEWHERE or IN_A_JOB."""
    return str(sen2cor().where)


def sen2cor_bytes() -> int:
    """Return the memory in bytes that one conversion may need; 0 on the sample world, whose stand-in is light."""
    return 0 if _names_nothing_real() else int(float(sen2cor().memory_gb) * 2**30)


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
