"""`scripts/bench scale`: simulate how long hosts take for many tiles, from measured parts and stated assumptions.

The parts are what other benchmarks have measured: in the folder NAME.json is the last line that `scripts/bench NAME`
printed. What no benchmark measures (Sen2Cor, the network, the hosts, their disk) is an option; so are prices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ben_luigi.commands import command
from ben_luigi.domain.cdse.download import USUAL_BYTES
from ben_luigi.domain.dataset import estimate
from ben_luigi.stages.resolve import PRIORITY
from benchmarks.archive import S2_OF_ALL
from benchmarks.simulation import WORKER, Outcome, Site, Task, bounds, simulate

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "measured"
NAMES = ("archive", "download", "metadata", "schedule", "tile", "verify")
CONNECTION, CONVERSION, OPEN = "connections", "conversions", "the open sources"
_OPEN_BYTES = 60e9
"""Of S1, land cover and the lists, for 125 tiles: docs/running.md."""
_KEPT = estimate._PATCHES / estimate._ALL_PATCHES
"""The fraction of a tile's patches that have a v1 partner."""
_TASKS = 5
"""Of a tile here, which share what the scheduler takes for all that a tile has: two of them compress."""


@dataclass(frozen=True)
class Parts:
    """Seconds of one core for each part of the work, per byte or per tile, and the ratio of compression."""

    download_s: float
    cut_s: float
    place_s: float
    join_s: float
    compress_s: float
    md5_s: float
    verify_s: float
    ratio: float
    scheduler_s: dict[int, float]

    @classmethod
    def read(cls, folder: Path) -> Parts:
        """Take them from what the benchmarks have printed. Raise KeyError or ValueError if that is something else."""
        read = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
        fetched, (whole, half, maps) = read["download"]["ratios"][0]["ours"], read["tile"]["ratios"]
        seconds = {name: one["ours"]["cpu_s"] for name, one in (("whole", whole), ("half", half), ("maps", maps))}
        cut_s = seconds["half"] + (seconds["whole"] - seconds["half"]) * (2 * _KEPT - 1)
        _, md5, _ = read["archive"]["ratios"]
        shard_bytes = read["archive"]["tar, MB"] * 1e6 / read["archive"]["tiles"]
        (join, *more), tiles = read["metadata"]["ratios"], read["metadata"]["tiles"]
        checked, joined_s = read["verify"], join["ours"]["cpu_s"]
        return cls(
            download_s=fetched["cpu_s"] / (read["download"]["ours_mb_s"] * 1e6 * fetched["wall_s"]),
            cut_s=cut_s + seconds["maps"],
            place_s=(more[0]["reference"]["cpu_s"] - joined_s) / tiles,
            join_s=joined_s / tiles,
            compress_s=md5["reference"]["cpu_s"] / shard_bytes,
            md5_s=md5["ours"]["cpu_s"] / shard_bytes,
            verify_s=checked["ratios"][0]["ours"]["cpu_s"] / (checked["tars, MB"] * 1e6),
            ratio=read["archive"]["tar / archive, ours"],
            scheduler_s={int(n): one["cpu_s"] / int(n) for n, one in read["schedule"]["first"].items()},
        )

    def scheduler_s_of(self, tiles: int) -> float:
        """Return the seconds of the scheduler per tile of so many: those measured for the nearest number of tiles."""
        return self.scheduler_s[min(self.scheduler_s, key=lambda measured: abs(measured - tiles))]


@dataclass(frozen=True)
class Assumed:
    """What is not measured: cores and memory of a host, the network, the disk of all, minutes of a core in Sen2Cor."""

    cores: int = 16
    memory_gb: float = 64
    conversion_gb: float = 6
    connections: int = 4
    connection_mb_s: float = 20
    disk_mb_s: float = 500
    sen2cor_min: float = 20

    def site(self, hosts: int, scheduler_s: float) -> Site:
        """Return what so many hosts have: a worker for each core, and conversions as far as memory allows."""
        at_once = min(self.cores, int(self.memory_gb / self.conversion_gb))
        limits = {WORKER: hosts * self.cores, CONVERSION: hosts * at_once, CONNECTION: self.connections, OPEN: 1}
        return Site(limits, self.disk_mb_s * 1e6, scheduler_s)


