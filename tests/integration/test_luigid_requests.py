"""luigid obeys workers, its own pages and people, and no other page of a browser; it reads no state but its own."""

from __future__ import annotations

import http.client
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from luigi.rpc import RemoteScheduler

from tests.integration.own_postgres import free_port
from tests.integration.running import ROOT, command, environment
from tests.integration.stopping import wait_for

DONE = "/api/mark_as_done?" + urllib.parse.urlencode({"data": json.dumps({"task_id": "CutPatches_1"})})
LIST = "/api/task_list?data=" + urllib.parse.quote(json.dumps({"status": "PENDING", "upstream_status": ""}))


@contextmanager
def luigid(folder: Path, *arguments: str, **core: object) -> Iterator[int]:
    """A scheduler of ours; gives its port."""
    port, log, config = free_port(), folder / "luigid.log", folder / "own.cfg"
    config.write_text("\n".join(["[core]", *(f"{name} = {value}" for name, value in core.items())]) + "\n")
    words = [sys.executable, "-m", "ben_luigi", "luigid", "--port", str(port), *arguments]
    own = environment(LUIGI_CONFIG_PATH=str(config), PYTHONPATH=str(ROOT))
    with log.open("wb") as said, subprocess.Popen(words, cwd=folder, env=own, stdout=said, stderr=said) as server:
        try:
            wait_for(lambda: connects(port), lambda: log.read_text())
            yield port
        finally:
            server.terminate()


def scheduler(host: str, port: int) -> Any:
    """luigid as a worker sees it."""
    return RemoteScheduler(f"http://{host}:{port}/")


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of the answer to one request; the headers' names have _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": f"127.0.0.1:{port}", "Content_Length": "0", **headers}.items():
        connection.putheader(name.replace("_", "-"), value.format(port=port))
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with luigid(tmp_path_factory.mktemp("luigid"), scheduler_host="luigi.example.org") as port:
        yield port


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", DONE, {"Origin": "http://evil.example.org"}),
        ("POST", DONE, {"Origin": "null"}),
        ("POST", DONE, {"Origin": "http://127.0.0.1:1"}),
        ("POST", DONE, {"Sec_Fetch_Site": "same-site"}),
        ("GET", DONE, {"Sec_Fetch_Site": "cross-site"}),
        ("GET", DONE, {}),
        ("GET", DONE.replace("mark_as", "mark%5Fas"), {}),
        ("GET", DONE.replace("mark_as_done", "get_work"), {}),
        ("GET", LIST, {"Origin": "http://evil.example.org"}),
        ("OPTIONS", DONE, {"Origin": "http://evil.example.org"}),
        ("GET", LIST, {"Host": "evil.example.org:{port}"}),
        ("POST", DONE, {"Host": "evil.example.org:{port}", "Origin": "http://evil.example.org:{port}"}),
        ("GET", "/", {"Host": "evil.example.org"}),
        ("GET", "/metrics", {"Host": "localhost.evil.example.org:{port}"}),
        ("GET", LIST, {"Host": "192.0.2.1:{port}"}),
        ("GET", LIST, {"Host": "[::1"}),
        ("GET", LIST, {"Host": ""}),
    ],
)
def test_what_other_pages_send_is_refused(method: str, path: str, headers: dict[str, str], port: int) -> None:
    status, said = ask(port, method, path, **headers)
    assert status == 403
    assert said.startswith("luigid ")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", DONE, {}),
        (
            "POST",
            DONE,
            {"Host": "localhost:{port}", "Origin": "http://localhost:{port}", "Sec_Fetch_Site": "same-origin"},
        ),
        ("POST", DONE, {"Host": "localhost:8082", "Origin": "http://localhost:8082"}),
        ("GET", DONE, {"X_Requested_With": "XMLHttpRequest"}),
        ("GET", DONE, {"Sec_Fetch_Site": "same-origin"}),
        ("GET", LIST, {"Sec_Fetch_Site": "none"}),
        ("GET", LIST, {}),
        ("GET", LIST, {"Host": "[::1]:{port}"}),
        ("GET", LIST, {"Host": "127.1.2.3:{port}"}),
        ("GET", LIST, {"Host": "LUIGI.example.org"}),
        ("GET", LIST, {"Host": f"{socket.gethostname()}:{{port}}"}),
        ("GET", "/static/visualiser/index.html", {"Sec_Fetch_Site": "cross-site"}),
    ],
)
def test_workers_people_and_its_own_pages_are_obeyed(
    method: str, path: str, headers: dict[str, str], port: int
) -> None:
    status, said = ask(port, method, path, **headers)
    assert status == 200, said


def test_workers_of_other_hosts_are_obeyed(tmp_path: Path) -> None:
    """By the address at which luigid listens, and by the name that the configuration gives it."""
    with luigid(tmp_path, "--address", "0.0.0.0", scheduler_host="localhost.localdomain") as port:
        for host in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
            worker = scheduler(host, port)
            worker.add_task(task_id="CutPatches_1", family="CutPatches", worker="north")
            assert worker.get_work(worker="north", current_tasks=[])["task_id"] == "CutPatches_1"


class Trap:
    """What makes a file when its pickle is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def state_of(folder: Path) -> Path:
    """The state of luigid in `folder`, as another user could have written it."""
    state = folder / "data" / "luigid" / "state.pickle"
    state.parent.mkdir(parents=True, mode=0o700)
    state.write_bytes(pickle.dumps(Trap(folder / "sprung")))
    state.chmod(0o600)
    return state


@pytest.mark.parametrize("how", ["file 0666", "file 0620", "folder 0777", "link", "owner"])
def test_a_state_that_others_could_have_written_is_not_read(how: str, tmp_path: Path) -> None:
    state = state_of(tmp_path)
    found = {"link": "a link", "owner": "one of user 65534"}.get(how, f"mode {how[-3:]}")
    if how == "link":
        state.rename(tmp_path / "elsewhere")
        state.symlink_to(tmp_path / "elsewhere")
    elif how == "owner":
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(state, 65534, 65534)
    else:
        (state if how.startswith("file") else state.parent).chmod(int(how[-4:], 8))
    code, said = command("luigid", tmp_path, None, "--port", str(free_port()))
    assert code == 20
    assert not (tmp_path / "sprung").exists()
    assert said.startswith(f"ben-luigi luigid: {state.parent if 'folder' in how else state}; expected: ")
    assert found in said and "next: " in said and said.count("\n") == 1


def test_its_own_state_is_read_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Even if it was left by a version that let all read it."""
    state = tmp_path / "data" / "luigid" / "state.pickle"
    with luigid(tmp_path) as port:
        scheduler("127.0.0.1", port).add_task(task_id="CutPatches_1", family="CutPatches", worker="north")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.parents[1].stat().st_mode) & 0o055 == 0o055 & ~umask()
    state.chmod(0o644)
    with luigid(tmp_path) as port:
        assert "CutPatches_1" in ask(port, "GET", LIST)[1]
        assert stat.S_IMODE(state.stat().st_mode) == 0o600


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = command("luigid", tmp_path, None, "--port", str(taken.getsockname()[1]))
    assert code == 20
    assert "Address already in use" in said and said.count("\n") == 1
