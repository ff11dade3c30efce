"""Open sessions with the configured sources of products."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ben_luigi import addresses, config
from ben_luigi.domain import network, private
from ben_luigi.domain.cdse.account import credentials_file, given_credentials
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Client, Patience
from ben_luigi.domain.sources.bucket import Bucket
from ben_luigi.domain.sources.mirror import Mirror, numbered
from ben_luigi.domain.sources.source import Origin, Source
from ben_luigi.stages.service import bucket_url, patience

_DOWN_S = 600.0
"""So long a source that has not answered is asked only after the others."""


@dataclass(frozen=True)
class Order:
    """The sources of whole products: those of the web before CDSE, CDSE, and those of the web after it."""

    before: list[Source]
    cdse: bool
    after: list[Source]


@contextmanager
def in_order(waits: Patience | None = None, head_s: float | None = None) -> Iterator[Order]:
    """Yield the sources that the configuration names, with open sessions.

    Sources that have not answered lately come last. `waits` says how often and how long they are asked, by default as
    configured; `head_s` limits the time for the head of an answer.
    """
    names = [name for name in config.source_order() if name != "folder"]
    at = names.index("cdse") if "cdse" in names else len(names)
    with ExitStack() as stack:
        before, after = (
            [source for name in part for source in _sources(name, stack, waits or patience(), head_s)]
            for part in (names[:at], names[at + 1 :])
        )
        silent = [source for source in before if _is_down(source.name)] if waits is None else []
        before = [source for source in before if source not in silent]
        yield Order(before, "cdse" in names, [*after, *silent])


def note_down(names: Iterable[str]) -> None:
    """Remember for a while that sources have not answered, so that the next tiles do not wait for them."""
    for name in names:
        mark = _mark(name)
        private.make_folder(mark.parent)
        mark.touch()


def _is_down(name: str) -> bool:
    try:
        return abs(time.time() - _mark(name).stat().st_mtime) < _DOWN_S
    except FileNotFoundError:
        return False


def _mark(name: str) -> Path:
    return config.data_dir() / "session" / f"{name.replace(' ', '-')}.down"


def _sources(name: str, stack: ExitStack, waits: Patience, head_s: float | None) -> Iterator[Source]:
    def client(url: str) -> Client:
        return stack.enter_context(Client(patience=waits, session=network.session(head_s), hosts=Origin(url)))

    if name == "google":
        yield Bucket(client(bucket_url()), bucket_url())
        return
    for template, number in numbered(addresses.mirrors()):
        yield Mirror(client(template), template, number=number)


def has_account() -> bool:
    """Return whether an account is given, without asking the user for it."""
    if config.is_sample():
        return True
    host = urlsplit(addresses.token_url()).hostname or ""
    try:
        file = credentials_file(str(config.cdse().credentials))
        return given_credentials(config.account_environment(), file, host) is not None
    except CredentialsError:
        return False
