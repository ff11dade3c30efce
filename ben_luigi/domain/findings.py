"""Findings: what is wrong in a file that a user writes, said all at once, with the place and the nearest known word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

_SHOWN = 40


class NotAllowed(ValueError):
    """An option does not accept a value: the offending part, if it may be shown, and the nearest accepted value."""

    def __init__(self, found: str, near: str = "", allowed: str = "") -> None:
        super().__init__(f"found {found}" + (f"; did you mean {near}?" if near else ""))
        self.found, self.near, self.allowed = found, near, allowed


@dataclass(frozen=True)
class Finding:
    """Something wrong in a file: the place, the option or line, what was found, and what is allowed."""

    location: str
    subject: str
    found: str
    allowed: str
    near: str = ""

    def __str__(self) -> str:
        near = f"; did you mean {self.near}?" if self.near else ""
        subject = f"{self.subject}: " if self.subject else ""
        return f"{self.location}: {subject}found {self.found}; allowed: {self.allowed}{near}"


def nearest(word: str, known: Collection[str]) -> str:
    """Return the known word that is most similar to this one; an empty text if none is."""
    by_lower = {name.lower(): name for name in known}
    return next((by_lower[name] for name in get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)), "")


def short(text: str) -> str:
    """Return a text, shortened if it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def shown(text: object) -> str:
    """Return a value as it is quoted: on one line, escaped and shortened."""
    return repr(short(text)) if isinstance(text, str) else short(repr(text))
