"""Turn what boto3 raises into errors of ours, which quote no credentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.errors import BadInput, PermanentError, SourceError, TransientError

_ACCESS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403", "401")
_PASSING = ("SlowDown", "BadDigest", "RequestTimeout", "NoSuchUpload", "InvalidPart")


@contextmanager
def errors(subject: str, option: str = "--to") -> Iterator[None]:
    """Turn what boto3 raises within into errors about `subject`; `option` is what names the bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, ValueError) as error:
        raise translated(subject, error, option) from error


def translated(subject: str, error: Exception, option: str = "--to") -> SourceError | BadInput:
    """Return the error for what boto3 raises."""
    from botocore.exceptions import ClientError, HTTPClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, ClientError):
        return _refused(subject, error.response, option)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return BadInput(subject, expected="credentials that boto3 finds", found="none", remedy=remedy)
    if isinstance(error, HTTPClientError):
        return TransientError(subject, expected="an answer", found=type(error).__name__)
    found = f"{type(error).__name__}: {error}"
    return PermanentError(subject, expected="what was asked for", found=found, remedy="correct the address or endpoint")


def _refused(subject: str, answer: Mapping[str, Any], option: str) -> SourceError | BadInput:
    told, head = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(head.get("HTTPStatusCode", 0))
    if code in _ACCESS:
        remedy = "give credentials that may list and write there; boto3 takes them from AWS_ACCESS_KEY_ID and so on"
        return BadInput(subject, expected="access to the bucket", found=code, remedy=remedy)
    if code in ("NoSuchBucket", "404"):
        return BadInput(subject, expected="a bucket that is there", found=code, remedy=f"make it, or correct {option}")
    if code in _PASSING:
        status = max(status, 500)
    headers = {str(name).title(): str(text) for name, text in head.get("HTTPHeaders", {}).items()}
    return refusal(subject, status, headers, f"{code} {told.get('Message', '')}".encode())
