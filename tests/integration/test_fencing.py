"""A worker that was taken for dead comes back: it publishes nothing over what another has made meanwhile, and says so.

It is stopped by SIGSTOP in the middle of a task, and its session with the database is cut, as when a host loses its
network. Another worker takes the task over and completes it; then the first one goes on.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from tests.integration.fault_table import FaultTable
from tests.integration.own_postgres import tcp_server
from tests.integration.running import Run
from tests.integration.stopping import ASKED, RECORD, Launcher, StoppingRun
from tests.publishing_servers import BUCKET, s3

TILE, ZIPPED = "31UGR_20180508", "35VNJ_20180204"
OF_TILE = ("--tile", TILE)
TAKEN = "has taken it over; nothing of its result was overwritten, and what was unfinished here is removed"


@dataclass(frozen=True)
class Stage:
    """Where a worker is stopped, what makes the same, and which results it has: files, and rows by their marker."""

    stop: str
    files: tuple[str, ...] = ()
    rows: str = ""
    more: tuple[str, ...] = OF_TILE

    @property
    def family(self) -> str:
        """The task."""
        return self.stop.partition("/")[0]

    def begun(self, data: Path) -> Stage:
        """The same with the archive and the part that are being made: which ones come first is the scheduler's."""
        for work in (data / "archives").glob("*/.unfinished-*.tar.zst"):
            part = work.name.split("-", 4)[4].removesuffix(".tar.zst")
            names = [each.format(archive=work.parent.name, part=part) for each in (*self.files, *self.more)]
            count = len(self.files)
            return replace(self, files=tuple(names[:count]), more=tuple(names[count:]))
        return self


STAGES = {
    "a product that came file by file, just asked": Stage(f"DownloadL1C{ASKED}", (f"l1c/{TILE}", f"l1c/{TILE}.json")),
    "a folder, just asked": Stage(f"ConvertToL2A{ASKED}", (f"l2a/{TILE}",)),
    "rows, before the commit": Stage("GridPatches", rows="GridPatches"),
    "two files, before their names": Stage("CutPatches", (f"patches/{TILE}.tar", f"patches/{TILE}.parquet")),
    "two files, in place, not recorded": Stage(
        f"MakeReferenceMaps{RECORD}", (f"reference_maps/{TILE}.tar", f"reference_maps/{TILE}.parquet")
    ),
    "a part of an archive, just asked": Stage(
        f"CompressPart{ASKED}",
        ("archives/{archive}/{part}.tar.zst",),
        more=("--archive-name", "{archive}", "--part", "{part}"),
    ),
}


