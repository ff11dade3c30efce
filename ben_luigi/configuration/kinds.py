"""The kinds of options, as Luigi parameters: each checks a value and states in `allowed` which ones it accepts.

A value that is not accepted raises NotAllowed, a ValueError. An option that is `secret` is never quoted.
"""

from __future__ import annotations

import operator
import os
import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility

from ben_luigi.domain import given, plain_values
from ben_luigi.domain.findings import NotAllowed, nearest, shown
from ben_luigi.domain.recipe import reading
from ben_luigi.domain.storing import opening

_IS_URL = re.compile("[a-z][a-z0-9+]*://")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")


class Declared(luigi.Task):
    """A section or task whose parameters are all declared in its class.

    Luigi looks through all attributes of a class for them each time that an option is asked for.
    """

    @classmethod
    @cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Return the parameters by name, in the order of their declaration."""
        found: list[tuple[str, luigi.Parameter[Any]]] = super().get_params()
        return found


class _Written(luigi.Parameter[str]):
    """A text. An empty one means that the option is not set."""

    several_lines = False

    def __init__(
        self, default: str, *, description: str, allowed: str, secret: bool = False, is_quoted: bool = True
    ) -> None:
        visibility = ParameterVisibility.PRIVATE if secret else ParameterVisibility.PUBLIC
        super().__init__(default=default, description=description, visibility=visibility)
        self.allowed, self.is_quoted = allowed, is_quoted


class Text(_Written):
    """Text, which must match `pattern` if there is one."""

    def __init__(
        self,
        default: str = "",
        *,
        description: str,
        allowed: str = "text",
        pattern: str = "",
        secret: bool = False,
        hidden: bool = False,
    ) -> None:
        self.plain = plain_values.Text(allowed=allowed, pattern=pattern, is_quoted=not (secret or hidden))
        super().__init__(
            default, description=description, allowed=allowed, secret=secret, is_quoted=self.plain.is_quoted
        )

    def parse(self, x: str) -> str:
        """Return the text. Raise NotAllowed if it does not match the pattern."""
        return self.plain.parse(x)


class WebAddress(Text):
    """A URL, which may contain a password."""

    def __init__(self, *, description: str, secret: bool = False) -> None:
        pattern, allowed = "https?://[^/].*", "a URL, https://..."
        super().__init__(description=description, allowed=allowed, pattern=pattern, secret=secret, hidden=True)


class StoreUrl(_Written):
    """The URL of an object store, without credentials."""

    def __init__(self, *, description: str) -> None:
        allowed = "s3://BUCKET/FOLDER, or another URL that fsspec knows"
        super().__init__("", description=description, allowed=allowed, is_quoted=False)

    def parse(self, x: str) -> str:
        """Return the URL without a slash at its end. Raise NotAllowed if it is none, or has a password in it."""
        if not x:
            return x
        try:
            return "://".join(opening.parse(x))
        except ValueError as error:
            raise NotAllowed(str(error)) from None


class Options(_Written):
    """Options of a program, quoted as in a shell."""

    def __init__(self, *, description: str) -> None:
        super().__init__("", description=description, allowed="options, quoted as in a shell")

    def parse(self, x: str) -> str:
        """Return the text. Raise NotAllowed if a quotation in it has no end."""
        try:
            shlex.split(x)
        except ValueError as error:
            raise NotAllowed(f"{x!r}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        return x


class PathName(_Written):
    """A path in which `~` and `$NAME` are expanded. `folder` means one that is made if needed, and written to."""

    def __init__(self, default: str = "", *, description: str, allowed: str = "a path", folder: bool = False) -> None:
        super().__init__(default, description=description, allowed=allowed)
        self.folder = folder

    def parse(self, x: str) -> str:
        """Return the expanded path. Raise NotAllowed for a URL, and for an unknown variable or home directory in it."""
        if _IS_URL.match(x):
            raise NotAllowed("a URL; what is named here has to be on a disk: only [dataset] store takes a URL")
        missing = [name for name in _VARIABLE.findall(x) if name not in os.environ]
        if missing:
            raise NotAllowed(
                f"no variable {missing[0]} in the environment",
                nearest(missing[0], os.environ),
                "variables that are set",
            )
        try:
            return str(Path(_VARIABLE.sub(lambda found: os.environ[found[1]], x)).expanduser()) if x else x
        except RuntimeError:
            raise NotAllowed(f"{x.partition('/')[0]}, which is the home of an unknown user") from None


class RecipeName(PathName):
    """The name of a packaged recipe, or the path of another one; `artifacts` is the folder of what is packaged."""

    def __init__(self, default: str, *, artifacts: Path, description: str) -> None:
        super().__init__(default, description=description, allowed="the name of a packaged recipe, or the path of one")
        self.artifacts = artifacts

    def parse(self, x: str) -> str:
        """Return the name, or the expanded path. Raise NotAllowed if there is no such recipe."""
        path = super().parse(x)
        located = reading.locate(path, self.artifacts)
        if (what := given.kind(located)) != given.FILE:
            raise NotAllowed(f"{shown(x)}, where there is {what}", nearest(x, reading.packaged(self.artifacts)))
        return path


class Area(PathName):
    """`west, south, east, north` in degrees, or the path of a GeoJSON file."""

    def __init__(self, *, description: str) -> None:
        allowed = "west, south, east, north in degrees, or the path of a GeoJSON file"
        super().__init__(description=description, allowed=allowed)

    def parse(self, x: str) -> str:
        """Return the text. Raise NotAllowed for an invalid box, or a file that does not exist."""
        words = x.replace(",", " ").split()
        try:
            edges = [float(word) for word in words]
        except ValueError:
            path = super().parse(x)
            if path and given.kind(Path(path)) != given.FILE:
                raise NotAllowed(f"{shown(x)}, which is not a file") from None
            return path
        if words and not (len(edges) == 4 and -180 <= edges[0] < edges[2] <= 180 and -90 <= edges[1] < edges[3] <= 90):
            raise NotAllowed(repr(x))
        return x


class Words(_Written):
    """Words, separated by commas or white space, or by `separator`, each one of `known` or of the form `pattern`."""

    several_lines = True

    def __init__(
        self,
        *,
        description: str,
        known: Sequence[str] = (),
        pattern: str = "",
        allowed: str = "",
        separator: str = "",
        default: str = "",
        hidden: bool = False,
    ) -> None:
        self.plain = plain_values.Words(
            known=tuple(known), pattern=pattern, allowed=allowed, separator=separator, is_quoted=not hidden
        )
        super().__init__(default, description=description, allowed=self.plain.allowed, is_quoted=not hidden)
        self.separator = separator

    def words(self, text: str) -> list[str]:
        """Return the words in a value."""
        return self.plain.words(text)

    def parse(self, x: str) -> str:
        """Return the text. Raise NotAllowed if a word is not accepted."""
        return self.plain.parse(x)


class Countries(_Written):
    """Countries, separated by commas; who knows the recipe checks them."""

    several_lines = True

    def __init__(self, *, description: str) -> None:
        super().__init__("", description=description, allowed="countries of the recipe, separated by commas")


class TileKeys(_Written):
    """Tile keys, separated by commas or white space."""

    several_lines, plain = True, plain_values.TileKeys()

    def __init__(self, *, description: str) -> None:
        super().__init__("", description=description, allowed=self.plain.allowed)

    def parse(self, x: str) -> str:
        """Return the text. Raise NotAllowed if a word is no tile key."""
        return self.plain.parse(x)


class _Number(luigi.NumericalParameter[Any]):
    """A number in a range, both ends included."""

    several_lines, is_quoted = False, True

    def __init__(self, kind: type, default: Any, plain: plain_values.Real, description: str) -> None:
        most = plain.largest if plain.most is None else plain.most
        super().__init__(default=default, var_type=kind, min_value=plain.least, max_value=most, right_op=operator.le)
        self.plain, self.description, self.allowed = plain, description, plain.allowed

    def parse(self, x: str) -> Any:
        """Return the number. Raise NotAllowed if it is not one, or is out of range."""
        return self.plain.parse(x)


class Whole(_Number):
    """A whole number."""

    def __init__(self, default: int, *, description: str, least: int = 0, most: int | None = None) -> None:
        super().__init__(int, default, plain_values.Whole(least=least, most=most), description)


class Real(_Number):
    """A number."""

    def __init__(self, default: float, *, description: str, least: float = 0, most: float | None = None) -> None:
        super().__init__(float, default, plain_values.Real(least=least, most=most), description)


class Choice(luigi.ChoiceParameter[str]):
    """One of a few words, the first of which is the default."""

    several_lines, is_quoted = False, True

    def __init__(self, *, choices: tuple[str, ...], description: str) -> None:
        super().__init__(default=choices[0], choices=choices, description=description)
        self.description = description  # Luigi has appended the choices to it, in random order
        self.plain = plain_values.Choice(known=choices)
        self.allowed = self.plain.allowed

    def parse(self, x: str) -> str:
        """Return the word. Raise NotAllowed if it is not one of the choices."""
        return self.plain.parse(x)


class Switch(luigi.BoolParameter):
    """On or off."""

    several_lines, is_quoted, plain = False, True, plain_values.Switch()
    allowed = plain.allowed

    def __init__(self, default: bool, *, description: str) -> None:
        super().__init__(default=default, parsing=luigi.BoolParameter.EXPLICIT_PARSING, description=description)

    def parse(self, x: object) -> bool:
        """Return whether it is on. Raise NotAllowed unless the value is true or false."""
        return self.plain.parse(x)


def plain_of(parameter: Any) -> plain_values.Plain | None:
    """Return the kind of an option, ours or Luigi's own, whose values can be checked alone; None for another one."""
    if isinstance(parameter, luigi.EnumParameter):
        return plain_values.Choice(known=tuple(parameter._enum.__members__))
    if type(parameter) is luigi.ChoiceParameter and parameter._var_type is str:
        return plain_values.Choice(known=tuple(sorted(parameter._choices)))
    found: plain_values.Plain | None = getattr(parameter, "plain", _OF_LUIGI.get(type(parameter)))
    return found


_OF_LUIGI: dict[type, plain_values.Plain] = {
    luigi.IntParameter: plain_values.Whole(),
    luigi.FloatParameter: plain_values.Real(),
    **dict.fromkeys((luigi.Parameter, luigi.OptionalParameter, luigi.OptionalStrParameter), plain_values.Text()),
}
