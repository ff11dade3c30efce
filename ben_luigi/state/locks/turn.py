"""The turn of a process at a task: the session that holds the task's lock, and the turn's number in the table `turn`.

A session lock ends with its session: when the server restarts, or when the connection of a host that seems dead is cut.
Another process may then take the task over, and the first one may come back. So each turn takes the next number as soon
as it has something to make, and asks for it before it publishes (`domain/fence.py`). Rows are written in the session of
the lock: they are committed only while it holds.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions

from ben_luigi import config
from ben_luigi.domain import files, waiting
from ben_luigi.domain.errors import DatabaseError, PipelineError, TakenOver
from ben_luigi.domain.fence import Mark
from ben_luigi.state import database
from ben_luigi.state.locks import advisory, data_folder

_Result = TypeVar("_Result")
_BEGIN = """
WITH before AS (SELECT ended FROM turn WHERE task = %(task)s)
INSERT INTO turn AS t (task, number, holder) VALUES (%(task)s, 1, %(holder)s)
ON CONFLICT (task) DO UPDATE SET number = t.number + 1, holder = excluded.holder, ended = false, at = now()
RETURNING number, coalesce((SELECT NOT ended FROM before), false)
"""
_ASK = "SELECT number, holder FROM turn WHERE task = %(task)s"
# If this is lost with the server, the next turn looks in vain for what this one has left: it need not be waited for.
_END = """
UPDATE turn SET ended = true FROM (SELECT set_config('synchronous_commit', 'off', false)) AS quickly
WHERE task = %(task)s AND number = %(number)s
"""
_CUT = (psycopg2.OperationalError, psycopg2.InterfaceError)
_PATIENCE_S = 600.0
"""How long a server may be away before what was made while it was there is given up."""


class DatabaseTurn:
    """The turn of this process at a task: it holds the lock from `wait` until `close`. It is a `Fence`.

    Raise DatabaseError if there is no database.
    """

    def __init__(self, task_id: str) -> None:
        digest = hashlib.sha256(task_id.encode()).digest()
        self._task, self._work = task_id, digest[:8].hex()
        self._key = int.from_bytes(digest[:4], signed=True)
        self._number, self.took_over = 0, False
        self._holder = ""
        self._cleared: set[Path] = set()
        self._named: set[Path] = set()
        self._alone = threading.RLock()
        self._session = ExitStack()
        self._driver = self._connected()

    def wait(self) -> None:
        """Take the lock, after waiting until it is free, in a new session if the server is restarted meanwhile."""
        while True:
            try:
                advisory.wait_for(self._cursor(), f"the turn of {self._task}", advisory.TASKS, self._key)
                return
            except _CUT:
                self._connect_again("to wait for a lock")

    @property
    def mark(self) -> Mark:
        """The mark of the turn, which begins if it has not."""
        self.begin()
        return Mark(self._work, self._number)

    def begin(self) -> None:
        """Take the next number. Raise TakenOver if the lock was lost before, so that the result may be there now."""
        with self._alone:
            if self._number:
                return
            try:
                self._holder = waiting.name()
                self._number, self.took_over = self._asked(_BEGIN, holder=self._holder)
            except _CUT as error:
                raise self._lost("its session with the database was cut, so that another may have made it") from error

    def require(self, what: str | PathLike[str]) -> None:
        """Raise TakenOver if another process has taken the task over, before `what` is published.

        Raise BadInput if the data folder is another one by now: `what` would be published there.
        """
        data_folder.require_same(config.data_dir())
        with self._alone:
            self.begin()
            try:
                found = self._asked(_ASK)
            except _CUT:
                found = self._regained(what)
            # A restored database counts again from an earlier number, so that another may have got the same.
            if found[0] < self._number:
                raise self._lost("the database knows nothing of this turn, as after a restore", "it is made again")
            if (*found,) != (self._number, self._holder):
                raise self._lost(f"{waiting.described(found[1])} has taken it over")

    def lost(self) -> TakenOver | None:
        """Return the error if another process has taken the task over, as far as that can be found out now."""
        try:
            if self._number:
                self.require(self._task)
        except TakenOver as error:
            return error
        except PipelineError:
            pass  # whether it is lost cannot be known, and what has failed says why
        return None

    def clears(self, folder: Path) -> bool:
        """Return whether to remove the unfinished files of earlier turns in `folder`, which is so once."""
        self.begin()
        with self._alone:
            is_due = self.took_over and folder not in self._cleared
            self._cleared.add(folder)
            return is_due

    def named(self, path: Path) -> None:
        """Note an unfinished file or folder of this turn."""
        self._named.add(path)

    def forget(self) -> None:
        """Remove all unfinished files of this turn, since the task has been taken over."""
        for path in self._named:
            with suppress(OSError):
                files.remove(path)

    @contextmanager
    def transaction(self, what: str) -> Iterator[psycopg2.extensions.cursor]:
        """Yield a cursor in a transaction of the session that holds the lock; it is committed at the end."""
        with self._alone:
            self.require(what)
            self._driver.set_session(isolation_level="READ COMMITTED", autocommit=False)
            try:
                with database.committed(self._driver) as cursor:
                    yield cursor
            finally:
                if not self._driver.closed:
                    self._driver.autocommit = True

    def close(self) -> None:
        """Release the lock, and note that nothing more comes of this turn."""
        try:
            if self._number:
                with suppress(*_CUT), self._cursor() as cursor:
                    cursor.execute(_END, {"task": self._task, "number": self._number})
        finally:
            self._session.close()

    def _connected(self) -> psycopg2.extensions.connection:
        return self._session.enter_context(database.lock_connection())

    def _connect_again(self, why: str) -> None:
        self._session.close()
        self._driver = _patiently(self._connected, f"the database, {why}")

    def _cursor(self) -> psycopg2.extensions.cursor:
        return self._driver.cursor()

    def _asked(self, statement: str, **values: object) -> Any:
        with self._cursor() as cursor:
            cursor.execute(statement, {"task": self._task, **values})
            return cursor.fetchone() or (0, "somebody")

    def _regained(self, what: str | PathLike[str]) -> Any:
        """Take the lock again in a new session, if it is free; return the number and its holder.

        Raise TakenOver if it is not, DatabaseError if the server does not come back.
        """
        self._connect_again(f"to publish {what}")
        try:
            with self._cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (advisory.TASKS, self._key))
                is_free = (cursor.fetchone() or (False,))[0]
                if not is_free:
                    now = advisory.holders(cursor, advisory.TASKS, self._key)
                    raise self._lost(f"{', and '.join(map(waiting.described, now)) or 'another'} has taken it over")
            return self._asked(_ASK)
        except _CUT as error:
            raise DatabaseError(
                f"PostgreSQL, the turn of {self._task}",
                expected="a session that lasts",
                found=f"one that was cut twice: {str(error).strip()}",
                remedy="look at the log of the server, and run again",
            ) from error

    def _lost(self, found: str, counts: str = "the result of the other one counts") -> TakenOver:
        return TakenOver(
            self._task,
            expected="to be the only one at work on it",
            found=f"{found}; nothing of its result was overwritten, and what was unfinished here is removed",
            remedy=f"nothing is to be done: {counts}",
        )


def _patiently(work: Callable[[], _Result], what: str) -> _Result:
    """Return the result of `work`, which is tried again for some minutes while the server does not answer."""
    deadline, results = time.monotonic() + _PATIENCE_S, list[_Result]()
    problems = [""]

    def done() -> bool:
        try:
            results.append(work())
        except DatabaseError as error:
            if time.monotonic() > deadline:
                raise
            problems[0] = f"nobody: {error.found}"
        return bool(results)

    waiting.wait_for(done, what, lambda: problems)
    return results[0]
