"""The table of faults that the suite prints: how many tries each took, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SURVIVED, GIVEN_UP, LOST = "survived", "given up and said why", "lost"


@dataclass
class FaultTable:
    """Tries and outcome by fault; a fault whose test fails is lost."""

    rows: dict[str, tuple[int, str]] = field(default_factory=dict)

    @contextmanager
    def row(self, fault: str, tries: int = 1, *, survives: bool = True) -> Iterator[None]:
        """What is done within must end as said."""
        self.rows[fault] = (tries, LOST)
        yield
        self.rows[fault] = (tries, SURVIVED if survives else GIVEN_UP)

    def __str__(self) -> str:
        ended = Counter(outcome for _, outcome in self.rows.values())
        total = ", ".join(f"{ended[outcome]} {outcome}" for outcome in (SURVIVED, GIVEN_UP, LOST))
        lines = [f"{fault:66} {tries:5}  {outcome}" for fault, (tries, outcome) in self.rows.items()]
        return "\n".join(["", f"{'fault':66} tries  outcome", *lines, f"{len(lines)} faults: {total}", ""])


class DamageTable:
    pass
