"""What this process may use of the machine: its cores and its memory, which a job or a container limits by cgroups.

Limits of both versions are read as cgroups(7) and the kernel's `cgroup-v1/memory` and `cgroup-v2` have them. They nest:
the least one on the way up counts. `root` is the folder in which `proc` and `sys` are looked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_OCTAL = re.compile(r"\\([0-7]{3})")


def memory_bytes(root: Path = _ROOT) -> int:
    """Memory that all processes of this job may use together."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _groups("memory", root):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # not of this version; or `max`, which is none
                limits.append(int((group / name).read_text()))
    return min(limits)


def cores(root: Path = _ROOT) -> float:
    """Cores that this job may use: those that it may run on, or less where its time on them is limited."""
    limits = [quota for group in _groups("cpu", root) for quota in _quota(group)]
    return min([float(len(os.sched_getaffinity(0))), *limits])


def _quota(group: Path) -> Iterator[float]:
    """What a group may use of the CPU, in cores, if it is limited; `max` and -1 are no limits."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's group and of those that it is in, of both versions."""
    with suppress(OSError, ValueError):  # no Linux, or one that tells it in another form
        mounts = [_Mount.of(line) for line in (root / "proc/self/mountinfo").read_text().splitlines()]
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                for mount in mounts:
                    if mount.holds(controllers):
                        yield from mount.folders(path, root)


class _Mount(NamedTuple):
    """A line of mountinfo: what of a file system is mounted, where, the system's kind and its options."""

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
        """Whether it is the hierarchy of these controllers; version 2 names none."""
        if not controllers:
            return self.kind == "cgroup2"
        return self.kind == "cgroup" and {*controllers.split(",")} <= {*self.options}

    def folders(self, path: str, root: Path) -> Iterator[Path]:
        """The folders of a group and of all above it, as far as they are mounted."""
        # A container may see less than what its group's path is relative to: then the top of that is what it has.
        below = Path(path).relative_to(self.within) if Path(path).is_relative_to(self.within) else Path()
        for part in (below, *below.parents):
            if ".." not in part.parts:
                yield root / self.mounted_at.lstrip("/") / part
