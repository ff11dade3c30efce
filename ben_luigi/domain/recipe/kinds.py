"""The kinds of values in a recipe: each checks a value of TOML, and states in `allowed` which ones it accepts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ben_luigi.domain import given
from ben_luigi.domain.findings import NotAllowed, nearest, shown

Parse = Callable[[Any], Any]


@dataclass(frozen=True)
class Kind:
    """How a value is checked and turned into that of the model, and whether a recipe must have it."""

    parse: Parse
    allowed: str
    required: bool = False


_LINE = r"(?=.*\S)[^\x00-\x1f\x7f]+"


def text(allowed: str = "text on one line, not only blanks", pattern: str = _LINE, *, required: bool = False) -> Kind:
    """Return the kind of a text that matches a pattern."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise NotAllowed(shown(value))
        return value

    return Kind(parse, allowed, required)


def choice(known: Collection[str], *, required: bool = False) -> Kind:
    """Return the kind of one of a few words."""

    def parse(value: Any) -> str:
        if value not in known or not isinstance(value, str):
            raise NotAllowed(shown(value), nearest(str(value), known))
        return value

    return Kind(parse, ", ".join(f'"{word}"' for word in known), required)


def number(least: float, most: float, *, whole: bool = False, step: int = 0, required: bool = False) -> Kind:
    """Return the kind of a number from `least` to `most`; with a `step`, a multiple of it."""

    def parse(value: Any) -> float | int:
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise NotAllowed(shown(value))
        if step and value % step:
            near = min(max(round(value / step) * step, least), most)
            raise NotAllowed(shown(value), f"{near:g}")
        return value if whole else float(value)

    what = f"a multiple of {step}" if step else "a whole number" if whole else "a number"
    return Kind(parse, f"{what} from {least:g} to {most:g}", required)


def several(each: Kind, *, least: int = 1, most: int = 100_000) -> Kind:
    """Return the kind of a list of different values of another kind."""

    def parse(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise NotAllowed(shown(value))
        if not least <= len(value) <= most:
            raise NotAllowed(f"{len(value)} values")
        found = tuple(each.parse(one) for one in value)
        twice = [one for one, times in Counter(found).items() if times > 1]
        if twice:
            raise NotAllowed(f"{shown(twice[0])} more than once")
        return found

    return Kind(parse, f"a list [...] of {each.allowed}")


def all_or(each: Kind) -> Kind:
    """Return the kind of a list, or the word "all", which becomes None."""
    listed = several(each)
    return Kind(lambda value: None if value == "all" else listed.parse(value), f'"all", or {listed.allowed}')


def day(*, required: bool = False) -> Kind:
    """Return the kind of a date of TOML."""

    def parse(value: Any) -> date:
        if not isinstance(value, date) or isinstance(value, datetime):
            near = str(value) if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) else ""
            raise NotAllowed(shown(str(value)), f"{near} without quotes" if near else "")
        return value

    return Kind(parse, "a date, 2023-06-01", required)


def file(folders: Collection[Path], options: Collection[str] = (), *, required: bool = False) -> Kind:
    """Return the kind of an existing file, by its path relative to the first of `folders` that has it.

    Of `options`, the options of [inputs] that may give it, the name is returned as text.
    """

    def parse(value: Any) -> Path | str:
        if not isinstance(value, str) or not value or "\0" in value:
            raise NotAllowed(shown(value))
        if value in options:
            return value
        paths = [folder / expanded(value) for folder in folders]
        for path in paths:
            if given.kind(path) == given.FILE:
                return path.absolute()
        near = nearest(value, options) or _near(paths[0])
        raise NotAllowed(f"{given.kind(paths[0])} at {paths[0]}", near)

    either = f"{', '.join(options)} of [inputs], or " if options else ""
    return Kind(parse, f"{either}the path of a file", required)


def pattern_of(folder: Path, fields: Collection[str], *, what: str, required: bool = False) -> Kind:
    """Return the kind of a path that may have `fields` in braces; without any, it must exist as `what`."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            raise NotAllowed(shown(value))
        unknown = [name for name in re.findall(r"\{([^{}]*)\}", value) if name not in fields]
        bare = re.sub(r"\{[^{}]*\}", "", value)
        if unknown or "{" in bare or "}" in bare:
            near = nearest(unknown[0], fields) if unknown else ""
            raise NotAllowed(shown(value), f"{{{near}}}" if near else "")
        path = folder / expanded(value)
        if value == bare and given.kind(path) != what:
            raise NotAllowed(f"{given.kind(path)} at {path}", _near(path))
        return str(path.absolute())

    braces = " and ".join(f"{{{name}}}" for name in fields)
    return Kind(parse, f"the path of {what}" + (f", or a pattern with {braces}" if fields else ""), required)


def table(kinds: Mapping[str, Kind], make: Callable[..., Any]) -> Kind:
    """Return the kind of an inline table, whose values become arguments of `make`."""

    def parse(value: Any) -> Any:
        if not isinstance(value, dict):
            raise NotAllowed(shown(value))
        for name in value.keys() - kinds.keys():
            raise NotAllowed(f"a key {shown(name)}", nearest(name, kinds))
        for name in (name for name, kind in kinds.items() if kind.required and name not in value):
            raise NotAllowed(f"no key {name}")
        parsed = {}
        for name, one in value.items():
            try:
                parsed[name] = kinds[name].parse(one)
            except NotAllowed as error:
                raise NotAllowed(f"{name} = {error.found}", error.near, f"{name}: {kinds[name].allowed}") from None
        return make(**parsed)

    return Kind(parse, f"a table {{ ... }} with {', '.join(kinds)}")


def expanded(value: str) -> Path:
    """Return a path, with `~` expanded. Raise NotAllowed if that is the home of an unknown user."""
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise NotAllowed(f"{value.partition('/')[0]}, which is the home of an unknown user") from None


def _near(path: Path) -> str:
    """Return the existing path beside this one whose name is most similar, unless something is at this one."""
    try:
        there = [other.name for other in given.listed(path.parent)]
    except OSError:
        return ""
    near = nearest(path.name, there)
    return str(path.with_name(near)) if near and path.name not in there else ""
