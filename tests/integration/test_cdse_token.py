"""One token for all workers: who asks for it, how often, and what is kept of it."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import ben_luigi.domain
from ben_luigi.domain import given
from ben_luigi.domain.cdse import account
from ben_luigi.domain.cdse.account import Credentials, find_credentials
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.domain.errors import PermanentError, TransientError
from ben_luigi.sample.cdse_account import Account
from ben_luigi.sample.cdse_faults import Fault, Script
from ben_luigi.sample.cdse_server import CdseServer
from tests.integration.fault_table import FaultTable

QUICK = Patience(tries=3, first_pause_s=0.001, longest_pause_s=0.01, read_timeout_s=10)
RIGHT = Credentials("sample", "sample")
SECRET = "correct horse battery staple"


@pytest.fixture
def server() -> Iterator[CdseServer]:
    """A server without products."""
    with CdseServer([], Path()) as running:
        yield running


def tokens(server: CdseServer, folder: Path, credentials: Credentials = RIGHT, **options: object) -> Tokens:
    """As one worker has them."""
    return Tokens(Client(server.service, QUICK), credentials, folder, **options)  # type: ignore[arg-type]


def test_threads_with_clients_of_their_own_share_one_session(server: CdseServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: tokens(server, tmp_path).get(), range(24)))
    assert len(got) == 1
    assert server.account.accepts(f"Bearer {got.pop()}")
    assert server.counts["token"] == server.account.counts["sessions"] == 1


LEAN = f"""
import sys, types
# The package itself would import the whole graph of tasks, which takes seconds.
sys.modules["ben_luigi"] = package = types.ModuleType("ben_luigi")
package.__path__ = [{str(Path(ben_luigi.domain.__file__).parents[1])!r}]
"""
PROCESS = (
    LEAN
    + """
from pathlib import Path
from ben_luigi.domain.cdse.account import Credentials
from ben_luigi.domain.cdse.http import Client, Service
from ben_luigi.domain.cdse.token import Tokens
tokens = Tokens(Client(Service(token_url=sys.argv[1])), Credentials("sample", "sample"), Path(sys.argv[2]))
print(tokens.get())
"""
)


def test_processes_share_one_session(server: CdseServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, server.token_url, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    got = {process.communicate(timeout=30)[0] for process in running}
    assert len(got) == 1 and got.pop().strip()
    assert server.account.counts["sessions"] == 1


def test_workers_whose_token_is_refused_at_once_refresh_it_once(server: CdseServer, tmp_path: Path) -> None:
    """And keep the session: two refreshes with one refresh token would have ended it."""
    old = tokens(server, tmp_path).get()
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: tokens(server, tmp_path).renew(old), range(8)))
    assert len(got) == 1 and old not in got
    assert server.account.accepts(f"Bearer {got.pop()}")
    assert (server.account.counts["sessions"], server.account.counts["refreshes"]) == (1, 1)


def test_a_refresh_token_used_twice_ends_the_session_at_the_server(
    server: CdseServer, tmp_path: Path, table: FaultTable
) -> None:
    """As it does at CDSE; the client then logs in anew."""
    with table.row("token: second use of one refresh token"):
        assert_new_session_after_a_second_use(server, tmp_path)


def assert_new_session_after_a_second_use(server: CdseServer, tmp_path: Path) -> None:
    old = tokens(server, tmp_path).get()
    refresh = json.loads((tmp_path / "cdse-token.json").read_text())["refresh_token"]
    form = {"client_id": "cdse-public", "grant_type": "refresh_token", "refresh_token": refresh}
    answers = [requests.post(server.token_url, data=form, timeout=5) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()["error_description"] == "Session not active"
    assert not server.account.accepts(f"Bearer {answers[0].json()['access_token']}")
    assert server.account.accepts(f"Bearer {tokens(server, tmp_path).renew(old)}")
    assert server.account.counts["sessions"] == 2


@pytest.mark.parametrize(("lifetime_s", "renewed"), [(62.0, False), (60.3, True), (0.4, True)])
def test_a_token_is_renewed_a_minute_early_but_used_for_half_its_life(
    lifetime_s: float, renewed: bool, tmp_path: Path
) -> None:
    with CdseServer([], Path(), account=Account(lifetime_s=lifetime_s)) as server:
        worker = tokens(server, tmp_path)
        first, again = worker.get(), worker.get()
        assert first == again
        state = json.loads((tmp_path / "cdse-token.json").read_text())
        assert state["renew_at"] - time.time() <= max(lifetime_s - 60, lifetime_s / 2)
        state["renew_at"] -= 0.4 if lifetime_s < 60.1 else 31 if renewed else 1
        (tmp_path / "cdse-token.json").write_text(json.dumps(state))
        assert (worker.get() != first) == renewed
        assert server.account.counts["sessions"] == 1


def test_wrong_credentials_are_tried_once_by_all_workers_together(server: CdseServer, tmp_path: Path) -> None:
    wrong = Credentials("sample", SECRET)

    def attempt(_: int) -> str:
        with pytest.raises(CredentialsError, match="CDSE account sample") as caught:
            tokens(server, tmp_path, wrong).get()
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(attempt, range(8)))
    assert server.counts["token"] == 1
    assert all(f"remove {tmp_path / 'cdse-token.json'}" in message for message in said)
    assert tokens(server, tmp_path).get()
    assert server.account.counts == {"refused": 1, "sessions": 1}


def test_nothing_tells_a_secret(server: CdseServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither reprs, nor messages, nor the log, nor the file, which only its owner can read and has a token at most."""
    caplog.set_level("DEBUG")
    wrong = Credentials("sample", SECRET)
    server.script = type(server.script)([Fault("token", kind) for kind in ("500", "html")])
    with pytest.raises(CredentialsError) as caught:
        tokens(server, tmp_path, wrong).get()
    content = (tmp_path / "cdse-token.json").read_text()
    assert SECRET not in repr(wrong) + str(caught.value) + caplog.text + content
    token = tokens(server, tmp_path).get()
    assert token not in caplog.text
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"cdse-token.json": 0o600, "cdse-token.lock": 0o600}


