"""Find out what is complete, what is to be done, and what is missing for it, without making or fetching anything."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import luigi
import numpy as np

from ben_luigi import addresses, config
from ben_luigi.domain.cdse.account import credentials_file, given_credentials, has_terminal
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.dataset.estimate import (
    INSTALLER_BYTES,
    SMALL_INPUT_BYTES,
    SQUARE_BYTES,
    TILES,
    Retention,
    Work,
)
from ben_luigi.domain.errors import DatabaseError, PipelineError, some
from ben_luigi.domain.files import size_in_words
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.recipe.model import FROM_V1, NO_SENTINEL1
from ben_luigi.domain.sources.availability import Availability
from ben_luigi.sample.scenes import SCENES
from ben_luigi.stages import places
from ben_luigi.stages.account import require_account
from ben_luigi.stages.archive_parts import S1
from ben_luigi.stages.archive_shards import from_folder
from ben_luigi.stages.archives import archiving
from ben_luigi.stages.atmosphere import ConvertToL2A, ReadProduct, l2a_task
from ben_luigi.stages.availability import available
from ben_luigi.stages.converter import (
    InstallSen2Cor,
    is_installed_by_us,
    is_licence_question,
    require_sen2cor_or_licence,
)
from ben_luigi.stages.download import HashL1C, l1c_task
from ben_luigi.stages.finalize import FinalizeDataset, VerifyDataset, dataset_tasks
from ben_luigi.stages.land_cover import FetchLandCover, from_service
from ben_luigi.stages.land_key import is_fetched_by_key, require_key
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import (
    FetchInput,
    GivenInput,
    input_source,
    needed,
    require_given,
)
from ben_luigi.stages.resolve import (
    AskCatalogue,
    ResolveTileIds,
    expected_products,
    is_fetched_l1c,
    is_from_l1c,
    key_of,
    known_tiles,
    missing_tiles,
    resolutions,
    source,
    tiles,
)
from ben_luigi.stages.sample_world import side_m
from ben_luigi.stages.sources import has_account
from ben_luigi.stages.tiles import kept
from ben_luigi.stages.twin import pixels, twins
from ben_luigi.state import database, recipes, stored, worlds
from ben_luigi.state.snapshot import snapshot


class Fetch(NamedTuple):
    """What is fetched of one kind: how many, and about how many bytes in all."""

    what: str
    number: int
    usual_bytes: int


@contextmanager
def at_rest() -> Iterator[None]:
    """Check many tasks for completeness at the cost of one query; without a database there are no rows."""
    with snapshot() as seen:
        seen.no_database = True
        with suppress(DatabaseError):  # `missing` reports it
            seen.no_database = not database.is_there()
        yield


class Stage(NamedTuple):
    """How many of a stage's tasks are complete."""

    name: str
    complete: int
    of: int


def stages() -> list[Stage]:
    """Return all stages, in the order of a tile's way. A product that was removed after its use counts as made."""
    tiles = list(known_tiles())
    found = []
    with at_rest():
        if is_fetched_l1c():
            found.append(_of(AskCatalogue()))
        if is_from_l1c():
            reports = [l1c_task(tile).is_true() for tile in tiles]
            notes = [ConvertToL2A(tile=tile).is_true() for tile in tiles]
            found += [Stage("L1C products", sum(reports), len(tiles)), Stage("L2A products", sum(notes), len(tiles))]
        for task in reversed(kept()):
            done = [task(tile=tile).complete() for tile in tiles]
            found.append(Stage(task.get_task_family(), sum(done), len(tiles)))
        found += [_of(task) for task in _whole()]
    return found


def _whole() -> list[luigi.Task]:
    """Return the tasks that exist once for the whole dataset."""
    first = [ResolveTileIds()] if is_fetched_l1c() else []
    hashes = [HashL1C()] if is_from_l1c() else []
    return [*first, *hashes, *dataset_tasks(), VerifyDataset()]


def _of(task: luigi.Task) -> Stage:
    return Stage(task.get_task_family(), int(bool(known_tiles()) and task.complete()), 1)


def is_complete() -> bool:
    """Return whether the dataset is complete."""
    with at_rest():
        return bool(known_tiles()) and bool(FinalizeDataset().complete())


