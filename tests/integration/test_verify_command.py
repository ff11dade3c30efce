"""`ben-luigi verify` on the sample dataset, whole and damaged: what is wrong is named, and the exit code tells."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ben_luigi.domain.formats import tarball
from ben_luigi.sample.layout import World
from ben_luigi.stages.finalize import REFERENCES
from tests.integration.running import ROOT, Run, dataset_digests, environment, pipeline
from tests.integration.running import command as run

pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ben_luigi", "verify", str(folder), *options]
    env = environment(PYTHONPATH=str(ROOT))
    return subprocess.run(words, cwd=folder.parent, env=env, capture_output=True, text=True, check=False)


def damage(path: Path) -> list[str]:
    """Flip a byte in one member, leave one out, add one, rename one; gives what has to be said of each."""
    tar = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    blocks: dict[str, bytes] = {}
    at = 0
    while len(blocks) < 400 and (entry := tarball.entry(tar, at)) is not None:
        blocks[entry.name] = tar[entry.data : entry.data + entry.size]
        at = entry.stop
    flipped, missing, misplaced, wrong = [*blocks][7:400:90][:4]
    data = bytearray(blocks[flipped])
    data[-7] ^= 1
    blocks[flipped] = bytes(data)
    del blocks[missing]
    elsewhere = misplaced.replace("/", "/no-", 1)
    changed = {elsewhere if name == misplaced else name: data for name, data in blocks.items()}
    surplus = f"{wrong.removesuffix('.tif')}_again.tif"
    body = b"".join(
        tarball.header(name, len(data)) + data + tarball.padding(len(data))
        for known, content in changed.items()
        for name, data in [(known, content), *([(surplus, content)] if known == wrong else [])]
    )
    with path.open("wb") as file:
        subprocess.run(["zstd", "-q", "-1", "-c"], input=body + tar[at:], stdout=file, check=True)
    return [
        f"with another sha256 than in patch_hashes.csv: {flipped}",
        f"missing: {missing}",
        f"misplaced: {elsewhere} (belongs at {misplaced})",
        f"surplus: {surplus}",
    ]


def test_the_sample_dataset_whole_and_damaged(sample_run: Run, tmp_path: Path) -> None:
    """A copy of it elsewhere, as one that was downloaded."""
    folder = tmp_path / "dataset"
    shutil.copytree(sample_run.data / "dataset", folder)
    whole = verify(folder)
    assert (whole.returncode, whole.stderr) == (0, "")
    *skipped, last = whole.stdout.splitlines()
    assert [line.partition(": ")[0] for line in skipped] == ["not looked at"] * 4
    assert last.endswith("whole, and all of it fits together")
    world = World(sample_run.data / "sample")
    given = [f"--{option.replace('_', '-')}={getattr(world, option)}" for option in REFERENCES]
    assert verify(folder, *given).stdout == f"{folder}: whole, and all of it fits together\n"
    expected = damage(folder / "BigEarthNet-S2.tar.zst")
    damaged = verify(folder, *given)
    assert damaged.returncode == 1
    *found, described, remedy, last = damaged.stdout.splitlines()
    assert sorted(found) == sorted(f"BigEarthNet-S2.tar.zst: {what}" for what in expected)
    assert described.startswith("BigEarthNet-S2.tar.zst: not the file that is meant in stac/collection.json, ")
    assert remedy.startswith("next: remove what is named there, and run again")
    assert last == f"{folder}: 5 findings"
    none = verify(tmp_path / "none")
    assert (none.returncode, none.stdout) == (2, "")
    assert f"{tmp_path / 'none'}; expected: the folder of a dataset; found: no folder; next: " in none.stderr


@pytest.fixture
def unpacked(extracted: Path, sample_run: Run, tmp_path: Path) -> Path:
    """Links to what was unpacked, and what says how large the tiles are."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for path in (*extracted.iterdir(), sample_run.data / "dataset" / "provenance.json"):
        (folder / path.name).symlink_to(path)
    return folder


def test_a_folder_that_was_unpacked_by_tar_is_looked_at(unpacked: Path, tmp_path: Path) -> None:
    """Whole, and with a file of each kind lost, damaged, added, moved, and one that cannot be read."""
    whole = verify(unpacked)
    assert whole.returncode == 0, whole.stdout
    assert "not looked at: BigEarthNet-S2.tar.zst: it is not there, and BigEarthNet-S2/ was looked at" in whole.stdout
    folder = tmp_path / "damaged"
    shutil.copytree(unpacked, folder)
    s2, maps, s1 = (
        sorted((folder / name).rglob("*.tif")) for name in ("BigEarthNet-S2", "Reference_Maps", "BigEarthNet-S1")
    )
    s2[5].unlink()
    s2[17].write_bytes(s2[17].read_bytes()[:-1])
    s2[31].unlink()
    os.mkfifo(s2[31])
    maps[3].with_name("notes.txt").write_text("mine")
    maps[3].with_name("._hidden.tif").write_text("of macOS")
    s1[4].rename(s1[4].parent.parent / s1[4].name)
    found = [line for line in verify(folder).stdout.splitlines() if not line.startswith("not looked at")]
    names = [path.relative_to(folder).as_posix() for path in (s2[5], s2[17], s2[31], maps[3], s1[4])]
    assert f"BigEarthNet-S2/: missing: {names[0]}" in found
    assert any(line.startswith("BigEarthNet-S2/: ") and line.endswith(f": {names[1]}") for line in found)
    assert f"BigEarthNet-S2/: cannot be read (a FIFO, not a file): {names[2]}" in found
    assert f"Reference_Maps/: surplus: {Path(names[3]).parent.as_posix()}/notes.txt" in found
    moved = f"{Path(names[4]).parent.parent.as_posix()}/{Path(names[4]).name}"
    assert f"BigEarthNet-S1/: misplaced: {moved} (belongs at {names[4]})" in found


