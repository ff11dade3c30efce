"""Fetch a product file by file: each file from the first source that has it intact, several in parallel.

The product appears by one rename when it is complete. Files that have arrived stay in a folder beside it, over
processes, and a later attempt uses them. Where the files of the sources contradict the manifest, another source's
manifest is tried before the product is given up, since the manifest itself may be damaged.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ben_luigi.domain import fence, files, given, leftovers, waiting
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import again, log_failure
from ben_luigi.domain.errors import NoRoomError, SourceError, may_pass, some
from ben_luigi.domain.files import text_hash
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import manifest
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.sources import folder, needs
from ben_luigi.domain.sources.journal import Brought, Journal
from ben_luigi.domain.sources.outcome import Contradicted, FetchReport, Incomplete, Nowhere, Unanswered
from ben_luigi.domain.sources.proof import MANIFEST, Expected
from ben_luigi.domain.sources.source import Listing, NotThere, Source, SourceFile, is_path
from ben_luigi.domain.sources.trace import Trace
from ben_luigi.domain.sources.transfer import Damaged, DamagedThere, Throttle, Transfer

_log = logging.getLogger(__name__)
_UNKNOWN_BYTES = 10**9
_MOST_STRIKES = 3
"""A source that fails for this many files in a row is not asked any more for the product."""


@dataclass
class ProductFetch:
    """Fetch `product` to the folder `target`, in which its `.SAFE` folder is then the only entry.

    `sources` are asked in their order whether they have the product, `repairs` only for files that those do not have.
    `damaged` is a zip or `.SAFE` folder of the user with a part of the product: what is intact in it is copied, the
    rest is fetched, and the user's own files stay as they are.
    `traced` returns the product's trace, as far as there is one. `progress` is called with the bytes received and
    expected; `parallel` files are fetched at once. `layers` are those that are taken from the product,
    which may lack them if `may_lack_layers`.
    """

    product: ProductName
    target: Path
    sources: Sequence[Source]
    repairs: Sequence[Source] = ()
    damaged: Path | None = None
    parallel: int = 4
    rate_bytes_s: float | None = None
    keep_free_bytes: int = 2**30
    layers: Sequence[Layer] = ()
    may_lack_layers: bool = False
    traced: Callable[[], Trace] = Trace
    progress: Callable[[int, int | None], None] = lambda done_bytes, total_bytes: None
    _listings: dict[str, Listing | None] = field(default_factory=dict, init=False)
    _down: dict[str, SourceError] = field(default_factory=dict, init=False)
    _troubles: list[str] = field(default_factory=list, init=False)
    _strikes: Counter[str] = field(default_factory=Counter, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _asking: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock), init=False)
    _trace: Trace | None = field(default=None, init=False)
    _work: Path = field(default=Path(), init=False)

    def run(self) -> FetchReport:
        """Fetch what is missing. Raise Nowhere, Unanswered, Incomplete, or another SourceError."""
        primary = self._primary()
        self._work = leftovers.kept(self.target.with_name(f"{self.target.name}.partial"))
        if (turn := fence.current()) and turn.took_over:  # a process that comes back may have these open
            files.remove(self._work / "partials")
        is_again = self.target.is_dir() and not self._work.exists()
        if is_again:  # its record is lost: files in it may have been damaged since
            with files.withdrawn(self.target) as before:
                before.rename(self._work)
        self._files.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self._work, self._files)
        if is_again:
            self._journal.verify()
        if self.damaged:
            self._troubles += folder.take(self.damaged, self._files, self._journal, self.keep_free_bytes)
        self._done_bytes = self._total_bytes = 0
        throttle = Throttle(self.rate_bytes_s)
        self._transfer = Transfer(self._files, self._work / "partials", throttle, self._received)
        self._places = {one.name: threading.Semaphore(one.connections) for one in self._all}
        self._at_once = threading.Semaphore(self.parallel)
        first: Contradicted | None = None
        for checksums in self._manifests():
            try:
                return self._complete(primary, checksums)
            except Contradicted as error:
                first = first or error
        raise first or self._without_manifest()

    @property
    def down(self) -> list[str]:
        """The sources that are not asked again for this product, since they did not answer."""
        return list(self._down)

    @property
    def _all(self) -> list[Source]:
        return [*self.sources, *self.repairs]

    @property
    def _option(self) -> str:
        return f"[inputs] {self.product.level.lower()}_dir"

    @property
    def _files(self) -> Path:
        return self._work / str(self.product)

    def _primary(self) -> Source:
        """Return the first source that has the product."""
        said = []
        for source in self.sources:
            listing = self._listing(source)
            if listing is not None:
                return source
            said.append(f"{source.name}: {self._silence(source) or 'does not have it'}")
        passes = any(may_pass(error) for error in self._down.values())
        raise (Unanswered if passes else Nowhere)(
            f"product {self.product}",
            expected="a source that has it",
            found="; ".join(said) or "no source to ask",
            remedy=f"{'run again later, ' * passes}add a source to [sources] order, or give the product in "
            f"{self._option}",
        )

    def _listing(self, source: Source) -> Listing | None:
        """Return what a source has of the product, asked once; None if it has nothing, or does not answer."""
        with self._asking[source.name]:  # several threads may want it
            if source.name not in self._listings:
                waiting.check_stop()
                try:
                    self._listings[source.name] = source.listing(self.product)
                except SourceError as error:
                    self._set_down(source, error)
                    self._listings[source.name] = None
            return self._listings[source.name]

    def _set_down(self, source: Source, error: SourceError) -> None:
        """Do not ask a source any more for this product."""
        with self._lock:
            if source.name not in self._down:
                self._down[source.name] = error
                self._troubles.append(f"{source.name}: {error.subject}: {error.found}")
                _log.warning("%s is asked no more for %s: %s", source.name, self.product, error)

    def _silence(self, source: Source) -> str:
        """Return why a source is not asked any more for this product, or ""."""
        error = self._down.get(source.name)
        return f"does not answer as it should: {error.found}" if error else ""

    def _received(self, number: int) -> None:
        with self._lock:
            self._done_bytes += number
            self.progress(self._done_bytes, self._total_bytes or None)

    def _manifests(self) -> Iterator[manifest.Listed]:
        """Yield each valid manifest of the sources, a file that has already arrived first."""
        path, seen = self._files / manifest.NAME, set[bytes]()
        if self._journal.get(manifest.NAME):
            seen.add(given.read_bytes(path, manifest.MOST_BYTES))
            try:
                listed = self._listed_in(path, "what came before")
            except Damaged as error:
                self._troubles.append(str(error))
            else:
                yield listed
        for source in self._all:
            if source in self.sources and self._listing(source) is None:
                continue
            expected = Expected(trace=self._traced(manifest.NAME))
            try:
                brought = self._from(source, manifest.NAME, expected, lambda: self._listed_in(path, source.name))  # noqa: B023
            except SourceError as error:
                self._note(source, manifest.NAME, error)
                continue
            if (content := given.read_bytes(path, manifest.MOST_BYTES)) in seen:
                self._journal.keep(brought)
                continue
            seen.add(content)
            self._journal.add(brought)
            yield self._listed_in(path, source.name)

    def _listed_in(self, path: Path, source: str) -> manifest.Listed:
        """Return the files that a manifest lists. Raise Damaged if it is not that of a complete product."""
        listed = manifest.read_file(path, Damaged)
        outside = [path[:200] for path in listed if not is_path(path)]
        must_have = () if self.may_lack_layers else self.layers
        if problem := some(outside, 3) or some(needs.lacking(self.product, listed, must_have), 3):
            expected = "the manifest of a product with all bands"
            raise Damaged(f"{manifest.NAME} from {source}", expected=expected, found=problem)
        return listed

    def _without_manifest(self) -> Incomplete:
        return self._incomplete({manifest.NAME: some(self._troubles)})

    def _complete(self, primary: Source, checksums: manifest.Listed) -> FetchReport:
        """Fetch everything that a manifest lists, and rename the product into place.

        Raise Incomplete naming missing files.
        """
        listing = self._listing(primary)
        assert listing is not None
        needed, optional = self._wanted(listing, checksums)
        # Of what another manifest has brought, each file that is still right counts anew.
        self._done_bytes, self._total_bytes = 0, _length(listing, [*needed, *optional])
        self._check_room()
        lacking = self._bring_all([*needed, *optional], checksums, set(optional))
        spared = {path for path in listing.guessed if isinstance(lacking.get(path), NotThere)}.union(optional)
        if missing := {path: error for path, error in lacking.items() if path not in spared}:
            doubted = any(isinstance(error, Contradicted | NotThere) for error in missing.values())
            why = {path: error.found for path, error in missing.items()}
            raise self._incomplete(why, Contradicted if doubted else Incomplete)
        return self._publish(
            primary, {**dict.fromkeys(listing.guessed), **checksums}, {*needed, *optional} - {*lacking}
        )

    def _wanted(self, listing: Listing, checksums: manifest.Listed) -> tuple[list[str], list[str]]:
        """Return the files that a product needs, and unneeded ones that its source has; the largest first."""

        def by_length(paths: set[str]) -> list[str]:
            known = listing.files
            return sorted(paths, key=lambda path: (-(known[path].length_bytes or 0) if path in known else 0, path))

        offered = {*listing.files, *self._journal.paths(folder.NAME)} - {manifest.NAME}
        needed = {path for path in {*checksums, *offered} if needs.is_needed(self.product, path, self.layers)}
        optional = (offered & set(checksums)) - needed if self.product.level == "L1C" else set()
        return by_length(needed), by_length(optional)

    def _bring_all(
        self, paths: Sequence[str], checksums: manifest.Listed, optional: set[str]
    ) -> dict[str, SourceError]:
        """Fetch files in parallel; return the errors of those that failed: NotThere if no source has the file."""
        lacking: dict[str, SourceError] = {}

        def one(path: str) -> None:
            try:
                self._bring(path, checksums.get(path), path in optional)
            except (Incomplete, NotThere) as error:
                lacking[path] = error

        # Twice as many as receive: the others wait for the disk or have their next file ready.
        with ThreadPoolExecutor(2 * self.parallel, "fetch", self._transfer.begin) as pool:
            try:
                under_way = [pool.submit(one, path) for path in paths]
                for each in wait(under_way, return_when=FIRST_EXCEPTION).done:
                    each.result()
            except BaseException:
                self._transfer.stop()
                pool.shutdown(cancel_futures=True)
                raise
        return lacking

    def _bring(self, path: str, checksum: manifest.Checksum | None, is_optional: bool) -> None:
        """Fetch a file from the first source that has it intact. Raise Incomplete, NotThere, NoRoomError or Stopped."""
        known = self._journal.get(path)
        if known and (checksum is None or known.digest == ":".join(checksum)):
            if checksum and known.proof != MANIFEST:
                self._journal.add(replace(known, proof=MANIFEST))
            self._received(known.length_bytes)
            return
        expected, said = Expected(checksum, self._traced(path)), list[str]()
        kind: type[SourceError] = NotThere
        for source in self.sources if is_optional else self._all:
            if source in self.sources and self._listing(source) is None and source.name not in self._down:
                said.append(f"{source.name}: does not have the product")
                continue
            if source.name in self._down:
                said.append(f"{source.name}: {self._silence(source)}")
                kind = kind if kind is Contradicted else Incomplete
                continue
            try:
                brought = self._from(source, path, expected)
            except NoRoomError:
                raise
            except SourceError as error:
                said.append(f"{source.name}: {error.found}")
                self._note(source, path, error, quietly=is_optional)
                if isinstance(error, DamagedThere):
                    kind = Contradicted
                elif not isinstance(error, NotThere):
                    kind = kind if kind is Contradicted else Incomplete
                continue
            self._journal.add(brought)
            return
        raise kind(path, found="; ".join(said) or "at no source")

    def _from(
        self, source: Source, path: str, expected: Expected, check: Callable[[], object] = lambda: None
    ) -> Brought:
        """Fetch a file from one source, as many times as that can help."""
        file, listing = self._at(source, path), self._listings.get(source.name)
        contents = dict(listing.contents) if listing else {}

        def once() -> Brought:
            if path in contents:  # only at first: fetched again, it may be another
                brought = self._transfer.take(source, file, expected, contents.pop(path))
            else:
                brought = self._transfer.once(source, file, expected, self._connection(source))
            check()
            return brought

        brought = again(source.client.patience, once, log_failure)
        self._strikes[source.name] = 0
        return brought

    @contextmanager
    def _connection(self, source: Source) -> Iterator[None]:
        """Hold one of the connections that there may be to a source, and in all."""
        with self._places[source.name], self._at_once:
            waiting.check_stop()
            yield

    def _at(self, source: Source, path: str) -> SourceFile:
        """Return the file at a source. Raise NotThere if its complete listing does not have the file."""
        listing = self._listings.get(source.name)
        if listing and path in listing.files:
            return listing.files[path]
        if listing and listing.is_whole:
            raise NotThere(path, expected="the file", found="it is not there")
        return source.file(self.product, path)

    def _note(self, source: Source, path: str, error: SourceError, *, quietly: bool = False) -> None:
        """Note what is wrong at a source; one that fails for file after file is not asked any more."""
        if isinstance(error, NotThere) and quietly:
            return
        with self._lock:
            self._troubles.append(f"{source.name}: {path}: {error.found}")
            self._strikes[source.name] += not isinstance(error, NotThere | Damaged | DamagedThere)
            is_down = self._strikes[source.name] >= _MOST_STRIKES or isinstance(error, CredentialsError)
        _log.warning("%s, %s at %s: %s; other sources are asked for it", self.product, path, source.name, error)
        if is_down:
            self._set_down(source, error)

    def _traced(self, path: str) -> tuple[str, str, str] | None:
        with self._lock:
            if self._trace is None:
                self._trace = self.traced()
        return self._trace.expected(path)

    def _check_room(self) -> None:
        there = sum(path.stat().st_size for path in self._work.rglob("*") if path.is_file())
        needed = (self._total_bytes or _UNKNOWN_BYTES) - there + self.keep_free_bytes
        files.check_room(self._work, needed)

    def _incomplete(self, missing: Mapping[str, str], kind: type[Incomplete] = Incomplete) -> Incomplete:
        path, why = next(iter(sorted(missing.items())))
        more = f"; so are {len(missing) - 1} others: {some(sorted(missing)[1:], 3)}" if len(missing) > 1 else ""
        return kind(
            f"product {self.product}, {path}",
            expected="the file, whole, at one source",
            found=f"{why}{more}",
            remedy=f"run again later, add a source to [sources] order, or give the product in {self._option}",
        )

    def _publish(self, primary: Source, checksums: manifest.Listed, wanted: set[str]) -> FetchReport:
        """Rename the folder into place, after removing files that do not belong to it."""
        for path in [path for path in self._files.rglob("*") if path.is_file()]:
            if path.relative_to(self._files).as_posix() not in {*wanted, manifest.NAME}:
                path.unlink()
        files.remove(self._work / "partials")
        brought = [one for path in sorted({*wanted, manifest.NAME}) if (one := self._journal.get(path))]
        for place in {(self._files / one.path).parent for one in brought}:
            files.sync(place)
        leftovers.put_in_place(self._work, self.target)
        files.sync(self.target.parent)
        telling = [
            one for one in brought if needs.is_needed(self.product, one.path, self.layers) and checksums.get(one.path)
        ]
        return FetchReport(
            str(self.product),
            folder.NAME if self.damaged else primary.name,
            sum(one.length_bytes for one in brought),
            text_hash("\n".join(f"{one.path} {one.digest}" for one in telling)),
            tuple(brought),
            needs.left_out(self.product, checksums, {one.path for one in brought}, self.layers),
            (*self._troubles, *_contradictions(brought)),
        )


def _length(listing: Listing, paths: Sequence[str]) -> int:
    """Return the bytes to fetch; 0 if the source does not state them."""
    lengths = [listing.files[path].length_bytes for path in paths if path in listing.files]
    return 0 if None in lengths else sum(length or 0 for length in lengths)


def _contradictions(brought: Sequence[Brought]) -> list[str]:
    return [
        f"{one.path}: it fits the {one.proof}, not the {one.contradicted_by}" for one in brought if one.contradicted_by
    ]
