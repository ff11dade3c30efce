"""Who has lost its turn changes nothing in a store: no file, no file of a folder, and nothing is removed from one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from ben_luigi.domain import fence, files
from ben_luigi.domain.errors import TakenOver
from ben_luigi.domain.storing.opening import open_store
from ben_luigi.domain.storing.s3 import S3Store
from ben_luigi.domain.storing.store import Overtaken, Store
from ben_luigi.state import stored
from ben_luigi.state.targets import MadeFolder
from tests.publishing_servers import BUCKET, S3Server
from tests.unit.store_places import Maker, option
from tests.unit.test_fence import Turn
from tests.unit.test_storing import Local, written

PART = 5 * 2**20
FORM = "forms/zarr"


@pytest.fixture
def data(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose store is that bucket."""
    option(monkeypatch, "data_dir", tmp_path / "data")
    option(monkeypatch, "store", f"s3://{BUCKET}/run")
    monkeypatch.setattr(stored, "_listings", {})
    stored._opened.cache_clear()  # the server has another port in each test
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def form(data: Path, **content: str) -> MadeFolder:
    """A form that is about to be recorded; the store has what an earlier one had."""
    target = MadeFolder(FORM, Maker())
    target.withdraw()
    files.remove(target.file)
    target.file.mkdir(parents=True)
    for name, text in content.items():
        (target.file / name).write_text(text)
    return target


@contextmanager
def overtaken(by: Callable[[], object]) -> Iterator[None]:
    """It is told that the turn is its own, and then another one takes over, before it goes on."""
    with fence.within(Turn(1, taken_over=by)):
        yield


@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["s3", "file"])
def test_a_turn_that_is_over_stores_nothing(kind: str, size: int, s3_server: S3Server, tmp_path: Path) -> None:
    store: Store = S3Store(BUCKET, PART) if kind == "s3" else open_store(f"file://{tmp_path}/store")
    path, sha256 = written(tmp_path, size)
    with fence.within(Turn(1, is_over=True)), pytest.raises(TakenOver):
        store.put(path, "a.tar", sha256, None)
    assert not store.listed("") and not s3_server.is_unfinished()


@pytest.mark.parametrize("earlier", [{}, {"a": "earlier"}], ids=["anew", "over an earlier one"])
def test_no_file_of_a_folder_comes_over_that_of_another_worker(
    earlier: dict[str, str], data: Path, s3_server: S3Server
) -> None:
    if earlier:
        form(data, **earlier).record("earlier")
    late, client = form(data, a="of the late one"), s3_server.client()
    take = lambda: client.put_object(Bucket=BUCKET, Key=f"run/{FORM}/a", Body=b"of the taker")  # noqa: E731
    with overtaken(take), pytest.raises(Overtaken, match="another process has made it in the meantime"):
        late.record("late")
    assert s3_server.content(f"run/{FORM}/") == {"a": b"of the taker"} and not late.recorded()


@pytest.mark.parametrize("earlier", [{"a": "1"}, {"a": "1", "b": "1"}], ids=["anew", "over an earlier one"])
def test_what_another_worker_has_added_to_a_folder_is_not_removed(
    earlier: dict[str, str], data: Path, s3_server: S3Server
) -> None:
    form(data, **earlier).record("earlier")
    late = form(data, a="2")
    s3_server.client().put_object(Bucket=BUCKET, Key=f"run/{FORM}/b", Body=b"of the taker")
    with pytest.raises(Overtaken, match=f"{FORM}/b"):
        late.record("late")
    assert s3_server.content(f"run/{FORM}/")["b"] == b"of the taker" and not late.recorded()


def test_a_turn_that_is_over_removes_nothing_from_a_folder(data: Path, s3_server: S3Server) -> None:
    class UntilSent(Turn):
        def require(self, what: str | os.PathLike[str]) -> None:
            super().require(what)
            self.is_over = str(what).endswith("/a")

    form(data, a="1", b="1").record("earlier")
    late = form(data, a="2")
    with fence.within(UntilSent(1)), pytest.raises(TakenOver):
        late.record("late")
    assert s3_server.content(f"run/{FORM}/") == {"a": b"2", "b": b"1"}


def test_a_folder_loses_what_it_does_not_have_any_more(data: Path, s3_server: S3Server) -> None:
    form(data, a="1", b="1").record("earlier")
    form(data, a="2", c="2").record("later")
    assert s3_server.content(f"run/{FORM}/") == {"a": b"2", "c": b"2"}


def test_a_file_that_a_library_tags_otherwise_in_listings_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of OSS does."""

    class Differing(Local):
        protocol = "differing"

        def info(self, path: str, **more: object) -> dict[str, object]:
            found: dict[str, object] = super().info(path, **more)
            return {**found, "etag": f"of {found['mtime']}"} if type(path) is str else found

    fsspec.register_implementation("differing", Differing, clobber=True)
    store = open_store(f"differing://{tmp_path}/store")
    first, second, third = (written(tmp_path, 10, seed) for seed in (1, 2, 3))
    store.put(first[0], "b/a", first[1], "")
    before = store.listed("b")["b/a"].tag
    assert store.look("b/a") not in (None, store.listed("b")["b/a"])
    store.put(second[0], "b/a", second[1], before)
    with pytest.raises(Overtaken):
        store.put(third[0], "b/a", third[1], before)
