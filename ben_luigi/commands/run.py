"""`ben-luigi run [TASK ARGUMENTS...]`: make the dataset, or the output of one task, and everything it needs.

Without a configuration it runs on the sample world, which it makes itself. LUIGI_CONFIG_PATH names your own
configuration. Results that exist and are up to date are not made again.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import luigi
import luigi.lock
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import PidLockAlreadyTakenExit
from luigi.retcodes import run_with_retcodes
from luigi.rpc import RPCError
from luigi.task_register import Register

from ben_luigi import config, signals, terminal
from ben_luigi.commands import command, ending, task_table, usage, world
from ben_luigi.commands.setting_up import configure
from ben_luigi.commands.task_arguments import run as parser
from ben_luigi.configuration import luigi_options
from ben_luigi.domain import locks, refused
from ben_luigi.domain.cdse.http import reason
from ben_luigi.domain.errors import BadArgument, BadInput, BadName, PipelineError, some, without_userinfo
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import jobs, planning
from ben_luigi.stages.archive_parts import dataset_tiles
from ben_luigi.stages.comparison import beside_published
from ben_luigi.stages.finalize import FinalizeDataset, file_sizes
from ben_luigi.stages.metadata import shortage, split_counts
from ben_luigi.stages.resolve import missing_tiles
from ben_luigi.stages.retention import retire_all
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import cache, database, failures, luigi_internals, recipes, stored, worlds
from ben_luigi.state.locks import configuration, data_folder

_SCHEDULING_ERROR, _UNHANDLED = 35, 40
_LUIGIS = {
    20: ExitCode.WAITS_FOR_PERSON,
    25: ExitCode.FAILED,
    _UNHANDLED: ExitCode.FAILED,
}
"""What Luigi's own exit codes mean here."""
_AGAIN = "un the same command again: only what is missing is made."
_ADVICE: dict[int, str] = {
    ExitCode.WRONG_ARGUMENTS: "Correct the arguments, as is said above.",
    ExitCode.WAITS_FOR_PERSON: f"Correct what is said above, and r{_AGAIN}",
    ExitCode.FAILED: f"R{_AGAIN}",
}
_LEFT_TO_OTHERS = {10, 25}
_LOOK_AGAIN_S = 60.0
_WATCH_S = 1.0
_log = logging.getLogger("ben_luigi")


def main(arguments: Sequence[str], prog: str = "") -> int:
    """Run `FinalizeDataset` or the given task, print where the result is and the time; return the exit code."""
    started = time.monotonic()
    code = _main(list(arguments), prog)
    if not signals.came:
        print(f"({time.monotonic() - started:.0f} s)")
    return code


def _main(arguments: list[str], prog: str) -> int:
    signals.catch()
    try:
        arguments = world.take(arguments)
    except BadName as error:
        return command.refuse(parser(), error)
    if not task_table.help_is_wanted(arguments):
        configure()
    terminal.summary_follows = True
    config.set_defaults()
    luigi.configuration.get_config().read_dict(
        {"retcode": luigi_options.DEFAULTS["retcode"]}
    )  # ours are the same for all
    task, arguments = _asked(arguments, prog)
    signals.consequence = (
        f": {task.task_family} is not complete; run the same command again: only what is missing is made"
    )
    where = "the sample world" if config.is_sample() else "real sources"
    by = "" if config.recipe().is_default else f" by the recipe {config.recipe().name}"
    _log.info("%s on %s%s, in %s", arguments[0], where, by, config.data_dir())
    if not (config.data_dir() / "made_from").exists():
        _log.info("%s", _begun())
    data_folder.sweep_if_alone(config.data_dir())
    return _run_and_tell(task, arguments)


def _run_and_tell(task: luigi.Task, arguments: list[str]) -> int:
    """Run the task, clear up, and print what has come of it; return the exit code."""
    before = failures.noted()
    try:
        code = _made(task, arguments)
    except _AlreadyRunning as error:
        _log.error("already running: %s", error)
        code = ExitCode.ALREADY_RUNNING
    except (PipelineError, OSError) as error:
        error = refused.explained(error, config.data_dir())
        _log.error("%s", error)
        code = command.code_of(error)
    except SystemExit as end:
        code = int(end.code or 0)
    code = signals.undo() or meaning(code, task, before)
    ending.end_workers(ending.GRACE_S)
    if code == ExitCode.WRONG_ARGUMENTS:
        failures.forget(task)
    if arguments[0] == "FinalizeDataset" and not code:
        failures.forget_all()
    if data_folder.is_same(config.data_dir()):  # else it would be made again
        data_folder.leave(config.data_dir())
        data_folder.sweep_if_alone(config.data_dir())
    try:
        if not signals.came:
            _say_result(task, code)
    except (PipelineError, OSError) as error:
        _log.error("%s", error)
        code = code or ExitCode.FAILED
    return code


