"""`scripts/luigid`: Luigi's central scheduler with this project's settings, on loopback, its state in the data folder.

It reads `[resources]` and `[scheduler]`, which the workers do not; what they leave open follows from our options.
Other arguments are luigid's own: --background, --pidfile FILE, --logdir FOLDER, --state-path FILE, --unix-socket FILE.
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import Any

import luigi
from luigi.cmdline import luigid

from ben_luigi import command, config
from ben_luigi.run import configure

ADDRESS, PORT = "127.0.0.1", "8082"

_DISCONNECT_S = 600
"""A host that is busy with Sen2Cor may be silent for minutes; its tasks are given to others only after that."""
_REMEMBER_S = 14 * 86_400
"""Finished and failed tasks stay to be looked at, though their run has ended."""


def main() -> None:
    """Serve until stopped."""
    parser = command.parser("luigid", __doc__, {0: "stopped"})
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
    state.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("luigi.scheduler").setLevel(logging.WARNING)  # it says each word of each worker
    luigid(["--address", listens.address, "--port", listens.port, *others])


def _count_bytes_too(settings: Any) -> None:
    """Our collector instead of Luigi's own, which it extends."""
    if find_spec("prometheus_client") is None:
        sys.exit(
            "[scheduler] metrics_collector: prometheus needs a Python package; next: pip install prometheus-client"
        )
    settings.set("scheduler", "metrics_collector", "custom")
    settings.set("scheduler", "metrics_custom_import", "ben_luigi.metrics.Collector")


if __name__ == "__main__":
    main()
