"""Ask Slurm for jobs: the command of a job array, the script of its elements, and which of them are in the queue.

Documented in sbatch(1), squeue(1) and "Job Array Support" of Slurm. The programs see the whole environment that this
process was given, since sbatch passes it on to the job.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ben_luigi.domain import surroundings, waiting
from ben_luigi.domain.errors import SlurmError

MOST_ELEMENTS = 1000
"""Elements of one array; Slurm's own limit, MaxArraySize, is 1001 unless the cluster says otherwise."""
_PROGRAMS = ("sbatch", "squeue", "scancel")
_ANSWER_S = 120.0


class Wanted(NamedTuple):
    """What each job of an array is given; an empty text leaves the choice to the cluster."""

    name: str
    cores: int
    memory_gb: int
    time: str
    partition: str = ""
    account: str = ""
    at_once: int = 0
    more: str = ""

    def command(self, elements: int, logs: Path) -> list[str]:
        """Return the command that reads a script and submits it as an array of so many jobs, one log each.

        A job needs one task, not a whole node, and goes back into the queue if it is preempted or its node fails.
        """
        limit = f"%{self.at_once}" if self.at_once else ""
        given = {"time": self.time, "partition": self.partition, "account": self.account}
        return [
            *("sbatch", "--parsable", f"--job-name={self.name}", f"--array=0-{elements - 1}{limit}"),
            *("--ntasks=1", f"--cpus-per-task={self.cores}", f"--mem={self.memory_gb}G"),
            *("--requeue", "--open-mode=append", f"--output={logs}/%A_%a.log"),
            *(f"--{option}={value}" for option, value in given.items() if value),
            *shlex.split(self.more),
        ]


def require_programs() -> None:
    """Raise SlurmError if Slurm's programs are not on PATH."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SlurmError(
            "Slurm",
            expected=f"the programs {', '.join(_PROGRAMS)} on PATH",
            found=f"no {', '.join(missing)}",
            remedy="type it on a node of the cluster from which jobs are submitted, or use ben-luigi run",
        )


def script(command: Sequence[str], values: Sequence[str]) -> str:
    """Return the script of an array in which element N runs `command` with value N as its last argument."""
    listed = "\n".join(f"  {shlex.quote(value)}" for value in values)
    return f'#!/bin/bash\nvalues=(\n{listed}\n)\nexec {shlex.join(command)} "${{values[$SLURM_ARRAY_TASK_ID]}}"\n'


def submit(command: Sequence[str], text: str) -> str:
    """Submit a script; return the id of its job. Raise SlurmError if Slurm refuses it."""
    said = _asked(command, text)
    return said.strip().partition(";")[0]  # the id, and the name of the cluster if there are several


def queue(name: str) -> dict[str, str]:
    """Return state and reason of each element that waits or runs, of this user's jobs of that name.

    Its key is `<job>_<element>`, its value such as `PENDING Resources` or `RUNNING None`.

    Raise SlurmError if Slurm does not answer.
    """
    own = f"--user={os.geteuid()}"
    said = _asked(["squeue", "--noheader", "--array", f"--name={name}", own, "--format=%F_%K %T %r"])
    return dict(line.split(maxsplit=1) for line in said.splitlines() if len(line.split()) > 1)


def _asked(command: Sequence[str], given: str = "") -> str:
    """Return what a program of Slurm says."""
    try:
        with waiting.told(f"an answer of {command[0]}"):
            done = subprocess.run(
                command,
                input=given,
                env=surroundings.as_found(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ANSWER_S,
                check=False,
            )
        failure = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    if failure:
        raise SlurmError(
            command[0],
            expected=f"exit code 0 of {shlex.join(command)}",
            found=failure,
            remedy="correct [slurm], or ask those who run the cluster; then type the same command again",
        )
    return done.stdout