def meaning(code: int, task: luigi.Task, before: Sequence[failures.Failure]) -> int:
    """Return what the exit code of Luigi's run of `task` means, by the failures that were not recorded `before`.

    Failures are compared as a whole, not by their time: clocks jump, and those of hosts differ.
    """
    if code == _SCHEDULING_ERROR and not failures.may_be_scheduled_later():
        return ExitCode.WAITS_FOR_PERSON
    if code not in (ExitCode.FAILED, _SCHEDULING_ERROR):
        return _LUIGIS.get(code, code)
    new = [failure for failure in failures.noted() if failure not in before]
    kinds = {failure.kind for failure in new if failure.task == str(task)}
    if task.get_params() and kinds and kinds <= {BadArgument.__name__, BadName.__name__}:
        return ExitCode.WRONG_ARGUMENTS
    needs_person = failures.is_unrecorded() or any(failure.needs_person for failure in new)
    return ExitCode.WAITS_FOR_PERSON if needs_person else ExitCode.FAILED


def _made(task: luigi.Task, arguments: list[str]) -> int:
    """Make the task, and return the exit code; there may be nothing to do."""
    _check_semaphores()
    cache.prepare()  # alone in the data folder, so before it counts as in use by this process
    data_folder.enter(config.data_dir())
    threading.Thread(target=_watch, args=[config.data_dir()], name="data folder", daemon=True).start()
    config.lock_this_command()
    _check_same_command()
    configuration.enter(config.data_dir(), config.result_options)
    worlds.enter(config.data_dir(), is_sample=config.is_sample())
    if not (recipe := config.recipe()).is_default:
        recipes.follow(config.data_dir(), recipe.name, recipe.path)
    database.check_locks()
    planning.ask_licence(task)
    retire_all()
    if arguments == ["FinalizeDataset"] and FinalizeDataset().complete():
        print("Nothing to do: everything is there.")
        return 0
    with terminal.opened():
        code = _run(["--module", "ben_luigi", *arguments])
    retire_all()  # a task may have found its result true and made nothing
    return code


def _watch(folder: Path) -> None:
    """Stop the run once its data folder is another one, or gone: each task would fail, and most be tried again."""
    while True:
        time.sleep(_WATCH_S)
        try:
            data_folder.require_same(folder)
        except BadInput as error:
            _log.error("%s", error)
            signals.stop("the loss of its data folder", ExitCode.WAITS_FOR_PERSON)
            return


def _begun() -> str:
    """Return the message that the data folder is new, and how to continue an earlier run."""
    said = str(config.dataset().data_dir)
    is_here = not Path(said).expanduser().is_absolute()
    where = f" ([dataset] data_dir = {said}, below the current folder)" if is_here else ""
    return (
        f"a new data folder is begun there{where}: to go on with an earlier run, set [dataset] data_dir to its folder"
    )


def _check_same_command() -> None:
    """Raise _AlreadyRunning, naming the others, if the same command runs on this host in the same data folder."""
    if luigi.configuration.get_config().getboolean("core", "no_lock", False):
        return
    others = luigi_internals.same_command(config.lock_folder())
    if others:
        first = f"kill {others[0]}"
        raise _AlreadyRunning(
            config.data_dir(),
            expected="one run of this command at a time",
            found=", ".join(map(locks.told, others)),
            remedy=f"wait for it: it makes the same; or stop it: {first}",
        )


class _AlreadyRunning(PipelineError):
    """The same command is already running."""