def work() -> Work:
    """Return the work of a run; while the list of products does not exist, that of about as many as are expected."""
    from_l1c, from_cdse = is_from_l1c(), source() == "tile_names_csv"
    tiles = list(known_tiles())
    with at_rest():
        cut = [tile for tile in tiles if not (ReadProduct(tile=tile).complete() and CutPatches(tile=tile).complete())]
        mapped = [tile for tile in tiles if not all(task(tile=tile).complete() for task in kept())]
        archives = not all(task.complete() for task in archiving())
    convert = [tile for tile in cut if from_l1c and not l2a_task(tile).complete()]
    recipe = config.recipe()
    unknown = 0 if tiles else expected_products() or (len(SCENES) if config.is_sample() else TILES)
    layers = config.all_layers()
    return Work(
        tiles=len(tiles) + unknown,
        downloads_bytes=[*_downloads(tiles, convert), *[None] * (unknown if from_cdse else 0)],
        conversions=len(convert) + unknown * from_l1c,
        cuts=len(mapped) + unknown,
        archives=archives or bool(unknown),
        side_m=side_m(),
        patch_m=recipe.patches.side_m,
        keeps_all=not recipe.is_aligned,
        layers_bytes_m2=sum(np.dtype(one.dtype).itemsize / m**2 for one in layers for m in one.kinds.values()),
        layer_files=sum(len(one.kinds) for one in layers),
        has_s1=recipe.sentinel1.source != NO_SENTINEL1,
        from_l1c=from_l1c,
        from_cdse=from_cdse,
        collects_s1=recipe.sentinel1.source == FROM_V1 and not from_folder(S1),
        downloads_at_once=config.downloads_at_once(),
        conversions_at_once=config.sen2cor_at_once(),
        tasks_at_once=config.workers(),
        rate_bytes_s=float(config.cdse().bandwidth_mb_s) * 1e6,
        fetches_bytes=[row.usual_bytes for row in fetches()],
        forms=len(config.wanted_forms()),
        cache_bytes=int(float(config.dataset().cache_gb) * 1e9) if stored.is_configured() else 0,
    )


def _downloads(tiles: list[str], convert: list[str]) -> list[int | None]:
    """Return the sizes of products to fetch from CDSE: for a conversion, or because their report is missing."""
    if not is_from_l1c():
        return [None for tile in tiles if source() != "l2a_dir" and not l2a_task(tile).is_true()]
    tasks = {tile: l1c_task(tile) for tile in tiles}
    needed = [
        tile
        for tile, task in tasks.items()
        if task.option == "tile_names_csv" and not task.complete() and (tile in convert or not task.is_true())
    ]
    return sizes(needed)


def availability(selected: Collection[str] = ()) -> Availability | None:
    """Return which sources have the products still to fetch, of the tiles `selected` or all; None if there are none.

    They are asked over the network, within a minute, unless there are recent answers.
    """
    if config.is_sample() or source() != "tile_names_csv" or not places.is_listed():
        return None
    with at_rest():
        to_come = {
            tile: name
            for tile, name in tiles().items()
            if l1c_task(tile).option == "tile_names_csv" and not l1c_task(tile).is_true()
        }
    to_come |= {tile: ProductName.parse(facts["product"]) for tile, facts in missing_tiles().items()}
    products = [name for tile, name in sorted(to_come.items()) if tile in selected or not selected]
    return available(products) if products else None


def unavailable(found: Availability) -> Iterator[PipelineError]:
    """Yield what is missing because no source has it, or only one that needs an account."""
    nowhere, order = found.nowhere(), ", ".join(found.sources)
    if nowhere and not config.dataset().allow_missing:
        yield PipelineError(
            f"{len(nowhere)} of {len(found.states)} products",
            expected=f"a source that has them, of {order}",
            found=f"none has {some((key_of(ProductName.parse(name)) for name in nowhere), 5)}",
            remedy="give them in [inputs] l1c_dir, name a mirror in [sources], or set [dataset] allow_missing",
        )
    only = found.only_at("cdse")
    if only and not config.needs_account() and not has_account():
        yield PipelineError(
            f"{len(only)} of {len(found.states)} products",
            expected="an account at CDSE, the only source that has them",
            found=f"none is given for {some((key_of(ProductName.parse(name)) for name in only), 5)}",
            remedy="register at https://dataspace.copernicus.eu, and give the account as [cdse] says",
        )


def sizes(tiles: Sequence[str]) -> list[int | None]:
    """Return the length in bytes of each tile's product at CDSE; None where the catalogue has not been asked yet."""
    if not tiles or not AskCatalogue().output()["products"].file.exists():
        return [None] * len(tiles)
    answers = resolutions()
    return [product.length_bytes if tile in answers and (product := answers[tile].product) else None for tile in tiles]


def fetches(tasks: Collection[luigi.Task] | None = None) -> list[Fetch]:
    """What these tasks, or all of a run, fetch besides the products: of each kind how many, and about what volume."""
    if tasks is None:
        tasks = [*map(input_source, needed()), *from_service()]
        tasks += [InstallSen2Cor()] if is_installed_by_us() and is_from_l1c() else []
    with at_rest():
        waiting = [task for task in tasks if isinstance(task, _FETCHING) and not task.complete()]
    found: dict[str, Fetch] = {}
    for task in waiting:
        what, usual_bytes = _fetched(task)
        before = found.get(what, Fetch(what, 0, 0))
        found[what] = Fetch(what, before.number + 1, before.usual_bytes + usual_bytes)
    return list(found.values())