@dataclass
class Server:
    """The database of both workers."""

    url: str

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement gives."""
        with closing(psycopg2.connect(self.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def forget(self) -> None:
        """Have it serve another data folder."""
        self.rows("DROP SCHEMA public CASCADE; CREATE SCHEMA public; SELECT 1")

    def cut(self) -> None:
        """End the sessions of all others."""
        self.rows(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tcp_server(tmp_path_factory.mktemp("server"), "its-own", "127.0.0.1") as url:
        yield Server(url)


def _signal(run: StoppingRun, number: int) -> None:
    """Stop a run with all of its processes, or have them go on."""
    own = psutil.Process(run.process)
    for process in (own, *own.children(recursive=True)):
        os.kill(process.pid, number)


def _config(folder: Path, data: Path, url: str, tile: str = TILE, store: str = "") -> Path:
    folder.mkdir()
    lines = ["[core]", "workers = 1", f"lock_pid_dir = {folder / 'lock'}", "[worker]", "force_multiprocessing = true"]
    lines += ["[dataset]", f"data_dir = {data}", f"tiles = {tile}", f"store = {store}"]
    lines += ["[database]", f"url = {url}"]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _state(data: Path, server: Server, stage: Stage) -> dict[str, object]:
    """What there is of a result: which bytes of which file, since when, its record, its rows."""
    found: dict[str, object] = {}
    for name in stage.files:
        for place in (data / name, data / "made_from" / f"{name}.json"):
            for path in [place] if place.is_file() else place.rglob("*"):
                at = path.stat()
                content = path.read_bytes() if path.is_file() else b""
                found[str(path.relative_to(data))] = content, at.st_ino, at.st_mtime_ns
    if stage.rows:
        found["marker"] = server.rows(f"SELECT * FROM marker WHERE task = '{stage.rows}'")
        found["rows"] = server.rows("SELECT *, xmin::text FROM patch ORDER BY patch_id")
    return found


def _unfinished(data: Path) -> list[Path]:
    patterns = (".unfinished-*", ".work-*", "*.part", "*.partial", "*.err")
    return [path for pattern in patterns for path in data.rglob(pattern)]


def test_who_comes_back_publishes_nothing_over_what_was_made_meanwhile(
    sample_run: Run, server: Server, tmp_path: Path, table: FaultTable
) -> None:
    """One worker is late at a stage of each kind; another takes each over. In the end both are content."""
    data, launcher = tmp_path / "data", Launcher(BEN_SAMPLE_WORLD=str(sample_run.data / "sample"))
    late, taker = (_config(tmp_path / name, data, server.url) for name in ("late", "taker"))
    stops = [stage.stop for stage in STAGES.values()]
    run = StoppingRun(launcher, late.parent, stops[0], config=late)
    for (what, begun), after in zip(STAGES.items(), [*stops[1:], ""], strict=True):
        with table.row(f"comes back late: {what}"):
            assert run.stopped() == begun.stop, run.said
            stage = begun.begun(data)
            _signal(run, signal.SIGSTOP)
            server.cut()
            other = StoppingRun(launcher, taker.parent, config=taker, arguments=[stage.family, *stage.more])
            assert other.ended() == 0, other.said
            made = _state(data, server, stage)
            assert len(made) >= len(stage.files) + 2 * bool(stage.rows)
            assert not _unfinished(data)
            before = len(run.said)
            _signal(run, signal.SIGCONT)
            run.go_on(*[after] if after else [])
            if after:
                assert run.stopped() == after, run.said
            else:
                assert run.ended() == 0, run.said
            said = [line for line in run.said[before:].splitlines() if TAKEN in line]
            assert len(said) == 1 and f" {stage.family}_" in said[0], run.said
            assert _state(data, server, stage) == made
    assert "failed" not in run.said
    assert not list((data / "failed").glob("*")) and server.rows("SELECT * FROM failed_try") == []
    assert server.rows("SELECT task, number FROM turn WHERE NOT ended") == []
    assert not _unfinished(data)
    launcher.close()


def test_a_file_that_has_arrived_in_part_is_taken_over_by_copying(
    sample_run: Run, server: Server, tmp_path: Path, table: FaultTable
) -> None:
    """The late one has it open, with the lock of the file: what it still writes there is in no result."""
    data, launcher = tmp_path / "data", Launcher(BEN_SAMPLE_WORLD=str(sample_run.data / "sample"))
    late, taker = (_config(tmp_path / name, data, server.url, ZIPPED) for name in ("late", "taker"))
    stage = Stage("DownloadL1C", (f"l1c/{ZIPPED}.zip", f"l1c/{ZIPPED}.json"), more=("--tile", ZIPPED))
    asked = [stage.family, *stage.more]
    server.forget()
    with table.row("comes back late: a zip, before its name"):
        run = StoppingRun(launcher, late.parent, stage.stop, config=late, arguments=asked)
        assert run.stopped() == stage.stop, run.said
        (part,) = (data / "l1c").glob("*.part")
        _signal(run, signal.SIGSTOP)
        server.cut()
        other = StoppingRun(launcher, taker.parent, stage.stop, config=taker, arguments=asked)
        assert other.stopped(), other.said
        (copy,) = (data / "l1c").glob("*.part")
        assert copy != part and copy.stat().st_size
        other.go_on()
        assert other.ended() == 0, other.said
        made = _state(data, server, stage)
        _signal(run, signal.SIGCONT)
        run.go_on()
        assert run.ended() == 0, run.said
        assert TAKEN in run.said and "failed" not in run.said
        assert _state(data, server, stage) == made and not _unfinished(data)
    assert server.rows("SELECT * FROM failed_try") == []
    launcher.close()


def test_who_comes_back_replaces_no_object_that_was_put_meanwhile(
    sample_run: Run, server: Server, tmp_path: Path, table: FaultTable
) -> None:
    """It was told that it may put the object, and is stopped before it does: then the store refuses it."""
    data, asked = tmp_path / "data", ["CutPatches", *OF_TILE]
    stage = Stage("CutPatches", (f"patches/{TILE}.tar", f"patches/{TILE}.parquet"))
    server.forget()
    with s3() as bucket, table.row("comes back late: an object, just asked"):
        bucket.client().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        world = {"BEN_SAMPLE_WORLD": str(sample_run.data / "sample")}
        launcher = Launcher(cwd=None, **world, **bucket.environment())
        late, taker = (
            _config(tmp_path / name, data, server.url, store=f"s3://{BUCKET}/run") for name in ("late", "taker")
        )
        run = StoppingRun(launcher, late.parent, f"CutPatches{RECORD}", config=late, arguments=asked)
        assert run.stopped(), run.said
        run.go_on(f"CutPatches{ASKED}")
        assert run.stopped(), run.said
        assert not [name for name in bucket.content("run/") if name in stage.files]
        _signal(run, signal.SIGSTOP)
        server.cut()
        other = StoppingRun(launcher, taker.parent, config=taker, arguments=asked)
        assert other.ended() == 0, other.said
        made = _state(data, server, stage)
        assert set(stage.files[:1]) <= bucket.content("run/").keys()
        _signal(run, signal.SIGCONT)
        run.go_on()
        assert run.ended() == 0, run.said
        assert TAKEN in run.said and "failed" not in run.said
        assert _state(data, server, stage) == made and not _unfinished(data)
        versions = bucket.client().list_object_versions(Bucket=BUCKET, Prefix=f"run/{stage.files[0]}")["Versions"]
        assert len(versions) == 1
        assert not bucket.is_unfinished()
        launcher.close()
    assert server.rows("SELECT * FROM failed_try") == []


def test_who_is_cut_off_and_not_taken_over_goes_on(
    sample_run: Run, server: Server, tmp_path: Path, table: FaultTable
) -> None:
    """A server that restarts does not cost hours of work: the lock is taken again, and the result counts."""
    config = _config(tmp_path / "own", tmp_path / "data", server.url)
    server.forget()
    launcher = Launcher(BEN_SAMPLE_WORLD=str(sample_run.data / "sample"))
    with table.row("cut off while an L1C product is converted", 2):
        run = StoppingRun(
            launcher, config.parent, f"ConvertToL2A{ASKED}", config=config, arguments=["ConvertToL2A", *OF_TILE]
        )
        for again in ([f"ConvertToL2A{RECORD}"], []):
            assert run.stopped(), run.said
            server.cut()
            run.go_on(*again)
        assert run.ended() == 0, run.said
    (turn,) = server.rows("SELECT number, ended FROM turn WHERE task LIKE 'ConvertToL2A%'")
    assert turn == (1, True)
    assert json.loads((tmp_path / "data" / f"l2a/{TILE}/product.json").read_text())["sen2cor"]
    launcher.close()
