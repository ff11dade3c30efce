"""What was found in looking at a dataset: gathered by file and kind, so that a million of one kind is one line."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 10
_LONGEST = 200


class Findings:
    """What is wrong, and what was not looked at. Of each kind the first ten names are kept, and how many there are."""

    def __init__(self) -> None:
        self.not_looked_at: list[str] = []
        self._names: dict[tuple[str, str], list[str]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, file: str, what: str, *names: str, more: int = 0) -> None:
        """Note that `what` is so of the named members or rows, and of `more` that are not named."""
        shown = self._names.setdefault((file, what), [])
        shown += names[: _SHOWN - len(shown)]
        self._count[file, what] = self._count.get((file, what), 0) + len(names) + more

    def add_all(self, file: str, what: str, names: Sequence[str]) -> None:
        """The same, unless there are no names."""
        if names:
            self.add(file, what, *names)

    def differ(self, file: str, what: str, name: str, expected: object, found: object) -> None:
        """Note that `what` is so of one member or row, with what was expected of it, and what was found."""
        self.add(file, what, f"{name} (expected {_short(expected)}, found {_short(found)})")

    def skip(self, what: str) -> None:
        """Note that something was not looked at, and why."""
        self.not_looked_at.append(what)

    def has(self, file: str) -> bool:
        """Whether anything is wrong with a file, so far."""
        return any(of == file for of, _ in self._names)

    def lines(self) -> list[str]:
        """One line a file and kind, in the order in which they came up; what cannot be printed is escaped."""
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
