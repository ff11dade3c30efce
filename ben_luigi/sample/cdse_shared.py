"""Share one CDSE server among all processes that use a sample world, in any run, for as long as one of them lives.

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
from urllib.parse import urlsplit

from ben_luigi.domain import locks, private
from ben_luigi.domain.cdse.http import Service
from ben_luigi.domain.errors import PipelineError
from ben_luigi.sample.cdse_server import CdseServer

_ADDRESS, _USERS, _START = "cdse-server.json", "cdse-server.users", "cdse-server.start"
_CONNECT_S = 10


def shared(folder: Path, make: Callable[[], CdseServer]) -> Service:
    """Return the server whose address is in `folder`, or start one that lives until this process ends.

    Raise PipelineError if it cannot be started. On a file system without locks this process has a server of its own.
    """
    private.make_folder(folder)
    users, start = locks.opened(folder / _USERS), locks.opened(folder / _START)
    try:
        locks.take(users, locks.SHARED, "the end of the sample's CDSE server")  # held until the process ends
        locks.take(start, locks.ALONE, "another process that starts the sample's CDSE server")
        return _running(folder) or _started(folder, make)
    except OSError:
        return make().__enter__().service
    finally:
        os.close(start)


def _running(folder: Path) -> Service | None:
    """Return the server that is running and answers."""
    try:
        service = Service(**json.loads((folder / _ADDRESS).read_text(encoding="utf-8")))
        address = urlsplit(service.catalogue_url)
        socket.create_connection((address.hostname or "", address.port or 0), _CONNECT_S).close()
    except (OSError, ValueError, TypeError):
        return None
    return service


def _started(folder: Path, make: Callable[[], CdseServer]) -> Service:
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
            "the CDSE server of the sample world",
            expected="that it starts",
            found="that it has ended",
            remedy=f"look whether {folder} can be written to, and run again",
        )
    return Service(**json.loads(address_json))


def _serve(folder: Path, make: Callable[[], CdseServer], writing: int) -> None:
    """Serve until there are no users; of all inherited descriptors only `writing` is kept, to report the address."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.closerange(3, writing)
    os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
    service = make().__enter__().service
    os.chdir("/")  # keep no folder of the run busy
    address = {"catalogue_url": service.catalogue_url, "token_url": service.token_url}
    address_json = json.dumps({**address, "download_url": service.download_url})
    private.write_text(folder / _ADDRESS, address_json)
    os.write(writing, address_json.encode())
    os.close(writing)
    fcntl.flock(locks.opened(folder / _USERS), fcntl.LOCK_EX)
    (folder / _ADDRESS).unlink(missing_ok=True)
    os._exit(0)
