"""Check the lengths and hashes that a dataset's descriptions state against the files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ben_luigi.domain.dataset.verify_findings import Findings
from ben_luigi.domain.errors import reason
from ben_luigi.domain.files import file_hash

SIZE = "size"
Values = Mapping[str, str | int]
"""Length in bytes (SIZE), and hexadecimal hashes by algorithm."""


class Claims:
    """The stated length and hashes of each file, by source."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Values]] = {}

    def add(self, file: str, source: str, values: Values) -> None:
        """Note what `source` states about a file."""
        self._claims.setdefault(file, {})[source] = values

    def without(self, files: Callable[[str], bool]) -> Claims:
        """Return the same claims without those about some files."""
        fewer = Claims()
        fewer._claims = {file: sources for file, sources in self._claims.items() if not files(file)}
        return fewer

    def files(self) -> list[str]:
        """Return the files for which anything is stated."""
        return list(self._claims)

    def check(self, folder: Path, known: Mapping[str, Values], required: Collection[str], findings: Findings) -> None:
        """Add a finding for each file that differs from what is stated.

        `known` has what is already known of files; a missing file among `required` has been reported before.
        """
        for file, sources in self._claims.items():
            algorithms = {name for values in sources.values() for name in values}
            try:
                found = known.get(file) or _measured(folder / file, algorithms)
            except FileNotFoundError:
                if file not in required:
                    findings.add(file, f"missing, though there is one in {_listed(sources)}")
            except OSError as error:
                findings.add(file, f"cannot be read ({reason(error)})")
            else:
                _hold(file, sources, found, findings)


def _measured(path: Path, algorithms: Collection[str]) -> Values:
    hashes = {name: file_hash(path, name) for name in algorithms if name != SIZE}
    return {SIZE: path.stat().st_size, **hashes}


def _hold(file: str, sources: Mapping[str, Values], found: Values, findings: Findings) -> None:
    """Report the file if it contradicts all sources; else report the sources that it contradicts."""
    wrong = {source: _first(values, found) for source, values in sources.items() if _first(values, found)}
    if len(wrong) == len(sources):
        name = next(iter(wrong.values()))
        expected = next(iter(sources.values()))[name]
        findings.differ(file, f"not the file that is meant in {_listed(sources)}", name, expected, found[name])
        return
    for source, name in wrong.items():
        findings.differ(source, f"another {name} than the file has", file, found[name], sources[source][name])


def _first(values: Values, found: Values) -> str:
    """Return the name of the first value that differs; an empty text if none does."""
    return next((name for name, value in values.items() if value != found[name]), "")


def _listed(sources: Collection[str]) -> str:
    return ", ".join(sources)
