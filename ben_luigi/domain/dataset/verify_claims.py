"""What the descriptions of a dataset say of its files' length and hashes, held against the files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.files import file_hash

SIZE = "size"
Values = Mapping[str, str | int]
"""Length in bytes (SIZE), and hexadecimal hashes by algorithm."""


class Claims:
    """Who says what of each file."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Values]] = {}

    def add(self, file: str, source: str, values: Values) -> None:
        """Note what `source` says of a file."""
        self._claims.setdefault(file, {})[source] = values

    def without(self, files: Callable[[str], bool]) -> Claims:
        """The same, without those about some files."""
        fewer = Claims()
        fewer._claims = {file: sources for file, sources in self._claims.items() if not files(file)}
        return fewer

    def files(self) -> list[str]:
        """Those of which anything is said."""
        return list(self._claims)

    def check(self, folder: Path, known: Mapping[str, Values], required: Collection[str], findings: Findings) -> None:
        """Add the files that are other than is said of them.

        `known` has what has been found of some files already; that one of `required` is missing has been said before.
        """
        for file, sources in self._claims.items():
            algorithms = {name for values in sources.values() for name in values}
            try:
                found = known.get(file) or _measured(folder / file, algorithms)
            except FileNotFoundError:
                if file not in required:
                    findings.add(file, f"missing, though there is one in {_listed(sources)}")
            except OSError as error:
                findings.add(file, f"cannot be read ({error})")
            else:
                _hold(file, sources, found, findings)


def _measured(path: Path, algorithms: Collection[str]) -> Values:
    hashes = {name: file_hash(path, name) for name in algorithms if name != SIZE}
    return {SIZE: path.stat().st_size, **hashes}


def _hold(file: str, sources: Mapping[str, Values], found: Values, findings: Findings) -> None:
    """Name the file if nobody says what it is; else those who say otherwise."""
    wrong = {source: _first(values, found) for source, values in sources.items() if _first(values, found)}
    if len(wrong) == len(sources):
        name = next(iter(wrong.values()))
        expected = next(iter(sources.values()))[name]
        findings.differ(file, f"not the file that is meant in {_listed(sources)}", name, expected, found[name])
        return
    for source, name in wrong.items():
        findings.differ(source, f"another {name} than the file has", file, found[name], sources[source][name])


def _first(values: Values, found: Values) -> str:
    """The first value that is another; empty if all are the same."""
    return next((name for name, value in values.items() if value != found[name]), "")


def _listed(sources: Collection[str]) -> str:
    return ", ".join(sources)