@pytest.mark.parametrize("table", ["metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet"])
def test_a_missing_or_shortened_table_does_not_list_every_member(unpacked: Path, table: str) -> None:
    """Without a table, and with one of one row, beside which all the rest are surplus."""
    rows = pq.read_table(unpacked / table)
    (unpacked / table).unlink()
    missing = verify(unpacked).stdout.splitlines()
    assert [line for line in missing if not line.startswith("not looked at")][:-2] == [f"{table}: missing"]
    pq.write_table(rows.slice(0, 1), unpacked / table)
    found = verify(unpacked).stdout
    assert "BigEarthNet-S2/: surplus: " in found and " in all)" in found
    assert found.count(".tif") <= 3 * 10


def test_the_pipelines_own_dataset_is_held_against_its_inputs_and_must_have_everything(
    sample_run: Run, tmp_path: Path
) -> None:
    """A data folder of links, but for the dataset."""
    data = tmp_path / "data"
    data.mkdir()
    for path in sample_run.data.iterdir():
        if path.name != "dataset":
            (data / path.name).symlink_to(path)
    folder = Path(shutil.copytree(sample_run.data / "dataset", data / "dataset"))
    whole = run("verify", tmp_path, None)
    assert whole == (0, f"{folder}: whole, and all of it fits together\n")
    (folder / "provenance.json").rename(folder / "stac" / "provenance.json")
    (folder / "report" / "index.html").write_text("")
    code, said = run("verify", tmp_path, None)
    assert code == 1
    not_named = "not looked at: report/"  # what an empty page links to no more
    lines = [line for line in said.splitlines() if not line.startswith(not_named)]
    assert lines[:2] == ["provenance.json: missing", "stac: surplus: provenance.json"]
    assert [line.partition(": expected sha256 ")[0] for line in lines[2:4]] == ["stac", "report"]
    assert lines[-1] == f"{folder}: 4 findings"
    assert "this user cannot note it" in lines[-2], "the lock is a link, which anybody could have put there"
    assert (sample_run.data / "made_from" / "dataset" / "report.json").is_file()


def test_what_is_found_damaged_is_made_again(sample_run: Run, tmp_path: Path) -> None:
    """By the next run, if `verify` has found it, even twice; and by the run itself, if that finds it.

    Each is a bit of a file, in its size, as a failing disk does it. While a run is under way, `verify` notes nothing.
    """
    data = sample_run.copy_to(tmp_path)
    good = dataset_digests(data)
    (item,) = (data / "dataset" / "stac").glob("*35VNJ/*.json")
    damaged = [data / "dataset" / "Reference_Maps.tar.zst", data / "dataset" / "report" / "index.html", item]
    for path in damaged:
        flip_bit(path)
    with (data / "in-use.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        code, said = run("verify", tmp_path, None)
    assert (code, "a run is under way" in said) == (1, True), said
    for already in ("", "found damaged before, and not made again since"):
        code, said = run("verify", tmp_path, None)
        assert (code, "\nnext: run again: damaged files are made again" in said) == (1, True), said
        assert all(f"\n{name}: " in f"\n{said}" for name in ("Reference_Maps.tar.zst", "report", "stac")), said
        assert said.count(f"{already}\n") >= 3, said
    for name in ("BigEarthNet-S2.tar.zst", "provenance.json"):
        flip_bit(data / "dataset" / name)
    again = pipeline(tmp_path)
    assert again.code == 0, again.said
    assert again.said.count("; it is made again by ") == 2, again.said
    assert dataset_digests(data) == good
    assert run("verify", tmp_path, None)[0] == 0


_UPLOAD = """
import sys
from ben_luigi.state import records, stored
path = records.path_of(sys.argv[1])
records.write(path, {**records.read(path), **stored.note(stored.upload(sys.argv[1]))})
"""


def test_what_the_store_has_damaged_is_a_finding_and_made_again(sample_run: Run, tmp_path: Path) -> None:
    """A bit in an object, which keeps length and time, so that listings do not tell; other commands note it as well."""
    data = sample_run.copy_to(tmp_path)
    config, name = tmp_path / "own.cfg", "dataset/Reference_Maps.tar.zst"
    config.write_text(f"[dataset]\nstore = file://{tmp_path}/store\n")
    env = environment(PYTHONPATH=str(ROOT), LUIGI_CONFIG_PATH=str(config))
    subprocess.run([sys.executable, "-c", _UPLOAD, name], cwd=tmp_path, env=env, check=True)
    stored, record = tmp_path / "store" / name, (data / "made_from" / f"{name}.json").read_bytes()
    before = stored.stat()
    flip_bit(stored)
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    (data / name).unlink()
    with (data / "in-use.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        code, said = run("verify", tmp_path, config)
    assert (code, "a run is under way" in said, said.count(f"{data / name}: expected sha256 ")) == (1, True, 1), said
    assert (data / "made_from" / f"{name}.json").read_bytes() == record
    code, said = run("unpack", tmp_path, config, str(tmp_path / "unpacked"))
    assert code == 20 and said.endswith("next: run again: it is made again\n"), said
    assert not (data / "made_from" / f"{name}.json").exists()
    (data / "made_from" / f"{name}.json").write_bytes(record)
    code, said = run("verify", tmp_path, config)
    assert (code, "\nnext: run again: damaged files are made again" in said) == (1, True), said
    assert f"{data / name}: expected sha256 " in said and "Reference_Maps.tar.zst: missing" in said
    assert not (data / "made_from" / f"{name}.json").exists()


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