def test_another_service_or_account_does_not_get_the_token(server: CdseServer, tmp_path: Path) -> None:
    first = tokens(server, tmp_path).get()
    with CdseServer([], Path()) as other:
        assert tokens(other, tmp_path).get() != first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"salt": 1}', '{"unknown": true}', "\0"])
def test_a_damaged_file_is_as_good_as_none(content: str, server: CdseServer, tmp_path: Path) -> None:
    (tmp_path / "cdse-token.json").write_text(content)
    assert server.account.accepts(f"Bearer {tokens(server, tmp_path).get()}")


def test_a_code_is_asked_for_when_needed_and_then_at_once(tmp_path: Path) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return "123456"

    with CdseServer([], Path(), account=Account(code="123456", refresh_lifetime_s=0.01)) as server:
        worker = tokens(server, tmp_path, ask_totp=ask)
        first = worker.get()
        assert (len(asked), server.counts["token"]) == (1, 2)
        time.sleep(0.02)
        assert worker.renew(first) != first
        assert (len(asked), server.counts["token"]) == (2, 3)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (None, r"CDSE account sample; expected: a two-factor code.*terminal"),
        (lambda: "", r"found: no code was typed in; next: run again, and type it in"),
    ],
    ids=["nobody can be asked", "none is typed in"],
)
def test_a_code_that_does_not_come_is_no_wrong_password(
    ask: Callable[[], str] | None, said: str, tmp_path: Path
) -> None:
    """The account is known to have two factors: CDSE is asked nothing, and the right code is taken afterwards."""
    with CdseServer([], Path(), account=Account(code="123456", lifetime_s=0.01, refresh_lifetime_s=0.01)) as server:
        tokens(server, tmp_path, ask_totp=lambda: "123456").get()
        time.sleep(0.02)
        asked = server.counts["token"]
        with pytest.raises(CredentialsError, match=said):
            tokens(server, tmp_path, ask_totp=ask).get()
        assert server.counts["token"] == asked
        assert tokens(server, tmp_path, ask_totp=lambda: "123456").get()


