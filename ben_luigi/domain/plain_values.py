"""Check values that can be judged alone: numbers in a range, words out of a list, texts by a pattern, tile keys.

It imports neither Luigi nor anything else that takes time, so that a wrong value on a command line is refused at once.
Each kind states in `allowed` which values it accepts, and raises NotAllowed for another one. `as_table` and
`from_table` convert a kind to and from JSON.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ben_luigi.domain.findings import Finding, NotAllowed, nearest, shown

_NOT_SHOWN = "a value that is not shown"


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A kind of values. `is_quoted` is whether errors may quote the value, which may be a secret."""

    allowed: str = ""
    is_quoted: bool = True

    def parse(self, text: str) -> Any:
        """Return the value that a text means. Raise NotAllowed for a text that is not accepted."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Text(Plain):
    """Text, which must match `pattern` if there is one. An empty text means that the option is not set."""

    allowed: str = "text"
    pattern: str = ""

    def parse(self, text: str) -> str:
        """Return the text. Raise NotAllowed if it does not match the pattern."""
        if text and self.pattern and not re.fullmatch(self.pattern, text):
            raise NotAllowed(repr(text) if self.is_quoted else "another form")
        return text


@dataclass(frozen=True, kw_only=True)
class Words(Plain):
    """Words, separated by commas or white space, or by `separator`.

    Each is one of `known`, or matches `pattern`; without both, any word is accepted.
    """

    known: tuple[str, ...] = ()
    pattern: str = ""
    separator: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", tuple(self.known))
        object.__setattr__(self, "allowed", self.allowed or ", ".join(self.known))

    def words(self, text: str) -> list[str]:
        """Return the words in a value."""
        found = text.split(self.separator) if self.separator else text.replace(",", " ").split()
        return [" ".join(word.split()) for word in found if word.strip()]

    def fits(self, word: str) -> bool:
        """Return whether a word is accepted."""
        return word in self.known if self.known else bool(re.fullmatch(self.pattern or ".*", word))

    def parse(self, text: str) -> str:
        """Return the text. Raise NotAllowed if a word is not accepted."""
        wrong = [word for word in self.words(text) if not self.fits(word)]
        if wrong:
            found = ", ".join(map(repr, wrong[:3])) if self.is_quoted else "another form"
            raise NotAllowed(found, nearest(wrong[0], self.known))
        return text


@dataclass(frozen=True, kw_only=True)
class TileKeys(Words):
    """Tile keys, separated by commas or white space."""

    allowed: str = "keys such as 33UUP_20170613"

    def fits(self, word: str) -> bool:
        """Return whether a word is a tile key."""
        from ben_luigi.domain.names import is_tile_key  # its regular expressions take time

        return is_tile_key(word)


@dataclass(frozen=True, kw_only=True)
class Real(Plain):
    """A number in a range, both ends included; without `least`, any number."""

    least: float | None = None
    most: float | None = None
    word: ClassVar[str] = "a number"
    number: ClassVar[type[float]] = float
    largest: ClassVar[float] = sys.float_info.max

    def __post_init__(self) -> None:
        endless = "" if self.least is None else f" of {self.least} or more"
        limits = endless if self.most is None else f" from {self.least} to {self.most}"
        object.__setattr__(self, "allowed", self.allowed or f"{self.word}{limits}")

    def parse(self, text: str) -> Any:
        """Return the number. Raise NotAllowed if it is not one, or is out of range."""
        try:
            number = self.number(text)
        except (ValueError, OverflowError):
            raise NotAllowed(repr(text)) from None
        most = self.largest if self.most is None else self.most
        if self.least is not None and not self.least <= number <= most:
            raise NotAllowed(repr(text))
        return number


@dataclass(frozen=True, kw_only=True)
class Whole(Real):
    """A whole number in a range, both ends included; without `least`, any whole number."""

    word: ClassVar[str] = "a whole number"
    number: ClassVar[type[float]] = int
    largest: ClassVar[float] = sys.maxsize


@dataclass(frozen=True, kw_only=True)
class Choice(Plain):
    """One of a few words."""

    known: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", tuple(self.known))
        object.__setattr__(self, "allowed", self.allowed or ", ".join(self.known))

    def parse(self, text: str) -> str:
        """Return the word. Raise NotAllowed if it is not one of them."""
        if text not in self.known:
            raise NotAllowed(repr(text), nearest(text, self.known))
        return text


@dataclass(frozen=True, kw_only=True)
class Switch(Plain):
    """On or off."""

    allowed: str = "true, false"

    def parse(self, text: object) -> bool:
        """Return whether it is on. Raise NotAllowed unless the value is true or false."""
        said = str(text).lower()
        if said not in ("true", "false"):
            meant = "true" if said in ("yes", "on", "1") else nearest(said, ("true", "false"))
            raise NotAllowed(repr(text), meant)
        return said == "true"


_KINDS: dict[str, type[Plain]] = {kind.__name__: kind for kind in (Text, Words, TileKeys, Real, Whole, Choice, Switch)}


def as_table(kind: Plain) -> dict[str, Any]:
    """Return a kind as a table of JSON: its name, and what differs from the defaults and cannot be derived."""
    name = type(kind).__name__
    given: dict[str, Any] = {}
    for field in fields(kind):
        if (value := getattr(kind, field.name)) != field.default:
            given[field.name] = list(value) if isinstance(value, tuple) else value
    derived = {key: value for key, value in given.items() if key != "allowed"}
    return {"kind": name, **(derived if _KINDS[name](**derived) == kind else given)}


def from_table(table: dict[str, Any]) -> Plain:
    """Return the kind that a table of `as_table` means."""
    return _KINDS[table["kind"]](**{key: value for key, value in table.items() if key != "kind"})


def check(parse: Callable[[str], object], text: str) -> None:
    """Raise NotAllowed, with the value as it is quoted, if `parse` does not accept it.

    A value in a wrong encoding is passed over, which is another finding.
    """
    if "\ufffd" in text:
        return
    try:
        parse(text)
    except NotAllowed as error:
        raise NotAllowed(shown(text) if error.found == repr(text) else error.found, error.near, error.allowed) from None
    except Exception:
        raise NotAllowed(shown(text)) from None


def finding(location: str, subject: str, error: NotAllowed, allowed: str, *, is_quoted: bool) -> Finding:
    """Return the finding about a value. A secret value is neither quoted nor compared with allowed ones."""
    of_the_kind = bool(error.allowed)  # then the error does not quote the value
    found = error.found if is_quoted or of_the_kind else _NOT_SHOWN
    near = error.near if is_quoted or of_the_kind else ""
    return Finding(location, subject, found, error.allowed or allowed, near)
