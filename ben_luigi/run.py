"""`scripts/run [TASK ARGUMENTS...]`: make the dataset, or what one task leaves behind, with all that it needs.

Without configuration it runs on the sample world, which it makes itself. LUIGI_CONFIG_PATH names your own
configuration. Whatever is there, and made from what is asked for now, is not made again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import time
from pathlib import Path

import luigi
from luigi.configuration import LuigiConfigParser
from luigi.retcodes import run_with_retcodes

from ben_luigi import command, config, terminal, usage
from ben_luigi.domain.dataset import comparison
from ben_luigi.domain.errors import BadName, PipelineError
from ben_luigi.stages.finalize import FinalizeDataset
from ben_luigi.stages.retention import retire_all
from ben_luigi.state import failures, occupancy

_DEFAULTS = Path(__file__).resolve().parent.parent / "luigi.cfg"
_SCHEDULING_ERROR, _TERMINATED = 35, 143
_CODES = {
    0: "all is there",
    command.CANNOT: "no such task, or not with these arguments",
    10: "already running",
    20: "an input is missing",
    25: "not run",
    30: "something failed, which the next run tries again",
    _SCHEDULING_ERROR: "the graph cannot be made, and why",
    40: "an error that nobody expected",
    _TERMINATED: "stopped",
}
_UNEXPECTED = "Uncaught exception in luigi"
_BROKEN = re.compile(
    r"Will not run (?P<task>.*) or any dependencies due to error in \w+\(\) method:\n(?P<trace>.*)", re.DOTALL
)
_LEFT_TO_OTHERS = {10, 25}
_log = logging.getLogger("ben_luigi")


def main() -> int:
    """Run `FinalizeDataset`, or the task given, and say where the result is; the exit code is Luigi's."""
    configure()
    signal.signal(signal.SIGTERM, _terminate)
    config.set_defaults()
    task, arguments = _asked()
    world = "the sample world" if config.is_sample() else "real sources"
    _log.info("%s on %s, in %s", arguments[0], world, config.data_dir())
    occupancy.sweep_if_alone(config.data_dir())
    try:
        occupancy.enter(config.data_dir())
        retire_all()
        if arguments == ["FinalizeDataset"] and FinalizeDataset().complete():
            print("Nothing to do: everything is there.")
        else:
            with terminal.opened():
                run_with_retcodes(["--module", "ben_luigi", *arguments])
        code = 0
    except PipelineError as error:
        _log.error("%s", error)
        code = _SCHEDULING_ERROR
    except SystemExit as end:
        code = int(end.code or 0)
        if code in _LEFT_TO_OTHERS and arguments == ["FinalizeDataset"] and FinalizeDataset().complete():
            code = 0  # other hosts have done what this one was not given
    if arguments[0] == "FinalizeDataset" and not code:
        failures.forget_all()
    occupancy.leave(config.data_dir())
    occupancy.sweep_if_alone(config.data_dir())
    _say_result(task, code)
    return code


def _asked() -> tuple[luigi.Task, list[str]]:
    """The task and its arguments; ends here, in words, if help is wanted or they fit no task."""
    arguments = sys.argv[1:]
    used = usage.parser(arguments, __doc__, _CODES)
    if usage.help_is_wanted(arguments):
        used.print_help()
        sys.exit()
    if not arguments or arguments[0].startswith("-"):
        arguments = ["FinalizeDataset", *arguments]
    try:
        return usage.task_of(arguments), arguments
    except BadName as error:
        sys.exit(command.refuse(used, error))


def _terminate(*_: object) -> None:
    """So that steps are undone and the server stops; another signal does not come in between."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(_TERMINATED)


def configure() -> None:
    """This project's luigi.cfg first, whichever the current folder; then the user's own, if there is one."""
    own = os.environ.get("LUIGI_CONFIG_PATH")
    if own and not Path(own).is_file():
        sys.exit(f"LUIGI_CONFIG_PATH: expected: a configuration file; found: nothing at {own}")
    if own and config.tells_secrets(Path(own)):
        print(f"warning: {own} has a password in it, and others can read it; type: chmod 600 {own}", file=sys.stderr)
    for path in (_DEFAULTS, *([Path(own)] if own else [])):
        LuigiConfigParser.add_config_path(str(path))
    settings = LuigiConfigParser.instance()
    if not settings.has_option("core", "no_configure_logging"):
        settings.set("core", "no_configure_logging", "true")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("luigi-interface").addFilter(_only_luigi_says_so)
        logging.getLogger("luigi").setLevel(logging.WARNING)


def _say_result(task: luigi.Task, code: int) -> None:
    name, folder = task.task_family, config.data_dir() / config.result_folder()
    if code:
        first = "Correct what is said above, and run" if code == _SCHEDULING_ERROR else "Run"
        print(f"\n{name} is not complete (exit code {code}).")
        print(f"{first} the same command again: only what is missing is made.")
        return
    if name != "FinalizeDataset":
        print(f"\n{name} is complete.")
        for target in luigi.task.flatten(task.output()):
            if isinstance(target, luigi.LocalTarget):
                print(f"  {target.path}")
        return
    print(f"\nThe dataset is complete: {folder}")
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"  {path.name:<56} {path.stat().st_size:>14,} bytes")
    print(f"To look at it, open {folder / 'report' / 'index.html'} in a browser.")
    result = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    splits = ", ".join(f"{count} {name}" for name, count in result["counts"]["split"].items())
    print(f"Patches: {splits}; tiles: {', '.join(result['tiles'])}")
    print("Beside the published run:")
    print(comparison.table(result["compared"]))


def _only_luigi_says_so(record: logging.LogRecord) -> bool:
    """Whether a line of Luigi's log is one that nobody else writes: what fails in a task is said below.

    Of our own errors in `requires()` or `complete()`, of which Luigi has the traceback only, the message is left.
    """
    broken = _BROKEN.fullmatch(record.getMessage())
    if broken:
        said = broken["trace"].rpartition(f"\n{PipelineError.__module__.partition('.')[0]}.")[2].partition(": ")[2]
        record.msg, record.args = "failed    %s: %s", (broken["task"], said.strip() or broken["trace"])
    return bool(broken) or record.msg == _UNEXPECTED


def _failed(task: luigi.Task, error: Exception) -> None:
    _log.error("failed    %s: %s", task, error, exc_info=None if isinstance(error, PipelineError) else error)


def _done(task: luigi.Task, seconds: float) -> None:
    if not getattr(task, "unchanged", False):
        _log.info("%6.1f s  %s", seconds, task)


luigi.Task.event_handler(luigi.Event.FAILURE)(_failed)
luigi.Task.event_handler(luigi.Event.PROCESSING_TIME)(_done)

if __name__ == "__main__":
    started = time.monotonic()
    ended = main()
    print(f"({time.monotonic() - started:.0f} s)")
    sys.exit(ended)
