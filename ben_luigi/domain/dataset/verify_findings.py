"""Collect findings about a dataset by file and kind, so that a million findings of one kind give one line."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 10
_LONGEST = 200


class Findings:
    """What is wrong, and what was not checked. The first ten names of each kind are kept, and the number of all."""

    def __init__(self) -> None:
        self.not_looked_at: list[str] = []
        self._names: dict[tuple[str, str], list[str]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, file: str, what: str, *names: str, more: int = 0) -> None:
        """Note that `what` applies to the named members or rows, and to `more` that are not named."""
        shown = self._names.setdefault((file, what), [])
        shown += names[: _SHOWN - len(shown)]
        self._count[file, what] = self._count.get((file, what), 0) + len(names) + more

    def add_all(self, file: str, what: str, names: Sequence[str]) -> None:
        """Do the same as `add`, unless there are no names."""
        if names:
            self.add(file, what, *names)

    def differ(self, file: str, what: str, name: str, expected: object, found: object) -> None:
        """Note that `what` applies to one member or row, with the expected and the found value."""
        self.add(file, what, f"{name} (expected {_short(expected)}, found {_short(found)})")

    def skip(self, what: str) -> None:
        """Note that something was not checked, and why."""
        self.not_looked_at.append(what)

    def has(self, file: str) -> bool:
        """Return whether there is any finding about a file so far."""
        return any(of == file for of, _ in self._names)

    def lines(self) -> list[str]:
        """Return one line per file and kind, in the order in which they were found, without unprintable characters."""
        return [_printable(": ".join((*key, *self._listed(key)))) for key in self._names]

    def _listed(self, key: tuple[str, str]) -> list[str]:
        names, count = self._names[key], self._count[key]
        if not names:
            return []
        return [", ".join(names) + (f", ... ({count} in all)" if count > len(names) else "")]


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
