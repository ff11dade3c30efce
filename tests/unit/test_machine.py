"""Cores and memory of a job, on made-up trees of `/proc` and `/sys` as systemd, Docker and Slurm have them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ben_luigi import config
from ben_luigi.domain import machine
from ben_luigi.domain.errors import TooLittleMemory
from ben_luigi.domain.products import sen2cor

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
    assert machine.memory(root, {}).size == (whole if memory_gb is None else memory_gb * GB)
    assert machine.cores(root, {}) == (len(os.sched_getaffinity(0)) if cores is None else cores)


def test_where_nothing_tells_it_is_the_whole_machine(tmp_path: Path) -> None:
    assert machine.memory(tmp_path, {}) == (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the whole host")
    assert machine.cores(tmp_path, {}) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("memory_gb", "cores", "conversions"),
    [(4, 32, 1), (13, 32, 2), (256, 32, 16), (256, 3.5, 1), (256, 0.5, 1), (64, 8, 4)],
)
def test_conversions_at_once(memory_gb: int, cores: float, conversions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of 4 GB on a node of 32 cores makes one, and not sixteen."""
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(memory_gb * GB, "a test"))
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(config, "_names_nothing_real", lambda: False)
    assert config.sen2cor_at_once() == conversions
    monkeypatch.setattr(config, "_names_nothing_real", lambda: True)
    assert config.sen2cor_at_once() == max(1, int(cores)), "the stand-in is light"


@pytest.mark.parametrize(
    ("said", "memory_gb", "cores"),
    [
        ({"SLURM_MEM_PER_NODE": "512", "SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "64"}, 0.5, 1),
        ({"SLURM_MEM_PER_CPU": "256", "SLURM_CPUS_ON_NODE": "1"}, 0.25, 1),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "100000"}, None, None),
        ({"SLURM_MEM_PER_NODE": "much", "SLURM_CPUS_PER_TASK": "-1"}, None, None),
    ],
)
def test_what_slurm_has_given_counts_without_a_cgroup(
    said: dict[str, str], memory_gb: float | None, cores: int | None, tmp_path: Path
) -> None:
    whole = machine.memory(tmp_path, {})
    found = machine.memory(tmp_path, {**said, "SLURM_JOB_ID": "17"})
    assert found == (whole if memory_gb is None else (memory_gb * GB, "Slurm, job 17"))
    assert machine.cores(tmp_path, said) == (machine.cores(tmp_path, {}) if cores is None else cores)


def test_of_slurm_and_cgroup_the_lower_limit_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, [V2], "0::/a/b/c", NESTED)
    assert machine.memory(root, {"SLURM_MEM_PER_NODE": "1024"}) == (GB, "Slurm, job ")
    assert machine.memory(root, {"SLURM_MEM_PER_NODE": "4096"}) == (
        3 * GB,
        f"cgroup, {root}/sys/fs/cgroup/a/memory.max",
    )


def test_too_little_memory_for_one_conversion_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was expected, which limit was found, and what to type."""
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(4 * GB, "cgroup, /sys/fs/cgroup/job/memory.max"))
    sen2cor.require_memory("33UUP_20170613", 4 * GB)
    with pytest.raises(TooLittleMemory, match=r"33UUP_20170613.*6 GB.*memory_gb.*4 GB.*job/memory\.max.*--mem=8G"):
        sen2cor.require_memory("33UUP_20170613", 6 * GB)


class Cgroup:
    """A cgroup of this kernel, with a limit of memory and one of CPU time: one folder, or one for each controller."""

    def __init__(self, memory: Path, cpu: Path) -> None:
        self.folders = [folder / f"ben-luigi-test-{os.getpid()}" for folder in dict.fromkeys((memory, cpu))]
        for folder in self.folders:
            folder.mkdir()

    def limit(self, memory: int, cores: float) -> None:
        """Set both limits, as the version of the files that are there has it."""
        values = {"memory.max": memory, "memory.limit_in_bytes": memory, "cpu.max": f"{int(cores * 100_000)} 100000"}
        values["cpu.cfs_quota_us"] = int(cores * 100_000)
        for folder in self.folders:
            for name, value in values.items():
                if (folder / name).exists():
                    (folder / name).write_text(str(value))

    def close(self) -> None:
        """Remove it; nobody is in it any more."""
        for folder in self.folders:
            with suppress(FileNotFoundError):
                folder.rmdir()


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of the kernel that runs this test. Skip it where this user may make none."""
    mounted = {folder: folder.is_dir() for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/cpu"))}
    where = list(mounted) if all(mounted.values()) else [Path("/sys/fs/cgroup")] * 2
    try:
        made = Cgroup(*where)
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            made.limit(3 * GB, 0.5)
        except OSError as error:
            pytest.skip(f"no limit can be set here: {error}")
        if not any(
            (folder / name).exists() for folder in made.folders for name in ("memory.max", "memory.limit_in_bytes")
        ):
            pytest.skip("the controllers are not delegated here")
        yield made
    finally:
        made.close()


def test_limits_of_a_real_cgroup(cgroup: Cgroup) -> None:
    """A process that enters one sees its limits, as a job does that Slurm or a container runtime has started."""
    program = "from ben_luigi.domain import machine; print(machine.memory().size, machine.cores())"
    enter = " && ".join(f'echo $$ > "{folder}/cgroup.procs"' for folder in cgroup.folders)
    done = subprocess.run(
        ["sh", "-c", f'{enter} && exec "$@"', "sh", sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"]},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [str(3 * GB), "0.5"], done.stderr
