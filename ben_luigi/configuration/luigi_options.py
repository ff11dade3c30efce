"""Know Luigi's own sections and options: from its classes, and where it declares none, from its documentation."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import luigi
import luigi.retcodes

from ben_luigi.configuration.kinds import Real, Switch, Text, Whole, plain_of
from ben_luigi.domain import plain_values

DEFAULTS = {
    "core": {"local_scheduler": "true", "workers": "2"},
    "scheduler": {"metrics_collector": "none"},
    "worker": {"check_complete_on_run": "true"},
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": "40",
    },
    "execution_summary": {"summary_length": "0"},
}
"""The defaults of this project for Luigi's options, unless the user's configuration overrides them."""

MEANINGS = {
    "local_scheduler": "true: run without luigid; false: use the central scheduler at scheduler_host",
    "workers": "number of tasks that run at once",
    "metrics_collector": "for ben-luigi luigid; prometheus: counters of tasks, bytes and failures at /metrics",
    "check_complete_on_run": "a task that leaves no output has failed",
    "already_running": "exit code: the same command runs already",
    "missing_data": "exit code: an input is missing",
    "not_run": "exit code: a task of another host had not finished",
    "task_failed": "exit code: a task failed, and the next run tries it again",
    "scheduling_error": "exit code: the task graph cannot be built",
    "unhandled_exception": "exit code: luigid does not answer, or an unexpected error",
    "summary_length": "number of tasks per kind in the summary; 0: all",
}
"""The meaning of these options."""

_NOT_DECLARED: dict[str, dict[str, Any]] = {
    "core": {
        "autoload_range": Switch(True, description=""),
        "no_configure_logging": Switch(False, description=""),
        "rpc_connect_timeout": Real(10.0, description=""),
        "rpc_retry_attempts": Whole(3, description=""),
        "rpc_retry_wait": Whole(30, description=""),
        "rpc_log_retries": Switch(True, description=""),
        "workers": Whole(1, least=1, description=""),
        "scheduler_port": Whole(8082, least=1, most=65535, description=""),
    },
    "task_history": {"db_connection": Text(secret=True, description="")},
}
"""Options that Luigi reads without declaring them, or declares without their range."""

WITHOUT_PREFIX = "core"
"""The section whose options have no prefix on a command line, as `--workers`."""

_FREE = (
    *("batch_notifier", "datadog", "elasticsearch", "hadoop", "hdfs", "hive", "kubernetes", "logging", "mysql"),
    *("postgres", "prometheus", "redshift", "spark", "webhdfs"),
)
"""Sections that Luigi documents and that no task here reads."""


@lru_cache(maxsize=1)
def declared() -> dict[str, dict[str, Any]]:
    """Return Luigi's options by section and name."""
    found: dict[str, dict[str, Any]] = {}
    for section in luigi.Config.__subclasses__():
        if section.__module__.partition(".")[0] == "luigi":
            options = found.setdefault(section.get_task_family(), {})
            for name, parameter in section.get_params():
                options[name] = parameter
                if parameter._config_path:  # its former name
                    options[parameter._config_path["name"].replace("-", "_")] = parameter
    for name, more in _NOT_DECLARED.items():
        found.setdefault(name, {}).update(more)
    return found


def allowed(parameter: Any) -> str:
    """Return which values a parameter accepts, ours or Luigi's own."""
    if hasattr(parameter, "allowed"):
        return str(parameter.allowed)
    if isinstance(parameter, luigi.BoolParameter):
        return "true, false"
    plain = plain_of(parameter)
    if plain is None or isinstance(plain, plain_values.Text):
        return "as Luigi's documentation says"
    return plain.allowed


_OF_SERVER = "cors"  # declared by luigi.server, which loads a web server: only if somebody asks for it

SECTIONS = (*declared(), _OF_SERVER, "resources")
"""All sections of Luigi but those that are not read here."""


def is_section(name: str) -> bool:
    """Return whether a section is Luigi's."""
    return name in SECTIONS or name in _FREE


class _AnyResource(dict[str, Any]):
    """`[resources]` may contain any name, with a count."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        return Whole(1, description="how many there are")


def of(section: str) -> dict[str, Any] | None:
    """Return the options of one of Luigi's sections, by name; None if it may contain anything."""
    if section == _OF_SERVER and section not in declared():
        import_module("luigi.server")
        declared.cache_clear()
    return _AnyResource() if section == "resources" else declared().get(section)
