"""Fetch one product from the sources of the user's order: file by file from buckets and mirrors, or as CDSE's zip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import addresses, config
from ben_luigi.domain import fence, files
from ben_luigi.domain.cdse import resolve
from ben_luigi.domain.cdse.catalogue import CatalogueProduct
from ben_luigi.domain.cdse.download import Download
from ben_luigi.domain.cdse.errors import BLAMELESS, CredentialsError
from ben_luigi.domain.cdse.http import Client
from ben_luigi.domain.errors import NoRoomError, PermanentError, SourceError, TransientError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import lists
from ben_luigi.domain.progress import OnBytes, ignore_bytes
from ben_luigi.domain.recipe.model import Layer
from ben_luigi.domain.sources import proof, trace
from ben_luigi.domain.sources.availability import PATIENCE
from ben_luigi.domain.sources.cdse_nodes import CdseNodes
from ben_luigi.domain.sources.fetch import ProductFetch
from ben_luigi.domain.sources.outcome import FetchReport, Nowhere, Unanswered
from ben_luigi.domain.sources.source import Source
from ben_luigi.stages.prerequisites import optional_path
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.resolve import AskCatalogue, is_searched, key_of, list_path, resolutions
from ben_luigi.stages.service import client, patience, tokens
from ben_luigi.stages.sources import Order, has_account, in_order, note_down
from ben_luigi.state import budget

_log = logging.getLogger(__name__)
Report = dict[str, Any]


@dataclass(frozen=True)
class Fetching:
    """Fetch a product to `zipped`, or to the folder of that name without its suffix."""

    task: luigi.Task
    product: ProductName
    zipped: Path
    tries: int

    def run(self, order: Order) -> Report:
        """Return the report on the product, from the first source that has it.

        Raise SourceError with the answer of each.
        """
        before, after = self._by_files(order.before, order), self._by_files(order.after, order)
        ways = [*before, *([self._by_zip] if order.cdse else []), *after]
        if self.zipped.exists() and self._by_zip in ways:  # it is complete, but its record is lost
            ways = [self._by_zip, *(way for way in ways if way != self._by_zip)]
        failed: list[SourceError] = []
        for way in ways:
            try:
                return way()
            except NoRoomError:
                raise
            except SourceError as error:
                _log.log(logging.WARNING if len(ways) > 1 else logging.DEBUG, "tile %s: %s", self._tile, error)
                failed.append(error)
        if len(failed) == 1:
            raise failed[0]
        raise self._failed(failed)

    def repair(self, damaged: Path, order: Order) -> Report:
        """Put the product together from what is intact of the user's, and from the sources of the order.

        Raise Nowhere, Unanswered or Incomplete if none of them has what is lacking.
        """
        with client() as session:
            sources = [*order.before, *self._nodes(session, order), *order.after]
            return self._fetched(sources, damaged=damaged)

    @property
    def _tile(self) -> str:
        return key_of(self.product)

    @property
    def _folder(self) -> Path:
        return self.zipped.with_suffix("")

    def _failed(self, errors: Sequence[SourceError]) -> SourceError:
        """Return the error with the problem of every way; it is worth another attempt if one of them is."""
        passing = next((error for error in errors if isinstance(error, TransientError)), None)
        kind = TransientError if passing or not errors else PermanentError
        return kind(
            f"tile {self._tile}, product {self.product}",
            expected=f"a source that has it, of {', '.join(config.source_order())}",
            found="; ".join(f"{error.found}" for error in errors) or "no source to ask",
            remedy=(passing or errors[-1]).remedy if errors else "name sources in [sources] order",
        )

    def _by_files(self, sources: Sequence[Source], order: Order) -> list[Callable[[], Report]]:
        """Return the way file by file, if a source supports it; CDSE has single files too, if an account is given."""

        def way() -> Report:
            with client() as session:
                others = [one for one in (*order.before, *order.after) if one not in sources]
                return self._fetched(sources, [*others, *self._nodes(session, order)])

        return [way] if sources else []

    def _nodes(self, session: Client, order: Order) -> list[Source]:
        """Return CDSE as a source of single files, if it is asked and an account is given."""
        if not (order.cdse and has_account()):
            return []
        return [CdseNodes(session, lambda _: self._at_cdse().id, lambda: tokens(session))]

    def _fetched(
        self, sources: Sequence[Source], repairs: Sequence[Source] = (), damaged: Path | None = None
    ) -> Report:
        progress = Progress(self.task, f"download of {self._tile}", "B")
        traced = self._trace()
        fetch = ProductFetch(
            self.product,
            self._folder,
            sources,
            repairs,
            damaged,
            parallel=max(1, int(config.sources().parallel) // config.downloads_at_once()),
            rate_bytes_s=_rate_bytes_s(),
            traced=lambda: traced,
            progress=progress.at,
        )
        try:
            report = fetch.run()
            note_down(fetch.down)
        except SourceError as error:
            note_down(fetch.down)
            if not damaged and not isinstance(error, (*BLAMELESS, Nowhere, Unanswered)):
                budget.note_failure(self._tile, str(error))
            raise
        self._remove_others(self.zipped)
        place = {"id": self._id(), "path": f"l1c/{self._folder.name}/{self.product}"}
        return {**told(report), **place, "trace": traced.note}

    def _trace(self) -> trace.Trace:
        """Return what CDSE recorded about the product's files, if it answers at once; most files have other proof."""
        url = addresses.trace_url()
        if not url:
            return trace.Trace(note="not asked for")
        try:
            with client() as session:
                return trace.fetch(replace(session, patience=PATIENCE), url, self.product)
        except SourceError as error:
            _log.warning("tile %s: the trace of its product is not available: %s", self._tile, error)
            return trace.Trace(note=f"not available: {error.found}")

    def _by_zip(self) -> Report:
        """Fetch CDSE's zip."""
        if not has_account() and not config.needs_account():
            raise CredentialsError(
                f"tile {self._tile}, CDSE",
                expected="an account",
                found="cdse: no account is given",
                remedy="register at https://dataspace.copernicus.eu, and give the account as [cdse] says",
            )
        target = self.zipped
        target.parent.mkdir(parents=True, exist_ok=True)
        product = self._at_cdse()
        with client() as session:
            report = Download(
                product,
                target,
                session,
                tokens(session),
                err=target.with_name(f"{product.id}.err"),
                patience=replace(patience(), tries=self.tries),
                rate_bytes_s=_rate_bytes_s(),
                progress=Progress(self.task, f"download of {self._tile}", "B").at,
                failed=lambda error: budget.note_failure(self._tile, str(error)),
            ).run()
        self._remove_others(self._folder)
        return {**asdict(report), "path": f"l1c/{target.name}", "content": report.sha256, "source": "cdse"}

    def _remove_others(self, path: Path) -> None:
        """Remove the product in its other form, and partial files: there is one product per tile."""
        files.withdraw(path)
        fence.require(path)
        for pattern in (f"{path.name}.*.part", f"{path.name}.partial", f"{path.name}.*.partial"):
            for partial in path.parent.glob(pattern):
                files.remove(partial)

    def _at_cdse(self) -> CatalogueProduct:
        """Return the product as the catalogue has it, from the answers for all or asked now. Raise SourceError."""
        found = resolutions().get(self._tile) if AskCatalogue().output()["products"].file.exists() else None
        if found is None or found.name != self.product:
            with client() as session:
                (found,) = resolve.resolve([self.product], session, _published_ids())
        if found.problem:
            raise found.problem
        assert found.product is not None
        return found.product

    def _id(self) -> str:
        """Return the product's id at CDSE, as far as it is known without asking; else its name."""
        if AskCatalogue().output()["products"].file.exists():
            found = resolutions().get(self._tile)
            if found and found.product and found.product.name == str(self.product):
                return found.product.id
        return _published_ids().get(str(self.product), self.product.stem)