_FETCHING = (FetchInput, FetchLandCover, InstallSen2Cor)


def _fetched(task: luigi.Task) -> tuple[str, int]:
    if isinstance(task, FetchInput):
        large = _LARGE.get(task.option, task.option)
        return (large, task.usual_bytes()) if task.is_large() else ("inputs", SMALL_INPUT_BYTES)
    if isinstance(task, FetchLandCover):
        return "land cover", SQUARE_BYTES
    return "installer of Sen2Cor", INSTALLER_BYTES


_LARGE = {"s1_dir": "Sentinel-1", "clc_gpkg": "GeoPackage of CORINE"}


def retention() -> Retention:
    """Return the values of `[retention]`."""
    options = config.retention()
    return Retention(options.l1c != "keep", options.l2a != "keep", options.parts != "keep")


def missing(planned: Work, options: Collection[str] | None = None) -> list[PipelineError]:
    """Return every prerequisite that is missing: what was expected, what was found, what to do. Empty if none is.

    `options` are the relevant ones of `[inputs]`; None means all.
    """
    whole = options is None
    of_inputs = _missing_inputs((source(), *needed()) if options is None else (source(), *options))
    found = [*of_inputs, *(places.problems() if whole else ()), *_missing_programs(planned), *_missing_scheduler()]
    found += _missing_room(planned)
    for check in (_check_recipe, _check_world, _check_twin, database.check, stored.check):
        try:
            check()
        except PipelineError as error:
            found.append(error)
    return found


def _check_recipe() -> None:
    """Raise BadInput if the results of this recipe's name are those of another one."""
    recipe = config.recipe()
    if not recipe.is_default:
        recipes.require_same(config.data_dir(), recipe.name, recipe.path)


def _check_world() -> None:
    """Raise BadInput if results of the real world would be replaced by those of the sample world."""
    worlds.require_own(config.data_dir(), is_sample=config.is_sample())


def _check_twin() -> None:
    """Raise BadInput if there are no pixels in the dataset that is to be compared with."""
    if twins():
        pixels()


def _missing_inputs(options: Sequence[str]) -> Iterator[PipelineError]:
    for option in dict.fromkeys(options):
        if is_fetched_by_key(option) and not input_source(option).complete():
            try:
                require_key()
            except PipelineError as error:
                yield error
        if isinstance(input_source(option), GivenInput):
            try:
                require_given(option)
            except PipelineError as error:
                yield error


def _missing_programs(planned: Work) -> Iterator[PipelineError]:
    required = [] if not planned.conversions or config.is_sample() else [require_sen2cor_or_licence]
    if is_licence_question():
        required = []  # a run asks
    needs_account = planned.downloads_bytes and config.needs_account()
    if needs_account and not config.is_sample() and not _is_account_given():
        required.append(require_account)
    for require in required:
        try:
            require()
        except PipelineError as error:
            yield error


def _missing_scheduler() -> Iterator[PipelineError]:
    """Yield an error if a central scheduler is configured and does not answer."""
    settings = luigi.interface.core()
    if settings.local_scheduler or settings.scheduler_url:
        return
    address = (str(settings.scheduler_host), int(settings.scheduler_port))
    try:
        socket.create_connection(address, timeout=10).close()
    except OSError as error:
        yield PipelineError(
            f"luigid at {address[0]}:{address[1]}",
            expected="an answer, since [core] local_scheduler is false",
            found=str(error),
            remedy="start it with ben-luigi luigid, or correct [core] scheduler_host",
        )


def _is_account_given() -> bool:
    """Return whether an account is given, or can be asked for at the terminal."""
    host = urlsplit(addresses.token_url()).hostname or ""
    try:
        given = given_credentials(config.account_environment(), credentials_file(str(config.cdse().credentials)), host)
    except CredentialsError:
        return False
    return given is not None or has_terminal()


def free_bytes() -> int:
    """Return the free space on the disk of the data folder, which need not exist yet."""
    folder = config.data_dir()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def used_bytes() -> int:
    """Return the size of the data folder, without what other recipes have there, or others remove meanwhile."""
    total = 0
    for folder, folders, names in os.walk(config.data_dir()):
        if Path(folder) == config.data_dir() and config.RECIPES in folders:
            folders.remove(config.RECIPES)
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def _missing_room(planned: Work) -> Iterator[PipelineError]:
    peak, used, free = planned.peak_bytes(retention()), used_bytes(), free_bytes()
    if planned.tiles and peak - used > free and not is_complete():
        yield PipelineError(
            config.data_dir(),
            expected=f"{size_in_words(peak - used)} of free space",
            found=size_in_words(free),
            remedy="make room, move [dataset] data_dir, or let [retention] delete what is no longer needed",
        )
