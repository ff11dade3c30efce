"""Keep large results in the store that `[dataset] store` names: what is there, what is missing, and to whom it belongs.

Shards, parts, archives and forms live there; the data folder is then no more than their cache (`cache.py`). All other
files of the finished dataset stay in the data folder and lie in the store as well, so that it has the whole dataset.
The record of a result says under which tags the store has it. A result counts as stored as long as the store lists it
with these lengths and tags. Listings are kept for a minute; what one does not have is asked for once more by itself.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ben_luigi import config
from ben_luigi.domain import bounded, fence, files
from ben_luigi.domain.errors import BadInput, DamagedFile
from ben_luigi.domain.storing.opening import folder_of, open_store
from ben_luigi.domain.storing.store import OPTION, Held, Overtaken, Store
from ben_luigi.state import identity, records
from ben_luigi.state.locks import data_folder

_log = logging.getLogger(__name__)
_UPLOADING = "uploading"
"""The folder in the data folder with a note of each upload, from its beginning to its end."""
OWNER = "data_folder.json"
"""The file in the store that says which data folder it belongs to."""
_NOTED_STORE = "store.json"
"""The file in the data folder that says which store it has filled."""
FORMS, DATASETS = "forms", ("dataset", "subsets")
_LARGE = (".tar", ".tar.zst")
_STORED = "stored"
_LISTED_S = 60.0
_AT_ONCE = 4
_listings: dict[str, tuple[float, dict[str, Held]]] = {}
_reached: set[str] = set()
"""The stores that have answered this process, or the one that it was forked from."""

Files = Mapping[str, Held]
"""What the store has of a result: of a folder by the paths in it, of a file by the empty name."""
Tags = Mapping[str, str]
"""The tags of that, by the same names."""


def is_configured() -> bool:
    """Return whether there is a store."""
    return bool(config.dataset().store)


def is_cached(relative: str) -> bool:
    """Return whether a result lives in the store, and in the data folder only as long as it is read."""
    return is_configured() and (relative.endswith(_LARGE) or relative.startswith(f"{FORMS}/"))


def is_taken(relative: str) -> bool:
    """Return whether a result is to be in the store."""
    return is_cached(relative) or (is_configured() and relative.partition("/")[0] in DATASETS)


def files_of(recorded: Mapping[str, Any]) -> Files:
    """Return what the store has of a result, by its record; empty if it never was there."""
    return {name: Held(*held) for name, held in recorded.get(_STORED, {}).items()}


def note(stored: Files) -> dict[str, Any]:
    """Return what the record of a result is to say of it."""
    return {_STORED: stored} if stored else {}


def tags(relative: str, *, of_folder: bool = False) -> Tags:
    """Return the tags of what the store has of a file or folder."""
    if of_folder:
        start = len(_key(relative)) + 1
        return {key[start:]: held.tag for key, held in _store().listed(_key(relative)).items()}
    held = _store().look(_key(relative))
    return {"": held.tag} if held else {}


def upload(relative: str, replaces: Tags | None = None) -> Files:
    """Store a result, and return what the store then has. Raise Overtaken if it is not `replaces` that is replaced.

    None: whatever is there is replaced. Of a folder each file appears whole; files that it does not have any more are
    removed.
    """
    path = config.data_dir() / relative
    if path.is_dir():
        held = _upload_folder(relative, path, replaces)
    else:
        with _noted([_key(relative)]):
            held = {"": _put(path, relative, "", replaces)}
    for name, one in held.items():
        _seen(relative, name, one)
    return held


def _put(path: Path, relative: str, name: str, replaces: Tags | None) -> Held:
    """Store a file; its time is kept, too, by which `ben-luigi publish` knows what was verified."""
    at, sha256 = path.stat().st_mtime_ns, files.file_hash(path)
    tag = None if replaces is None else replaces.get(name, "")
    return _store().put(path, _key(relative, name), sha256, tag)._replace(sha256=sha256, time_ns=at)


def _upload_folder(relative: str, folder: Path, replaces: Tags | None) -> Files:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with _noted([_key(relative, name) for name in names]), ThreadPoolExecutor(_AT_ONCE, "upload") as threads:
        sent = threads.map(lambda name: _put(folder / name, relative, name, replaces), names)
        held = dict(zip(names, sent, strict=True))
    _remove_others(relative, names, replaces)
    return held


def _remove_others(relative: str, names: Sequence[str], replaces: Tags | None) -> None:
    """Remove from a folder what it does not have any more. Raise Overtaken if that is not what it had before."""
    found = _store().listed(_key(relative))
    left = sorted({*found} - {_key(relative, name) for name in names})
    for key in left:
        before = None if replaces is None else replaces.get(key[len(_key(relative)) + 1 :], "")
        if before not in (None, found[key].tag):
            raise Overtaken(f"{_store().place}/{key}", before, found[key])
    if left:
        fence.require(config.data_dir() / relative)
        _store().remove(left)


@contextmanager
def _noted(keys: Sequence[str]) -> Iterator[None]:
    """Note under which keys files are uploaded, so that only what uploads of ours have left is ever removed.

    The note of one that fails stays, since what it has left may have stayed as well.
    """
    note = config.data_dir() / _UPLOADING / f"{secrets.token_hex(8)}.json"
    records.write(note, {"store": _store().place, "keys": keys})
    yield
    note.unlink(missing_ok=True)


def _sweep() -> int:
    """Remove from the store what uploads that were killed or have failed have left there; return how many they were."""
    notes = {path: records.read(path) for path in sorted((config.data_dir() / _UPLOADING).glob("*.json"))}
    own = {path: note["keys"] for path, note in notes.items() if note.get("store") == _store().place}
    left = _store().sweep({key for keys in own.values() for key in keys})
    for path in own:
        path.unlink(missing_ok=True)
    return left


def holds(relative: str, stored: Files) -> bool:
    """Return whether the store still has a result as it was uploaded."""
    return bool(stored) and all(_holds(relative, name, held) for name, held in stored.items())


def _holds(relative: str, name: str, expected: Held) -> bool:
    key = _key(relative, name)
    if expected.is_same(_listed(relative, name).get(key)):
        return True
    found = _store().look(key)
    _seen(relative, name, found)
    return expected.is_same(found)


def fetch(relative: str, stored: Files, work: Path) -> None:
    """Write a result to `work`, where its files exist with their length. Raise DamagedFile if it is not as uploaded."""
    for name, held in stored.items():
        path = work / name if name else work
        try:
            found = _store().get(_key(relative, name), held, path)
        except FileNotFoundError:
            _seen(relative, name, None)
            check()  # a store that is not mounted has lost nothing
            found = "nothing, or another content"
        if found != held.sha256:
            raise DamagedFile(
                config.data_dir() / relative,
                expected=f"sha256 {held.sha256} in {_store().place}/{_key(relative, name)}, as when it was uploaded",
                found=found,
                remedy="run again: it is made again",
            )
        os.utime(path, ns=(time.time_ns(), held.time_ns))


def is_in_store(relative: str) -> bool:
    """Return whether a result is in the store, by its record."""
    return is_configured() and bool(files_of(records.read(records.path_of(relative))))


def lying_in(folder: str) -> list[Path]:
    """Return the paths in the data folder of all that the store has in a folder."""
    if not is_configured():
        return []
    start = len(_key(folder)) + 1
    return [config.data_dir() / folder / key[start:] for key in _store().listed(_key(folder))]


def remove(relative: str) -> bool:
    """Remove a file from the store; return whether it was uploaded."""
    if not is_in_store(relative):
        return False
    _store().remove([_key(relative)])
    _seen(relative, "", None)
    return True


def check() -> None:
    """Raise BadInput or TransientError unless the store can be reached and belongs to this data folder, or to none."""
    if is_configured():
        _owner()


def prepare() -> None:
    """Before a run: take the store for this data folder, remove leftovers, and upload what it lacks.

    Nothing is removed or uploaded while any process is at work in the data folder (`data_folder.enter`).
    """
    if not is_configured():
        return
    _own()
    with data_folder.alone_in(config.data_dir()) as is_alone:
        if not is_alone:
            return
        if left := _sweep():
            _log.info("removed   %d unfinished uploads in %s", left, _store().place)
        for relative, recorded in _lacking():
            _log.info("uploading %s: %s does not have it", relative, _store().place)
            records.write(records.path_of(relative), {**recorded, **note(upload(relative))})


def _lacking() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield results, with their records, that are intact in the data folder, and not in the store.

    The record of one that is damaged here, and not in the store, is withdrawn, so that it is made again.
    """
    for relative in records.all_of():
        path = config.data_dir() / relative
        if not is_taken(relative) or not path.exists():
            continue
        recorded = records.read(records.path_of(relative))
        stored = files_of(recorded)
        if recorded.get("bytes") != files.size(path) or holds(relative, stored):
            continue
        if is_intact(path, stored):
            yield relative, recorded
        else:
            _log.warning("%s is damaged, and %s does not have it: it is made again", path, _store().place)
            records.remove(records.path_of(relative))
            records.note_damage(relative, f"another content than was uploaded to {_store().place}")


