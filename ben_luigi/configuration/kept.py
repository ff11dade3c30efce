"""Read a section of the configuration once, and again only when what its values come from has changed.

Every target asks for the data folder, and Luigi would parse every option of a section each time.
"""

from __future__ import annotations

import os
import re
from configparser import NoSectionError
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

_VARIABLE = re.compile(r"\$\{?(\w+)")


class Kept(type):
    """The class of a section, whose value is kept."""

    _last: tuple[object, Any] | None = None

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the section as it is configured now."""
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
