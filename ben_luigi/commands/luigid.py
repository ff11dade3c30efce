"""`ben-luigi luigid`: start Luigi's central scheduler, with this project's settings and a state in the data folder.

It reads `[resources]` and `[scheduler]`, which the workers do not read; values missing there follow from our options.
Other arguments are luigid's own: --background, --pidfile FILE, --logdir FOLDER, --state-path FILE, --unix-socket FILE.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import daemon  # type: ignore[import-untyped]  # by which Luigi goes into the background
import luigi
import luigi.server
from luigi.cmdline import luigid
from luigi.scheduler import Scheduler
from luigi.task_status import FAILED, RUNNING
from tornado.routing import RuleRouter
from tornado.web import Application

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import luigid as parser
from ben_luigi.commands.luigid_requests import Guard, own_names
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain import libraries, private
from ben_luigi.domain.errors import BadInput, PipelineError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.state.scheduling import QuickScheduler

_log = logging.getLogger("ben_luigi")

_DISCONNECT_S = 120
"""A worker pings every second, whatever its tasks do.

One that is silent for this long counts as dead, and its tasks are given to others. This does no harm if it is alive,
since each task holds a lock while it runs (`state/locks/task.py`).
"""
_REMEMBER_S = 14 * 86_400
"""Finished and failed tasks stay visible for this long after their run has ended."""


_UMASK = 0o077
"""State, log and pidfile are the owner's alone: the state is a pickle, which is refused if others could write it."""


class CentralScheduler(QuickScheduler):
    """Our scheduler, except for tasks whose worker has died: Luigi would delay them as if they had failed."""

    def load(self) -> None:
        """Read the saved state. Raise PipelineError if others could have written it, since it is a pickle."""
        state = Path(self._config.state_path)
        if state.exists():
            private.check(state.parent, state)
            state.chmod(0o600)
        super().load()

    def prune(self) -> None:
        """Forget silent workers, and release their tasks to others at once."""
        running = list(self._state.get_active_tasks_by_status(RUNNING))
        super().prune()
        for task in running:
            if task.status == FAILED:
                self.forgive_failures(task.id)


def main(arguments: Sequence[str]) -> int:
    """Serve until stopped."""
    used = parser()
    listens, others = used.parse_known_args(arguments)
    configure()
    config.set_defaults()
    port = listens.port or int(luigi.interface.core().scheduler_port)
    _configure_scheduler()
    os.umask(_UMASK)
    daemon.DaemonContext = partial(daemon.DaemonContext, umask=_UMASK)  # --background: it would set 0
    logging.getLogger("luigi.scheduler").setLevel(logging.WARNING)  # it logs every message of every worker
    logging.getLogger("tornado.access").setLevel(logging.ERROR)  # one line per ping of each worker
    luigi.server.Scheduler = CentralScheduler  # type: ignore[attr-defined]  # luigid has no option for it
    luigi.server.app = partial(_guarded, luigi.server.app, listens.address)
    luigi.server._init_api = partial(_listening, luigi.server._init_api)
    try:
        luigid(["--address", listens.address, "--port", str(port), *others])
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    return ExitCode.DONE


def _configure_scheduler() -> None:
    """Set where Luigi keeps its state and how long things are remembered, unless `[scheduler]` says otherwise."""
    settings = luigi.configuration.get_config()
    state = config.data_dir() / "luigid" / "state.pickle"
    for name, value in (
        ("state_path", str(state)),
        ("retry_delay", str(float(config.cdse().cool_down_h) * 3600)),  # the failure stays visible until then
        ("worker_disconnect_delay", str(_DISCONNECT_S)),
        ("remove_delay", str(_REMEMBER_S)),
    ):
        if not settings.has_option("scheduler", name):
            settings.set("scheduler", name, value)
    if settings.get("scheduler", "metrics_collector", "none") == "prometheus":
        _count_bytes_too(settings)
    private.make_folder(state.parent)


def _listening(open_sockets: Callable[..., list[Any]], **where: Any) -> list[Any]:
    """Open the sockets as Luigi does, and log their addresses: `(host, port, ...)`, or the path of a UNIX socket.

    Raise BadInput where that cannot be, as at a port that is in use.
    """
    try:
        names = open_sockets(**where)
    except OSError as error:
        raise BadInput(
            f"luigid at {where.get('unix_socket') or '{address}:{api_port}'.format(**where)}",
            expected="an address of this host, and a port that is free and that this user may listen at",
            found=error.strerror or str(error),
            remedy="end what listens there, or name another --port, and as [core] scheduler_port for the runs, too",
        ) from error
    urls = (f"http://{name[0]}:{name[1]}" if isinstance(name, tuple) else f"socket {name}" for name in names)
    _log.info("luigid listens at %s", ", ".join(urls))
    return names


def _guarded(application: Callable[[Scheduler], Application], address: str, scheduler: Scheduler) -> RuleRouter:
    """Return Luigi's server, restricted to permitted requests."""
    core, cors = luigi.interface.core(), luigi.server.cors()
    origins = frozenset({"*"} if cors.allow_any_origin else cors.allowed_origins) if cors.enabled else frozenset()
    guard = Guard(own_names(address, str(core.scheduler_host), str(core.scheduler_url)), origins)
    return guard.router(application(scheduler))


def _count_bytes_too(settings: Any) -> None:
    """Use our collector, which extends Luigi's own."""
    if find_spec("prometheus_client") is None:
        sys.exit(
            "[scheduler] metrics_collector: prometheus needs a Python package; "
            f"next: {libraries.installing('prometheus-client')}"
        )
    settings.set("scheduler", "metrics_collector", "custom")
    settings.set("scheduler", "metrics_custom_import", "ben_luigi.metrics.Collector")
