"""The cache of results that live in a store: whole, as they were, within its bound, and never one in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ben_luigi.domain import files, locks
from ben_luigi.domain.errors import NoRoomError
from ben_luigi.state import cache, records, stored
from ben_luigi.state.targets import MadeFolder
from tests.conftest import ROOT
from tests.unit.store_places import BOUND, ONE, SIZE, Maker, Place, option


def test_what_was_read_longest_ago_goes_first_and_comes_back(place: Place) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(12)]
    assert len(place.here()) == 10 and place.used() <= BOUND * 1e9
    assert all(target.exists() for target in made)
    gone = [target for target in made if not target.file.exists()]
    assert gone == made[:2]
    with cache.at_hand(made[2].file, made[0].file):
        assert files.file_hash(made[0].file) == stored.files_of(made[0].recorded())[""].sha256
        assert len(place.here()) == 10 and not made[3].file.exists()
    assert made[0].check() == made[0].file and made[1].check() == made[1].file


def test_the_only_copy_of_what_the_store_has_lost_stays(place: Place) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(10)]
    (place.store / made[0].relative).unlink()
    made += [place.made(f"patches/{number}.tar") for number in (10, 11)]
    assert [target for target in made if not target.file.exists()] == made[1:3]


def test_what_is_made_again_while_it_is_to_go_stays_and_another_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(10)]
    is_free, again = locks.is_free, place.data / "again"

    def replaced_meanwhile(descriptor: int) -> bool:
        if os.path.samestat(os.fstat(descriptor), made[0].file.stat()) and not again.exists():
            again.write_bytes(b"2" * SIZE)
            os.link(again, place.data / "new")
            (place.data / "new").rename(made[0].file)
        return is_free(descriptor)

    monkeypatch.setattr(locks, "is_free", replaced_meanwhile)
    place.made("patches/10.tar")
    assert made[0].file.read_bytes() == again.read_bytes()
    assert not made[1].file.exists() and made[2].file.exists()


def test_the_index_beside_a_shard_and_what_is_small_stay(place: Place) -> None:
    index, note = place.made("patches/1.parquet"), place.made("dataset/croissant.json")
    for number in range(12):
        place.made(f"patches/{number}.tar")
    assert index.file.exists() and note.file.exists()
    assert sorted(path.name for path in (place.store / "dataset").iterdir()) == ["croissant.json"]
    assert not list(place.store.rglob("*.parquet"))


def test_a_folder_comes_back_as_a_whole(place: Place) -> None:
    target = MadeFolder("forms/webdataset", Maker())
    for name in ("a.tar", "b/c.json"):
        (target.file / name).parent.mkdir(parents=True, exist_ok=True)
        (target.file / name).write_text(name)
    target.record("of the form")
    before = target.content(), (target.file / "a.tar").stat().st_mtime_ns
    files.remove(target.file)
    assert target.exists()
    with cache.whole(target.file):
        assert (target.content(), (target.file / "a.tar").stat().st_mtime_ns) == before
    files.remove(target.file / "b")
    with cache.at_hand(target.file):
        assert target.content() == before[0]


def _reader(place: Place, number: int, rounds: int) -> subprocess.Popen[str]:
    """A process that reads shards at random, and compares them while it has them."""
    text = f"""
import hashlib, json, random, sys, time
from pathlib import Path
from ben_luigi.state import cache
chosen, wanted = random.Random({number}), json.loads(sys.argv[1])
for _ in range({rounds}):
    name, sha256 = chosen.choice(sorted(wanted.items()))
    with cache.at_hand(Path(name)):
        for _ in range(3):
            assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == sha256, name
            time.sleep(0.001)
"""
    wanted = {str(path): held[""].sha256 for path, held in _of_store(place).items()}
    return subprocess.Popen(
        [sys.executable, "-c", text, json.dumps(wanted)],
        env={**os.environ, "LUIGI_CONFIG_PATH": str(place.data.parent / "own.cfg"), "PYTHONPATH": str(ROOT)},
        cwd=place.data.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


def _of_store(place: Place) -> dict[Path, stored.Files]:
    return {place.data / name: stored.files_of(records.read(records.path_of(name))) for name in records.all_of()}


def test_several_processes_read_within_the_bound_and_nothing_goes_while_it_is_read(place: Place) -> None:
    for number in range(30):
        place.made(f"patches/{number}.tar")
    reading = [_reader(place, number, 60) for number in range(3)]
    most = 0
    while any(process.poll() is None for process in reading):
        most = max(most, _used_at_once(place))
    assert [(process.wait(), process.stderr.read()) for process in reading if process.stderr] == [(0, "")] * 3
    assert SIZE < most <= BOUND * 1e9
    assert not list((place.data / "cache").glob(".unfinished-*"))


def _used_at_once(place: Place) -> int:
    """The bytes of all files, by two looks that saw the same, since one takes a while."""
    while True:
        seen = []
        for _ in range(2):
            sizes = {}
            for path in place.data.rglob("*.tar"):
                try:
                    sizes[path, path.stat().st_ino] = path.stat().st_size  # numbers of removed files are given again
                except FileNotFoundError:
                    continue
            seen.append(sizes)
        if seen[0] == seen[1]:
            return sum(seen[0].values())


def test_more_than_the_cache_takes_is_told_at_once(place: Place) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(11)]
    said = r" and 10 more; expected: a cache that takes 0.001 GB at once.*cache_gb"
    with pytest.raises(NoRoomError, match=said), cache.at_hand(*(target.file for target in made)):
        pass


def test_nobody_waits_for_what_he_reads_himself(place: Place) -> None:
    made = [place.made(f"patches/{number}.tar") for number in range(11)]
    most = cache.at_hand(*(target.file for target in made[1:]))
    with most, pytest.raises(NoRoomError), cache.at_hand(made[0].file):
        pass
    with cache.at_hand(made[0].file):
        pass


def test_a_copy_that_was_cut_short_is_fetched_again(place: Place) -> None:
    target = place.made(ONE)
    os.truncate(target.file, 10)
    with cache.at_hand(target.file):
        assert target.file.stat().st_size == SIZE


def test_a_copy_that_is_damaged_is_dropped_and_no_other(place: Place) -> None:
    target = place.made(ONE)
    assert not cache.dropped(target.file)
    target.file.write_bytes(b"\0" * SIZE)
    assert cache.dropped(target.file) and target.exists()
    with cache.at_hand(target.file):
        assert not cache.dropped(target.file)


def test_the_bound_holds_after_a_run_has_begun_whatever_was_made_or_allowed_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        option(without, "store", "")
        made = [place.made(f"patches/{number}.tar") for number in range(12)]
    cache.prepare()
    assert len(place.here()) == 10 and all(target.exists() for target in made)
    with monkeypatch.context() as generous:
        option(generous, "cache_gb", 2 * BOUND)
        cache.prepare()
        with cache.at_hand(*(target.file for target in made)):
            pass
        assert len(place.here()) == 12
    cache.prepare()
    assert len(place.here()) == 10
