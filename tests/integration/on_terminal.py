"""Commands in the foreground of a terminal, as a user has them: Ctrl-C, and a window that is closed."""

from __future__ import annotations

import os
import pty
import select
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.integration.running import ROOT, environment
from tests.integration.stopping import living, wait_for

_GRACE_S = 30.0


class OnTerminal:
    """A command in the foreground of a terminal of its own, as a user has it."""

    def __init__(self, folder: Path, *command: str, **more: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.mark = folder, uuid.uuid4().hex
        own = {**environment(**more), "PYTHONPATH": str(ROOT), "MARK": self.mark}
        own.pop("PYTHONUNBUFFERED", None)
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execve(command[0], command, own)
        self._said = b""

    @property
    def said(self) -> str:
        """What it has written to the terminal."""
        return self._said.decode(errors="replace").replace("\r\n", "\n")

    def read(self) -> bool:
        """Read what it writes; False after its end."""
        if select.select([self.terminal], [], [], 0.01)[0]:
            try:
                self._said += os.read(self.terminal, 2**16)
            except OSError:
                return False
        return True

    def reach(self, moment: Callable[[OnTerminal], bool]) -> None:
        """Wait until a moment."""
        reached: list[bool] = []

        def is_there() -> bool:
            goes_on = self.read()
            reached.append(moment(self))
            return reached[-1] or not goes_on

        wait_for(is_there, lambda: self.said[-3000:])
        assert reached[-1], self.said[-3000:]

    def press(self, key: bytes) -> None:
        """Type something."""
        os.write(self.terminal, key)

    def close_terminal(self) -> None:
        """Close the window."""
        os.close(self.terminal)

    def code(self) -> int:
        """Wait for the end, which takes what it has to write."""
        with suppress(OSError):
            while self.read():
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def left(self) -> list[str]:
        """Processes that it has started and not ended; those that have been killed are given the time to go."""
        deadline = time.monotonic() + _GRACE_S
        while (found := self._living()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _living(self) -> list[str]:
        found = set(living(self.folder))
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"MARK={self.mark}".encode() in (process / "environ").read_bytes():
                    found.add(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
        return sorted(found)
