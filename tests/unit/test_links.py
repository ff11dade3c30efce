"""`ben-luigi link-patches`: what it links, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ben_luigi.commands import link_patches
from ben_luigi.domain.dataset import links
from ben_luigi.domain.errors import BadInput, BadName
from ben_luigi.domain.names import PatchId

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCHES = [PatchId(TILE, 26, y) for y in range(3)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three patches unpacked, the last without reference map."""
    source = tmp_path / "export"
    for number, patch in enumerate(PATCHES):
        for archive in ("BigEarthNet-S2", "Reference_Maps")[: 1 if number == 2 else 2]:
            folder = source / archive / TILE / str(patch)
            folder.mkdir(parents=True)
            (folder / f"{patch}.tif").write_text(f"{archive} {patch}")
    return source


def test_links_lie_as_the_dataset_does_and_lead_to_the_files(source: Path, tmp_path: Path) -> None:
    for _ in range(2):  # again, over the links that are there
        assert links.link(PATCHES[1:], source, tmp_path / "some") == 2
    found = {str(path.relative_to(tmp_path / "some")): path for path in (tmp_path / "some").glob("*/*/*")}
    assert sorted(found) == [
        f"BigEarthNet-S2/{TILE}/{PATCHES[1]}",
        f"BigEarthNet-S2/{TILE}/{PATCHES[2]}",
        f"Reference_Maps/{TILE}/{PATCHES[1]}",
    ]
    for path in found.values():
        assert path.is_symlink()
        (file,) = path.iterdir()
        assert file.read_text().split() == [path.parts[-3], path.name]


def test_nothing_is_linked_if_one_is_not_there(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"none of {TILE}_99_99; next: .*needed: 33UUP_20170613"):
        links.link([*PATCHES, PatchId(TILE, 99, 99)], source, tmp_path / "some")
    assert not (tmp_path / "some").exists()


def test_what_is_no_link_stays(source: Path) -> None:
    with pytest.raises(BadInput, match="room for links"):
        links.link(PATCHES, source, source)
    assert not list(source.glob("*/*/*/*/*"))
    assert (source / "BigEarthNet-S2" / TILE / str(PATCHES[0])).is_dir()


@pytest.mark.parametrize(
    "text",
    ["{0}\n{1}\n", "{0}\r\n\r\n{1}\r\n{0}\r\n", "patch_id,split\n{0},train\n{1},test\n", '"{0}",1\n"{1}",2'],
)
def test_lists_are_read_as_people_have_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(text.format(*PATCHES), newline="")
    assert links.read_list(tmp_path / "list.csv") == PATCHES[:2]


def test_a_parquet_file_is_a_list_and_nonsense_is_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"patch_id": list(map(str, PATCHES)), "split": ["test"] * 3}), tmp_path / "list.parquet")
    assert links.read_list(tmp_path / "list.parquet") == PATCHES
    (tmp_path / "list.txt").write_text("nonsense\n")
    with pytest.raises(BadName, match="nonsense"):
        links.read_list(tmp_path / "list.txt")


def test_the_command_says_what_it_did(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.txt").write_text("\n".join(map(str, PATCHES)))
    arguments = [str(tmp_path / "list.txt"), str(tmp_path / "some"), "--from"]
    assert link_patches.main([*arguments, str(source)]) == 0
    assert capsys.readouterr().out == f"3 patches of {source} are linked in {tmp_path / 'some'}\n"
    assert link_patches.main([*arguments, str(tmp_path)]) == 20
    assert "ben-luigi export" in capsys.readouterr().err
    assert link_patches.main([*arguments, str(tmp_path / "none")]) == 2
    assert "none; expected: the folder of patches; found: no folder" in capsys.readouterr().err
    assert link_patches.main([str(tmp_path / "none.txt"), *arguments[1:], str(source)]) == 2
    assert "none.txt; expected: a list of patch ids; found: nothing" in capsys.readouterr().err
