"""`ben-luigi status [--json]`: show what is complete, which tiles rest or failed and why, and what to send to CDSE
support.

--json prints the same as JSON, in the format of docs/json.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.commands import command, world
from ben_luigi.commands.arguments import status as parser
from ben_luigi.commands.plan import count, recipe_words, table
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.errors import BadInput, BadName, PipelineError
from ben_luigi.stages import followed, planning, survey
from ben_luigi.stages.archive_parts import lacking_layers
from ben_luigi.stages.resolve import AskCatalogue, known_tiles, resolutions
from ben_luigi.state import budget, database, recipes, stored, worlds


def facts() -> dict[str, Any]:
    """Return the state, as `--json` prints it. Nothing is started but the database, and that only if it exists."""
    worlds.require_own(config.data_dir(), is_sample=config.is_sample())
    tiles = known_tiles()
    return {
        "version": 1,
        "data_dir": str(config.data_dir()),
        "recipe": followed.recipe(),
        "store": _store(),
        "tiles": len(tiles),
        "stages": [stage._asdict() for stage in (survey.stages() if tiles else [])],
        "lacking_layers": {tile: found for tile in sorted(tiles) if (found := lacking_layers(tile))},
        "failed": [asdict(failure) for failure in planning.failed()],
        "downloads_that_failed": list(_tried()),
    }


def _store() -> dict[str, Any] | None:
    """Return the URL of the store, and why it cannot be taken as it is, as when it is not mounted; None without one."""
    if not stored.is_configured():
        return None
    try:
        stored.check()
    except BadInput as error:
        return {"url": str(config.dataset().store), "problem": command.as_json(error)}
    return {"url": str(config.dataset().store), "problem": None}


def _tried() -> Iterator[dict[str, Any]]:
    """Yield tiles whose downloads failed: when they are tried again, and what to send to CDSE support."""
    options = config.cdse()
    cool_down = timedelta(hours=float(options.cool_down_h))
    found = budget.tried(int(options.tries), cool_down) if database.is_there() else {}
    ids = _ids() if found else {}
    for tile, tried in found.items():
        err = config.data_dir() / "l1c" / f"{ids.get(tile, '')}.err"
        yield {
            "tile": tile,
            "tries": tried.tries,
            "rests_until": tried.rests_until and _utc(tried.rests_until),
            "last_at": _utc(tried.last_at),
            "last_error": tried.last_error,
            "product_id": ids.get(tile),
            "error_file": str(err) if err.exists() else None,
        }


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


def words(told: Mapping[str, Any]) -> str:
    """Return the same as text."""
    lines = [f"{told['data_dir']}: {count(told['tiles'], 'tile')}"]
    lines += recipe_words(told["recipe"])
    if told["store"] and (problem := told["store"]["problem"]):
        lines.append(f"The store is away, and what lies there alone counts as missing: {problem['text']}")
    if not told["tiles"]:
        lines.append("The list of products does not exist yet.")
    lines += table([survey.Stage(**stage) for stage in told["stages"]])
    lines += [f"{tile}: its product has no {', '.join(found)}" for tile, found in told["lacking_layers"].items()]
    return "\n".join([*lines, "", *_failed_words(told["failed"]), *_tried_words(told["downloads_that_failed"])])


def _failed_words(failed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "Failed:" if failed else "Nothing has failed that has not succeeded since."
    for failure in failed:
        mark = ", waits for a person" if failure["needs_person"] else ""
        yield f"  {failure['task']}, {failure['at']} on {failure['host']}{mark}"
        yield f"    {failure['error']}"


def _tried_words(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if found:
        yield from ("", "Downloads that failed:")
    for tried in found:
        rests = tried["rests_until"]
        again = f"rests until {_minute(rests)}" if rests else "tried again by any run"
        yield f"  {tried['tile']}: {count(tried['tries'], 'failed try').replace('trys', 'tries')}, {again}"
        yield f"    last, {_minute(tried['last_at'])}: {tried['last_error']}"
        if tried["error_file"]:
            yield f"    to CDSE support: product id {tried['product_id']}, and {tried['error_file']}"
        if rests:
            yield f"    to end its rest: ben-luigi clear-tries {tried['tile']}{recipes.option()}"


def _minute(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M %Z}"


def _ids() -> dict[str, str]:
    """Return the product id of each tile at CDSE, as far as the catalogue has been asked."""
    if not Path(AskCatalogue().output()["states"].path).exists():
        return {}
    return {tile: said.product.id for tile, said in resolutions().items() if said.product}


def main(arguments: Sequence[str]) -> int:
    """Print the state."""
    used = parser()
    try:
        given = used.parse_args(world.take(arguments))
        configure()
        config.set_defaults()
        told = facts()
    except BadName as error:
        return command.refuse(used, error)
    except PipelineError as error:
        return command.refuse(used, error, command.code_of(error))
    print(json.dumps(told, indent=1) if given.json else words(told))
    return 0