def test_a_code_is_sent_once_and_then_asked_for_anew(tmp_path: Path) -> None:
    """After a pause it has expired, and CDSE would call it a wrong password, which is never tried again."""
    asked = []

    def ask() -> str:
        asked.append(1)
        return "123456"

    with CdseServer([], Path(), account=Account(code="123456", lifetime_s=0.01, refresh_lifetime_s=0.01)) as server:
        worker = tokens(server, tmp_path, ask_totp=ask)
        worker.get()
        time.sleep(0.02)
        server.script = Script([Fault("token", "500"), Fault("token", "429")])
        for number in (2, 3):
            with pytest.raises(TransientError, match="HTTP"):
                worker.get()
            assert len(asked) == number
        assert worker.get()
        assert (len(asked), server.account.counts["sessions"]) == (4, 2)


class _Garbled(Account):
    """Its first token cannot be sent in a header."""

    def _give(self, session: str, kind: str) -> dict[str, object]:
        given = super()._give(session, kind)
        return given if self.counts["sessions"] > 1 else {**given, "access_token": f"{SECRET}\r\nX-Forged: 1"}


def test_a_token_that_is_none_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with CdseServer([], Path(), account=_Garbled()) as server:
        assert server.account.accepts(f"Bearer {tokens(server, tmp_path).get()}")
    assert SECRET not in caplog.text


def test_a_file_system_without_locks_is_said(
    server: CdseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(PermanentError, match=r"a file system with locks.*No locks available.*data_dir"):
        tokens(server, tmp_path).get()
    assert not server.counts


@pytest.mark.parametrize("code", ["", "654321"])
def test_a_wrong_code_or_none_stops_everything(code: str, tmp_path: Path) -> None:
    with CdseServer([], Path(), account=Account(code="123456")) as server:
        worker = tokens(server, tmp_path, ask_totp=lambda: code)
        for _ in range(2):
            with pytest.raises(CredentialsError):
                worker.get()
        assert server.counts["token"] == (2 if code else 1)


def test_an_account_that_is_not_set_up_can_be_tried_again(server: CdseServer, tmp_path: Path) -> None:
    server.script = type(server.script)([Fault("token", "400 not set up")])
    with pytest.raises(PermanentError, match=r"not fully set up.*next: log in once at https"):
        tokens(server, tmp_path).get()
    assert tokens(server, tmp_path).get()


def test_a_token_endpoint_that_is_not_there_is_an_error_after_some_tries(tmp_path: Path) -> None:
    service = Service(token_url="http://127.0.0.1:9/token")
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9/token; expected: an answer; found: .*refused"):
        Tokens(Client(service, QUICK), RIGHT, tmp_path).get()


HOST = "identity.dataspace.copernicus.eu"


def test_credentials_come_from_the_environment_or_from_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text(f"machine {HOST} login me password {SECRET.replace(' ', '-')}\n")
    file.chmod(0o600)
    both = {"CDSE_USER": "other", "CDSE_PASSWORD": "x"}
    assert find_credentials(both, file, HOST) == Credentials("other", "x")
    assert find_credentials({"CDSE_USER": "other"}, file, HOST) == Credentials("me", SECRET.replace(" ", "-"))
    monkeypatch.setattr(account, "has_terminal", lambda: False)
    with pytest.raises(CredentialsError, match=r"CDSE_USER and CDSE_PASSWORD.*chmod 600"):
        find_credentials({}, file, "elsewhere.org")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(f"machine {HOST} login me password x\n")
    file.chmod(mode)
    with pytest.raises(CredentialsError, match="chmod 600"):
        find_credentials({}, file, HOST)


def test_a_file_that_is_none_tells_nothing_of_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(f"machine {HOST} login me pasword {SECRET}\n")
    file.chmod(0o600)
    with pytest.raises(CredentialsError) as caught:
        find_credentials({}, file, HOST)
    assert SECRET.split()[0] not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_file_in_the_home_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `sudo -u`, which may leave HOME as it was; root may look everywhere, so it is refused here."""
    monkeypatch.setattr(given, "kind", lambda path: os.strerror(errno.EACCES))
    with pytest.raises(CredentialsError, match=r"Permission denied; next: set CDSE_USER .*\[cdse\] credentials.*HOME"):
        find_credentials({}, tmp_path / "netrc", HOST)


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no entry in /etc/passwd."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does there
    file = account.credentials_file("~/.config/ben_luigi/netrc")
    assert account.given_credentials({}, file, HOST) is None
