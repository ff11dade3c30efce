"""Check the recipe that the configuration names, and find options that contradict it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ben_luigi.configuration.files import ConfigFile, Entry
from ben_luigi.configuration.sections import SECTIONS, TRACKED_ARTIFACTS, options_of
from ben_luigi.configuration.values import interpolated, last_entries
from ben_luigi.domain.findings import Finding, NotAllowed, nearest, shown
from ben_luigi.domain.recipe import declared, model, reading
from ben_luigi.domain.recipe.model import Recipe

_OF_SEN2COR = ("executable", "accept_licence", "any_version")
_OF_LABELS = ("nomenclature", "unlabeled_limit")
_SHOWN = 10


def of(files: Sequence[ConfigFile], environment: Mapping[str, str] = os.environ) -> tuple[Recipe | None, list[Finding]]:
    """Return the recipe that the files name, and everything that is wrong in it; None if anything is."""
    entry = last_entries(files).get(("dataset", "recipe"))
    try:
        return checked(interpolated(entry.text, environment) if entry else "")
    except NotAllowed:
        return None, []  # already a finding


def checked(named: str) -> tuple[Recipe | None, list[Finding]]:
    """Return the recipe of this name or path, and everything that is wrong in it.

    Raise NotAllowed if there is none.
    """
    located = reading.locate(options_of(SECTIONS["dataset"])["recipe"].parse(named), TRACKED_ARTIFACTS)
    here = Path.cwd()
    name = str(located.relative_to(here)) if located.is_relative_to(here) else str(located)
    return reading.check(located, TRACKED_ARTIFACTS, name)


def contradictions(files: Sequence[ConfigFile], recipe: Recipe | None) -> Iterator[Finding]:
    """Yield findings about options that say otherwise than the recipe."""
    if recipe is None:
        return
    given = {where: entry for where, entry in last_entries(files).items() if _is_set(entry)}
    for where, allowed in _forbidden(recipe):
        if where in given:
            entry = given[where]
            value = shown(entry.text) if entry.section != "inputs" else "a path"
            yield Finding(entry.location, f"[{where[0]}] {where[1]}", value, f"nothing: {allowed}")


def unknown_countries(text: str, recipe: Recipe | None) -> NotAllowed | None:
    """Return what is wrong in `[subset] countries` by the recipe; of all regions of a file, the file says it later."""
    if recipe is None or not text.strip():
        return None
    wanted = recipe.countries
    if wanted.file is None:
        return NotAllowed(shown(text), allowed=f"nothing: the recipe {recipe.name} has no countries")
    wrong = [name for name in wanted.listed(text) if wanted.names is not None and name not in wanted.names]
    if not wrong:
        return None
    known = wanted.names or ()
    return NotAllowed(", ".join(map(shown, wrong[:3])), nearest(wrong[0], known), ", ".join(known[:_SHOWN]))


def _forbidden(recipe: Recipe) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield section and option of what must not be set with a recipe, and why."""
    if recipe.products.level == model.L2A:
        why = f"the recipe {recipe.name} takes L2A products as ESA made them"
        yield from ((("sen2cor", option), why) for option in _OF_SEN2COR)
        yield ("inputs", "l1c_dir"), why
    files = {
        declared.LIST_OPTION: ("[products] list", recipe.products.list),
        declared.COUNTRIES_OPTION: ("[countries] file", recipe.countries.file),
        declared.LAND_COVER_OPTION: ("[land_cover] file", recipe.land_cover.file),
    }
    for option, (key, file) in files.items():
        if isinstance(file, Path):
            yield ("inputs", option), f"{key} of the recipe {recipe.name} names the file"
    if not recipe.is_default:
        for option in _OF_LABELS:
            yield ("metadata", option), f"[land_cover] {option} of the recipe {recipe.name} says it"
        yield ("tile", "accept_offset"), f"[products] boa_offset of the recipe {recipe.name} says it"


def _is_set(entry: Entry) -> bool:
    """Return whether an option has another value than its default."""
    options = options_of(SECTIONS[entry.section]) if entry.section in SECTIONS else {}
    try:
        option = options[entry.option]
        return bool(entry.text) and bool(option.parse(entry.text) != option._default)
    except (KeyError, ValueError):
        return False  # already a finding
