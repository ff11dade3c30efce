"""`ben-luigi plan`: what a run would do and take, and what is missing for it; nothing is made or downloaded."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.run import configure
from ben_luigi.domain.dataset import estimate
from ben_luigi.domain.errors import PipelineError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import survey
from ben_luigi.stages.resolve import known_tiles


def report() -> tuple[str, list[PipelineError]]:
    """The plan in words, and every prerequisite that is missing."""
    planned = survey.work()
    missing = survey.missing(planned)
    world = "the sample world" if config.is_sample() else "real sources"
    head = f"Plan: FinalizeDataset on {world}, {planned.tiles} tiles, in {config.data_dir()}"
    lines = [head, "", *_complete()]
    if survey.is_complete():
        return "\n".join([*lines, "", "Nothing to do: everything is there."]), []
    lines += ["", *_to_do(planned), "", *_disk(planned), "", *_time(planned), ""]
    lines.append("Missing before it can come to its end:" if missing else "Nothing that it needs is missing.")
    return "\n".join([*lines, *(f"  {number}. {error}" for number, error in enumerate(missing, 1))]), missing


def _complete() -> Iterator[str]:
    if not known_tiles():
        yield "The list of products is yet to come: figures are for all of them."
        return
    yield "Complete:"
    yield from table(survey.stages())


def table(stages: list[survey.Stage]) -> Iterator[str]:
    """A line for each stage."""
    for stage in stages:
        yield f"  {stage.name:<24} {stage.complete:>5,} of {stage.of:,}"


def _to_do(planned: estimate.Work) -> Iterator[str]:
    unknown = planned.downloads_bytes.count(None)
    note = f", {unknown} of them of a size not known yet" if unknown else ""
    yield "To do:"
    yield f"  download        {len(planned.downloads_bytes):>5} products, {_size(planned.download_bytes())}{note}"
    yield f"  Sen2Cor         {planned.conversions:>5} products"
    yield f"  cut and map     {planned.cuts:>5} tiles"
    yield f"  archives        {'to be made' if planned.archives else 'there':>5}"
    if planned.downloads_bytes and not config.is_sample():
        quota = f"{_size(estimate.QUOTA_BYTES)} in {estimate.QUOTA_DAYS} days"
        yield f"  CDSE's quota    {planned.quota():>5.1%} of {quota}"


def _disk(planned: estimate.Work) -> Iterator[str]:
    yield f"Disk: {_size(survey.used_bytes())} used, {_size(survey.free_bytes())} free"
    choices = {
        "as configured": survey.retention(),
        "all kept": estimate.Retention(),
        "all of [retention] on": estimate.EVERYTHING,
    }
    for name, choice in choices.items():
        yield f"  peak, {name:<22} {_size(planned.peak_bytes(choice)):>8}"


def _time(planned: estimate.Work) -> Iterator[str]:
    tools = f"{planned.downloads_at_once} downloads, {planned.conversions_at_once} conversions"
    yield f"Time ({tools}, {planned.tasks_at_once} workers):"
    for step, (best, worst) in planned.hours().items():
        yield f"  {step:<20} {_span(best)} to {_span(worst)}"
    best, worst = planned.total_hours()
    yield f"  {'in all':<20} {_span(best)} to {_span(worst)}"


def _size(number: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number / 1e6:.0f} MB"


def _span(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def parser() -> argparse.ArgumentParser:
    """The parser of its arguments: there are none."""
    return command.parser("ben-luigi plan", __doc__)


def main(arguments: Sequence[str]) -> int:
    """Print the plan."""
    used = parser()
    used.parse_args(arguments)
    configure()
    config.set_defaults()
    try:
        said, missing = report()
    except PipelineError as error:
        return command.refuse(used, error, ExitCode.WAITS_FOR_PERSON)
    print(said)
    return ExitCode.WAITS_FOR_PERSON if missing else ExitCode.DONE
