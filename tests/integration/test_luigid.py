"""`ben-luigi luigid`: a real one, asked through its API, looked at in a browser, and read as Prometheus reads it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from ben_luigi.sample.layout import World
from tests.integration.browser import chromium
from tests.integration.running import ROOT, command, configuration, pipeline

TILE, CUT = "31UGR_20171015", "35VNJ_20180204"
PATIENCE_S = 120

STUCK = """#!/bin/sh
# A Sen2Cor that comes to 40 % and then waits for the file `go`, to fail.
case "$*" in -h) echo "Sentinel-2 Level 2A Processor (Sen2Cor). Version: 2.11.0"; exit 0;; esac
echo "Progress[%]: 12.00 : PID-1, L2A_Tables"
echo "Progress[%]: 40.00 : PID-1, L2A_AtmCorr"
while [ ! -e {go} ]; do sleep 0.1; done
echo "OSError: broken data stream when reading image file"
exit 7
"""


@contextmanager
def _luigid(folder: Path, config: Path, port: int) -> Iterator[str]:
    """Its address, as `[core] scheduler_port` says, once it answers; no request is in its log."""
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(config), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ben_luigi", "luigid"]
    with (folder / "luigid.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(lambda: _answers(address), lambda: (folder / "luigid.log").read_text())
        yield address
    finally:
        server.terminate()
        server.wait()
    listens = rf"\d\d:\d\d:\d\d luigid listens at {re.escape(address)}\n"
    assert re.fullmatch(listens, (folder / "luigid.log").read_text())


@contextmanager
def _in_the_background(folder: Path, config: Path, port: int, pidfile: Path) -> Iterator[None]:
    """It answers within, and is ended after it."""
    words = ("--background", "--pidfile", str(pidfile), "--logdir", str(folder / "logs"))
    code, said = command("luigid", folder, config, *words)
    assert code == 0, said
    logs, address = folder / "logs", f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(address), lambda: "\n".join(path.read_text() for path in logs.iterdir()))
        yield
    finally:
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
    _wait(lambda: not _answers(address), lambda: "it still answers")


def test_in_the_background_it_starts_again_and_others_can_write_none_of_its_files(tmp_path: Path) -> None:
    """Among them is its state, which it refuses if others could have written it."""
    port, config = _free_port(), tmp_path / "own.cfg"
    config.write_text(f"[core]\nscheduler_port = {port}\n")
    state = tmp_path / "data" / "luigid" / "state.pickle"
    for pidfile in (tmp_path / "first.pid", tmp_path / "second.pid"):
        with _in_the_background(tmp_path, config, port, pidfile):
            state.unlink(missing_ok=True)
        _wait(state.exists, lambda: "no state")
        for path in (pidfile, state, *(tmp_path / "logs").iterdir()):
            assert path.stat().st_mode & 0o077 == 0, path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        return bool(_ask(address, "task_list", status="DONE", upstream_status="") == {})
    except OSError:
        return False


def _ask(address: str, method: str, **arguments: object) -> Any:
    query = urllib.parse.quote(json.dumps(arguments))
    with urllib.request.urlopen(f"{address}/api/{method}?data={query}") as answer:
        return json.loads(answer.read())["response"]


def _wait(found: Callable[[], Any], said: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := found()):
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)
    return answer


def _task(address: str, status: str, name: str) -> dict[str, Any] | None:
    listed = _ask(address, "task_list", status=status, upstream_status="")
    found: list[dict[str, Any]] = [task for task in listed.values() if task["display_name"] == name]
    return found[0] if found else None


def _see(browser: webdriver.Chrome, *texts: str) -> None:
    """Wait until the page shows all of `texts`."""

    def page() -> str:
        with suppress(WebDriverException):  # it is being drawn anew
            return browser.find_element(By.TAG_NAME, "body").text
        return ""

    _wait(lambda: all(text in said for said in [page()] for text in texts), page)


def _click(browser: webdriver.Chrome, selector: str) -> None:
    """Wait for a button, and press it."""

    def pressed() -> bool:
        with suppress(WebDriverException):  # it is yet to come, or is being drawn anew
            browser.find_element(By.CSS_SELECTOR, selector).click()
            return True
        return False

    _wait(pressed, lambda: f"no {selector} to press")


def test_luigid_shows_what_a_tile_is_doing_how_far_it_is_and_why_it_failed(sample_world: World, tmp_path: Path) -> None:
    program, go, name = tmp_path / "L2A_Process", tmp_path / "go", f"ConvertToL2A(tile={TILE})"
    program.write_text(STUCK.format(go=go))
    program.chmod(0o755)
    port = _free_port()
    config = configuration(
        tmp_path,
        sample_world,
        dataset={"tiles": TILE},
        inputs={"l1c_dir": sample_world.products},
        sen2cor={"executable": program, "parallel": 3},
        core={"local_scheduler": "false", "scheduler_port": port},
        scheduler={"metrics_collector": "prometheus"},
    )
    with _luigid(tmp_path, config, port) as address:
        run = subprocess.Popen(
            [sys.executable, "-m", "ben_luigi", "cron-rerun", "ConvertToL2A", "--tile", TILE],
            cwd=tmp_path,
            env={**os.environ, "LUIGI_CONFIG_PATH": str(config), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        log = lambda: "".join(path.read_text() for path in (tmp_path / "data" / "logs").glob("*"))  # noqa: E731
        try:
            message = f"Sen2Cor on {TILE}: 40 %"  # which is sent after the number
            at_40 = _wait(
                lambda: (
                    (task := _task(address, "RUNNING", name))
                    and (task["status_message"] or "").startswith(message)
                    and task
                ),
                log,
            )
            assert at_40["progress_percentage"] == 40
            with socket.socket() as elsewhere:  # which a server on all addresses would answer
                assert elsewhere.connect_ex(("127.0.0.2", port)) != 0
            resources = {one["name"]: one["num_total"] for one in _ask(address, "resource_list")}
            assert resources == {"cdse": 1, "sen2cor": 3}
            with chromium(tmp_path / "profile") as browser:
                browser.get(address)
                _see(browser, TILE, "ConvertToL2A")
                _click(browser, f'button.statusMessage[data-display-name="{name}"]')
                _see(browser, f"Sen2Cor on {TILE}: 40 %")

                go.touch()
                assert run.wait(PATIENCE_S) == 30
                browser.get(f"{address}/static/visualiser/index.html#statuses__FAILED=1")
                browser.refresh()
                _see(browser, TILE, "ConvertToL2A")
                _click(browser, "button.showError")
                _see(browser, "broken data stream", f"{TILE}.log")
        finally:
            go.touch()
            run.wait()
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            counted = _counted(answer.read().decode())
    assert counted["ben_luigi_failures_total", "ConvertToL2A", "Sen2CorError"] == 1
    assert counted["luigi_task_failed_total", "ConvertToL2A", ""] == 1
    assert (tmp_path / "data" / "luigid" / "state.pickle").exists()


def test_luigid_sees_every_tile_and_counts_tiles_and_bytes(sample_world: World, l2a_dir: Path, tmp_path: Path) -> None:
    port = _free_port()
    config = configuration(
        tmp_path,
        sample_world,
        dataset={"tiles": CUT},
        inputs={"l2a_dir": l2a_dir},
        core={"local_scheduler": "false", "scheduler_port": port},
        scheduler={"metrics_collector": "prometheus"},
    )
    with _luigid(tmp_path, config, port) as address:
        run = pipeline(tmp_path, "LabelPatches", "--tile", CUT, config=config)
        assert run.code == 0, run.said
        assert all(_task(address, "DONE", f"{family}(tile={CUT})") for family in ("CutPatches", "LabelPatches"))
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            counted = _counted(answer.read().decode())
    for folder, family in (("patches", "CutPatches"), ("reference_maps", "MakeReferenceMaps")):
        assert counted["luigi_task_done_total", family, ""] == 1
        assert counted["ben_luigi_bytes_total", family, ""] == (run.data / folder / f"{CUT}.tar").stat().st_size


def _counted(text: str) -> dict[tuple[str, str, str], float]:
    """Value by name, task family and kind of error."""
    return {
        (sample.name, sample.labels["family"], sample.labels.get("kind", "")): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }
