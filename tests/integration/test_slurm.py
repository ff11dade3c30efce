"""`ben-luigi submit slurm` on a real Slurm, of which a node is killed, and a job preempted, while they convert."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ben_luigi.sample.layout import World
from tests.integration import own_slurm
from tests.integration.fault_table import FaultTable
from tests.integration.own_luigid import luigid
from tests.integration.own_postgres import tcp_server
from tests.integration.own_slurm import HIGH, LOW, Cluster
from tests.integration.running import ROOT, Run, configuration, dataset_digests, environment
from tests.integration.stopping import wait_for
from tests.integration.test_sen2cor_pipeline import program

TILES = ("31UGR_20171015", "31UGR_20180508", "35VNJ_20180204", "35VPK_20180204")
pytestmark = pytest.mark.skipif(bool(own_slurm.missing()), reason=own_slurm.missing())


class Head:
    """A user's configuration for the cluster, and the run that submits jobs to it."""

    def __init__(self, folder: Path, world: World, cluster: Cluster, url: str, port: int) -> None:
        self.folder, self.cluster, self.data = folder, cluster, folder / "data"
        self.hold, self._begun = folder / "hold", folder / "begun"
        self.hold.touch()
        waits = f"while [ -e '{self.hold}' ]; do sleep 0.05; done"
        called = program(
            folder / "L2A_Process", f"echo $3 >>'{self._begun}'", waits, f'exec "{world.l2a_process}" "$@"'
        )
        self.config = configuration(
            folder,
            world,
            core={"local_scheduler": "false", "scheduler_host": "127.0.0.1", "scheduler_port": port, "workers": 1},
            worker={"wait_interval": 0.3},
            dataset={"tiles": ", ".join(TILES), "data_dir": self.data},
            inputs={"l1c_dir": world.products},
            sen2cor={"executable": called},
            database={"url": url},
            slurm={"partition": LOW, "memory_gb": 1, "cores": 1, "time": 60},
        )
        self._environment = environment(LUIGI_CONFIG_PATH=str(self.config), PYTHONPATH=str(ROOT), **cluster.environment)

    @contextmanager
    def run(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """`ben-luigi submit slurm`, which is ended with the block."""
        own = [sys.executable, "-m", "ben_luigi", "submit", "slurm", *arguments]
        with (self.folder / "said").open("wb") as said:
            run = subprocess.Popen(own, cwd=self.folder, stdout=said, stderr=said, env=self._environment)
        try:
            yield run
        finally:
            run.terminate()
            run.wait()

    def said(self) -> str:
        """What it has said, and what the jobs and Slurm have."""
        logs = [path.read_text() for path in [self.folder / "said", *sorted((self.data / "slurm").glob("*.log"))]]
        return "\n".join([*logs, self.cluster.said()])

    def begun(self) -> list[str]:
        """The products whose conversion has begun so far, each time that it has."""
        return self._begun.read_text().split() if self._begun.exists() else []

    def running(self) -> dict[str, str]:
        """The node of each element that runs."""
        lines = self.cluster.ask("squeue", "--array", "--noheader", "--states=R", f"--partition={LOW}", "-o%F_%K %N")
        return dict(line.split() for line in lines.splitlines())

    def restarts(self, element: str) -> int:
        """How often Slurm has begun an element again."""
        found = [job for job in self.cluster.jobs() if f"{job.get('ArrayJobId')}_{job.get('ArrayTaskId')}" == element]
        return max((int(job["Restarts"]) for job in found), default=0)


def test_a_killed_node_and_a_preempted_job_change_no_byte(
    sample_run: Run, sample_world: World, tmp_path: Path, table: FaultTable, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the conversions is made on the head; each of these in a job of its own, begun again where need be."""
    nodes = [f"ben-{os.getpid()}-{name}" for name in ("north", "south")]
    with ExitStack() as stack:
        cluster = stack.enter_context(own_slurm.slurm(*nodes))
        url = stack.enter_context(tcp_server(tmp_path / "database", "on-the-cluster", "127.0.0.1"))
        port = stack.enter_context(luigid(tmp_path, tmp_path / "data", "127.0.0.1"))
        head = Head(tmp_path, sample_world, cluster, url, port)
        run = stack.enter_context(head.run("FinalizeDataset"))
        wait_for(lambda: len(head.begun()) == 2 or run.poll() is not None, head.said)
        assert run.poll() is None, head.said()
        stack.enter_context(table.row("Slurm: a node killed, a job preempted, while they convert", 2))
        first, second = head.running()
        killed, busy = head.running()[first], head.running()[second]
        wanted = (f"--partition={HIGH}", f"--nodelist={busy}", "--output=/dev/null", "--wrap=true")
        taker = cluster.ask("sbatch", "--parsable", *wanted).strip()
        wait_for(lambda: head.restarts(first) > 0 or head.restarts(second) > 0, head.said)
        cluster.die(killed)
        cluster.boot(killed)
        wait_for(lambda: head.restarts(first) > 0 and head.restarts(second) > 0, head.said)
        wait_for(lambda: len(head.begun()) >= 4, head.said)
        wait_for(lambda: taker not in cluster.ask("squeue", "-h", "-o%A"), head.said)
        head.hold.unlink()
        assert run.wait() == 0, head.said()
        _check_made(head, sample_run)
    with capsys.disabled():
        said = f"{len(TILES)} conversions in {len(head.begun())} jobs of Slurm"
        print(f"\n{said}: a node killed, a job preempted, the same dataset")


def _check_made(head: Head, sample_run: Run) -> None:
    """The same bytes as without a cluster, and each task where it belongs."""
    made, as_wanted = dataset_digests(head.data), dataset_digests(sample_run.data)
    # What tells where the products came from, in words, is another: there from CDSE, here from a folder.
    compared = {name for name in as_wanted if name.endswith((".tar.zst", ".parquet", ".csv"))} - {"patches.parquet"}
    assert len(compared) == 8
    assert {name for name in compared if made.get(name) != as_wanted[name]} == set()
    said = (head.folder / "said").read_text()
    by_jobs = [
        task for log in (head.data / "slurm").glob("*.log") for task in Run(0, log.read_text(), head.data).tasks()
    ]
    assert sorted(by_jobs) == [f"ConvertToL2A(tile={tile})" for tile in TILES], "one conversion each, and nothing else"
    assert "ConvertToL2A" not in "".join(Run(0, said, head.data).tasks())
