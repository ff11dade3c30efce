"""Describe what servers answer, and classify refusals: whether asking again helps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ben_luigi.domain.errors import PermanentError, RateLimitError, SourceError, TransientError

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_MAY_PASS = {404, 408, 409, 425}


def refusal(subject: str, status: int, headers: Mapping[str, str], body: bytes, *, section: str = "") -> SourceError:
    """Return the error for an HTTP answer other than the expected one; `section` names the options that set limits.

    404 may pass: CDSE's catalogue is reported to return it occasionally for products that exist.
    """
    found = describe(status, headers, body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        remedy = f"lower [{section}] parallel, or wait" if section else "wait, and run the same command again"
        limited = RateLimitError(subject, found=found, remedy=remedy)
        limited.retry_after_s = _wait_s(headers)
        return limited
    if status >= HTTPStatus.BAD_REQUEST and status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _MAY_PASS:
        support = "CDSE support" if section == "cdse" else "whoever runs that server"
        return PermanentError(
            subject, expected="what was asked for", found=found, remedy=f"ask {support}, with this message"
        )
    passing = TransientError(subject, found=found)
    passing.retry_after_s = _wait_s(headers)
    return passing


def describe(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Describe an HTTP answer in one line: status, type, the request ids that support needs, and its beginning."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
    ids = [f"{name} {headers[name]}" for name in ("trace-id", "x-request-id", "request-id") if name in headers]
    kind = headers.get("Content-Type", "no content type").split(";")[0]
    return ", ".join([f"HTTP {status} {phrase}".strip(), kind, *map(snippet, ids), snippet(body) or "an empty body"])


def snippet(body: bytes | str, most: int = 160) -> str:
    """Return the beginning of an answer's body on one line; of JSON, its code and message."""
    text = body if isinstance(body, str) else body[:4096].decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        words = ("code", "error", "message", "error_description", "detail", "trace-id")
        text = " ".join(str(answer[word]) for word in words if word in answer) or text
    text = one_line(text)
    return text if len(text) <= most else text[:most] + "..."


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters, since data of others must not forge lines of a log."""
    return _CONTROL.sub(" ", text).strip()


def retry_after_s(value: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, as number or date; None if it is invalid or past."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    wait_s = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return wait_s if wait_s > 0 else None


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait; Zenodo is reported to give only the time of X-RateLimit-Reset."""
    asked = retry_after_s(headers.get("Retry-After", ""))
    reset = headers.get("X-RateLimit-Reset", headers.get("X-Ratelimit-Reset", ""))
    if asked is not None or headers.get("X-RateLimit-Remaining", "0") != "0" or not reset.isdecimal():
        return asked
    wait_s = float(reset[:12]) - datetime.now(UTC).timestamp()
    return wait_s if wait_s > 0 else None
