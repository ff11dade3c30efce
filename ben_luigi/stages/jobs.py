"""Give conversions to Slurm: as elements of job arrays, as soon as their L1C products are complete.

A run that does so (`ben-luigi submit slurm`) makes no conversion itself. Each element is a run of one conversion, with
the same luigid and the same database; so the scheduler knows when it is done, and the lock of the task is held.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import luigi

from ben_luigi import config
from ben_luigi.domain import bounded, files, locks, slurm, surroundings
from ben_luigi.domain.errors import BadOption, PipelineError, SlurmError, without_userinfo
from ben_luigi.stages.atmosphere import ConvertToL2A
from ben_luigi.stages.converter import FindSen2Cor, InstallSen2Cor
from ben_luigi.stages.download import DownloadL1C, FindL1C
from ben_luigi.stages.product_list import is_from_l1c
from ben_luigi.stages.resolve import known_tiles
from ben_luigi.stages.survey import at_rest
from ben_luigi.stages.task import RUN
from ben_luigi.state import failures, recipes
from ben_luigi.state.database_url import without_secrets

_log = logging.getLogger("ben_luigi")
_UNKNOWN = "jobs of Slurm, which does not answer"
_begun = False
_typed: tuple[str, ...] = ()
"""The options that were typed for this run, which its jobs follow too."""


def begin(typed: Sequence[str] = ()) -> None:
    """From now on this run submits conversions, by the options that were typed for it, and makes none.

    Raise BadOption if jobs could not share its work.
    """
    global _begun, _typed
    for option, is_shared, remedy in (
        ("[core] local_scheduler", not luigi.interface.core().local_scheduler, "set it to false, and start luigid"),
        ("[database] url", bool(config.database().url), "name a PostgreSQL server that all nodes reach"),
    ):
        if not is_shared:
            raise BadOption(
                option,
                expected="a scheduler and a database that the jobs reach too",
                found="one of this process alone",
                remedy=f"{remedy}; docs/hosts.md says how",
            )
    slurm.require_programs()
    luigi.configuration.get_config().set("sen2cor", "where", config.ELSEWHERE)
    _begun, _typed = True, tuple(typed)


def name() -> str:
    """Return the name of the jobs, which is another one for each data folder."""
    return f"ben-luigi-{hashlib.sha256(str(config.data_dir()).encode()).hexdigest()[:8]}"


def wanted() -> slurm.Wanted:
    """Return what `[slurm]` asks for."""
    options = config.slurm()
    return slurm.Wanted(
        name=name(),
        cores=int(options.cores),
        memory_gb=int(options.memory_gb),
        time=str(options.time),
        partition=str(options.partition),
        account=str(options.account),
        at_once=int(options.parallel),
        more=str(options.more),
    )


def folder() -> Path:
    """Return the folder of the logs, and of the lists of what was submitted."""
    return config.data_dir() / "slurm"


def script(tiles: list[str]) -> str:
    """Return the script of an array that converts these tiles."""
    return _script(tiles, _typed)


def _script(tiles: list[str], typed: Sequence[str]) -> str:
    options = config.dataset()
    own = [*surroundings.own_python(), "-m", "ben_luigi", "run", "ConvertToL2A"]
    recipe = ("--recipe", str(options.recipe)) if options.recipe else ()
    chosen = [*typed, "--world", str(options.world), *recipe]
    return slurm.script([*own, *chosen, "--workers", "1", "--sen2cor-where", config.IN_A_JOB, "--tile"], tiles)


def ready() -> list[str]:
    """Return the tiles to be converted for which all is there."""
    if not is_from_l1c():
        return []
    with at_rest():
        tasks = [ConvertToL2A(tile=tile) for tile in known_tiles()]
        return [task.tile for task in tasks if not task.complete() and all(one.complete() for one in task.deps())]


def waiting() -> list[str]:
    """Return the tiles to be converted whose L1C product, or Sen2Cor, is not there yet."""
    if not is_from_l1c():
        return []
    with at_rest():
        tasks = [ConvertToL2A(tile=tile) for tile in known_tiles()]
        return sorted({task.tile for task in tasks if not task.complete()} - {*ready()})


def submit_ready() -> None:
    """Submit what is ready and not in the queue, if this run does so: each conversion once.

    Slurm itself repeats jobs that were preempted or whose node has failed. Raise SlurmError if Slurm refuses,
    and BadInput on a file system without locks.
    """
    if not _begun:
        return
    folder().mkdir(parents=True, exist_ok=True)
    with _turn():
        taken = {*_queued(), *_submitted(RUN)}
        left = [tile for tile in ready() if tile not in taken]
        for first in range(0, len(left), slurm.MOST_ELEMENTS):
            tiles = left[first : first + slurm.MOST_ELEMENTS]
            job = slurm.submit(wanted().command(len(tiles), folder()), script(tiles))
            files.write_json(folder() / f"{job}.json", {"run": RUN, "tiles": tiles})
            _log.info("job array %s of Slurm converts %s", job, ", ".join(tiles))


@contextmanager
def _turn() -> Iterator[None]:
    """Submit alone. Raise BadInput where that cannot be."""
    lock = folder() / "lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.held(lock, "the turn to submit jobs"))
        except OSError as error:
            raise locks.no_locks(lock, "each conversion is submitted once", error) from error
        yield


def submit_after(task: luigi.Task) -> None:
    """Submit what is ready, if this task was the last one that a conversion needed."""
    if isinstance(task, DownloadL1C | FindL1C | FindSen2Cor | InstallSen2Cor):
        try_to_submit()


def try_to_submit() -> None:
    """Submit what is ready; if Slurm refuses or does not answer, say so, since a later time may do."""
    try:
        submit_ready()
    except (PipelineError, OSError) as error:
        _log.warning("%s; it is tried again", error)


def in_queue() -> list[str]:
    """Return the conversions that wait or run in Slurm, if this run has submitted any, for a log."""
    if not _begun:
        return []
    try:
        return [f"{tile} ({state.removesuffix(' None')})" for tile, state in _queued().items()]
    except SlurmError as error:
        _log.warning("%s", error)
        return [_UNKNOWN]


def lost() -> list[str]:
    """Return what to tell of jobs that this run has submitted, and that ended without result and without an error."""
    noted = {str(failure.task) for failure in failures.noted()}
    queued = _queued()
    ended = {tile: where for tile, where in _submitted(RUN).items() if tile not in queued}
    tasks = {tile: ConvertToL2A(tile=tile) for tile in ended}
    with at_rest():
        return [
            f"{tile}: its job {ended[tile]} has ended without a result; expected: an L2A product; next: type sacct -j "
            f"{ended[tile]}, and read {folder() / ended[tile]}.log; mostly its time or memory was too short ([slurm])"
            for tile, task in tasks.items()
            if not task.complete() and str(task) not in noted
        ]


def _submitted(run: str = "") -> dict[str, str]:
    """Return the element of each tile that was submitted, by this run or by any; the latest, if there are several."""
    found: dict[str, str] = {}
    for path in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        by, tiles = _noted(path)
        if run in ("", by):
            found.update({tile: f"{path.stem}_{number}" for number, tile in enumerate(tiles)})
    return found


def _noted(path: Path) -> tuple[str, list[str]]:
    """Return the run that has submitted a job, and its tiles; none, with a warning, if that cannot be read."""
    try:
        noted = bounded.read_json(path)
        run, tiles = noted["run"], noted["tiles"]
        if not isinstance(tiles, list) or not all(isinstance(one, str) for one in (run, *tiles)):
            raise ValueError("not a run and its tiles")
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("skipping %s, which cannot be read: %s", path, error)
        return "", []
    return run, tiles


def _queued() -> dict[str, str]:
    """Return state and reason of each tile whose element waits or runs."""
    states = slurm.queue(name())
    return {tile: states[element] for tile, element in _submitted().items() if element in states}


def described() -> str:
    """Return what would be submitted, and what to type to watch it and to end it."""
    tiles, later = ready(), waiting()
    logs = folder()
    text = [f"ready to be converted: {', '.join(tiles) or 'none yet'}"]
    if later or not known_tiles():
        text.append(f"submitted as soon as their L1C products are there: {', '.join(later) or 'not known yet'}")
    text += ["", shlex.join(wanted().command(max(1, len(tiles)), logs)), ""]
    text.append(_script(tiles or ["TILE"], [*map(_shown, _typed)]))
    return "\n".join([*text, *instructions()])


def _shown(option: str) -> str:
    """Return an option that was typed, without the passwords in it."""
    flag, _, text = option.partition("=")
    return f"{flag}={without_secrets(text)}" if flag == "--database-url" else without_userinfo(option)


def instructions() -> list[str]:
    """Return what to type to watch the jobs, and to end them."""
    return [
        f"watch:  squeue --name={name()}, ben-luigi status{recipes.option()}; logs: {folder()}/<job>_<element>.log",
        f"cancel: scancel --name={name()}",
    ]
