"""`ben-luigi plan [--json] [TASK ARGUMENTS...]`: show what a run would do, how long it takes, and what it lacks.

Nothing is made or downloaded. Without TASK the plan covers the whole dataset, as `ben-luigi run` makes it; with TASK,
that task and everything it needs. --json prints the same as JSON, in the format of docs/json.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser

import ben_luigi
from ben_luigi import config
from ben_luigi.commands import command, task_table, usage, world
from ben_luigi.commands.setting_up import configure
from ben_luigi.commands.task_arguments import plan as parser
from ben_luigi.domain.dataset import estimate
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError, some
from ben_luigi.domain.files import size_in_words
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources.availability import Availability
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import followed, planning, survey
from ben_luigi.stages.finalize import FinalizeDataset
from ben_luigi.stages.resolve import is_searched, key_of, known_tiles
from ben_luigi.state import stored

_STEP = 22
_FETCHED = {"inputs": "input", "land cover": "MGRS square"}
_HALF_A_MINUTE_H = 0.5 / 60
_NOT_KNOWN = {
    True: "How many products there are is known after the search: until then, figures are estimates for about as many\n"
    "as it chooses if there is a product of each square and time.",
    False: "No run has read the list of products yet: figures are estimates.",
}
Facts = dict[str, Any]


def facts(task: luigi.Task) -> Facts:
    """Return the plan, as `--json` prints it."""
    if isinstance(task, FinalizeDataset):
        planned, is_complete, stages = survey.work(), survey.is_complete(), survey.stages() if known_tiles() else []
        missing = survey.missing(planned) if not is_complete else _missing_store()
        fetches = survey.fetches()
    else:
        met = planning.met(task)
        planned, is_complete, stages = planning.work_of(task, met), met[task], planning.stages(met)
        missing = survey.missing(planned, planning.inputs(met)) if not is_complete else _missing_store()
        fetches = survey.fetches(met)
    asked = None if is_complete else survey.availability([tile] if (tile := str(getattr(task, "tile", ""))) else [])
    missing = [*missing, *(survey.unavailable(asked) if asked else ())]
    return {
        "version": 1,
        "task": task.task_family,
        "arguments": {name: str(getattr(task, name)) for name in task.param_kwargs if getattr(task, name)},
        "world": "sample" if config.is_sample() else "real",
        "data_dir": str(config.data_dir()),
        "recipe": followed.recipe(),
        "tiles": planned.tiles,
        "is_complete": is_complete,
        "tiles_are_known": bool(known_tiles()),
        "tiles_by_search": is_searched(),
        "stages": [stage._asdict() for stage in stages],
        "to_do": _to_do(planned),
        "to_fetch": [row._asdict() for row in fetches],
        "disk": _disk(planned),
        "at_once": {
            "downloads": planned.downloads_at_once,
            "conversions": planned.conversions_at_once,
            "workers": planned.tasks_at_once,
        },
        "hours": {**planned.hours(), "in all": planned.total_hours()},
        "sources": _sources(asked) if asked else None,
        "missing": [command.as_json(error) for error in missing],
    }


def _missing_store() -> list[PipelineError]:
    """Return what is wrong with the store: a run looks at it before anything else, even if all is made."""
    try:
        stored.check()
    except PipelineError as error:
        return [error]
    return []


def _sources(asked: Availability) -> Facts:
    def tiles_of(names: Sequence[str]) -> list[str]:
        return sorted(key_of(ProductName.parse(name)) for name in names)

    return {
        "asked_at": datetime.fromtimestamp(asked.asked_at, UTC).isoformat(timespec="seconds"),
        "is_offline": asked.is_offline,
        "products": len(asked.states),
        "has": {source: len(asked.having(source)) for source in asked.sources},
        "only_with_account": tiles_of(asked.only_at("cdse")),
        "nowhere": tiles_of(asked.nowhere()),
        "problems": dict(asked.problems),
    }


def _to_do(planned: estimate.Work) -> Facts:
    return {
        "downloads": len(planned.downloads_bytes),
        "download_bytes": round(planned.download_bytes()),
        "downloads_of_unknown_size": planned.downloads_bytes.count(None),
        "quota_fraction": round(planned.quota(), 4),
        "conversions": planned.conversions,
        "tiles_to_cut": planned.cuts,
        "archives": planned.archives,
    }


def _disk(planned: estimate.Work) -> Facts:
    peaks = {"as_configured": survey.retention(), "all_kept": estimate.Retention(), "least": estimate.EVERYTHING}
    return {
        "used_bytes": survey.used_bytes(),
        "free_bytes": survey.free_bytes(),
        "peak_bytes": {name: round(planned.peak_bytes(choice)) for name, choice in peaks.items()},
    }


def words(told: Facts) -> str:
    """Return the same as text."""
    where = "the sample world" if told["world"] == "sample" else "real sources"
    asked = " ".join([told["task"], *(f"--{name} {text}" for name, text in told["arguments"].items())])
    about = "" if told["tiles_are_known"] else "about "
    lines = [f"Plan: {asked} on {where}, {about}{count(told['tiles'], 'tile')}, in {told['data_dir']}"]
    lines += recipe_words(told["recipe"])
    if not told["tiles_are_known"]:
        lines.append(_NOT_KNOWN[told["tiles_by_search"]])
    if told["stages"]:
        lines += ["", "Complete:", *table([survey.Stage(**stage) for stage in told["stages"]])]
    if told["is_complete"] and not told["missing"]:
        return "\n".join([*lines, "", "Nothing to do: everything is there."])
    for rows in map(
        list,
        (
            _to_do_words(told),
            _source_words(told["sources"]),
            _to_fetch_words(told["to_fetch"]),
            _disk_words(told["disk"]),
            _time_words(told),
        ),
    ):
        lines += ["", *rows] if rows else []
    lines.append("")
    errors = [f"  {number}. {error['text']}" for number, error in enumerate(told["missing"], 1)]
    lines.append("Missing before it can come to its end:" if errors else "Nothing that it needs is missing.")
    return "\n".join([*lines, *errors])


def recipe_words(recipe: Facts) -> Iterator[str]:
    """Yield which recipe is followed, what it says and has found, and what is made by it."""
    file = "" if recipe["is_default"] else f", in {recipe['path']}"
    yield f"Recipe: {recipe['name']}, {recipe['title']}, version {recipe['version']}{file}"
    found = "not known yet"
    if recipe["products"]:
        days = f"{recipe['first_day']} to {recipe['last_day']}"
        found = f"{count(recipe['products'], 'product')} of {count(recipe['squares'], 'MGRS square')}, sensed {days}"
    rows = {} if recipe["is_default"] else recipe["says"]
    for name, text in {**rows, "found": found, "makes": ", ".join(recipe["makes"])}.items():
        yield f"  {name:<{_STEP}} {text}"


def count(number: int, what: str) -> str:
    """Return, for example, `1 tile` or `125 tiles`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def table(stages: list[survey.Stage]) -> Iterator[str]:
    """Yield one line per stage, with aligned numbers."""
    width = max((len(f"{stage.of:,}") for stage in stages), default=1)
    for stage in stages:
        yield f"  {stage.name:<{_STEP}} {stage.complete:>{width},} of {stage.of:>{width},}"


