"""Publish at the Hugging Face Hub, as a dataset, by huggingface_hub. A repository that is not there is made private.

Large files are kept by their SHA-256 (Git LFS), so that what has arrived once is not sent again, whatever was cut off;
the files of a batch appear together, by one commit. Small text files are part of the commit itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ben_luigi.domain import libraries
from ben_luigi.domain.answers import refusal
from ben_luigi.domain.cdse.http import plain, reason
from ben_luigi.domain.errors import BadArgument, BadInput, PipelineError, SourceError, TransientError
from ben_luigi.domain.publishing.hashing import GIT, SHA256, Held
from ben_luigi.domain.publishing.package import Item, Package
from ben_luigi.domain.publishing.service import GB, Limits

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

URL = "https://huggingface.co"
VARIABLE = "HF_TOKEN"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_KIND = "dataset"
_ASKED_AT_ONCE = 500
_SILENT = 50
"""The level of CRITICAL in Python's logging."""
_LIMIT_FILES = 100_000
_LIMIT_FILE_BYTES = 200 * GB
"""Documented as recommended."""
_LFS_FILE_BYTES = 50 * GB
"""The most of a file that the Hub takes by Git LFS; it takes more by Xet."""


@dataclass
class HuggingFace:
    """A dataset `USER/NAME` at the Hub of `url`."""

    repository: str
    token: str = field(repr=False)
    url: str = URL
    _prepared: dict[str, CommitOperationAdd] = field(default_factory=dict, init=False, repr=False)

    name = "Hugging Face"
    is_flat = False
    files_at_once = 64
    limits = Limits(files=_LIMIT_FILES, file_bytes=_LIMIT_FILE_BYTES)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.repository):
            remedy = "name a dataset by its user or organisation, a slash, and its name"
            raise BadArgument("--to", expected="USER/NAME", found=self.repository or "nothing", remedy=remedy)
        libraries.require("publish huggingface", ("huggingface_hub>=1",))

    @property
    def place(self) -> str:
        """Return the page of the dataset."""
        return f"{self.url}/datasets/{self.repository}"

    def begin(self, package: Package) -> None:
        """Make the repository, private, unless it is there."""
        with self._errors():
            self._api().create_repo(self.repository, repo_type=_KIND, private=True, exist_ok=True)

    def held(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Return the files that are committed."""
        found: dict[str, Held] = {}
        names = [item.name for item in items]
        for at in range(0, len(names), _ASKED_AT_ONCE):
            with self._errors():
                asked = names[at : at + _ASKED_AT_ONCE]
                for entry in self._api().get_paths_info(self.repository, asked, repo_type=_KIND):
                    found[entry.path] = _held(entry)
        return found

    def send(self, item: Item, moved: Callable[[int], None]) -> Held | None:
        """Send the content of a file, unless it has arrived already; it appears with `complete`."""
        from huggingface_hub import CommitOperationAdd

        moved(-1)
        if item.name not in self._prepared:
            self._prepared[item.name] = CommitOperationAdd(item.name, str(item.path))
        with self._errors(item):
            operations = [self._prepared[item.name]]
            self._api(item.size_bytes).preupload_lfs_files(
                self.repository, operations, repo_type=_KIND, free_memory=False
            )
        moved(item.size_bytes)
        return None

    def complete(self, items: Sequence[Item]) -> Mapping[str, Held]:
        """Commit the files that were sent; return what the Hub then says that it has."""
        prepared = [self._prepared[item.name] for item in items if item.name in self._prepared]
        if prepared:
            with self._errors():
                message = f"Add {items[0].name}" + (f" and {len(items) - 1} more" if items[1:] else "")
                try:
                    self._api().create_commit(self.repository, prepared, commit_message=message, repo_type=_KIND)
                finally:
                    for item in items:  # an operation cannot be committed twice
                        self._prepared.pop(item.name, None)
        return self.held(items)

    def others(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the names of the other files that are committed."""
        wanted = {item.name for item in items}
        with self._errors():
            return sorted({*self._api().list_repo_files(self.repository, repo_type=_KIND)} - wanted)

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        with self._errors():
            url = hf_hub_url(self.repository, name, repo_type=_KIND, endpoint=self.url)
            headers = build_hf_headers(token=self.token)
            answer = get_session().get(url, headers=headers, follow_redirects=True)
            hf_raise_for_status(answer)
            return bytes(answer.content)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files by a commit; they stay in the history of the dataset."""
        from huggingface_hub import CommitOperationDelete

        with self._errors():
            there = sorted({*self._api().list_repo_files(self.repository, repo_type=_KIND)} & {*names})
            if there:
                message = f"Remove {there[0]}" + (f" and {len(there) - 1} more" if there[1:] else "")
                gone = [CommitOperationDelete(name) for name in there]
                self._api().create_commit(self.repository, gone, commit_message=message, repo_type=_KIND)

    def finish(self) -> str:
        """Return the page of the dataset."""
        return f"{self.place}: a new dataset there is private, until you change that in its settings"

    def _api(self, size_bytes: int = 0) -> HfApi:
        """Return the client; content of this length is sent by Git LFS if that takes it, which is asked by SHA-256."""
        from huggingface_hub import HfApi, constants
        from huggingface_hub.utils import disable_progress_bars, logging  # type: ignore[attr-defined]

        disable_progress_bars()
        logging.set_verbosity(_SILENT)  # its warnings quote signed addresses
        if "HF_HUB_DISABLE_XET" not in os.environ:
            constants.HF_HUB_DISABLE_XET = size_bytes <= _LFS_FILE_BYTES
        return HfApi(endpoint=self.url, token=self.token)

    @contextmanager
    def _errors(self, item: Item | None = None) -> Iterator[None]:
        """Turn what huggingface_hub raises into errors of ours."""
        try:
            yield
        except (PipelineError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise _translated(f"{item.name if item else 'files'} at {self.place}", error) from error


def stored_token() -> str:
    """Return the token in HF_TOKEN, or the one that `hf auth login` has stored; empty if there is none."""
    from huggingface_hub import get_token

    return get_token() or ""


def _held(entry: Any) -> Held:
    """Return what the Hub says of a file: its SHA-256 in LFS, else the hash of its blob in git."""
    lfs = getattr(entry, "lfs", None)
    if lfs is not None:
        return Held(int(lfs.size), SHA256, str(lfs.sha256))
    return Held(int(getattr(entry, "size", -1)), GIT, str(getattr(entry, "blob_id", None) or "a folder"))


def _translated(subject: str, error: BaseException) -> SourceError | BadInput:
    """Return the error for what huggingface_hub raises, or what lies below that."""
    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    for one in chain:
        answer = getattr(one, "response", None)
        status = getattr(answer, "status_code", None)
        if isinstance(status, int):
            if status in (401, 403):
                return BadInput(
                    subject,
                    expected="a token that may write there",
                    found=f"one that the Hub refuses (HTTP {status})",
                    remedy=f"make one with the right to write on the website, and give it as {VARIABLE}",
                )
            headers = {str(name).title(): str(text) for name, text in dict(answer.headers).items()}  # type: ignore[union-attr]
            return refusal(subject, status, headers, getattr(answer, "content", b"") or b"")
    return TransientError(subject, expected="what was asked for", found=plain(reason(chain[-1])))
