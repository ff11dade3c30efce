"""A Slurm on loopback: munged, slurmctld and a slurmd for each node, all of this user, in a folder of their own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.integration.own_postgres import free_port
from tests.integration.stopping import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
LOW, HIGH = "low", "high"
"""Jobs of the second partition take the place of those of the first one, which go back into the queue."""
_MEMORY_MB = 1100
_CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
ReturnToService=2
SlurmdTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
"""


def missing() -> str:
    """Why there is no Slurm here; empty if there is one."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"no {', '.join(absent)} (Debian: slurmctld, slurmd, slurm-client, munge)" if absent else ""


class Cluster:
    """It runs one job at a time for each node that was asked for, which uses one core and up to 1 GB."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.folder, self.nodes = folder, nodes
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._several = True
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(parents=True)

    def _write(self, jobs: int) -> None:
        """The configuration, by which `jobs` jobs run at once."""
        user = getpass.getuser()
        lines = [_CONFIGURATION.format(host=_host(), port=free_port(), user=user, folder=self.folder).strip()]
        per_node = jobs // len(self.nodes)
        for node in self.nodes:
            port = f"NodeHostname={node} Port={free_port()}" if self._several else f"\nSlurmdPort={free_port()}"
            lines.append(
                f"NodeName={node} NodeAddr=127.0.0.1 CPUs={per_node} RealMemory={per_node * _MEMORY_MB} {port}"
            )
            (self.folder / "spool" / node).mkdir(exist_ok=True)
        both = f"Nodes={','.join(self.nodes)} MaxTime=INFINITE State=UP"
        lines += [f"PartitionName={LOW} {both} Default=YES PriorityTier=1"]
        lines += [f"PartitionName={HIGH} {both} PriorityTier=10 PreemptMode=OFF"]
        (self.folder / "slurm.conf").write_text("\n".join([*lines, ""]))

    def start(self, name: str, *command: str) -> None:
        """Start a daemon, in the foreground of its own session."""
        environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **self.environment}
        with (self.folder / f"{name}.log").open("ab") as said:
            self._daemons[name] = subprocess.Popen(
                command, stdout=said, stderr=said, env=environment, start_new_session=True
            )

    def direct(self) -> None:
        """Start slurmctld for the nodes; for this host alone, if this build of Slurm has one node on a host."""
        jobs = len(self.nodes)
        self._write(jobs)
        self.start("slurmctld", "slurmctld", "-D")
        wait_for(lambda: "MULTIPLE_SLURMD" in self.ask("scontrol", "show", "config"), self.said)
        lines = [line.split() for line in self.ask("scontrol", "show", "config").splitlines()]
        if ["MULTIPLE_SLURMD", "=", "Yes"] not in lines:
            controller = self._daemons.pop("slurmctld")
            controller.kill()
            controller.wait()
            shutil.rmtree(self.folder / "state")
            (self.folder / "state").mkdir()
            self.nodes, self._several = [_host()], False
            self._write(jobs)
            self.start("slurmctld", "slurmctld", "-D")

    def boot(self, node: str) -> None:
        """Start a node, or start it again after its death."""
        self.start(node, "slurmd", "-D", *(("-N", node) if self._several else ()))

    def die(self, node: str) -> None:
        """Kill a node with all that runs on it; nothing has the time to say a word."""
        victims = {self._daemons[node].pid, *self._jobs(node)}
        for kill in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, kill)
        self._daemons.pop(node).wait()

    def _jobs(self, node: str) -> Iterator[int]:
        """The processes of its jobs, which know cluster and node, and the daemons that have started them."""
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= set((process / "environ").read_bytes().split(b"\0")):
                    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                    if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                        yield parent
                    yield int(process.name)

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs says; nothing if it fails."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    def jobs(self) -> list[dict[str, str]]:
        """The facts of each job that it remembers, as scontrol has them."""
        lines = self.ask("scontrol", "--oneliner", "show", "jobs").splitlines()
        return [dict(part.partition("=")[::2] for part in line.split() if "=" in part) for line in lines]

    def said(self) -> str:
        """What its daemons have said last, and its jobs."""
        logs = [f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in self.folder.glob("*.log")]
        return "\n".join([*logs, self.ask("squeue", "--array"), self.ask("sinfo", "--long", "--Node")])

    def close(self) -> None:
        """End all jobs, then all daemons, and what is left of the jobs."""
        self.ask("scancel", f"--user={getpass.getuser()}")
        for node in self.nodes:
            if node in self._daemons:
                self.die(node)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()


def _host() -> str:
    """The name of this host, as Slurm has it."""
    return socket.gethostname().partition(".")[0]


@contextmanager
def slurm(*nodes: str) -> Iterator[Cluster]:
    """A cluster with these nodes; with this host for all of them, if this build of Slurm has one node on a host."""
    with ExitStack() as stack:
        # Slurm has a socket for each job in its folder, and the path of a socket has at most 107 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        cluster = Cluster(folder, nodes)
        stack.callback(cluster.close)
        munge = folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = {"key-file": munge / "key", **{f"{name}-file": munge / name for name in ("log", "pid", "seed")}}
        options = [f"--{option}={path}" for option, path in files.items()]
        cluster.start("munged", "munged", "--foreground", "--force", f"--socket={munge}/socket", *options)
        wait_for((munge / "socket").exists, cluster.said)
        cluster.direct()
        for node in cluster.nodes:
            cluster.boot(node)
        idle = ["idle"] * len(cluster.nodes)
        wait_for(lambda: cluster.ask("sinfo", "-hN", f"-p{LOW}", "-o%T").split() == idle, cluster.said)
        yield cluster
