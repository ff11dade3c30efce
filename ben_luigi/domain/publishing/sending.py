"""Publish a package: send what the service does not have yet, and check each file by the hash that it then tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ben_luigi.domain.cdse.http import Patience, again, log_failure
from ben_luigi.domain.errors import some
from ben_luigi.domain.forms.form import NOTE
from ben_luigi.domain.publishing.former import left, others
from ben_luigi.domain.publishing.hashing import UNKNOWN, Hashes, Held
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.service import GB, AnotherContent, Service, UnknownHash, WrongHash

_log = logging.getLogger(__name__)
_AT_ONCE_BYTES = 20 * GB
_SHOWN = 3


@dataclass(frozen=True)
class Sent:
    """What was published: names of the files that were sent and of those that were there, and what is left to do.

    `removed` are those of an earlier form that were removed, `others` those that are there besides and stay.
    """

    sent: Sequence[str]
    already_there: Sequence[str]
    following: str
    removed: Sequence[str] = ()
    others: Sequence[str] = ()


@dataclass(frozen=True)
class Sender:
    """Sends packages to a service; `moved` is called with the bytes that were sent, or that need not be."""

    service: Service
    hashes: Hashes
    patience: Patience
    replaces: bool = False
    moved: Callable[[int], None] = lambda number: None

    def publish(self, package: Package) -> Sent:
        """Send the files of a package that are not there yet; remove those of a form that it replaces.

        Raise AnotherContent, before anything is sent, if the service has another content under the name of one and
        `replaces` is false; another SourceError if the service fails or refuses.
        """
        again(self.patience, lambda: self.service.begin(package), log_failure)
        missing = self._missing(package)
        lacking = {item.name for item in missing}
        there = [item for item in package.items if item.name not in lacking]
        for item in there:
            self.moved(item.size_bytes)
        former = self._asked(lambda: left(self.service, package)) if self.replaces else []
        # The note is sent last: until then the one that is there tells what to remove, also after an interruption.
        last = [item for item in missing if former and item.name == NOTE]
        for batch in _batches([item for item in missing if item not in last], self.service.files_at_once):
            self._send(batch)
        self._remove(former)
        if last:
            self._send(last)
        names = [item.name for item in missing], [item.name for item in there]
        return Sent(*names, self.service.finish(), former, self._asked(lambda: others(self.service, package)))

    def _asked(self, ask: Callable[[], list[str]]) -> list[str]:
        return again(self.patience, ask, log_failure)

    def _remove(self, names: Sequence[str]) -> None:
        if names:
            _log.info("removing from %s what the form before had: %s", self.service.place, some(names, _SHOWN))
            again(self.patience, lambda: self.service.remove(names), log_failure)

    def _missing(self, package: Package) -> list[Item]:
        held = again(self.patience, lambda: self.service.held(package.items), log_failure)
        missing = [item for item in package.items if not self._is_there(item, held)]
        others = [item for item in missing if item.name in held and held[item.name].is_finished]
        if others and not self.replaces:
            first = others[0]
            more = f"; so for {some([item.name for item in others[1:]], _SHOWN)}" if others[1:] else ""
            raise AnotherContent(
                f"{first.name} at {self.service.place}",
                expected=str(self.hashes.held(first.path, held[first.name])),
                found=f"{held[first.name]}{more}",
                remedy="publish to another place, or with --replace if that is to be overwritten; nothing was sent",
            )
        return missing

    def _is_there(self, item: Item, held: Mapping[str, Held]) -> bool:
        there = held.get(item.name)
        if there is None or not there.digest or there.size_bytes != item.size_bytes:
            return False
        return self.hashes.held(item.path, there) == there

    def _send(self, batch: Sequence[Item]) -> None:
        """Send files that appear together. An attempt after a failure asks first what has arrived."""
        counted: dict[str, int] = {}
        has_failed = False

        def attempt() -> None:
            nonlocal has_failed
            arrived = self.service.held(batch) if has_failed else {}
            has_failed = True
            for item in batch:
                if not self._is_there(item, arrived):
                    self._send_one(item, lambda number, name=item.name: self._count(counted, name, number))  # type: ignore[misc]
                self._count(counted, item.name, item.size_bytes - counted.get(item.name, 0))
            self._check(batch, self.service.complete(batch))

        again(self.patience, attempt, log_failure)
        _log.info("sent to %s: %s", self.service.name, some([item.name for item in batch], _SHOWN))

    def _send_one(self, item: Item, moved: Callable[[int], None]) -> None:
        with self.hashes.in_passing(item.path) as note:
            if sent := self.service.send(item, moved):
                note(sent)

    def _count(self, counted: dict[str, int], name: str, number: int) -> None:
        """Report the bytes of a file, of which `number` more were sent; -1 starts it anew."""
        step = number if number >= 0 else -counted.get(name, 0)
        counted[name] = counted.get(name, 0) + step
        self.moved(step)

    def _check(self, batch: Sequence[Item], held: Mapping[str, Held]) -> None:
        """Raise WrongHash unless the service tells the right hash of each file, UnknownHash if it tells none."""
        for item in batch:
            there = held.get(item.name)
            if there is not None and there.kind == UNKNOWN:
                raise UnknownHash(
                    f"{item.name} at {self.service.place}",
                    expected=str(self.hashes.held(item.path, there)),
                    found=str(there),
                    remedy="publish to a bucket that is not encrypted by a key, or whose service keeps SHA-256",
                )
            if there is None or self.hashes.held(item.path, there) != there:
                expected = f"{item.size_bytes:,} bytes" if there is None else str(self.hashes.held(item.path, there))
                raise WrongHash(
                    f"{item.name} at {self.service.place}",
                    expected=expected,
                    found=str(there or "no such file"),
                    remedy="run the same command again: what is right there is not sent again",
                )


def _batches(items: Sequence[Item], files: int) -> Iterator[list[Item]]:
    """Yield the items in groups of at most so many files, and of 20 GB or one file."""
    batch: list[Item] = []
    for item in items:
        size_bytes = sum(each.size_bytes for each in batch) + item.size_bytes
        if batch and (len(batch) == files or size_bytes > _AT_ONCE_BYTES):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
