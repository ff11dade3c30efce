"""Open the store at a URL, and check a URL without its library."""

from __future__ import annotations

import re
from pathlib import Path

from ben_luigi.domain import libraries
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.storing.store import OPTION, Store

_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+]*)://(?P<place>.+)")
_OPTIONS = re.compile(r"[\s?#]")
_PASSWORD = re.compile(r"[^/]*:[^/]*@")
_ON_DISKS = ("file", "local")
_NO_STORES = {
    "memory": "the memory of one process, which no other one sees",
    "http": "a protocol that is only read",
    "https": "a protocol that is only read",
}


def parse(url: str) -> tuple[str, str]:
    """Return protocol and place of the URL of a store. Raise ValueError, which quotes no password, if it is none."""
    found = _URL.fullmatch(url)
    if found is None or (found["protocol"] not in _ON_DISKS and _OPTIONS.search(found["place"])):
        raise ValueError("something else; credentials and options do not belong there")
    if "::" in found["place"]:
        raise ValueError("a URL with `::` in it, by which fsspec chains file systems")
    if _PASSWORD.match(found["place"]):
        raise ValueError("a URL with a password in it, which belongs where the library looks for it")
    if why := _NO_STORES.get(found["protocol"]):
        raise ValueError(f"{found['protocol']}://, {why}")
    if found["protocol"] in _ON_DISKS and (home := found["place"].partition("/")[0]).startswith("~"):
        try:
            Path(home).expanduser()
        except RuntimeError:
            raise ValueError(f"{home}, which is the home of an unknown user") from None
    return found["protocol"], found["place"].rstrip("/")


def folder_of(url: str) -> Path | None:
    """Return the folder of a store on a disk, without links; None for one that is reached in another way."""
    protocol, place = parse(url)
    return Path(place or "/").expanduser().resolve() if protocol in _ON_DISKS else None


def open_store(url: str) -> Store:
    """Return the store at a URL, without asking it. Raise BadInput if its library is not installed."""
    protocol, place = parse(url)
    try:
        if protocol == "s3":
            from ben_luigi.domain.storing.s3 import S3Store

            return S3Store(place)
        from ben_luigi.domain.storing.filesystem import FilesystemStore

        return FilesystemStore(protocol, place)
    except ImportError as error:
        missing = "boto3" if protocol == "s3" else "fsspec"
        raise BadInput(
            f"{OPTION} = {url}",
            expected=f"the Python package {missing}",
            found=f"none ({error})",
            remedy=libraries.installing(missing),
        ) from error
