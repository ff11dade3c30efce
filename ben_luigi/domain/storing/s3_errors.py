"""Turn what boto3 raises into errors of ours, which quote no credentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from ben_luigi.domain.answers import refusal
from ben_luigi.domain.errors import BadInput, NoRoomError, PermanentError, SourceError, TransientError

TO = "--to"
"""The option of `ben-luigi publish` that names the bucket."""
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_ACCESS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403", "401")
_FULL = ("XMinioStorageFull", "QuotaExceeded")
_PASSING = ("SlowDown", "BadDigest", "RequestTimeout", "NoSuchUpload", "InvalidPart")


@contextmanager
def errors(subject: str, option: str = TO) -> Iterator[None]:
    """Turn what boto3 raises within into errors about `subject`; `option` is what names the bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, ValueError) as error:
        raise translated(subject, error, option) from error


def translated(subject: str, error: Exception, option: str = TO) -> SourceError | BadInput | NoRoomError:
    """Return the error for what boto3 raises. A service that cannot be reached may be reached later."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _refused(subject, error.response, option)
    if isinstance(error, exceptions.ProfileNotFound):
        remedy = "correct AWS_PROFILE, or write the profile into the configuration of the AWS command line"
        return BadInput(subject, expected="a profile that boto3 finds", found=str(error), remedy=remedy)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return BadInput(subject, expected="credentials that boto3 finds", found="none", remedy=_CREDENTIALS)
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        endpoint = "--endpoint or AWS_ENDPOINT_URL_S3" if option == TO else "AWS_ENDPOINT_URL_S3"
        remedy = f"look after the network, or correct {endpoint}; then run again"
        return TransientError(subject, expected="an answer", found=type(error).__name__, remedy=remedy)
    if isinstance(error, exceptions.CredentialRetrievalError | exceptions.SSOError | exceptions.TokenRetrievalError):
        # What they say may quote the answer of a service or a program that gives credentials.
        found = type(error).__name__
        return BadInput(subject, expected="credentials that boto3 can get", found=found, remedy=_CREDENTIALS)
    found = f"{type(error).__name__}: {error}"
    return PermanentError(subject, expected="what was asked for", found=found, remedy="correct the address or endpoint")


def _refused(subject: str, answer: Mapping[str, Any], option: str) -> SourceError | BadInput | NoRoomError:
    told, head = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(head.get("HTTPStatusCode", 0))
    if code in _ACCESS:
        remedy = "give credentials that may list and write there; boto3 takes them from AWS_ACCESS_KEY_ID and so on"
        return BadInput(subject, expected="access to the bucket", found=code, remedy=remedy)
    if code in ("NoSuchBucket", "404"):
        return BadInput(subject, expected="a bucket that is there", found=code, remedy=f"make it, or correct {option}")
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
        remedy = f"make room there, or name another place in {option}, and run again"
        return NoRoomError(subject, expected="room in the bucket", found=code or f"HTTP {status}", remedy=remedy)
    if code == "RequestTimeTooSkewed":
        remedy = "set the clock of this host, as by NTP, and run again"
        return PermanentError(subject, expected="the time of the service, or nearly so", found=code, remedy=remedy)
    if code in _PASSING:
        status = max(status, 500)
    headers = {str(name).title(): str(text) for name, text in head.get("HTTPHeaders", {}).items()}
    return refusal(subject, status, headers, f"{code} {told.get('Message', '')}".encode())
