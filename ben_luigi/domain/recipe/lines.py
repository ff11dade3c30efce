"""Find the lines of sections and keys in the text of a TOML file, for messages."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""")
_MARKS = ('"""', "'" * 3)

Place = tuple[str, ...]
"""A section, or a section and a key: ("patches", "side_m"); of a key above the first section, only the key."""


def lines_of(text: str) -> dict[Place, int]:
    """Return the number of the line, from 1, of each section and key. What it does not understand is left out."""
    found: dict[Place, int] = {}
    section: Place = ()
    open_mark = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if open_mark:
            open_mark = "" if line.count(open_mark) % 2 else open_mark
            continue
        header, key = _HEADER.fullmatch(line), _KEY.fullmatch(line)
        if header:
            section = _words(header[1])
            found.setdefault(section, number)
        elif key:
            found.setdefault((*section, *_words(key[1])), number)
            open_mark = next((mark for mark in _MARKS if key[2].count(mark) % 2), "")
    return found


def _words(dotted: str) -> Place:
    return tuple(word.strip().strip("\"'") for word in dotted.split("."))
