"""Read a nomenclature: the codes of a land cover, their names, and the classes that they are gathered in.

    nothing = 999                  # the value of pixels that the land cover does not cover; 999 by default

    [[class]]                      # in the order of their index
    name = "Water"
    codes = [511, 512]

    [codes]                        # every code that may occur; [clc] means the same
    511 = "Water courses"

    [colour]                       # red, green, blue of each code, for pictures; optional
    511 = [0, 204, 242]

This module reads nothing else, so that the configuration can be checked within a moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ben_luigi.domain.bounded import read_toml
from ben_luigi.domain.errors import BadInput

NOTHING = 999
"""What pixels of a reference map have where the land cover has nothing, unless the nomenclature says otherwise."""

_MOST = 65_535
_TABLES = ("codes", "clc")
_KEYS = {"nothing", "class", "colour", *_TABLES}
_KEYS_OF_CLASS = {"name", "codes"}
_EXPECTED = "TOML with [[class]] name, codes and a table [clc] or [codes], codes from 1 to 65,535"
_REMEDY = "correct it: [metadata] nomenclature or the recipe names the file"
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Codes:
    """Names of classes in their order, the class of each code that has one, and the name of each code.

    `table` is the name of the table in which the file lists the codes.
    """

    classes: tuple[str, ...]
    class_of: dict[int, str]
    names: dict[int, str]
    colours: dict[int, Colour] = field(default_factory=dict)
    nothing: int = NOTHING
    table: str = "clc"


def read(path: Path) -> Codes:
    """Read a nomenclature. Raise BadInput, naming all that is wrong, if codes overlap, are unknown or impossible."""
    try:
        data = read_toml(path)
        table = next((name for name in _TABLES if name in data), "clc")
        classes = [(_text(entry["name"]), _codes(entry["codes"])) for entry in data["class"]]
        names = {_key(code, table): _text(name) for code, name in data[table].items()}
        colours = {_key(code, "colour"): _colour(code, value) for code, value in data.get("colour", {}).items()}
        nothing = _number(data.get("nothing", NOTHING))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        said = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise BadInput(path, expected=_EXPECTED, found=said, remedy=_REMEDY) from error
    of_class = [(code, name) for name, codes in classes for code in codes]
    found = Codes(tuple(name for name, _ in classes), dict(of_class), names, colours, nothing, table)
    problems = [*_problems(found, [code for code, _ in of_class]), *_unknown(data)]
    if problems:
        expected = f"each code once, from 1 to 65,535, and in [{table}]"
        raise BadInput(path, expected=expected, found="; ".join(problems), remedy=_REMEDY)
    return found


def _problems(found: Codes, listed: list[int]) -> Iterator[str]:
    """Yield what is wrong with the codes; `listed` are those of all classes."""
    twice = sorted(code for code, times in Counter(listed).items() if times > 1)
    stray = sorted(set(listed) - found.names.keys())
    impossible = sorted(code for code in {*listed, *found.names, found.nothing} if not 0 < code <= _MOST)
    colourless = sorted(found.names.keys() ^ found.colours.keys()) if found.colours else []
    same = sorted(name for name, times in Counter(found.classes).items() if times > 1)
    if twice:
        yield f"twice: {twice}"
    if stray:
        yield f"not in [{found.table}]: {stray}"
    if impossible:
        yield f"impossible: {impossible}"
    if found.nothing in found.names:
        yield f"{found.nothing}, which means that there is nothing: name another value with nothing = ..."
    if colourless:
        yield f"without a code or a colour: {colourless}"
    if same:
        yield f"classes of one name: {same}"
    if not found.classes or "UNLABELED" in found.classes:
        yield "no class" if not found.classes else "a class UNLABELED, which is what codes without a class are"


def _unknown(data: dict[str, Any]) -> Iterator[str]:
    if unknown := sorted(data.keys() - _KEYS):
        yield f"unknown keys: {unknown}"
    if unknown := sorted({key for entry in data["class"] for key in entry.keys() - _KEYS_OF_CLASS}):
        yield f"unknown keys of [[class]]: {unknown}"
    if all(name in data for name in _TABLES):
        yield "both [codes] and [clc]"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r}, which is no name")
    return value


def _codes(value: object) -> list[int]:
    if not isinstance(value, list):
        raise ValueError(f"codes = {value!r}, which is no list of codes")
    return [_number(code) for code in value]


def _number(value: object) -> int:
    if type(value) is not int:  # a bool is another type
        raise ValueError(f"{value!r}, which is no whole number")
    return value


def _key(code: str, table: str) -> int:
    """Return the code that a key of a table is; written in one way only, so that no two keys are of one code."""
    if not (code.isascii() and code.isdigit() and str(int(code)) == code):
        raise ValueError(f"{code!r} in [{table}], which is no code")
    return int(code)


def _colour(code: str, value: Any) -> Colour:
    red, green, blue = (_number(part) for part in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{value} as the colour of {code}")
    return red, green, blue
