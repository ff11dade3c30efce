"""Make the table of all options in `docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ben_luigi.configuration import luigi_options, sections


def rows() -> Iterator[str]:
    """Yield the lines of the table in Markdown: our own sections, then the options of Luigi that are set here."""
    for name, section in sections.SECTIONS.items():
        yield from _head(f"[{name}]", " ".join((section.__doc__ or "").partition("\n")[0].split()))
        for option, parameter in sections.options_of(section).items():
            yield _row(option, luigi_options.allowed(parameter), _default(parameter), parameter.description)
    for name, defaults in luigi_options.DEFAULTS.items():
        yield from _head(f"[{name}]", "Luigi's own options, as far as this project sets them.")
        declared = luigi_options.of(name) or {}
        for option, default in defaults.items():
            yield _row(option, luigi_options.allowed(declared[option]), default, luigi_options.MEANINGS[option])


def _head(title: str, text: str) -> Iterator[str]:
    yield from (f"### {title}", "", text, "", "| Option | Value | Default | Meaning |", "| --- | --- | --- | --- |")


def _row(*cells: str) -> str:
    option, allowed, default, meaning = (cell.replace("|", r"\|").replace("<", r"\<") for cell in cells)
    return f"| `{option}` | {allowed} | {f'`{default}`' if default else ''} | {meaning} |"


def _default(parameter: Any) -> str:
    value = parameter._default
    tracked = str(sections.TRACKED_ARTIFACTS.parent) + "/"
    return str(value).lower() if isinstance(value, bool) else str(value).removeprefix(tracked)


def text() -> str:
    """Return the table."""
    lines = list(rows())
    spaced = [("\n" if line.startswith("###") and number else "") + line for number, line in enumerate(lines)]
    return "\n".join(spaced) + "\n"
