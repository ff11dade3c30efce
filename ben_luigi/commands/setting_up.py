"""What every command begins with: its log, warnings about passwords, and what ends it if it does not end by itself."""

from __future__ import annotations

import logging
import sys
import time

import luigi
from luigi.configuration import LuigiConfigParser

from ben_luigi import config, signals
from ben_luigi.commands import ending, luigi_log
from ben_luigi.configuration import loading
from ben_luigi.domain import refused
from ben_luigi.domain.errors import PipelineError, without_userinfo

_NO_SCHEDULER = "Failed connecting to remote scheduler %r"
_said_at: dict[str, float] = {}
_log = logging.getLogger("ben_luigi")


def configure(*, writes: bool = True) -> None:
    """Set up logging, and warn of passwords that others can read; exit if the data folder cannot be written."""
    signals.last_resort = ending.end_all
    if writes:
        loading.require_data_dir()
    for path in loading.files_that_tell_secrets():
        print(f"warning: {path} has a password in it, and others can read it; type: chmod 600 {path}", file=sys.stderr)
    settings = LuigiConfigParser.instance()
    if not settings.has_option("core", "no_configure_logging"):
        settings.set("core", "no_configure_logging", "true")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("luigi-interface").addFilter(_only_luigi_says_so)
        for name in ("luigi", "botocore"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _only_luigi_says_so(record: logging.LogRecord) -> bool:
    """Return whether a line of Luigi's log is worth showing: one that the handlers below do not write.

    The message about luigid not answering is shortened, and has no password in it; it is asked again after half a
    minute. Of our own errors in `requires()` or `complete()`, whose traceback only Luigi has, only the message is kept,
    and of a refusal of the system as well.
    """
    if record.msg == _NO_SCHEDULER:
        record.msg, record.exc_info = "luigid at %s does not answer; trying again", None
        record.msg, record.args = "%s", (without_userinfo(record.getMessage()),)
        return _is_news(record.getMessage())
    return luigi_log.shorten(record)


def _is_news(line: str) -> bool:
    """Return whether a line was not said within the last pause of who asks luigid: two threads of a worker do."""
    pause_s = LuigiConfigParser.instance().getint("core", "rpc_retry_wait", 30)
    now, before = time.monotonic(), _said_at.get(line)
    if before is not None and now - before < 0.9 * pause_s:
        return False
    _said_at[line] = now
    return True


def _failed(task: luigi.Task, error: BaseException) -> None:
    if isinstance(error, SystemExit):  # the task was only stopped
        return
    error = refused.explained(error, config.data_dir())
    gone = luigi_log.vanished(error)
    said: object = gone or error
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.filename or 'a file'}; found: {error.strerror}; next: correct that, and run again"
    is_told = gone or isinstance(error, (PipelineError, OSError))
    _log.error("failed    %s: %s", task, said, exc_info=None if is_told else error)


def _done(task: luigi.Task, seconds: float) -> None:
    if not getattr(task, "unchanged", False):
        _log.info("%6.1f s  %s", seconds, task)


luigi.Task.event_handler(luigi.Event.FAILURE)(_failed)
luigi.Task.event_handler(luigi.Event.PROCESSING_TIME)(_done)
