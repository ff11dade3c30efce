"""Find out how many cores and how much memory this process may use, within the limits of its job or container.

The limits are those of the cgroup, read as cgroups(7) and the kernel documents `cgroup-v1/memory` and `cgroup-v2`
describe them: groups nest, and the lowest limit on the way to the root applies. What Slurm states in the environment of
a job (sbatch(1)) counts too, since a cluster need not enforce it by cgroups. `root` is the folder that contains `proc`
and `sys`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_OCTAL = re.compile(r"\\([0-7]{3})")


class Memory(NamedTuple):
    """Memory in bytes that all processes of this job may use together, and what limits it, in words."""

    size: int
    limited_by: str


def memory(root: Path = _ROOT, environment: Mapping[str, str] = os.environ) -> Memory:
    """Return the lowest limit of memory: of the host, of the cgroups, or of what Slurm has given to this job."""
    limits = [Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the whole host")]
    for group in _groups("memory", root):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # a file of the other version, or `max`: no limit
                limits.append(Memory(int((group / name).read_text()), f"cgroup, {group / name}"))
    by_cores = _number(environment, "SLURM_MEM_PER_CPU") * _number(environment, "SLURM_CPUS_ON_NODE")
    megabytes = _number(environment, "SLURM_MEM_PER_NODE") or by_cores
    if megabytes:  # sbatch --mem=0 asks for all memory of the node
        job = environment.get("SLURM_JOB_ID", "")
        limits.append(Memory(megabytes * 2**20, f"Slurm, job {job}"))
    return min(limits, key=lambda limit: limit.size)


def cores(root: Path = _ROOT, environment: Mapping[str, str] = os.environ) -> float:
    """Return the number of cores that this job may use.

    It is its CPU affinity, or less if a quota limits its CPU time or if Slurm has given it less.
    """
    limits = [quota for group in _groups("cpu", root) for quota in _quota(group)]
    given = _number(environment, "SLURM_CPUS_PER_TASK") or _number(environment, "SLURM_CPUS_ON_NODE")
    return min([float(len(os.sched_getaffinity(0))), *limits, *([float(given)] if given else [])])


def _number(environment: Mapping[str, str], name: str) -> int:
    """Return a number that Slurm states; 0 if it does not."""
    said = environment.get(name, "")
    return int(said) if said.isascii() and said.isdecimal() else 0


def _quota(group: Path) -> Iterator[float]:
    """Yield the CPU quota of a group in cores, if it has one; `max` (version 2) and -1 (version 1) mean no limit."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of its ancestors, of both versions."""
    with suppress(OSError, ValueError):  # not Linux, or a kernel with another format
        mounts = [_Mount.of(line) for line in (root / "proc/self/mountinfo").read_text().splitlines()]
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                for mount in mounts:
                    if mount.holds(controllers):
                        yield from mount.folders(path, root)


class _Mount(NamedTuple):
    """A line of mountinfo: the mounted path within its file system, the mount point, the type and the options."""

    within: str
    mounted_at: str
    kind: str
    options: list[str]

    @classmethod
    def of(cls, line: str) -> _Mount:
        mounted, _, system = line.partition(" - ")
        within, mounted_at = (_OCTAL.sub(lambda found: chr(int(found[1], 8)), part) for part in mounted.split()[3:5])
        kind, *_, options = system.split()
        return cls(within, mounted_at, kind, options.split(","))

    def holds(self, controllers: str) -> bool:
        """Return whether this mount is the hierarchy of these controllers; an empty list stands for version 2."""
        if not controllers:
            return self.kind == "cgroup2"
        return self.kind == "cgroup" and {*controllers.split(",")} <= {*self.options}

    def folders(self, path: str, root: Path) -> Iterator[Path]:
        """Yield the folders of a group and of all its ancestors, as far as they are mounted."""
        # Without a cgroup namespace, a container's group path is relative to a hierarchy of which only a part is
        # mounted: then the root of the mount is the container's own group.
        below = Path(path).relative_to(self.within) if Path(path).is_relative_to(self.within) else Path()
        for part in (below, *below.parents):
            if ".." not in part.parts:
                yield root / self.mounted_at.lstrip("/") / part
