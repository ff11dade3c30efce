"""What runs by itself: reruns by cron over a service that fails, what they tell a person, and what `status` says."""

from __future__ import annotations

import fcntl
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ben_luigi.sample.cdse_faults import Fault
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from tests.integration.running import ROOT, Run, command, environment, one_tile_of
from tests.integration.stopping import wait_for
from tests.integration.test_recipes import OWN

TILE = "31UGR_20171015"


@contextmanager
def _webhook() -> Iterator[tuple[str, list[str]]]:
    """A URL, and the texts that were posted to it."""
    told: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-part", told
    finally:
        server.shutdown()
        server.server_close()


def test_cron_reruns_tell_once_rest_and_recover(sample_world: World, tmp_path: Path) -> None:
    """A service that fails for good, then one that works; the change for the worse is told once."""
    catalogue = json.loads(sample_world.catalogue.read_text())
    logs = tmp_path / "data" / "logs"
    with _webhook() as (url, told), CdseServer(catalogue, sample_world.folder) as server:
        config = one_tile_of(server, TILE, tmp_path, sample_world, cron={"webhook": url, "keep_logs": 2})
        account = {"CDSE_USER": "sample", "CDSE_PASSWORD": "sample"}

        def rerun() -> int:
            code, said = command("cron-rerun", tmp_path, config, "DownloadL1C", "--tile", TILE, **account)
            assert said == "", "cron would mail this"
            return code

        server.script = type(server.script)([Fault("download", "503", None)])
        assert rerun() == 30
        asked = server.counts["download"]
        assert asked == 3
        assert len(told) == 1
        assert "503" in told[0] and f"DownloadL1C(tile={TILE})" in told[0]

        assert rerun() == 30
        assert server.counts["download"] == asked, "a tile that rests is not asked for"
        assert len(told) == 1
        assert len(list(logs.iterdir())) == 2

        code, said = command("status", tmp_path, config)
        assert code == 0
        (err,) = (tmp_path / "data" / "l1c").glob("*.err")
        assert f"{TILE}: 3 failed tries, rests until" in said
        assert "503" in said
        assert f"product id {err.stem}, and {err}" in said
        assert f"ben-luigi clear-tries {TILE}" in said
        assert re.search(r"Failed:\n  DownloadL1C\(tile=31UGR_20171015\)", said)

        lock = tmp_path / "data" / "cron" / f"{socket.gethostname()}.lock"
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert rerun() == 10
        assert command("clear-tries", tmp_path, config, TILE)[0] == 0
        server.script = type(server.script)([])
        assert rerun() == 0
        assert len(told) == 1
        assert len(list(logs.iterdir())) == 2
        assert list((tmp_path / "data" / "failed").iterdir()) == []
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert b"secret-part" not in path.read_bytes(), path


def test_a_rerun_tells_of_the_folder_that_its_recipe_and_options_name(tmp_path: Path) -> None:
    """What fails there is in the notice, and log, lock and state are there, none of them in the configured folder."""
    recipe, elsewhere = tmp_path / "own.toml", tmp_path / "elsewhere"
    recipe.write_text(OWN)
    typed = ("--world", "real", "--recipe", "own.toml", "--dataset-data-dir", str(elsewhere))
    code, said = command("cron-rerun", tmp_path, None, "GivenInput", "--option", "s1_dir", *typed)
    assert code == 20, said
    data = elsewhere / "recipes" / "own"
    assert f"The run in {data} has ended: waiting for a person." in said
    assert "GivenInput(option=s1_dir)\n  " in said
    (log,) = (data / "logs").iterdir()
    assert f"For details: ben-luigi status --recipe {recipe}, and {log}" in said
    assert not (tmp_path / "data").exists() and (data / "cron" / f"{socket.gethostname()}.json").exists()


def test_status_forgets_what_is_no_longer_asked_for(sample_run: Run, tmp_path: Path) -> None:
    """A tile that there is not, an argument that is gone, an input that is there by now; the rest stays."""
    own, failed = tmp_path / "own.cfg", tmp_path / "data" / "failed"
    failed.mkdir(parents=True)
    for path in sample_run.data.iterdir():
        if path.name == "made_from":
            subprocess.run(["cp", "-a", path, tmp_path / "data"], check=True)
        elif path.name == "database":
            subprocess.run(["cp", "-a", sample_run.data.parent / "database", tmp_path / "data"], check=True)
        elif path.name not in ("failed", "in-use.lock"):
            (tmp_path / "data" / path.name).symlink_to(path)
    own.write_text(f"[dataset]\ndata_dir = {tmp_path}/data\n")
    said = {"kind": "BadInput", "error": "why", "needs_person": True, "at": "2026-01-01T00:00:00Z", "host": "here"}
    tasks = {
        "a": ("ExportPatches", {"tile": "31UGR_20991231"}),
        "b": ("RenderPatches", {"patches": "nonsense"}),
        "c": ("RenderTile", {"tile": TILE, "colour": "red"}),
        "d": ("GivenInput", {"option": "clc_gpkg"}),
        "e": ("CutPatches", {"tile": TILE}),
        "f": ("ExportPatches", {"tile": TILE}),
        "g": ("NoSuchTask", {}),
    }
    for name, (family, arguments) in tasks.items():
        tile = arguments.get("tile", "")
        content = {**said, "task": f"{family} {name}", "tile": tile, "family": family, "arguments": arguments}
        (failed / f"{name}.json").write_text(json.dumps(content))
    old = {**said, "task": "of an older checkout", "tile": ""}
    (failed / "old.json").write_text(json.dumps(old))
    code, told = command("status", tmp_path, own, "--json")
    assert code == 0, told
    assert {one["task"] for one in json.loads(told)["failed"]} == {"ExportPatches f", "of an older checkout"}


def test_already_running_names_the_other_run_and_a_new_data_folder_is_said(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ben_luigi", "run"]
    own = environment(PYTHONPATH=str(ROOT))
    log = tmp_path / "log"
    with log.open("wb") as output:
        first = subprocess.Popen(words, cwd=tmp_path, env=own, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        locks = tmp_path / "data" / "locks" / socket.gethostname()
        wait_for(lambda: any(locks.glob("*.pid")) or first.poll() is not None, log.read_text)
        code, said = command("run", tmp_path, None)
        assert code == 10, said
        assert f"process {first.pid} of this host ({' '.join(words)})" in said
        assert f"next: wait for it: it makes the same; or stop it: kill {first.pid}" in said
        assert "not complete" not in said and "a new data folder" not in said.partition("already running")[2]
    finally:
        first.terminate()
        first.wait()
    assert "a new data folder is begun there ([dataset] data_dir = data, below the current folder)" in log.read_text()


def test_a_data_folder_that_cannot_be_entered_is_said_in_one_line(tmp_path: Path) -> None:
    """An error of ours before the run begins: any command prints it without a traceback."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in-use.lock").symlink_to("elsewhere")
    code, said = command("run", tmp_path, None)
    assert code == 20, said
    (line,) = (line for line in said.splitlines() if line.startswith("ben-luigi run: "))
    assert "expected: a lock file that this user can open" in line
    assert "Traceback" not in said
