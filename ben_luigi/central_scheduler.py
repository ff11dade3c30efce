"""`scripts/luigid`: Luigi's central scheduler with this project's settings, on loopback, its state in the data folder.

It reads `[resources]` and `[scheduler]`, which the workers do not; what they leave open follows from our options.
Other arguments are luigid's own: --background, --pidfile FILE, --logdir FOLDER, --state-path FILE, --unix-socket FILE.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import luigi
import luigi.server
from luigi.cmdline import luigid
from luigi.scheduler import Scheduler
from luigi.task_status import FAILED, RUNNING
from tornado.routing import RuleRouter
from tornado.web import Application

from ben_luigi import command, config
from ben_luigi.domain import private
from ben_luigi.domain.errors import PipelineError
from ben_luigi.luigid_requests import Guard, own_names
from ben_luigi.run import configure

ADDRESS, PORT = "127.0.0.1", "8082"

_DISCONNECT_S = 120
"""A worker pings every second, whatever its tasks do. One that is silent for so long is taken for dead, and its tasks
are given to others. That does no harm if it lives: who runs a task holds its lock (`state/turns.py`)."""
_REMEMBER_S = 14 * 86_400
"""Finished and failed tasks stay to be looked at, though their run has ended."""


class CentralScheduler(Scheduler):
    """Luigi's scheduler, but for tasks whose worker has gone: Luigi lets them rest as if they had failed."""

    def load(self) -> None:
        """Read what was left at the last end. PipelineError if others could have written it: it is a pickle."""
        state = Path(self._config.state_path)
        if state.exists():
            private.check(state.parent, state)
            state.chmod(0o600)
        super().load()

    def prune(self) -> None:
        """Forget workers that are silent; what they were running is there for others at once."""
        running = list(self._state.get_active_tasks_by_status(RUNNING))
        super().prune()
        for task in running:
            if task.status == FAILED:
                self.forgive_failures(task.id)


def main() -> int:
    """Serve until stopped."""
    parser = command.parser("luigid", __doc__, {0: "stopped", command.CANNOT: "it cannot be started, and why"})
    parser.add_argument("--address", metavar="HOST", default=ADDRESS, help=f"where to listen; by default {ADDRESS}")
    parser.add_argument("--port", metavar="N", default=PORT, help=f"by default {PORT}")
    listens, others = parser.parse_known_args()
    configure()
    config.set_defaults()
    settings = luigi.configuration.get_config()
    state = config.data_dir() / "luigid" / "state.pickle"
    for name, value in (
        ("state_path", str(state)),
        ("retry_delay", str(float(config.cdse().cool_down_h) * 3600)),  # until then it is seen as failed, and why
        ("worker_disconnect_delay", str(_DISCONNECT_S)),
        ("remove_delay", str(_REMEMBER_S)),
    ):
        if not settings.has_option("scheduler", name):
            settings.set("scheduler", name, value)
    if settings.get("scheduler", "metrics_collector", "none") == "prometheus":
        _count_bytes_too(settings)
    private.make_folder(state.parent)
    os.umask(0o077)  # for state, log and pidfile
    logging.getLogger("luigi.scheduler").setLevel(logging.WARNING)  # it says each word of each worker
    luigi.server.Scheduler = CentralScheduler  # type: ignore[attr-defined]  # luigid has no option for it
    luigi.server.app = partial(_guarded, luigi.server.app, listens.address)
    try:
        luigid(["--address", listens.address, "--port", listens.port, *others])
    except (PipelineError, OSError) as error:
        return command.refuse(parser, error)
    return 0


def _guarded(application: Callable[[Scheduler], Application], address: str, scheduler: Scheduler) -> RuleRouter:
    """Luigi's server for those who may ask it."""
    core, cors = luigi.interface.core(), luigi.server.cors()
    origins = frozenset({"*"} if cors.allow_any_origin else cors.allowed_origins) if cors.enabled else frozenset()
    guard = Guard(own_names(address, str(core.scheduler_host), str(core.scheduler_url)), origins)
    return guard.router(application(scheduler))


def _count_bytes_too(settings: Any) -> None:
    """Our collector instead of Luigi's own, which it extends."""
    if find_spec("prometheus_client") is None:
        sys.exit(
            "[scheduler] metrics_collector: prometheus needs a Python package; "
            f"next: {sys.executable} -m pip install prometheus-client"
        )
    settings.set("scheduler", "metrics_collector", "custom")
    settings.set("scheduler", "metrics_custom_import", "ben_luigi.metrics.Collector")


if __name__ == "__main__":
    sys.exit(main())
