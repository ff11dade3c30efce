"""Run the embedded PostgreSQL server: one per database folder, started by its first user and stopped by its last.

Locks (flock) tell which processes are alive, not process ids, which are reused. Waiting for a lock is logged. The
folder holds

    start.lock    held while a process starts or stops the server
    users.lock    shared by every process that uses the server and, through fork, by its children
    server.lock   inherited by the server and all its processes: free means that none of them is alive
    cluster/      PostgreSQL's data and its socket
    server.log    the output of the server

A killed process loses its locks. If it was the last user, the server keeps running, and the next user finds it. To look
into a database whose path is too long for a socket: `cd <folder>/cluster; psql -h /proc/self/cwd -U ben_luigi`.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path

from ben_luigi.domain import locks, waiting
from ben_luigi.domain.errors import BadDatabase, DatabaseError
from ben_luigi.domain.files import sweep
from ben_luigi.state import cluster as postgres

_SOCKET_PATH_B = 103  # the lowest limit of all systems (sun_path has 104 to 108 bytes)
_START_S = 300.0  # after a crash the server first replays its write-ahead log, up to 1 GB
_STOP_S = 60.0
_POLL_S = 0.01


@dataclass(frozen=True)
class Address:
    """The address of a database: `host` is a host name, or the folder of a socket."""

    host: str
    port: int
    user: str
    database: str


@dataclass(frozen=True)
class _Use:
    address: Address
    descriptors: list[int]


_uses: dict[Path, _Use] = {}


def open_server(folder: Path, again: bool = False) -> Address:
    """Start or join the server of `folder`, making both if needed, until `close_server` or the end of the process.

    The address is also valid in forked children, but not in other programs. A second call only returns it; with
    `again`, after a connection failed, it starts a server that has died. Raise DatabaseError if no server can be
    started.
    """
    folder = folder.absolute()
    if folder in _uses and not again:
        return _uses[folder].address
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _starting(folder):
            if folder in _uses:
                _start(folder)
            else:
                _uses[folder] = _join(folder)
                Finalize(None, close_server, (folder,), exitpriority=0)  # Luigi's workers skip atexit
            return _uses[folder].address


def close_server(folder: Path) -> None:
    """Stop using the server of `folder`, and stop the server if nothing else uses it.

    Do nothing if it is not in use.
    """
    folder = folder.absolute()
    use = _uses.pop(folder, None)
    if use is None:
        return
    for descriptor in use.descriptors:
        os.close(descriptor)
    if folder.is_dir():
        with _explained(folder), _starting(folder):
            _stop_unused(folder)


@atexit.register
def close_all() -> None:
    """Stop using each server that this process uses."""
    for folder in list(_uses):
        close_server(folder)


def _join(folder: Path) -> _Use:
    users = locks.opened(folder / "users.lock")
    try:
        locks.take(users, locks.SHARED, f"the lock {folder / 'users.lock'}")
        _start(folder)
        return _use(folder / "cluster", users)
    except BaseException:
        os.close(users)
        _stop_unused(folder)
        raise


def _use(cluster: Path, users: int) -> _Use:
    """Return the address by which libpq reaches the socket, with the descriptors that keep it valid.

    libpq cannot take a path that is too long, and splits one at a comma; Luigi splits it at a colon.
    """
    host, descriptors = str(cluster), [users]
    if len(os.fsencode(cluster / postgres.SOCKET)) > _SOCKET_PATH_B or {",", ":"} & {*host}:
        descriptors.append(os.open(cluster, os.O_PATH | os.O_DIRECTORY))
        host = f"/proc/self/fd/{descriptors[-1]}"
    return _Use(Address(host, postgres.PORT, postgres.NAME, postgres.NAME), descriptors)


def _start(folder: Path) -> None:
    """Start the server unless one is running, and return when it answers."""
    log = folder / "server.log"
    log_bytes = log.stat().st_size if log.exists() else 0
    launched, deadline = False, time.monotonic() + _START_S

    def answers() -> bool:
        nonlocal launched
        if postgres.answers(folder / "cluster"):
            return True
        with _tried(folder / "server.lock") as server:
            if server is not None:
                # The lock is the server's by inheritance: that it is free after the launch means that the server has
                # ended.
                if launched:
                    raise _failure(folder, found=f"it ended at once; {_logged_since(log, log_bytes)}")
                sweep(folder, older_than_s=0)
                postgres.launch(folder / "cluster", server, log)
                launched = True
            elif time.monotonic() > deadline:
                found = f"no answer in {_START_S:.0f} s; {_logged_since(log, log_bytes)}"
                raise _failure(folder, found, DatabaseError)  # which may pass
        return False

    what = f"an answer of the PostgreSQL server in {folder}"
    waiting.wait_for(answers, what, lambda: _holders(folder), _POLL_S)


def _stop_unused(folder: Path) -> None:
    """Stop the server if no process holds `users.lock`."""
    if not _is_free(folder / "users.lock"):
        return
    deadline = time.monotonic() + _STOP_S

    def stopped() -> bool:
        if _is_free(folder / "server.lock"):
            return True
        postgres.interrupt(folder / "cluster")
        return time.monotonic() > deadline

    what = f"the end of the PostgreSQL server in {folder}"
    waiting.wait_for(stopped, what, lambda: _holders(folder), _POLL_S)
    if _is_free(folder / "server.lock"):
        postgres.clear_up(folder / "cluster")


@contextmanager
def _tried(path: Path) -> Iterator[int | None]:
    """Yield a descriptor that holds the lock at `path`, as its forked copies do, or None if the lock is not free."""
    descriptor = locks.opened(path)
    try:
        yield descriptor if locks.try_take(descriptor, locks.ALONE) else None
    finally:
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    with _tried(path) as descriptor:
        return descriptor is not None


def _holders(folder: Path) -> list[str]:
    """Return the server, or the process that has started or is making it."""
    server = postgres.process(folder / "cluster")
    if server is not None:
        return [locks.told(server)]
    descriptor = locks.opened(folder / "server.lock")
    try:
        return locks.holders(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    what = f"another process to start or stop the PostgreSQL server in {folder}"
    with locks.held(folder / "start.lock", what, _POLL_S):
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn any OSError (no lock, rights or space, or no way to become another user) into a BadDatabase."""
    try:
        yield
    except OSError as error:
        raise _failure(folder, found=str(error)) from error


def _failure(folder: Path, found: str, kind: type[DatabaseError] = BadDatabase) -> DatabaseError:
    return kind(
        f"PostgreSQL in {folder}",
        expected="a server of our own",
        found=found,
        remedy=f"see {folder / 'server.log'} and correct that; or move `[dataset] data_dir`, or {postgres.OWN_SERVER}",
    )


def _logged_since(log: Path, position: int) -> str:
    with log.open("rb") as file:
        file.seek(position)
        return postgres.last_words(file.read().decode(errors="replace")) or "its log is empty"