def tasks_of(tiles: int, parts: Parts, assumed: Assumed) -> list[Task]:
    """Return the tasks of a dataset; those of a tile one after the other, then the metadata, then the archives.

    The many small tasks of a tile are one here. S1 and the reference maps are one archive, S2 is the other.
    """
    made: list[Task] = []

    def add(stage: str, work_s: float, disk: float, *after: int, needs: str = "", priority: str = "archive") -> int:
        made.append(Task(stage, work_s, disk, (needs,) if needs else (), after, PRIORITY[priority]))
        return len(made) - 1

    rate, l2a, s2 = assumed.connection_mb_s * 1e6, estimate._L2A_BYTES, estimate._SHARD_BYTES
    volumes = {"S2": s2, "S1 and maps": s2 * (1 / S2_OF_ALL - 1)}
    inputs_bytes = _OPEN_BYTES * tiles / estimate.TILES
    inputs = add("inputs", inputs_bytes / rate, inputs_bytes, needs=OPEN, priority="resolve")
    cut = []
    for _ in range(tiles):
        fetch_s = max(USUAL_BYTES / rate, USUAL_BYTES * parts.download_s)
        fetched = add("download", fetch_s, USUAL_BYTES, needs=CONNECTION, priority="download")
        moved = USUAL_BYTES + 2 * estimate._CONVERSION_BYTES + l2a
        minutes = assumed.sen2cor_min
        converted = add("Sen2Cor", 60 * minutes, moved, fetched, needs=CONVERSION, priority="convert")
        cut.append(add("cut", parts.cut_s + parts.place_s, l2a + s2, converted, priority="cut"))
    metadata = add("metadata", parts.join_s * tiles, 0, *cut, priority="metadata")
    joined = []
    for name, size in volumes.items():
        before = (metadata, inputs) if name != "S2" else (metadata,)
        packed = size / parts.ratio
        compressed = [add("archives", size * parts.compress_s, size + packed, *before) for _ in range(tiles)]
        hashed = add("archives", tiles * size * parts.md5_s, tiles * size, *before)
        joined += [hashed, add("archives", 0, 2 * tiles * packed, *compressed)]
    total = tiles * sum(volumes.values())
    add("verify", total * parts.verify_s, total / parts.ratio, *joined)
    return made


@dataclass(frozen=True)
class Line:
    """A simulated run: hours, and what they are spent on."""

    tiles: int
    hosts: int
    sen2cor_min: float
    ended_h: dict[str, float]
    bound: str
    bound_h: float
    host_hours: float
    core_hours: float
    fetched_tb: float
    disk_tb: float
    disk_least_tb: float
    cores: int

    @property
    def hours(self) -> float:
        """All of them."""
        return max(self.ended_h.values())


def simulated(tiles: int, hosts: int, parts: Parts, assumed: Assumed) -> Line:
    """Simulate one run."""
    tasks = tasks_of(tiles, parts, assumed)
    site = assumed.site(hosts, parts.scheduler_s_of(tiles) / _TASKS)
    outcome, least = simulate(tasks, site), bounds(tasks, site)
    bound = max(least, key=least.__getitem__)
    hours = outcome.seconds() / 3600
    work = estimate.Work(
        tiles, [None] * tiles, tiles, tiles, archives=True, collects_s1=True, fetches_bytes=[_open_bytes(tiles)]
    )
    return Line(
        tiles,
        hosts,
        assumed.sen2cor_min,
        {stage: end / 3600 for stage, end in _ends(outcome)},
        bound,
        least[bound] / 3600,
        hosts * hours,
        sum(task.work_s for task in tasks if task.stage not in ("inputs", "download")) / 3600,
        (work.download_bytes() + _open_bytes(tiles)) / 1e12,
        work.peak_bytes(estimate.Retention()) / 1e12,
        work.peak_bytes(estimate.EVERYTHING) / 1e12,
        assumed.cores,
    )


def _open_bytes(tiles: int) -> int:
    return int(_OPEN_BYTES * tiles / estimate.TILES)


def _ends(outcome: Outcome) -> Iterator[tuple[str, float]]:
    for stage in ("download", "Sen2Cor", "cut", "archives", "verify"):
        yield stage, outcome.stage_end(stage)


def replay(times: Sequence[dict[str, Any]], limits: dict[str, int]) -> tuple[Outcome, float]:
    """Simulate a real run from the seconds of its tasks; return that, and the seconds that the run took.

    `times` are the lines of `times/*.jsonl`. The tasks of a tile follow each other as they did; what came before the
    tiles, and after them, is done one family after the other, each as far as workers allow.
    """
    times = sorted(times, key=lambda one: float(one["began"]))
    (whole,) = (number for number, one in enumerate(times) if one["family"] == "ProcessTiles")
    of_tile = {number: name for number, one in enumerate(times[:whole]) if (name := one["task"].partition("tile=")[2])}
    others = [number for number in range(len(times)) if number not in of_tile]
    made: list[Task] = []

    def add(number: int, after: Sequence[int]) -> int:
        family = times[number]["family"]
        needs = (family,) if family in limits else ()
        made.append(Task(family, float(times[number]["seconds"]), needs=needs, after=tuple(after)))
        return len(made) - 1

    def by_family(numbers: Sequence[int], level: Sequence[int]) -> Sequence[int]:
        for family in dict.fromkeys(times[number]["family"] for number in numbers):
            level = [add(number, level) for number in numbers if times[number]["family"] == family]
        return level

    level = by_family([number for number in others if number < min(of_tile)], ())
    chains: dict[str, Sequence[int]] = {}
    for number, tile in of_tile.items():
        chains[tile] = [add(number, chains.get(tile, level))]
    by_family([number for number in others if number > min(of_tile)], [end for (end,) in chains.values()])
    took = max(one["began"] + one["seconds"] for one in times) - times[0]["began"]
    return simulate(made, Site(limits)), took


