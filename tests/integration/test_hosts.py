"""Two hosts on one data folder: the same command on each, `ben-luigi luigid`, one PostgreSQL on TCP.

Each host has a network and a name of its own, where the kernel lets us make them; else it is a process among others.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from luigi.rpc import RemoteScheduler

from tests.integration.own_luigid import luigid
from tests.integration.own_postgres import tcp_server
from tests.integration.running import Run, dataset_digests
from tests.integration.stopping import Launcher, StoppingRun, wait_for

_OWN = os.getpid() % 128  # two runs of the tests at once do not meet
NETWORKS = {"north": f"198.18.{_OWN}", "south": f"198.19.{_OWN}"}
LONG = {
    *("MakeSampleWorld", "DownloadL1C", "ConvertToL2A", "CutPatches", "MakeReferenceMaps", "CompressPart", "HashTar"),
    *("JoinParts", "ListS1Hashes", "VerifyDataset", "WriteReport"),
}
LEAVE_NOTHING = {"ProcessTiles()", "FinalizeDataset()"}


def _ip(words: str) -> bool:
    with suppress(FileNotFoundError):
        return subprocess.run(["ip", *words.split()], capture_output=True, check=False).returncode == 0
    return False


@contextmanager
def _network(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A network namespace joined to ours: our address there, and how to start a program in it, under its own name.

    Loopback, and nothing to start a program by, where there is no right to make one.
    """
    space, ours, theirs = f"ben-{os.getpid()}-{name}", f"v{os.getpid()}{name[0]}", f"w{os.getpid()}{name[0]}"
    made = _ip(f"netns add {space}") and all(
        (
            _ip(f"link add {ours} type veth peer name {theirs} netns {space}"),
            _ip(f"addr add {NETWORKS[name]}.1/24 dev {ours}"),
            _ip(f"link set {ours} up"),
            _ip(f"-n {space} link set lo up"),
            _ip(f"-n {space} addr add {NETWORKS[name]}.2/24 dev {theirs}"),
            _ip(f"-n {space} link set {theirs} up"),
            _ip(f"-n {space} route add default via {NETWORKS[name]}.1"),
        )
    )
    rename = ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
    try:
        yield (f"{NETWORKS[name]}.1", ("ip", "netns", "exec", space, *rename)) if made else ("127.0.0.1", ())
    finally:
        _ip(f"netns del {space}")


def _status_messages(url: str) -> dict[str, str]:
    """What luigid was told last of a task of each family that is done."""
    scheduler: Any = RemoteScheduler(url)
    return {task["name"]: task["status_message"] or "" for task in scheduler.task_list("DONE", "").values()}


class Host:
    """A host with a folder of its own, and with the shared one."""

    def __init__(self, name: str, folder: Path, inside: tuple[str, ...], world: Path) -> None:
        self.name, self.folder, self._inside, self._world = name, folder / name, inside, world
        (self.folder / "tmp").mkdir(parents=True)
        self.boot()

    def boot(self) -> None:
        """Start it, or start it again after its death."""
        own = {"TMPDIR": str(self.folder / "tmp"), "BEN_SAMPLE_WORLD": str(self._world)}
        self.launcher = Launcher(*self._inside, cwd=self.folder, **own)

    def run(self, config: Path, *stop: str) -> StoppingRun:
        """The command that is the same on all hosts."""
        return StoppingRun(self.launcher, self.folder, *stop, config=config)

    def done(self) -> list[str]:
        """The tasks that were done here so far."""
        said = self.folder / "said"
        return Run(0, said.read_text(encoding="utf-8") if said.exists() else "", self.folder).tasks()

    def die(self) -> None:
        """All of its processes are killed, and none has the time to say a word."""
        mark = os.fsencode(f"TMPDIR={self.folder / 'tmp'}")  # which all of them have inherited
        for kill in (signal.SIGSTOP, signal.SIGKILL):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if mark in (process / "environ").read_bytes().split(b"\0"):
                        os.kill(int(process.name), kill)


def _config(folder: Path, data: Path, url: str, scheduler: tuple[str, int]) -> Path:
    lines = [
        *("[core]", "workers = 1", "local_scheduler = false"),
        *(f"scheduler_host = {scheduler[0]}", f"scheduler_port = {scheduler[1]}"),
        *("[worker]", "force_multiprocessing = true", "wait_interval = 0.3"),
        *("[dataset]", f"data_dir = {data}"),
        *("[database]", f"url = {url}"),
    ]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def test_hosts_that_begin_together_share_the_tiles_and_take_over_from_the_dead(
    sample_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every task is done once, by one of them, and the bytes are those of a single host.

    They begin with nothing, not even the list of tiles. One dies while it converts a tile. It comes back when the other
    one makes an archive, which then dies in its turn.
    """
    data = tmp_path / "shared"
    with ExitStack() as stack:
        networks = {name: stack.enter_context(_network(name)) for name in NETWORKS}
        addresses = list(dict.fromkeys(address for address, _ in networks.values()))
        url = stack.enter_context(tcp_server(tmp_path / "database", "from-host-to-host", *addresses))
        port = stack.enter_context(luigid(tmp_path, data, addresses[0]))
        config = _config(tmp_path, data, url, (addresses[0], port))
        world = sample_run.data / "sample"
        north, south = (Host(name, tmp_path, inside, world) for name, (_, inside) in networks.items())
        first, second = (host.run(config, "ConvertToL2A") for host in (north, south))
        assert first.stopped() == second.stopped() == "ConvertToL2A", first.said + second.said
        north.die()
        second.go_on("CompressPart")
        assert second.stopped() == "CompressPart", second.said
        north.boot()
        third = north.run(config)
        wait_for(lambda: "tasks that other hosts run" in third.said, third.where)
        south.die()
        assert third.ended() == 0, third.said
        north.launcher.close()
        shown = _status_messages(f"http://{addresses[0]}:{port}")
    by_host = [task for host in (north, south) for task in host.done() if task not in LEAVE_NOTHING]
    assert sorted(by_host) == sorted(set(sample_run.tasks()) - LEAVE_NOTHING)
    assert dataset_digests(data) == dataset_digests(sample_run.data)
    assert not list(data.rglob(".unfinished-*")) and not list(data.rglob(".work-*"))
    assert {name for name in LONG if not shown[name]} == set(), "what it was doing is in the visualiser"
    kind = "of their own addresses" if len(addresses) == 2 else "of one address"
    with capsys.disabled():
        print(f"\ntwo hosts {kind}: {len(north.done())} tasks, {len(south.done())}, each killed; none twice, none lost")