def id_at_cdse(product: ProductName) -> str:
    """Return the id of a product in CDSE's catalogue, which needs no account; empty if it has none or does not answer.

    The answer to the recipe's search is asked first, then the catalogue itself, if CDSE is among the sources.
    """
    known = lists.read_ids(list_path()).get(str(product), "") if is_searched() else ""
    if known or "cdse" not in config.source_order():
        return known
    try:
        with client() as session:
            (found,) = resolve.resolve([product], replace(session, patience=PATIENCE))
    except SourceError as error:
        _log.warning("the id of %s is not known: %s", product, error)
        return ""
    return found.product.id if found.product and found.product.name == str(product) else ""


def layers_of_l2a() -> tuple[Layer, ...]:
    """Return the layers that are taken from L2A products, besides the scene classification, which is always fetched."""
    return tuple(layer for layer in config.product_layers() if layer.name not in ("scl", "l1c"))


def fetch_l2a(product: ProductName, folder: Path, progress: OnBytes = ignore_bytes) -> FetchReport:
    """Fetch what is needed of an L2A product into its own folder below `folder`, for `[inputs] l2a_dir`.

    The sources are those of the order, with CDSE if an account is given. Raise PipelineError.
    """
    with in_order() as order, client() as session:

        def id_of(wanted: ProductName) -> str:
            (found,) = resolve.resolve([wanted], session)
            if found.problem:
                raise found.problem
            assert found.product is not None
            return found.product.id

        nodes: list[Source] = []
        if order.cdse and has_account():
            nodes.append(CdseNodes(session, id_of, lambda: tokens(session)))
        target = folder / product.stem
        sources = [*order.before, *nodes, *order.after]
        at_once = int(config.sources().parallel)
        how = {"parallel": at_once, "rate_bytes_s": _rate_bytes_s(), "progress": progress}
        how |= {"may_lack_layers": config.skips_missing_layers()}
        fetch = ProductFetch(product, target, sources, layers=layers_of_l2a(), **how)  # type: ignore[arg-type]
        return fetch.run()


def _rate_bytes_s() -> float | None:
    """Return the share of `[cdse] bandwidth_mb_s` for one product; None means no limit."""
    return float(config.cdse().bandwidth_mb_s) * 1e6 / config.downloads_at_once() or None


def _published_ids() -> dict[str, str]:
    path = optional_path("published_tile_ids_csv")
    return resolve.read_tile_ids(path) if path else {}


def told(report: FetchReport) -> Report:
    """Return what the report on a product, and the provenance, state about its files."""
    by_source = [one.source for one in report.files]
    unproven = [f"nothing to compare with: {path}" for path in report.unproven]
    return {
        "name": report.name,
        "sha256": "",
        "length_bytes": report.length_bytes,
        "content": report.content,
        "source": report.source,
        "sources": {source: by_source.count(source) for source in dict.fromkeys(by_source)},
        "proven_by": proof.summary(one.proof for one in report.files),
        "verified_by": [rung for rung in proof.summary(one.proof for one in report.files) if rung != proof.UNPROVEN],
        "not_verified": [*unproven, *(f"left out, since no source had it: {path}" for path in report.left_out)],
        "repaired": {one.path: one.source for one in report.files if one.source != report.source},
        "troubles": list(report.troubles),
        "files": {one.path: {"source": one.source, "proof": one.proof, "hash": one.digest} for one in report.files},
    }