_CHECKED = "tiles | hosts | Sen2Cor, min | hours | downloaded | converted | cut | archives | verified | at least, by"
_COSTS = (
    "tiles | hosts | Sen2Cor, min | host hours | core hours of work | fetched, TB | disk, TB | with [retention], TB"
)


def tables(lines: Sequence[Line], prices: Sequence[float] = ()) -> str:
    """Return two tables of Markdown: when each stage has ended, in hours, and what the runs cost.

    `prices` are those of an hour of a core, of a TB of disk for 30 days, and of a TB fetched: then the cost is there.
    """
    ends, costs = [_row(_CHECKED), _rule(_CHECKED)], _COSTS + (" | cost" if prices else "")
    spent = [_row(costs), _rule(costs)]
    for one in lines:
        key = f"{one.tiles:,} | {one.hosts} | {one.sen2cor_min:g}"
        stages = " | ".join(f"{end:.1f}" for end in one.ended_h.values())
        ends.append(_row(f"{key} | {one.hours:.1f} | {stages} | {one.bound_h:.1f}: {one.bound}"))
        disks = f"{one.disk_tb:.2f} | {one.disk_least_tb:.2f}"
        cost = f" | {_cost(one, *prices):,.2f}" if prices else ""
        spent.append(
            _row(f"{key} | {one.host_hours:.0f} | {one.core_hours:.0f} | {one.fetched_tb:.2f} | {disks}{cost}")
        )
    return "\n".join([*ends, "", *spent, ""])


def _cost(one: Line, core_hour: float, disk_month: float, fetched: float) -> float:
    """Return the price of a run, whose cores are paid from its beginning to its end."""
    return (
        one.cores * one.host_hours * core_hour + one.disk_tb * one.hours / 720 * disk_month + one.fetched_tb * fetched
    )


def _row(cells: str) -> str:
    return f"| {cells} |"


def _rule(cells: str) -> str:
    return "|".join(["", *(" --- " for _ in cells.split(" | ")), ""])


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("scripts/bench scale", __doc__)
    parser.add_argument("--measured", type=Path, default=MEASURED, metavar="FOLDER", help="by default docs/measured")
    whole = command.whole(1)
    parser.add_argument("--tiles", type=whole, nargs="+", default=[125, 1250], metavar="N", help="by default 125 1250")
    parser.add_argument("--hosts", type=whole, nargs="+", default=[1, 4, 16], metavar="N", help="by default 1 4 16")
    parser.add_argument(
        "--sen2cor-min",
        type=float,
        nargs="+",
        default=[6, 40],
        metavar="MIN",
        help="minutes of a core per product; by default 6 and 40, between which users report them",
    )
    for name, what in _OPTIONS.items():
        default = getattr(Assumed, name)
        option = f"--{name.replace('_', '-')}"
        kind = whole if isinstance(default, int) and name in ("cores", "connections") else float
        parser.add_argument(option, type=kind, default=default, metavar="N", help=f"{what}; by default {default:g}")
    parser.add_argument(
        "--prices",
        type=float,
        nargs=3,
        default=(),
        metavar=("CORE_HOUR", "TB_MONTH", "TB_FETCHED"),
        help="of an hour of a core, of a TB of disk for 30 days, and of a TB fetched: the cost is printed too",
    )
    return parser


_OPTIONS = {
    "cores": "cores of a host",
    "memory_gb": "memory of a host in GB",
    "conversion_gb": "memory of a conversion in GB",
    "connections": "downloads at once, over all hosts",
    "connection_mb_s": "MB/s of each, and of the open sources",
    "disk_mb_s": "MB/s of the disk that all hosts share",
}


def main(argv: Sequence[str]) -> int:
    """Simulate and print."""
    options = _parser().parse_args(argv)
    parts = Parts.read(options.measured)
    lines = [
        simulated(
            tiles, hosts, parts, Assumed(**{name: getattr(options, name) for name in _OPTIONS}, sen2cor_min=minutes)
        )
        for tiles in options.tiles
        for minutes in options.sen2cor_min
        for hosts in options.hosts
    ]
    print(tables(lines, options.prices))
    print(json.dumps({"parts": asdict(parts), "runs": [asdict(one) for one in lines]}))
    return 0
