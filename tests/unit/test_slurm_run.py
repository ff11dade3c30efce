"""What `scripts/slurm-run` asks of Slurm; srun and scontrol are stand-ins, since Slurm is no program but a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm-run"


def _program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which commands are those of a cluster, and the project's are in `tmp_path`."""
    step = ("shift", '"$@" &', f"echo $! >{tmp_path}/step", "trap 'kill -KILL $!' TERM", "wait $!")  # as srun does
    _program(tmp_path / "bin" / "srun", f'echo "$1" >{tmp_path}/of-step', *step)
    told = f'echo "scancel $*" >>{tmp_path}/asked'
    _program(tmp_path / "bin" / "scancel", told, f'kill -TERM "$(cat {tmp_path}/step)"')
    _program(tmp_path / "bin" / "scontrol", f'echo "$*" >>{tmp_path}/asked')
    _program(tmp_path / "scripts" / "environment", "true")
    return {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "5",
    }


def _asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("code", "asked"),
    [(0, []), (20, []), (10, []), (30, ["requeue 17", "update JobId=17 StartTime=now+1hour"])],
)
def test_a_job_goes_back_into_the_queue_only_if_another_try_helps(
    cluster: dict[str, str], tmp_path: Path, code: int, asked: list[str]
) -> None:
    _program(tmp_path / "scripts" / "cron-rerun", f'echo "$*" >{tmp_path}/arguments', f"exit {code}")
    done = subprocess.run([SCRIPT, "HashL1C"], env=cluster, timeout=60, check=False)
    assert done.returncode == code
    assert (tmp_path / "arguments").read_text() == "HashL1C --workers 5\n"
    assert (tmp_path / "of-step").read_text() == "--cpus-per-task=5\n", "a step has one core else, since Slurm 22.05"
    assert _asked(tmp_path) == asked


def test_before_its_time_is_up_a_job_lets_the_run_stop_and_goes_back(cluster: dict[str, str], tmp_path: Path) -> None:
    _program(
        tmp_path / "scripts" / "cron-rerun",
        f"trap 'echo stopped >{tmp_path}/run; exit 143' TERM",
        f"echo begun >{tmp_path}/run",
        "while true; do sleep 0.05; done",
    )
    job = subprocess.Popen([SCRIPT], env=cluster)
    while not (tmp_path / "run").exists() or not (tmp_path / "run").read_text():
        assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 0
    assert (tmp_path / "run").read_text() == "stopped\n"
    assert _asked(tmp_path) == ["scancel --signal=TERM 17.0", "requeue 17"]
