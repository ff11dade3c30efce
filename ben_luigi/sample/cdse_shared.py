"""Share the servers of a sample world among all processes that use it, in any run, for as long as one of them lives.

Users hold a shared lock on a file, and the server waits until it can take that lock alone: nothing has to be reported
at the end, and a killed process is no longer a user. The server is a process of its own, since its users are tasks,
which come and go.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from ben_luigi.domain import locks, private
from ben_luigi.domain.errors import PipelineError

_ADDRESS, _USERS, _START = "cdse-server.json", "cdse-server.users", "cdse-server.start"
_CONNECT_S = 10


class Servers(Protocol):
    """One or several servers, which run from `__enter__` on."""

    @property
    def addresses(self) -> dict[str, str]:
        """Their URLs, by name; one is `catalogue_url`."""

    def __enter__(self) -> Self:
        """Start them."""


def shared(folder: Path, make: Callable[[], Servers]) -> dict[str, str]:
    """Return the URLs of the servers that `folder` names, or start some that live until their last user ends.

    Raise PipelineError if it cannot be started. On a file system without locks this process has servers of its own.
    """
    private.make_folder(folder)
    users, start = locks.opened(folder / _USERS), locks.opened(folder / _START)
    try:
        locks.take(users, locks.SHARED, "the end of the sample's CDSE server")  # held until the process ends
        locks.take(start, locks.ALONE, "another process that starts the sample's CDSE server")
        return _running(folder) or _started(folder, make)
    except OSError:
        return make().__enter__().addresses
    finally:
        os.close(start)


def _running(folder: Path) -> dict[str, str] | None:
    """Return the servers that are running and answer."""
    try:
        addresses: dict[str, str] = json.loads((folder / _ADDRESS).read_text(encoding="utf-8"))
        address = urlsplit(addresses["catalogue_url"])
        socket.create_connection((address.hostname or "", address.port or 0), _CONNECT_S).close()
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return addresses


def _started(folder: Path, make: Callable[[], Servers]) -> dict[str, str]:
    """Start it as an orphan process, since Luigi ends the children of a task with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.setsid()
            if not os.fork():
                _serve(folder, make, writing)
        os._exit(1)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        address_json = pipe.read()
    if not address_json:
        raise PipelineError(
            "the servers of the sample world",
            expected="that they start",
            found="that they have ended",
            remedy=f"look whether {folder} can be written to, and run again",
        )
    addresses: dict[str, str] = json.loads(address_json)
    return addresses


def _serve(folder: Path, make: Callable[[], Servers], writing: int) -> None:
    """Serve until there are no users; of all inherited descriptors only `writing` is kept, to report the address."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.closerange(3, writing)
    os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
    servers = make().__enter__()
    os.chdir("/")  # keep no folder of the run busy
    address_json = json.dumps(servers.addresses)
    private.write_text(folder / _ADDRESS, address_json)
    os.write(writing, address_json.encode())
    os.close(writing)
    fcntl.flock(locks.opened(folder / _USERS), fcntl.LOCK_EX)
    (folder / _ADDRESS).unlink(missing_ok=True)
    os._exit(0)
