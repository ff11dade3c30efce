"""The errors of the pipeline, as one tree.

    PipelineError
    ├── BadName          a name that does not follow its naming rule
    ├── BadArgument      an argument of a task that is not valid
    ├── BadInput         an input file that is missing, malformed or not the pinned one
    │   ├── BadOption    an option that names what does not exist, or is not of its kind
    │   └── NotFetched   an input whose servers do not answer now, or break off
    ├── BadProduct       an L1C or L2A product that is damaged or contradicts its name
    ├── BadAlignment     patches and v1 patches that do not pair off
    ├── BadTable         rows that are missing, duplicate or lost in a join
    ├── BadArchive       a shard or archive whose content is not as expected
    │   └── DamagedFile  a result that has changed since it was made
    ├── ServiceError     an open service does not answer, or not with what was asked for
    ├── SourceError      a source of products or inputs refuses, fails, or gives an unusable answer
    │   ├── TransientError   may pass: asked again after a pause
    │   │   └── RateLimitError   too much at once: waited for, without counting as an attempt
    │   └── PermanentError   will not pass by itself: not asked again
    │       └── RestingError     the attempts for a tile are used up: tried again after a rest
    ├── Sen2CorError     Sen2Cor is missing or failed
    ├── TooLittleMemory  a job has less memory than one conversion, or its form, needs
    ├── SlurmError       Slurm is missing, does not answer, or refuses a job
    ├── DatabaseError    PostgreSQL cannot be started or reached
    │   └── BadDatabase  cannot be made, started or used here, until a person acts
    ├── ChangedMeanwhile what a result is made from has changed while it was made: it is made again by the next run
    ├── TakenOver        another process has taken the work over: no fault of the work
    └── DiskError        a disk that does not keep what is written
        ├── NoRoomError  no room to write it
        └── NoRightError no right to read or write it

Every error says what it is about, what was expected, what was found, and what to do next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_USERINFO = re.compile(r"//[^/\s]*@")  # RFC 3986


class PipelineError(Exception):
    """An error for a person to read: subject, expectation, finding and next step in one message.

    `subject` names the tile and the file; the other three are sentences without a full stop. Characters that cannot be
    printed are escaped, since they come from files and file names: they must neither forge log lines nor break the log.
    """

    def __init__(
        self, subject: str | os.PathLike[str], *, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        self.subject, self.expected, self.found, self.remedy = map(printable, (str(subject), expected, found, remedy))
        parts = (("expected", self.expected), ("found", self.found), ("next", self.remedy))
        super().__init__("; ".join([self.subject, *(f"{word}: {text}" for word, text in parts if text)]))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.subject, self.expected, self.found, self.remedy)


def _rebuild(kind: type[PipelineError], subject: str, expected: str, found: str, remedy: str) -> PipelineError:
    return kind(subject, expected=expected, found=found, remedy=remedy)


class BadName(PipelineError):
    """A product, patch or v1 name does not follow its naming rule."""


class BadArgument(PipelineError):
    """An argument of a task is not valid: what it names does not exist, or it does not fit the other arguments."""


class BadInput(PipelineError):
    """An input file is missing, malformed, or not the pinned one."""


class BadOption(BadInput):
    """An option of the configuration names what does not exist, or is not of its kind: a person has to change it."""


class NotFetched(BadInput):
    """An input could not be fetched, since a server did not answer, or broke off: it may be had later."""


class BadProduct(PipelineError):
    """An L1C or L2A product is damaged, incomplete, or contradicts its name."""


class BadAlignment(PipelineError):
    """Patches and v1 patches do not pair off one to one."""


class BadTable(PipelineError):
    """A table is empty, has a duplicate key, or loses rows in a join."""


class BadArchive(PipelineError):
    """A shard or archive does not hold exactly what is expected."""


class DamagedFile(BadArchive):
    """A file that was complete has changed since; `file` is its path."""

    def __init__(self, file: str | os.PathLike[str], *, expected: str, found: str, remedy: str = "") -> None:
        self.file = Path(file)
        super().__init__(
            file,
            expected=expected,
            found=found,
            remedy=remedy or "look at the disk; remove the file and run again, then it is made again",
        )


class ServiceError(PipelineError):
    """An open service, as the EEA's of CORINE or Zenodo, does not answer, or not with what was asked for."""


class SourceError(PipelineError):
    """A source of products or inputs, as CDSE or a bucket, refused a request, failed, or gave an unusable answer."""


class TransientError(SourceError):
    """A failure that may pass. `retry_after_s` is the wait that the server asked for, in seconds, if any."""

    retry_after_s: float | None = None


class RateLimitError(TransientError):
    """Too many requests, connections or sessions at once."""


class PermanentError(SourceError):
    """A refusal that stays the same however often a request is repeated."""


class RestingError(PermanentError):
    """A tile has used up its attempts, and rests until its cool-down is over."""


class Sen2CorError(PipelineError):
    """Sen2Cor is missing, or did not make a complete L2A product."""


class TooLittleMemory(PipelineError):
    """This job, container or host has less memory than its work needs, as one conversion: a person has to give more."""


class SlurmError(PipelineError):
    """Slurm is not installed, does not answer, or refuses a job."""


class DatabaseError(PipelineError):
    """PostgreSQL cannot be started or reached."""


class BadDatabase(DatabaseError):
    """A database cannot be made, started or used as it is: a person has to correct what is named."""


class ChangedMeanwhile(PipelineError):
    """What a result is made from has changed while it was made: the next run makes it again."""


class TakenOver(PipelineError):
    """Another process has taken over what this one was at work on, since it seemed to be dead."""


class DiskError(PipelineError):
    """A file cannot be written, or its disk does not keep what is written."""


class NoRoomError(DiskError):
    """There is no room on the disk."""


class NoRightError(DiskError):
    """This user may not read or write a file, or nobody may write on its file system."""


def may_pass(error: BaseException) -> bool:
    """Return whether the same may succeed later though no person acts, as when a server did not answer."""
    if isinstance(error, DatabaseError):
        return not isinstance(error, BadDatabase)
    return isinstance(error, TransientError | ServiceError | NotFetched | ChangedMeanwhile | TakenOver)


def printable(text: str) -> str:
    r"""Return `text` on one line: white space as spaces, and characters that cannot be printed as escapes such as
    `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else " " if one.isspace() else one.encode("unicode_escape").decode() for one in text
    )


def without_userinfo(text: str) -> str:
    """Return a text, such as an error message, without the user names and passwords in its URLs.

    >>> without_userinfo("no answer of http://me:p@ss@10.0.0.1:8082/api; start it")
    'no answer of http://10.0.0.1:8082/api; start it'
    """
    return _USERINFO.sub("//", text)


def reason(error: Exception) -> str:
    """Return what has gone wrong with a file, without its name: pyarrow tells the name twice, and the number.

    Errors of ours say it without both.
    """
    if isinstance(error, OSError) and error.errno and str(error) != error.strerror:
        return os.strerror(error.errno)
    return str(error)


def some(names: Iterable[object], most: int = 10) -> str:
    """Return up to `most` of `names`, separated by commas, and how many there are in all."""
    listed = [str(name) for name in names]
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown}, ... ({len(listed)} in all)"


def counted(number: int, nouns: str, noun: str) -> str:
    """Return a number with what it counts: `nouns`, or `noun` if there is one."""
    return f"{number:,} {noun if number == 1 else nouns}"
