"""Cores and memory of a job, on made-up trees of `/proc` and `/sys` as systemd, Docker and Slurm have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ben_luigi import config
from ben_luigi.domain import machine

GB = 2**30
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = [
    f"3{number} 24 0:2{number} {{within}} /sys/fs/cgroup/{kind} rw shared:{number} - cgroup cgroup rw,{kind}"
    for number, kind in enumerate(("memory", "cpu,cpuacct", "pids"))
]
UNLIMITED_V1 = "9223372036854771712"


def tree(root: Path, mounts: list[str], groups: str, limits: dict[str, str]) -> Path:
    """A root with `mounts`, the `groups` of this process, and files of limits by their path in `sys/fs/cgroup`."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text("\n".join(["22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw", *mounts]) + "\n")
    (proc / "cgroup").write_text(groups + "\n")
    for path, value in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    return root


def v1(within: str = "/") -> list[str]:
    return [mount.format(within=within) for mount in V1]


SYSTEMD = {"a.slice/memory.max": "max", "a.slice/job.scope/memory.max": str(4 * GB), "a.slice/cpu.max": "150000 100000"}
NESTED = {
    "a/memory.max": str(3 * GB),
    "a/b/memory.max": str(9 * GB),
    "a/b/c/memory.max": "max",
    "a/b/cpu.max": "max 100000",
}
SLURM = {
    "memory/slurm/job_1/memory.limit_in_bytes": str(5 * GB),
    "memory/slurm/job_1/step_0/memory.limit_in_bytes": UNLIMITED_V1,
    "memory/memory.limit_in_bytes": UNLIMITED_V1,
    "cpu,cpuacct/slurm/job_1/cpu.cfs_quota_us": "50000",
    "cpu,cpuacct/slurm/job_1/cpu.cfs_period_us": "100000",
    "cpu,cpuacct/cpu.cfs_quota_us": "-1",
    "cpu,cpuacct/cpu.cfs_period_us": "100000",
}
DOCKER_V1 = {"memory/memory.limit_in_bytes": str(2 * GB)}
HIGH = {"memory.high": str(GB), "memory.max": str(4 * GB), "cpu.max": "25000 100000"}


@pytest.mark.parametrize(
    ("mounts", "groups", "limits", "memory_gb", "cores"),
    [
        ([V2], "0::/a.slice/job.scope", SYSTEMD, 4, 1.5),
        ([V2], "0::/a/b/c", NESTED, 3, None),
        (v1(), "9:memory:/slurm/job_1/step_0\n3:cpu,cpuacct:/slurm/job_1\n0::/", SLURM, 5, 0.5),
        (v1("/docker/1f"), "9:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f", DOCKER_V1, 2, None),
        ([V2], "0::/", HIGH, 1, 0.25),
        ([V2], "0::/../../other", HIGH, 1, 0.25),
        ([V2.replace(" / ", r" /a\040b\134x2d ")], r"0::/a b\x2d", HIGH, 1, 0.25),
        (
            [V2.replace("cgroup rw", "cgroup/unified rw", 1), *v1()],
            "9:memory:/job\n0::/job",
            {"memory/job/memory.limit_in_bytes": str(2 * GB), "unified/job/cpu.max": "10000 100000"},
            2,
            0.1,
        ),
        ([V2], "0::/", {}, None, None),
        ([], "0::/a", {"a/memory.max": "1"}, None, None),
        (["nonsense"], "nonsense", {}, None, None),
    ],
)
def test_the_least_limit_on_the_way_up_counts(
    mounts: list[str], groups: str, limits: dict[str, str], memory_gb: float | None, cores: float | None, tmp_path: Path
) -> None:
    root = tree(tmp_path, mounts, groups, limits)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_bytes(root) == (whole if memory_gb is None else memory_gb * GB)
    assert machine.cores(root) == (len(os.sched_getaffinity(0)) if cores is None else cores)


def test_where_nothing_tells_it_is_the_whole_machine(tmp_path: Path) -> None:
    assert machine.memory_bytes(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("memory_gb", "cores", "conversions"),
    [(4, 32, 1), (13, 32, 2), (256, 32, 16), (256, 3.5, 1), (256, 0.5, 1), (64, 8, 4)],
)
def test_conversions_at_once(memory_gb: int, cores: float, conversions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of 4 GB on a node of 32 cores makes one, and not sixteen."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: memory_gb * GB)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(config, "_names_nothing_real", lambda: False)
    assert config.sen2cor_at_once() == conversions
    monkeypatch.setattr(config, "_names_nothing_real", lambda: True)
    assert config.sen2cor_at_once() == max(1, int(cores)), "the stand-in is light"