def _check_semaphores() -> None:
    """Raise PipelineError if processes cannot communicate as Luigi's do: semaphores are files in /dev/shm."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise PipelineError(
            "/dev/shm",
            expected="a file system to write to, by which processes speak with each other",
            found=str(error.strerror),
            remedy="mount it as others do: mount -t tmpfs tmpfs /dev/shm; in a read-only container: --tmpfs /dev/shm",
        ) from error


def _asked(arguments: list[str], prog: str) -> tuple[luigi.Task, list[str]]:
    """Return the task and its arguments; exit with a message if help is wanted, or if they fit no task."""
    used = parser(arguments)
    used.prog = prog or used.prog
    if task_table.help_is_wanted(arguments):
        used.print_help()
        sys.exit()
    arguments = task_table.named(arguments)
    try:
        task, options = usage.task_of(arguments)
    except (BadName, BadArgument) as error:
        sys.exit(command.refuse(used, task_table.of_program(error, prog)))
    config.take_typed(options)
    return task, arguments


def _run(argv: list[str]) -> int:
    """Run Luigi and return its exit code; while other hosts work on the rest, run it again until they are done.

    A host is given only tasks that it has reported to the scheduler. So it reports again from time to time: for tasks
    known only since the list of tiles exists, or known only to a host that has died since.
    """
    with CmdlineParser.global_instance(argv) as parsed:
        task, settings = parsed.get_task_obj(), luigi.interface.core()
        if terminal.is_open():
            terminal.expect(planning.usual_seconds(), planning.at_once())
    jobs.submit_ready()
    code, pause_s, others, due = _luigi_run(argv), 1.0, ["not asked yet"], 0.0
    while (code in _LEFT_TO_OTHERS or (code == ExitCode.FAILED and jobs.in_queue())) and not settings.local_scheduler:
        if task.complete():
            return 0
        before, others = others, [*_running(settings), *jobs.in_queue()]
        if not (before or others):
            break
        if others != before or time.monotonic() + pause_s > due:
            _log.info("waiting for tasks that other hosts run: %s", some(others) or "none now; looking once more")
            due = time.monotonic() + _LOOK_AGAIN_S
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOK_AGAIN_S)
        Register.clear_instance_cache()  # tasks remember what they require
        jobs.try_to_submit()
        code = _luigi_run([*argv, "--no-lock"])
    return code


def _luigi_run(argv: list[str]) -> int:
    failures.forget_scheduling()
    try:
        run_with_retcodes(argv)
    except SystemExit as end:
        cause, code = end.__context__, int(end.code or 0)
        if isinstance(cause, PidLockAlreadyTakenExit):
            raise  # the same command runs on this host
        return _ended_early(cause) if code == _UNHANDLED else code
    return 0


def _ended_early(cause: BaseException | None) -> int:
    """Log why Luigi has ended early, which it does not report; return one of its exit codes."""
    error = cause and refused.explained(cause, config.data_dir())
    if isinstance(error, RPCError):
        found = f" ({reason(error.sub_exception)})" if error.sub_exception else ""
        said = without_userinfo(f"{error}{found}")
        _log.error("luigid does not answer: %s; start it with ben-luigi luigid, or correct [core] scheduler_host", said)
    elif isinstance(error, PipelineError):
        _log.error("%s", error)  # a full disk, or a list of products that is found wrong while it is known already
        failures.note_scheduling(error)
        return _SCHEDULING_ERROR
    elif isinstance(error, OSError):
        _log.error("the run has ended early; found: %s; next: correct that, and run again", error)
    else:
        _log.error("Luigi has ended early", exc_info=error)
    return _UNHANDLED


def _running(settings: luigi.interface.core) -> list[str]:
    """Return the tasks that run now at the central scheduler, on any host; none if it does not answer."""
    url = settings.scheduler_url or f"http://{settings.scheduler_host}:{settings.scheduler_port}/"
    try:
        return luigi_internals.running(url)
    except RPCError:
        return []


def _in_store() -> str:
    """Return whether the store has the finished dataset, in words; nothing if there is none."""
    if not stored.is_configured():
        return ""
    if lacking := stored.lacking(config.result_folder()):
        return (
            f"; {config.dataset().store} does not have {some(lacking)}: run again once no other process works in "
            f"{config.data_dir()}, then it is uploaded"
        )
    return f", and in {config.dataset().store}"


def _say_result(task: luigi.Task, code: int) -> None:
    name, folder = task.task_family, config.data_dir() / config.result_folder()
    if code == ExitCode.ALREADY_RUNNING:
        return  # already reported
    if code:
        by = "" if config.recipe().is_default else f" by the recipe {config.recipe().name}"
        print(f"\n{name}{by} is not complete (exit code {code}).")
        print(_ADVICE.get(code, _ADVICE[ExitCode.FAILED]))
        return
    if name != "FinalizeDataset":
        print(f"\n{name} is complete.")
        for line in task.result_lines() if isinstance(task, PipelineTask) else []:
            print(f"  {line}")
        return
    print(f"\nThe dataset is complete: {folder}{_in_store()}")
    for name, size in file_sizes().items():
        print(f"  {name:<56} {size:>14,} bytes")
    report = folder / "report" / "index.html"
    if report.is_file():  # a subset has none
        print(f"To look at it, open {report} in a browser.")
    counts = split_counts()
    splits = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"Patches: {splits}; tiles: {', '.join(dataset_tiles())}")
    for tile, facts in missing_tiles().items():
        print(f"Tile {tile} is left out: {facts['product']} is {facts['found']}.")
    if short := shortage(sum(counts.values())):
        print(short)
    if beside := beside_published():
        print(beside)