def lacking(folder: str) -> list[str]:
    """Return which results in a folder of the data folder are not in the store, but should be."""
    found = (name for name in records.all_of() if name.startswith(f"{folder}/") and is_taken(name))
    return [name for name in found if not holds(name, files_of(records.read(records.path_of(name))))]


def is_intact(path: Path, stored: Files) -> bool:
    """Return whether a result in the data folder has the content that was uploaded, as far as one was."""
    try:
        return all(files.file_hash(path / name if name else path) == held.sha256 for name, held in stored.items())
    except OSError:
        return False


def _own() -> None:
    """Take the store for this data folder, which also shows that it can be written, and note that here."""
    _take()
    note = config.root_dir() / _NOTED_STORE
    if records.read(note).get("store") != _store().place:
        files.write_json(note, {"store": _store().place})


def _take() -> None:
    """Write there to whom the store belongs."""
    before = _owner()
    content = files.json_text({"id": identity.identity_of(config.root_dir()), "path": str(config.root_dir())})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / OWNER
        path.write_text(content, encoding="utf-8")
        with _noted([OWNER]), suppress(Overtaken):
            _store().put(path, OWNER, files.file_hash(path), None if before else "")
            return
    _owner()


def _owner() -> Held | None:
    """Return what the store has about its owner. Raise BadInput if that is another data folder."""
    held = _store().look(OWNER)
    if held is None:
        _require_new()
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / OWNER
        path.touch()
        try:
            _store().get(OWNER, held, path)
            found = bounded.read_json(path)
        except (FileNotFoundError, ValueError):
            found = None
    owner = found if isinstance(found, dict) else {}
    is_other = owner.get("id") not in (None, identity.identity_of(config.root_dir()))
    if is_other or identity.is_copy(config.root_dir(), Path(str(owner.get("path")))):
        raise BadInput(
            f"{OPTION} = {_store().place}",
            expected=f"a store for {config.root_dir()} alone",
            found=f"that of the data folder {owner.get('path')}",
            remedy=f"name another folder in it; if that data folder is gone, remove {OWNER} there",
        )
    return held


