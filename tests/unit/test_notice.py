from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import luigi
import pytest

from ben_luigi.commands import run
from ben_luigi.commands.cron_rerun import Outcome
from ben_luigi.domain import notice
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.errors import BadInput, DiskError, PipelineError, RestingError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.state import failures

TEXT = "CutPatches(tile=33UUP_20170613)\n  no room; 0 GB\n.\nÄnderung"


def _read(message: bytes) -> tuple[str, str, str]:
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    return str(parsed["To"]), str(parsed["Subject"]), parsed.get_content().replace("\r\n", "\n").rstrip("\n")


@contextmanager
def _smtp_server() -> Iterator[tuple[str, list[bytes]]]:
    """As much of RFC 5321 as a client needs to hand over a mail."""
    taken: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().upper():
                if line.startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    taken.append(b"".join(line.removeprefix(b".") if line[:2] == b".." else line for line in lines))
                self.wfile.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 well\r\n")
                if line.startswith(b"QUIT"):
                    break

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()


def test_mail_through_an_smtp_server() -> None:
    with _smtp_server() as (address, taken):
        notice.send(notice.Ways(mail_to="who@example.org", smtp=address), "ben_luigi: failed", TEXT)
    assert [_read(message) for message in taken] == [("who@example.org", "ben_luigi: failed", TEXT)]


def test_mail_through_sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\ncat >{tmp_path}/mail\nenv >{tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("CDSE_PASSWORD", "secret-part")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    notice.send(notice.Ways(mail_to="who@example.org"), "ben_luigi: failed", TEXT)
    assert (tmp_path / "arguments").read_text() == "-t -i\n"
    assert "secret-part" not in (tmp_path / "told").read_text()
    assert _read((tmp_path / "mail").read_bytes()) == ("who@example.org", "ben_luigi: failed", TEXT)


def test_a_path_that_is_not_utf8_goes_through_every_channel() -> None:
    said = "see /data/\udcff.log"
    with _smtp_server() as (address, taken):
        notice.send(notice.Ways("who@example.org", address), "ben_luigi", said)
    assert [_read(message)[2] for message in taken] == ["see /data/?.log"]


@pytest.mark.parametrize(
    ("smtp", "kind"),
    [
        ("[::1]:1", "(ConnectionRefusedError|OSError)"),
        ("localhost:port", "ValueError"),
        (f"{'a' * 70}.example:25", "Unicode"),
    ],
)
def test_a_server_of_mail_that_cannot_be_reached_keeps_no_other_channel_back(smtp: str, kind: str) -> None:
    """The webhook is tried too; nothing listens at the port 1 of any address."""
    ways = notice.Ways("who@example.org", smtp, "http://127.0.0.1:1/hook")
    with pytest.raises(PipelineError, match=f"mail: {kind}.*; webhook: ConnectionError"):
        notice.send(ways, "ben_luigi: failed", TEXT)


def test_what_cannot_be_sent_is_an_error_that_keeps_the_webhook_secret() -> None:
    with _smtp_server() as (address, taken):
        ways = notice.Ways("who@example.org", address, "http://127.0.0.1:9/hook/secret-part")
        with pytest.raises(PipelineError, match="webhook") as caught:
            notice.send(ways, "ben_luigi: failed", TEXT)
    assert len(taken) == 1, "the other way was gone all the same"
    assert "secret-part" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        ((0, ()), (0, ()), False),
        ((0, ()), (30, ("a",)), True),
        ((30, ("a",)), (30, ("a",)), False),
        ((30, ("a",)), (30, ("a", "b")), True),
        ((30, ("a", "b")), (30, ("b",)), False),
        ((30, ("a",)), (20, ("a",)), True),
        ((20, ("a",)), (30, ("a",)), False),
        ((20, ("a",)), (30, ("b",)), True),
        ((30, ("a",)), (0, ()), False),
    ],
)
def test_only_a_change_for_the_worse_is_told(
    before: tuple[int, tuple[str, ...]], now: tuple[int, tuple[str, ...]], worse: bool
) -> None:
    assert Outcome(*now).is_worse_than(Outcome(*before)) == worse


@pytest.mark.parametrize(
    ("error", "by_hand", "ended", "code"),
    [
        (CredentialsError("CDSE account", found="Invalid user credentials"), False, 30, ExitCode.WAITS_FOR_PERSON),
        (DiskError("l1c", found="no space"), False, 30, ExitCode.WAITS_FOR_PERSON),
        (BadInput("input clc_gpkg", found="no path given"), True, 30, ExitCode.WAITS_FOR_PERSON),
        (BadInput("input countries_geojson", found="no route to host"), False, 30, ExitCode.FAILED),
        (RestingError("tile 33UUP_20170613", found="3, the last one an hour ago"), False, 30, ExitCode.FAILED),
        (ValueError("a bug"), False, 30, ExitCode.FAILED),
        (None, False, 35, ExitCode.WAITS_FOR_PERSON),
        (None, False, 25, ExitCode.FAILED),
        (None, False, 40, ExitCode.FAILED),
        (None, False, 0, ExitCode.DONE),
    ],
)
def test_what_only_a_person_can_mend_is_waited_for(
    data_dir: Path, error: Exception | None, by_hand: bool, ended: int, code: int
) -> None:
    task = luigi.Task()
    if error is not None:
        failures.note(task, error, needs_person=by_hand)
        (noted,) = failures.noted()
        assert (noted.task, noted.kind) == (str(task), type(error).__name__)
    assert run.meaning(ended, task, []) == code
    failures.forget(task)
    assert failures.noted() == []
