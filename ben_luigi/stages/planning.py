"""Plan a run of any task without making anything: its tasks, the work in them, the time left.

Also tell what is known about a task without running it: whether its arguments are valid, and whether a recorded failure
still matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import luigi
from luigi.parameter import ParameterException
from luigi.task_register import TaskClassException

from ben_luigi import config
from ben_luigi.domain.cdse.account import confirmed
from ben_luigi.domain.dataset.estimate import Work
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError
from ben_luigi.domain.report.report_times import read_times
from ben_luigi.stages.archive_shards import CollectS1
from ben_luigi.stages.archives import CompressPart, HashTar, JoinParts
from ben_luigi.stages.atmosphere import ConvertToL2A, FetchL2A
from ben_luigi.stages.converter import LICENCE_QUESTION, InstallSen2Cor, answer_licence, is_licence_question
from ben_luigi.stages.download import DownloadL1C
from ben_luigi.stages.patches import CutPatches
from ben_luigi.stages.prerequisites import FetchInput, GivenInput, input_source
from ben_luigi.stages.reference_maps import MakeReferenceMaps
from ben_luigi.stages.resolve import check_tile, known_tiles
from ben_luigi.stages.sample_world import side_m
from ben_luigi.stages.survey import Stage, at_rest, fetches, sizes, work
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import failures, timing
from ben_luigi.state.failures import Failure
from ben_luigi.state.luigi_internals import load_task

TILE = "tile"
"""The parameter of tasks that is a tile key."""
_ARCHIVE = (CollectS1, CompressPart, JoinParts, HashTar)


def met(task: luigi.Task) -> dict[luigi.Task, bool]:
    """Return the tasks that a run of `task` visits, and whether each is complete, in the order in which they are made.

    The sources of a complete task are not visited. What a task needs is followed as far as it is known yet.
    """
    found: dict[luigi.Task, bool] = {}
    with at_rest():
        _visit(task, found, set())
    return found


def _visit(task: luigi.Task, found: dict[luigi.Task, bool], seen: set[luigi.Task]) -> None:
    if task in seen:
        return
    seen.add(task)
    is_complete = bool(task.complete())
    if not is_complete:
        for before in _before(task):
            _visit(before, found, seen)
    found[task] = is_complete


def _before(task: luigi.Task) -> Iterator[luigi.Task]:
    yield from task.deps()
    if isinstance(task, PipelineTask):
        with suppress(PipelineError):  # the list of products, or of kept patches, does not exist yet
            yield from task.needs()


def ask_licence(task: luigi.Task) -> None:
    """Ask once, at the terminal, whether ESA's licence of Sen2Cor is accepted, if a run of `task` would install it.

    Either answer is kept.
    """
    if not is_licence_question() or InstallSen2Cor() not in met(task):
        return
    answer = confirmed(LICENCE_QUESTION)
    if answer is not None:
        answer_licence(answer)


def stages(tasks: dict[luigi.Task, bool]) -> list[Stage]:
    """Return how many tasks of each kind are complete; inputs are not counted."""
    found: dict[str, Stage] = {}
    for task, is_complete in tasks.items():
        if isinstance(task, PipelineTask) and not hasattr(task, "option"):
            before = found.get(task.task_family, Stage(task.task_family, 0, 0))
            found[task.task_family] = Stage(before.name, before.complete + is_complete, before.of + 1)
    return list(found.values())


def inputs(tasks: Iterable[luigi.Task]) -> list[str]:
    """Return the options of `[inputs]` whose inputs these tasks use."""
    return [task.option for task in tasks if isinstance(task, GivenInput | FetchInput)]


def work_of(task: luigi.Task, tasks: dict[luigi.Task, bool]) -> Work:
    """Return the work in those of `tasks` that are not complete; an estimate until the tiles are known."""
    whole = work()
    if not known_tiles():
        return _of_one(whole) if getattr(task, "tile", "") else whole
    to_do = [each for each, is_complete in tasks.items() if not is_complete]
    cut = {each.tile for each in to_do if isinstance(each, CutPatches | MakeReferenceMaps)}
    downloads = [each.tile for each in to_do if isinstance(each, DownloadL1C | FetchL2A)]
    return replace(
        whole,
        tiles=len({str(getattr(each, "tile", "")) for each in tasks} - {""}),
        downloads_bytes=sizes(downloads),
        conversions=sum(isinstance(each, ConvertToL2A) for each in to_do),
        cuts=len(cut),
        fetches_bytes=[row.usual_bytes for row in fetches(tasks)],
        archives=any(isinstance(each, _ARCHIVE) for each in to_do),
    )


def _of_one(whole: Work) -> Work:
    """Return the work for one tile, given that for all tiles, without the archives."""
    one = min(1, whole.tiles)
    downloads = whole.downloads_bytes[:one]
    return replace(
        whole, tiles=one, downloads_bytes=downloads, conversions=min(one, whole.conversions), cuts=one, archives=False
    )


def usual_seconds() -> dict[str, float]:
    """Return the usual duration of a task of each kind: as recorded in this data folder, else estimated."""
    alone = Work(tiles=1, downloads_bytes=[None], conversions=1, cuts=1, archives=False, side_m=side_m()).hours()
    steps = {DownloadL1C: "download", ConvertToL2A: "Sen2Cor", CutPatches: "patches and maps"}
    found = {task.get_task_family(): 3600 * sum(alone[step]) / 2 for task, step in steps.items()}
    noted: dict[str, list[float]] = {}
    for one in read_times(timing.folder()):
        noted.setdefault(one.family, []).append(one.seconds)
    return found | {family: sum(seconds) / len(seconds) for family, seconds in noted.items()}


def at_once() -> dict[str, int]:
    """Return how many tasks of a kind run at once; "" for all kinds together."""
    downloads = config.downloads_at_once()
    limits = {DownloadL1C: downloads, FetchL2A: downloads, ConvertToL2A: config.sen2cor_at_once()}
    return {"": config.workers(), **{task.get_task_family(): limit for task, limit in limits.items()}}


def check_arguments(task: luigi.Task) -> None:
    """Raise BadName or BadArgument, with valid values, if a task cannot have its arguments, such as an unknown tile."""
    tile = str(getattr(task, TILE, ""))
    if tile:
        check_tile(tile)
    if isinstance(task, PipelineTask | GivenInput):
        try:
            task.check_arguments()
        except (BadName, BadArgument):
            raise
        except PipelineError:
            return  # other problems are found when it runs


def failed() -> list[Failure]:
    """Return the failures that still matter: not those of mistyped arguments, nor of inputs that exist by now."""
    with at_rest():
        return [failure for failure in failures.noted() if not _is_past(failure)]


def _is_past(failure: Failure) -> bool:
    if not failure.family:
        return False
    try:
        task = load_task(None, failure.family, failure.arguments)
    except (ParameterException, TaskClassException, ValueError):  # no such task, parameter or value any more
        return True
    try:
        check_arguments(task)
    except (BadName, BadArgument):
        return True
    try:
        is_replaced = isinstance(task, GivenInput) and not isinstance(input_source(task.option), GivenInput)
        return is_replaced or bool(task.complete())
    except PipelineError:
        return False
