"""CDSE within the pipeline: accounts, products that change, signals; with Luigi's workers as they are in a real run."""

from __future__ import annotations

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.files import file_hash
from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import Fault, Record, Script, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from tests.integration.running import ROOT, Run, configuration, pipeline

FIRST, SECOND = "31UGR_20171015", "31UGR_20180508"
ACCOUNT = {"CDSE_USER": "sample", "CDSE_PASSWORD": "sample"}


def catalogue_of(world: World) -> dict[str, Record]:
    """The catalogue's records of the two products, by tile."""
    records = json.loads(world.catalogue.read_text(encoding="utf-8"))
    days = {tile: tile.split("_")[1] for tile in (FIRST, SECOND)}
    return {
        tile: record
        for tile, day in days.items()
        for record in records
        if record.get("File") and f"_{day}T" in record["Name"] and "_T31UGR_" in record["Name"]
    }


def configured(folder: Path, world: World, server: CdseServer, tiles: str, **options: Any) -> Path:
    """A configuration with the server in CDSE's place; `options` are sections."""
    service = {
        "catalogue_url": server.catalogue_url,
        "token_url": server.token_url,
        "download_url": server.download_url,
        "credentials": folder / "no-such-file",
        "pause_s": 0.05,
    }
    own: dict[str, dict[str, object]] = {
        "dataset": {"tiles": tiles},
        "inputs": {"tile_names_csv": world.tile_names_csv, "published_tile_ids_csv": folder / "none.csv"},
        "cdse": service,
        "sen2cor": {"executable": world.l2a_process},
    }
    return configuration(
        folder, world, **{section: {**given, **options.get(section, {})} for section, given in own.items()}
    )


