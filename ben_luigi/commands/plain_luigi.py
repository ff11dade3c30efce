"""Refuse wrong arguments of plain `luigi --module ben_luigi`, and say errors in a line, as `ben-luigi run` does.

Luigi shows a traceback of whatever happens. What a user, a file or a network can do is told without it; an error of
this program, or of Luigi, keeps it.
"""

from __future__ import annotations

import logging
import sys

from luigi.rpc import RPCError

from ben_luigi import config
from ben_luigi.commands import command, luigi_log, task_table, usage
from ben_luigi.domain import refused
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError, without_userinfo


def install() -> None:
    """Have the log say errors in a line; exit if the arguments fit no task."""
    logging.getLogger("luigi-interface").addFilter(_without_traceback)
    arguments = _arguments(sys.argv[1:])
    if not arguments or arguments[0].startswith("-") or task_table.help_is_wanted(arguments):
        return
    try:
        config.take_typed(usage.task_of(arguments)[1])
    except (BadName, BadArgument) as error:
        sys.exit(command.refuse(command.parser("luigi", ""), error))


def _arguments(words: list[str]) -> list[str]:
    """Return the task that is asked for, and its arguments."""
    if "--module" in words:
        at = words.index("--module")
        words = [*words[:at], *words[at + 2 :]]
    words = [word for word in words if not word.startswith("--module=")]
    named = [word for word in words if word in task_table.table()["tasks"]]
    return [named[0], *(word for word in words if word != named[0])] if named else words


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    said = _said(error) if error else ""
    if said:
        of_luigi = without_userinfo(record.getMessage())
        record.msg, record.args, record.exc_info = "%s: %s", (of_luigi, said), None
    elif not error:
        luigi_log.shorten(record)
    return True


def _said(error: BaseException) -> str:
    """Return what to say of an error; nothing if it is none that a user, a file or a network can make."""
    error = refused.explained(error, config.data_dir())
    if isinstance(error, RPCError):
        said = without_userinfo(str(error))
        return f"luigid does not answer: {said}; next: start it with ben-luigi luigid, or correct [core] scheduler_host"
    return str(error) if isinstance(error, PipelineError | OSError) else luigi_log.vanished(error)
