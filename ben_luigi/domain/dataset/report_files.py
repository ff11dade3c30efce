"""Find the files that the pages of a report name: of what lies in its folder, they alone are of the report.

Scripts load more than the pages link to: the data of each tile, and the pictures of the viewer.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ben_luigi.domain.given import FILE, is_hidden, kind, others, read_bytes

FOLDER = "report"
"""The folder of the report in that of its dataset."""
_STARTS = ("index.html", "viewer.html")
_TILES, _VIEWED, _HASHES = "data/index.js", "viewer/patches.js", "viewer/files.js"
_MOST_BYTES = 2**28


def files_of_report(dataset: Path) -> set[str]:
    """Return the files of a dataset's report that are there, by their names in the folder of the dataset; no links."""
    return {f"{FOLDER}/{name}" for name in named(dataset / FOLDER)}


def others_of_report(dataset: Path) -> list[str]:
    """Return what lies in the folder of a dataset's report besides, folders with a slash, without hidden entries.

    The folder itself is returned if it is a link. Raise OSError if a folder cannot be listed.
    """
    folder = dataset / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return [f"{FOLDER}/"] if folder.is_symlink() else []
    return [f"{FOLDER}/{name}" for name in others(folder, named(folder))]


def named(folder: Path) -> set[str]:
    """Return the names of the files of a report that are there, with slashes between folders; no links.

    What cannot be read names nothing.
    """
    if folder.is_symlink():
        return set()
    found: set[str] = set()
    waiting = [*_STARTS]
    while waiting:
        name = waiting.pop()
        if name not in found and _is_there(folder, name):
            found.add(name)
            waiting.extend(_named_by(folder, name))
    return found


def _is_there(folder: Path, name: str) -> bool:
    """Return whether a file lies at a name in the folder itself, and not behind a link."""
    parts = PurePosixPath(name).parts
    if name != "/".join(parts) or any(map(is_hidden, parts)):  # absolute ones, and those that lead out, too
        return False
    path = folder / name
    return kind(path) == FILE and not any(each.is_symlink() for each in (path, *path.parents[: len(parts) - 1]))


def _named_by(folder: Path, name: str) -> Iterator[str]:
    """Yield the names that a page or script has, as they are in the folder of the report."""
    if name.endswith(".html"):
        links = _Links()
        with suppress(AssertionError):  # which the parser raises about some of what is no HTML
            links.feed(_text(folder / name))
        yield from (posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links.found)
    elif name == _TILES:
        tiles = _argument(folder / name).get("tiles")
        for key in (str(tile[0]) for tile in _lists(tiles)):
            yield from (f"data/{key}.js", f"tiles/{key}.html")
    elif name == _VIEWED:
        yield _HASHES
        patches = _argument(folder / name).get("patches")
        for patch in patches if isinstance(patches, list) else ():
            if isinstance(patch, dict):
                yield from (f"viewer/{patch.get('id')}{suffix}" for suffix in (".webp", ".png"))


class _Links(HTMLParser):
    """The files to which a page links, or which it shows or runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the link of a tag."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self._note(value)

    def _note(self, link: str) -> None:
        try:
            parts = urlsplit(link)
        except ValueError:
            return
        if parts.path and not (parts.scheme or parts.netloc):
            self.found.add(unquote(parts.path))


def _lists(value: object) -> Iterator[list[Any]]:
    yield from (each for each in (value if isinstance(value, list) else ()) if isinstance(each, list) and each)


def _argument(script: Path) -> Mapping[str, Any]:
    """Return the object with which a script calls a function; an empty one if there is none."""
    _, _, text = _text(script).partition("(")
    try:
        found = json.loads(text.rpartition(")")[0])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        return read_bytes(path, _MOST_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""
