"""`ben-luigi cron-rerun [TASK ARGUMENTS...]`: run once from cron or a timer, never in parallel with another run.

Its output is in `data_dir/logs`; `[cron]` in the configuration says who is notified when things get worse.
"""

from __future__ import annotations

import glob
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ben_luigi import config, signals
from ben_luigi.commands import command, task_table, usage, world
from ben_luigi.commands.setting_up import configure
from ben_luigi.commands.task_arguments import cron_rerun as parser
from ben_luigi.domain import files, locks, notice, private, surroundings
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError, reason, some
from ben_luigi.exit_codes import STOPPED, ExitCode
from ben_luigi.state import failures, recipes
from ben_luigi.state.locks import data_folder

_TIME = "%Y%m%dT%H%M%S"
_BY_GRAVITY = (ExitCode.DONE, ExitCode.FAILED, ExitCode.WRONG_ARGUMENTS, ExitCode.WAITS_FOR_PERSON)
_SAID: dict[int, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.WRONG_ARGUMENTS: "wrong arguments",
    ExitCode.WAITS_FOR_PERSON: "waiting for a person",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, and the tasks that failed in it, or before it without having succeeded since."""

    code: int
    failed: tuple[str, ...]

    def is_worse_than(self, before: Outcome) -> bool:
        """Return whether to notify a person: the kind of end is worse, or another task has failed."""
        return _BY_GRAVITY.index(self.code) > _BY_GRAVITY.index(before.code) or not set(self.failed) <= set(
            before.failed
        )


def main(arguments: Sequence[str]) -> int:
    """Run unless a run is under way; send a notice if things got worse."""
    used = parser()
    used.parse_known_args(arguments)
    configure()
    _follow(arguments)
    try:
        return _rerun(arguments)
    except _UnrecordedError as error:
        return command.refuse(used, error, ExitCode.WAITS_FOR_PERSON)
    except (PipelineError, OSError) as error:
        _tell_refusal(error)
        return command.refuse(used, error, command.code_of(error))


def _follow(arguments: Sequence[str]) -> None:
    """From now on speak of the data folder of the run, by its recipe and its options.

    What is wrong with them is left to the run, whose end is recorded and told, whatever it is.
    """
    with suppress(BadName, BadArgument):
        config.take_typed(usage.options_of(task_table.named(world.take(arguments))))


class _UnrecordedError(PipelineError):
    """A person was notified if it was necessary, but how the run ended cannot be recorded."""


def _rerun(arguments: Sequence[str]) -> int:
    with _lock() as lock:
        if lock is None:
            return ExitCode.ALREADY_RUNNING
        before = set(failures.noted())
        log, code = _run(list(arguments), lock)
        _rotate(log, int(config.cron().keep_logs))
        if code in (ExitCode.ALREADY_RUNNING, *STOPPED):
            if code in STOPPED:
                _say(f"the run was stopped, as its log says: {log}")
            return code
        code = code if code in _BY_GRAVITY else ExitCode.FAILED  # killed
        known = [] if code == ExitCode.DONE else failures.noted()
        new = [failure for failure in known if failure not in before]
        _tell(code, known, new, log)
        return code


def _say(text: str) -> None:
    """Print to a terminal only; cron would mail it each time."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextmanager
def _lock() -> Iterator[int | None]:
    """Yield a lock of this host on the data folder, or None while another run holds it."""
    path = _folder() / f"{socket.gethostname()}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = locks.opened(path)
    try:
        try:
            is_free = locks.try_take(descriptor, locks.ALONE)
        except OSError as error:
            raise locks.no_locks(path, "one run at a time is started", error) from error
        if not is_free:
            _say(f"already running: {some(locks.holders(descriptor))}; its log is in {config.data_dir() / 'logs'}")
        yield descriptor if is_free else None
    finally:
        os.close(descriptor)


def _folder() -> Path:
    return config.data_dir() / "cron"


def _run(arguments: list[str], lock: int) -> tuple[Path, int]:
    """Return the log of a run, and its exit code. Signals are passed on to the run, which holds the lock as well."""
    log = config.data_dir() / "logs" / f"run-{datetime.now(UTC):{_TIME}}-{socket.gethostname()}.log"
    with private.open_anew(log) as file:
        command = [*surroundings.own_python(), "-m", "ben_luigi", "run", *arguments]
        process = subprocess.Popen(
            command, env=surroundings.as_found(), stdin=subprocess.DEVNULL, stdout=file, stderr=file, pass_fds=[lock]
        )
        with signals.passed_on(process):
            code = process.wait()
    if not _folder().is_dir():
        raise data_folder.lost(config.data_dir())
    return log, code if code >= 0 else 128 - code


def _rotate(log: Path, keep: int) -> None:
    """Remove this host's logs but the last ones, one of which is `log`: after a clock jump it may have the first name.

    Those of other hosts stay, since a run there may be writing them.
    """
    same_host = f"run-????????T??????-{glob.escape(socket.gethostname())}.log"
    others = sorted(old for old in log.parent.glob(same_host) if old != log)
    for old in others[: max(0, len(others) + 1 - keep)]:
        old.unlink(missing_ok=True)


def _tell(code: int, known: list[failures.Failure], new: list[failures.Failure], log: Path) -> None:
    """Send a notice if things got worse.

    `new` are the failures of this run. A notice that fails is sent by the next run.
    """
    before = _read(_state())
    failed = [failure.task for failure in known if failure in new or failure.task in before.failed]
    outcome = Outcome(code, tuple(failed))
    if outcome.is_worse_than(before):
        worse = [failure for failure in known if failure.task in set(outcome.failed) - set(before.failed)]
        subject = f"ben_luigi on {socket.gethostname()}: {_SAID[outcome.code]}"
        lines = [f"The run in {config.data_dir()} has ended: {_SAID[outcome.code]}.", ""]
        lines += [line for failure in worse for line in (failure.task, f"  {failure.error}", "")]
        lines += [f"For details: ben-luigi status{recipes.option()}, and {log}"]
        lines += [] if worse else [_last_lines(log) or f"That log is empty: {files.free(log.parent)}."]
        try:
            _send(subject, "\n".join(lines))
        except PipelineError as error:
            print(f"cron-rerun: {error}", file=sys.stderr)
            return
    _record(outcome)


def _tell_refusal(error: Exception) -> None:
    """Send a notice that no run could be begun, if things got worse and a channel is set: else cron mails the error."""
    outcome, ways = Outcome(command.code_of(error), _read(_state()).failed), _ways()
    if not (ways.mail_to or ways.webhook) or not outcome.is_worse_than(_read(_state())):
        return
    said = command.explained(error)
    try:
        notice.send(ways, f"ben_luigi on {socket.gethostname()}: {_SAID[outcome.code]}", str(said))
        _record(outcome)
    except _UnrecordedError:  # on a full disk, as the notice says: the next run sends it again
        pass
    except PipelineError as failed:
        print(f"cron-rerun: {failed}", file=sys.stderr)


def _state() -> Path:
    return _folder() / f"{socket.gethostname()}.json"


def _record(outcome: Outcome) -> None:
    if not _folder().is_dir():
        return  # the data folder is gone, and nothing is made in its place
    try:
        private.write_text(_state(), json.dumps(asdict(outcome)) + "\n")
    except (PipelineError, OSError) as error:
        said = command.explained(error)
        expected, found, remedy = (getattr(said, part, "") for part in ("expected", "found", "remedy"))
        remedy = f"{remedy or 'correct that'}; until then each run tells the same again"
        raise _UnrecordedError(_state(), expected=expected, found=found or str(said), remedy=remedy) from error


def _read(path: Path) -> Outcome:
    """Return how the last run ended; without one, that it went well."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(_BY_GRAVITY[_BY_GRAVITY.index(state["code"])], tuple(state["failed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Outcome(ExitCode.DONE, ())


def _send(subject: str, text: str) -> None:
    ways = _ways()
    if ways.mail_to or ways.webhook:
        notice.send(ways, subject, text)
    else:
        print(f"{subject}\n\n{text}".encode(errors="replace").decode())  # cron mails it


def _ways() -> notice.Ways:
    options = config.cron()
    return notice.Ways(str(options.mail_to), str(options.smtp), str(options.webhook))


def _last_lines(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2_000))
            return os.fsdecode(file.read()).strip()
    except OSError as error:
        return f"That log cannot be read: {reason(error)}."