def _to_do_words(told: Facts) -> Iterator[str]:
    yield "To do:"
    to_do = told["to_do"]
    unknown = to_do["downloads_of_unknown_size"]
    note = f", {unknown:,} of them of a size not known yet" if unknown else ""
    rows = {
        "downloads": (
            "download",
            f"{count(to_do['downloads'], 'product')}, {size_in_words(to_do['download_bytes'])}{note}",
        ),
        "conversions": ("Sen2Cor", count(to_do["conversions"], "product")),
        "tiles_to_cut": ("cut and map", count(to_do["tiles_to_cut"], "tile")),
        "archives": ("archives", "to be made"),
    }
    for key, (name, text) in rows.items():
        if to_do[key]:
            yield f"  {name:<{_STEP}} {text}"
    if not any(to_do[key] for key in rows):
        yield "  what takes seconds or minutes"
    if to_do["downloads"] and told["world"] == "real":
        quota = f"{size_in_words(estimate.QUOTA_BYTES)} in {estimate.QUOTA_DAYS} days"
        yield f"  {'quota of CDSE':<{_STEP}} {to_do['quota_fraction']:.1%} of {quota}"


def _source_words(sources: Facts | None) -> Iterator[str]:
    if sources is None:
        return
    of = sources["products"]
    if sources["is_offline"]:
        yield f"Sources of {count(of, 'product')}: none can be reached; which of them has what is not known."
    else:
        yield f"Sources of {count(of, 'product')}, as they said at {sources['asked_at']}:"
    for source, number in sources["has"].items():
        problem = sources["problems"].get(source)
        account = ", with an account" if source == "cdse" else ""
        yield f"  {source:<{_STEP}} {f'does not answer: {problem}' if problem else f'{number:,} of {of:,}{account}'}"
    for key, name in (("only_with_account", "only with an account"), ("nowhere", "in no place")):
        if sources[key]:
            yield f"  {name:<{_STEP}} {len(sources[key]):,}: {some(sources[key], 5)}"


