"""Notify a person by mail, through `sendmail` or an SMTP server, or by a webhook."""

from __future__ import annotations

import shutil
import smtplib
import socket
import subprocess
from dataclasses import dataclass
from email.message import EmailMessage

from ben_luigi.domain import network, surroundings
from ben_luigi.domain.errors import PipelineError

_TIMEOUT_S = 60
_FAILED = (
    OSError,  # also all of requests
    ValueError,  # of a host or an address that cannot be encoded, or a port that is none
    smtplib.SMTPException,
    subprocess.SubprocessError,
    PipelineError,
)
_SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib:/sbin"


@dataclass(frozen=True)
class Ways:
    """The channels of a notice; it goes to all that are set.

    `smtp` is host:port, an address of IPv6 in brackets; without it the program `sendmail` takes the mail.
    """

    mail_to: str = ""
    smtp: str = ""
    webhook: str = ""


def send(ways: Ways, subject: str, text: str) -> None:
    """Send a notice through every channel that is set.

    Characters that cannot be encoded, as of a path that is not UTF-8, become `?`. Raise PipelineError if a channel
    fails, but only after all of them have been tried.
    """
    subject, text = (one.encode(errors="replace").decode() for one in (subject, text))
    tried = {"mail": _mail if ways.mail_to else None, "webhook": _post if ways.webhook else None}
    failed = []
    for name, way in tried.items():
        try:
            if way:
                way(ways, subject, text)
        except _FAILED as error:
            # The URL of a webhook is a secret, and the error's text may quote it.
            failed.append(f"{name}: {type(error).__name__}" + ("" if name == "webhook" else f" ({error})"))
    if failed:
        raise PipelineError(
            "notice",
            expected="every channel to accept it",
            found="; ".join(failed),
            remedy="correct [cron] mail_to, smtp or webhook",
        )


def _mail(ways: Ways, subject: str, text: str) -> None:
    message = EmailMessage()
    message["From"] = f"ben_luigi@{socket.getfqdn()}"
    message["To"] = ways.mail_to
    message["Subject"] = subject
    message.set_content(text)
    if ways.smtp:
        host, _, port = ways.smtp.rpartition(":")
        with smtplib.SMTP(host.strip("[]"), int(port), timeout=_TIMEOUT_S) as server:
            server.send_message(message)
        return
    program = shutil.which("sendmail") or shutil.which("sendmail", path=_SENDMAIL_FOLDERS)
    if program is None:
        raise FileNotFoundError("no program sendmail; [cron] smtp names a server that takes mail")
    subprocess.run(
        [program, "-t", "-i"],
        env=surroundings.of_child(),
        input=bytes(message),
        check=True,
        timeout=_TIMEOUT_S,
        capture_output=True,
    )


def _post(ways: Ways, subject: str, text: str) -> None:
    message = {"text": f"{subject}\n{text}"}
    session = network.session(_TIMEOUT_S)
    # `stream`: only the head of the answer is read, so that a large body costs nothing.
    with session, session.post(ways.webhook, json=message, timeout=_TIMEOUT_S, stream=True) as answer:
        answer.raise_for_status()
