"""`ben-luigi status`: what is complete, which tiles rest or failed and why, and what to send to CDSE support."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.plan import table
from ben_luigi.commands.run import configure
from ben_luigi.domain.errors import PipelineError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import survey
from ben_luigi.stages.resolve import AskCatalogue, known_tiles, resolutions
from ben_luigi.state import budget, database


def report() -> str:
    """The state in words. Nothing is started but the database, and that only if there is one."""
    tiles = known_tiles()
    lines = [f"{config.data_dir()}: {len(tiles)} tiles"]
    if not tiles:
        lines.append("The list of products is yet to come.")
    lines += table(survey.stages() if tiles else [])
    return "\n".join([*lines, "", *_failed(), *_tried()])


def _failed() -> Iterator[str]:
    """What failed last, and has not succeeded since."""
    found = survey.open_failures()
    yield "Failed:" if found else "Nothing has failed that has not succeeded since."
    for failure in found:
        mark = ", waits for a person" if failure.needs_person else ""
        yield f"  {failure.task}, {failure.at} on {failure.host}{mark}"
        yield f"    {failure.error}"


def _tried() -> Iterator[str]:
    """Tiles whose downloads failed: when they are tried again, and what to send to CDSE support."""
    options = config.cdse()
    cool_down = timedelta(hours=float(options.cool_down_h))
    found = budget.tried(int(options.tries), cool_down) if database.is_there() else {}
    if not found:
        return
    yield ""
    yield "Downloads that failed:"
    ids = _ids()
    for tile, tried in found.items():
        again = f"rests until {tried.rests_until:%Y-%m-%d %H:%M %Z}" if tried.rests_until else "tried again by any run"
        yield f"  {tile}: {tried.tries} failed tries, {again}"
        yield f"    last, {tried.last_at:%Y-%m-%d %H:%M %Z}: {tried.last_error}"
        err = config.data_dir() / "l1c" / f"{ids.get(tile, '')}.err"
        if err.exists():
            yield f"    to CDSE support: product id {ids[tile]}, and {err}"
        if tried.rests_until:
            yield f"    to end its rest: ben-luigi clear-tries {tile}"


def _ids() -> dict[str, str]:
    """The product id of each tile at CDSE, as far as the catalogue has said it."""
    if not Path(AskCatalogue().output()["states"].path).exists():
        return {}
    return {tile: said.product.id for tile, said in resolutions().items() if said.product}


def parser() -> argparse.ArgumentParser:
    """The parser of its arguments: there are none."""
    return command.parser("ben-luigi status", __doc__)


def main(arguments: Sequence[str]) -> int:
    """Print the state."""
    used = parser()
    used.parse_args(arguments)
    configure()
    config.set_defaults()
    try:
        print(report())
    except PipelineError as error:
        return command.refuse(used, error, ExitCode.WAITS_FOR_PERSON)
    return 0
