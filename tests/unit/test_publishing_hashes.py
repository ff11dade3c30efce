"""Hashes of what is published: each is taken once, noted by a line, and again when its file changes."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from ben_luigi.domain.publishing.hashing import GIT, MD5, MD5_OF_PARTS, Hashes, Held


def test_hashes_are_taken_once_and_again_when_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 10)
    hashes = Hashes(tmp_path / "hashes.json")
    assert hashes.of(file, GIT) == hashlib.sha1(b"blob 10\0aaaaaaaaaa").hexdigest()
    parts = [hashlib.md5(part).digest() for part in (b"aaaa", b"aaaa", b"aa")]
    first = hashes.of(file, MD5_OF_PARTS, 4)
    assert first == f"{hashlib.md5(b''.join(parts)).hexdigest()}-3"
    monkeypatch.setattr("ben_luigi.domain.publishing.hashing.digest_of", lambda *given: "anew")
    assert Hashes(tmp_path / "hashes.json").of(file, MD5_OF_PARTS, 4) == first
    file.write_bytes(b"b" * 11)
    assert Hashes(tmp_path / "hashes.json").of(file, MD5_OF_PARTS, 4) == "anew"


def test_a_hash_that_takes_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread says so once per minute; that of a small file needs none."""
    file = tmp_path / "file"
    file.write_bytes(b"a" * 10)
    told: list[bool] = []

    def digest(*given: Any) -> str:
        told.append("waiting" in {thread.name for thread in threading.enumerate()})
        return "0"

    monkeypatch.setattr("ben_luigi.domain.publishing.hashing.digest_of", digest)
    for least in (11, 10):
        monkeypatch.setattr("ben_luigi.domain.publishing.hashing._LARGE_BYTES", least)
        Hashes(tmp_path / f"{least}.json").of(file, GIT)
    assert told == [False, True]


def test_a_hash_in_passing_counts_only_of_a_file_that_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for changed, expected in ((b"", "in passing"), (b"b", hashlib.md5(b"ab").hexdigest())):
        file.write_bytes(b"a")
        hashes = Hashes(tmp_path / f"{expected}.json")
        with hashes.in_passing(file) as note:
            note(Held(1, MD5, "in passing"))
            file.write_bytes(b"a" + changed) if changed else None
        assert hashes.of(file, MD5) == expected


def test_a_hash_is_noted_by_a_line_and_one_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    """What was noted before is not written again, so that the time per file stays the same however many there are."""
    note, paths = tmp_path / "hashes.jsonl", [tmp_path / name for name in "abc"]
    grown = []
    for path in paths:
        path.write_bytes(b"1")
        before = note.read_bytes() if note.exists() else b""
        Hashes(note).of(path, GIT)
        assert note.read_bytes().startswith(before)
        grown.append(note.stat().st_size - len(before))
    assert len({*grown}) == 1
    note.write_bytes(note.read_bytes()[:-20])
    content = note.read_bytes()
    expected = hashlib.sha1(b"blob 1\0" + b"1").hexdigest()
    assert [Hashes(note).of(path, GIT) for path in paths] == [expected] * 3
    assert note.read_bytes().startswith(content) and note.stat().st_size - len(content) == grown[0]
    Hashes(note).of(paths[2], GIT)
    assert note.stat().st_size - len(content) == grown[0]
