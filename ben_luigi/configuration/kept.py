"""Read a section of the configuration once, and again only when what its values come from has changed.

Every target asks for the data folder, and Luigi would parse every option of a section each time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterator
from configparser import NoSectionError
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

P = ParamSpec("P")
T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_held: list[dict[Hashable, Any]] = []


@contextmanager
def held() -> Iterator[None]:
    """Within, nothing of the configuration is read twice, nor is it looked at for changes: it stays what it was."""
    _held.append(_held[-1] if _held else {})
    try:
        yield
    finally:
        _held.pop()


def while_held(function: Callable[[], T]) -> Callable[[], T]:
    """Decorate what follows from the configuration: it is found once per `held()`."""

    @wraps(function)
    def found() -> T:
        if not _held:
            return function()
        answers = _held[-1]
        if function not in answers:
            answers[function] = function()
        answer: T = answers[function]
        return answer

    return found


def of_last(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate what follows from its arguments alone: the answer is kept until it is asked with other ones.

    Arguments are compared, not hashed: the same dictionary, however large, is found equal at once, and nothing in it is
    touched, which a process that shares it with the one that it was forked from would copy. All callers share the
    answer, which none may change.
    """
    last: tuple[object, T] | None = None

    @wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal last
        now = last
        if now is None or now[0] != (args, kwargs):
            last = now = (args, kwargs), function(*args, **kwargs)
        return now[1]

    return found


class Kept(type):
    """The class of a section, whose value is kept."""

    _last: tuple[object, Any] | None = None

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the section as it is configured now."""
        if args or kwargs or not _held:
            return cls._read(args, kwargs)
        answers = _held[-1]
        if cls not in answers:
            answers[cls] = cls._read(args, kwargs)
        return answers[cls]

    def _read(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        now = args, sorted(kwargs.items()), _source(cls.__name__)
        if cls._last is None or cls._last[0] != now:
            cls._last = now, super().__call__(*args, **kwargs)
        return cls._last[1]


class KeptSection(Kept, Register):
    """The class of a section that Luigi knows, with options of the command line."""


def _source(section: str) -> tuple[object, ...]:
    """Return what the values of a section come from: files, command line and environment."""
    try:
        options = luigi.configuration.get_config().items(section, raw=True)
    except NoSectionError:
        options = []
    named = ["HOME", *(name for _, text in options for name in _VARIABLE.findall(text))]
    return options, CmdlineParser.get_instance(), [os.environ.get(name) for name in named]