def write_csv(path: Path, *rows: tuple[str, str]) -> Path:
    """A list as the published run has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def published_lists(world: World, same: Record, repacked: Record, folder: Path) -> dict[str, Path]:
    """The published lists of ids and hashes of two products, of which one has another hash by now."""
    return {
        "published_tile_ids_csv": write_csv(
            folder / "ids.csv", ("tile", "id"), (same["Name"], same["Id"]), (repacked["Name"], repacked["Id"])
        ),
        "published_l1c_hashes_csv": write_csv(
            folder / "hashes.csv",
            ("name", "hash-sha256"),
            (f"{same['Id']}.out", file_hash(world.folder / same["File"])),
            (f"{repacked['Id']}.out", "0" * 64),
        ),
    }


def test_wrong_credentials_stop_all_tiles_and_a_product_that_moves_is_followed(world: World, tmp_path: Path) -> None:
    """What is asked of CDSE in each run, and what its lists and tables say in the end."""
    records = catalogue_of(world)
    first, second = records[FIRST], records[SECOND]
    with CdseServer(records.values(), world.folder) as server:
        options: dict[str, dict[str, Any]] = {
            "inputs": published_lists(world, first, second, tmp_path),
            "cdse": {"tries": 1},
        }
        config = configured(tmp_path, world, server, f"{FIRST} {SECOND}", **options)

        # Two tiles, two workers: one request, and it was no try of either tile.
        refused = pipeline(tmp_path, "HashL1C", config=config, CDSE_USER="sample", CDSE_PASSWORD="nonsense")
        assert refused.code == 20
        assert "a user name and password (and two-factor code) that CDSE accepts" in refused.said
        assert "nonsense" not in refused.said
        assert (server.counts["token"], server.account.counts) == (1, {"refused": 1})
        assert not server.downloads

        # The catalogue lists a product under an id that the download service does not know.
        server.script = Script([Fault("download", "404", None, product=second["Name"])])
        half = pipeline(tmp_path, "HashL1C", config=config, **ACCOUNT)
        assert half.code == 30
        assert (half.data / "l1c" / f"{second['Id']}.err").exists()
        assert (half.data / "l1c" / f"{FIRST}.zip").exists()

        # It has another one by now: the next run asks again, and leaves alone what is complete.
        server.records = [first, {**second, "Id": another_id(second)}]
        server.script = Script([])
        server.downloads.clear()
        options["cdse"]["cool_down_h"] = 0
        config = configured(tmp_path, world, server, f"{FIRST} {SECOND}", **options)
        run = pipeline(tmp_path, "HashL1C", config=config, **ACCOUNT)
        assert run.code == 0, run.said
        assert server.downloads == {second["Name"]: 1}
        assert server.account.counts["sessions"] == 1
        assert not list((run.data / "l1c").glob("*.err"))

    check_tables(run, first, second)


def check_tables(run: Run, exact: Record, moved: Record) -> None:
    """What the tables of a run say of a product that was found as published, and of one that has another id by now."""
    drift = json.loads((run.data / "tiles" / "l1c_drift.json").read_text())
    assert drift == {FIRST: "same", SECOND: "repacked, imagery intact"}
    hashes = (run.data / "tiles" / "ben_s2_l1c_hashes.csv").read_text()
    assert hashes.count("\n") == 3 and f"{another_id(moved)}.out," in hashes
    states = {row["tile"]: row for row in csv.DictReader((run.data / "tiles" / "states.csv").open())}
    assert states[exact["Name"]]["state"] == "exact"
    assert states[moved["Name"]] == {
        "tile": moved["Name"],
        "state": "moved",
        "id": another_id(moved),
        "note": f"published as {moved['Id']}",
        "sources": "cdse",
    }


def at_a_terminal(folder: Path, *arguments: str, config: Path, answers: Mapping[str, str]) -> Run:
    """The pipeline at a terminal of its own, where each question gets its answer once."""
    ours, theirs = pty.openpty()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LUIGI_", "CDSE_"))}
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "ben_luigi", "run", *arguments]
    environment = {**own, "LUIGI_CONFIG_PATH": str(config), "PYTHONPATH": str(ROOT)}
    said, asked = "", dict(answers)
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        while select.select([ours], [], [], 120)[0]:
            try:
                said += os.read(ours, 65536).decode()
            except OSError:  # the other end is closed
                break
            for question in [question for question in asked if said.endswith(question)]:
                os.write(ours, f"{asked.pop(question)}\n".encode())
    os.close(ours)
    return Run(running.returncode, said, folder / "data")


def test_an_account_with_two_factors_is_asked_for_at_the_terminal(world: World, tmp_path: Path) -> None:
    """Once, though it is workers without standard input that download; nothing that was typed in is shown."""
    account = Account(password="pass phrase", code="123456")
    with CdseServer(catalogue_of(world).values(), world.folder, account=account) as server:
        config = configured(tmp_path, world, server, FIRST)
        answers = {
            "CDSE user name (for 127.0.0.1): ": "sample",
            "CDSE password: ": "pass phrase",
            "CDSE two-factor code: ": "123456",
        }
        run = at_a_terminal(tmp_path, "DownloadL1C", "--tile", FIRST, config=config, answers=answers)
        assert run.code == 0, run.said
        assert account.counts == {"refused": 1, "sessions": 1}
        assert all(run.said.count(question) == 1 for question in answers)
        assert "pass phrase" not in run.said and "123456" not in run.said
    report = json.loads((run.data / "l1c" / f"{FIRST}.json").read_text())
    assert (run.data / report["path"]).stat().st_size == report["length_bytes"]


@contextmanager
def running(folder: Path, config: Path, tile: str) -> Iterator[subprocess.Popen[bytes]]:
    """A download by the pipeline, in a process group of its own, as a shell starts it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LUIGI_", "CDSE_"))}
    command = [sys.executable, "-m", "ben_luigi", "run", "DownloadL1C", "--tile", tile]
    environment = {**own, **ACCOUNT, "LUIGI_CONFIG_PATH": str(config), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        yield process


def size(folder: Path, pattern: str) -> int:
    """Bytes that have come, in the file of whichever turn."""
    with suppress(FileNotFoundError):  # a turn takes it over
        return sum(path.stat().st_size for path in folder.glob(pattern))
    return 0


def test_a_signal_in_the_middle_of_a_download_loses_nothing(world: World, tmp_path: Path) -> None:
    """SIGTERM to the process that was started, and Ctrl-C, which all of them get; no process is left behind."""
    record = catalogue_of(world)[FIRST]
    part = tmp_path / "data" / "l1c", f"{FIRST}.zip.{record['Id']}.*.part"
    with CdseServer([record], world.folder) as server:
        config = configured(tmp_path, world, server, FIRST, cdse={"bandwidth_mb_s": 1})
        come = 0
        for send in (os.kill, os.killpg):
            with running(tmp_path, config, FIRST) as process:
                while size(*part) < come + 500_000:
                    assert process.poll() is None
                    time.sleep(0.02)
                send(process.pid, signal.SIGTERM if send is os.kill else signal.SIGINT)
                _, said = process.communicate(timeout=60)
            assert process.returncode != 0, f"after {send.__name__}: {said.decode()}"
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
            assert not (part[0] / f"{FIRST}.zip").exists()
            come = size(*part)
        config = configured(tmp_path, world, server, FIRST)
        run = pipeline(tmp_path, "DownloadL1C", "--tile", FIRST, config=config, **ACCOUNT)
        assert run.code == 0, run.said
        assert (server.counts["download"], server.counts["resumed"]) == (3, 2)
        assert server.account.counts["sessions"] == 1
    assert (run.data / "l1c" / f"{FIRST}.zip").read_bytes() == (world.folder / record["File"]).read_bytes()
    assert sorted(path.suffix for path in part[0].iterdir()) == [".json", ".zip"]