def _require_new() -> None:
    """Raise BadInput if this data folder has filled a store: then one without an owner is another, or not mounted."""
    note = config.root_dir() / _NOTED_STORE
    if filled := records.read(note).get("store"):
        raise BadInput(
            f"{OPTION} = {_store().place}",
            expected=f"{OWNER} in {filled}, which {config.root_dir()} has filled",
            found="none",
            remedy=f"mount it, or correct {OPTION}; if it is lost, remove {note}: what only it had is made again",
        )


def _store() -> Store:
    """Return the store. One that does not answer the first question is given up soon, any later one is waited for."""
    url = str(config.dataset().store)
    store = _opened(url, os.getpid())
    if url not in _reached:
        store.reach()
        _reached.add(url)
    return store


@lru_cache(maxsize=1)
def _opened(url: str, process: int) -> Store:
    """Return the store; a forked process opens connections of its own."""
    _require_apart(url)
    return open_store(url)


def _require_apart(url: str) -> None:
    """Raise BadInput if a store is in the data folder or around it: a copy there would be the stored file itself."""
    found, own = folder_of(url), config.root_dir().resolve()
    if found and (found.is_relative_to(own) or own.is_relative_to(found)):
        raise BadInput(
            f"{OPTION} = {url}",
            expected=f"a folder outside {config.root_dir()}, and not around it",
            found=str(found),
            remedy="name another folder, best on another disk; without a store, all of it is in data_dir",
        )


def _key(relative: str, name: str = "") -> str:
    """Return the key of a result, or of a file in it: below that of its recipe, as in the data folder."""
    recipe = config.recipe()
    within = () if recipe.is_default else (config.RECIPES, recipe.name)
    return PurePosixPath(*within, relative, name).as_posix()


def _folder(relative: str, name: str) -> str:
    return _key(relative) if name else _key(str(PurePosixPath(relative).parent))


def _listed(relative: str, name: str) -> Mapping[str, Held]:
    folder = _folder(relative, name)
    at, found = _listings.get(folder, (-_LISTED_S, {}))
    if time.monotonic() - at >= _LISTED_S:
        at, found = time.monotonic(), dict(_store().listed(folder))
        _listings[folder] = at, found
    return found


def _seen(relative: str, name: str, held: Held | None) -> None:
    """Keep what was just seen of a file, if its folder was listed."""
    _, listing = _listings.get(_folder(relative, name), (0.0, None))
    if listing is not None:
        listing.pop(_key(relative, name), None)
        if held is not None:
            listing[_key(relative, name)] = held
