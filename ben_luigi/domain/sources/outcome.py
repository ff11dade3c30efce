"""How fetching a product ends: with a report on the complete product, or an error that says what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from ben_luigi.domain.errors import PermanentError, TransientError
from ben_luigi.domain.sources.journal import Brought
from ben_luigi.domain.sources.proof import UNPROVEN


class Nowhere(PermanentError):
    """None of the sources has the product, and all have answered or refuse for good."""


class Unanswered(TransientError):
    """No source that has answered has the product, and others have not answered."""


class Incomplete(TransientError):
    """Files of the product are missing or damaged at every source."""


class Contradicted(Incomplete):
    """A product whose manifest may be what is wrong: it asks for what the sources, which have answered, have not."""


@dataclass(frozen=True)
class FetchReport:
    """A complete product: the source of each file, and how it was proven.

    `content` identifies the files that the manifest lists and that are needed. `left_out` are unneeded files of the
    manifest that no source had; `troubles` says what was wrong at which source.
    """

    name: str
    source: str
    length_bytes: int
    content: str
    files: tuple[Brought, ...]
    left_out: tuple[str, ...]
    troubles: tuple[str, ...]

    @property
    def unproven(self) -> list[str]:
        """The files that could not be compared with anything."""
        return [one.path for one in self.files if one.proof == UNPROVEN]