def _to_fetch_words(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        yield "To fetch besides, from open sources:"
    for row in rows:
        number = count(row["number"], _FETCHED.get(row["what"], "file"))
        yield f"  {row['what']:<{_STEP}} {number}, about {size_in_words(row['usual_bytes'])}"


def _disk_words(disk: Mapping[str, Any]) -> Iterator[str]:
    yield f"Disk: {size_in_words(disk['used_bytes'])} used, {size_in_words(disk['free_bytes'])} free"
    names = {"as_configured": "as configured", "all_kept": "all kept", "least": "all of [retention] on"}
    for name, number in disk["peak_bytes"].items():
        yield f"  peak, {names[name]:<{_STEP}} {size_in_words(number):>8}"


def _time_words(told: Facts) -> Iterator[str]:
    at_once = ", ".join(count(number, what.removesuffix("s")) for what, number in told["at_once"].items())
    rows = [f"  {step:<{_STEP}} {_spans(best, worst)}" for step, (best, worst) in told["hours"].items() if worst]
    if rows:
        yield from (f"Time ({at_once} at once):", *rows)


def _spans(best: float, worst: float) -> str:
    """Return a time from `best` to `worst` hours in words."""
    if worst < _HALF_A_MINUTE_H:
        return "less than a minute"
    if best < _HALF_A_MINUTE_H:
        return f"up to {_span(worst)}"
    shortest, longest = _span(best), _span(worst)
    return f"about {longest}" if shortest == longest else f"{shortest} to {longest}"


def _span(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def main(arguments: Sequence[str]) -> int:
    """Print the plan."""
    used = parser()
    try:
        given, asked = used.parse_known_args(world.take(arguments))
        configure()
        config.set_defaults()
        wanted = task_table.named(asked)
        config.take_typed(usage.task_of(wanted)[1])
        # Luigi's own options, such as --workers, count only here.
        with CmdlineParser.global_instance(["--module", ben_luigi.__name__, *wanted]) as parsed:
            told = facts(parsed.get_task_obj())
    except (BadName, BadArgument) as error:
        return command.refuse(used, error)
    except PipelineError as error:
        return command.refuse(used, error, command.code_of(error))
    print(json.dumps(told, indent=1) if given.json else words(told))
    return ExitCode.WAITS_FOR_PERSON if told["missing"] else ExitCode.DONE
