"""Export metrics for Prometheus at `/metrics` of luigid: Luigi's own counters by task, and bytes and failures by kind.

Luigi counts started, done and failed tasks, and their seconds: `luigi_task_done_total` of the family `CutPatches` is
the number of tiles that were cut.
"""

from __future__ import annotations

import builtins
import re
from typing import Any

from luigi.contrib.prometheus_metric import PrometheusMetricsCollector
from prometheus_client import Counter

import ben_luigi.domain.cdse.errors  # noqa: F401 (more kinds of error)
from ben_luigi.domain.errors import PipelineError

_RAISED = re.compile(r"^(?:\w+\.)*([A-Z]\w+)(?::|$)", re.MULTILINE)


class Collector(PrometheusMetricsCollector):
    """Luigi's collector with two more counters."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = Counter(
            "ben_luigi_bytes", "bytes downloaded or written, by task family", ["family"], registry=self.registry
        )
        self._failures = Counter(
            "ben_luigi_failures", "failed tasks, by kind of error", ["family", "kind"], registry=self.registry
        )

    def handle_task_failed(self, task: Any) -> None:
        """Count the failure by the kind of error at the end of its explanation, which is a traceback."""
        super().handle_task_failed(task)
        self._failures.labels(family=task.family, kind=kind_of(str(task.expl or ""))).inc()

    def handle_task_statistics(self, task: Any, statistics: dict[str, float]) -> None:
        """Count the bytes that a task reports."""
        self._bytes.labels(family=task.family).inc(statistics.get("bytes", 0))


def kind_of(traceback: str) -> str:
    r"""Return the class of the error, if it is one of ours or Python's own; "unknown" without a traceback.

    >>> kind_of("Traceback (most recent call last):\n  ...\nben_luigi.domain.errors.BadInput: input clc_gpkg; found: -")
    'BadInput'
    >>> kind_of("")
    'unknown'
    """
    named = [name for name in _RAISED.findall(traceback.replace("\\n", "\n")) if name in _known()]
    return named[-1] if named else "unknown"


def _known() -> set[str]:
    kinds, found = [PipelineError], set()
    while kinds:
        kind = kinds.pop()
        found.add(kind.__name__)
        kinds += kind.__subclasses__()
    return found | {name for name in dir(builtins) if name.endswith(("Error", "Exit"))}
