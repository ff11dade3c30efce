"""Runs on a user's own products: L2A, L1C, a server that stands for CDSE, a central scheduler."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from ben_luigi.domain.files import file_hash
from ben_luigi.sample.cdse_faults import Record, another_id
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from tests.integration.running import Run, configuration, environment, one_tile_of, pipeline

TILE = "31UGR_20171015"


def test_from_l2a_products_come_the_same_bytes(
    sample_run: Run, sample_world: World, l2a_dir: Path, tmp_path: Path
) -> None:
    """Sentinel-1 from a `.tar.gz` here, and from its extracted folder there."""
    s1 = tmp_path / "BigEarthNet-S1-v1.0.tar.gz"
    with tarfile.open(s1, "w:gz", compresslevel=1) as tar:
        tar.add(sample_world.s1_dir, "BigEarthNet-S1-v1.0")
    inputs: dict[str, object] = {"l2a_dir": l2a_dir, "s1_dir": s1}
    unlike = pipeline(
        tmp_path, config=configuration(tmp_path, sample_world, inputs=inputs, archive={"keep_tar": "true"})
    )
    assert unlike.code == 20, unlike.said
    assert f"{s1}; expected: a whole .tar.gz with md5 94ced734" in unlike.said
    assert not list((unlike.data / "s1").iterdir())
    inputs["s1_md5"] = file_hash(s1, "md5")
    inputs["compare_with_dir"] = sample_run.data / "dataset"
    config = configuration(
        tmp_path,
        sample_world,
        inputs=inputs,
        archive={"keep_tar": "true"},
        retention={"parts": "delete-after-archive"},
    )
    run = pipeline(tmp_path, config=config)
    assert run.code == 0, run.said
    compared = json.loads((run.data / "dataset" / "comparison.json").read_text())["compared"]
    states = {line["what"]: line["state"] for line in compared if line["what"].endswith("row by row")}
    assert states == dict.fromkeys(
        ["metadata, row by row", "patch_hashes.csv, row by row", "reference_map_hashes.csv, row by row"], "equal"
    )
    assert not any(
        task.startswith(("Download", "Convert", "Resolve", "HashL1C")) for task in unlike.tasks() + run.tasks()
    )
    assert "CollectS1()" in run.tasks()
    assert not [*(run.data / "s1").iterdir(), *(run.data / "archives").glob("*/*.tar.zst")]
    for name in ("metadata.parquet", "BigEarthNet-S1.tar.zst", "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"):
        assert (run.data / "dataset" / name).read_bytes() == (sample_run.data / "dataset" / name).read_bytes()
    check_archives(run)
    kept = configuration(tmp_path, sample_world, inputs=inputs)
    for wanted in (["CollectS1"], ["ExportPatches", "--tile", TILE]):
        exported = pipeline(tmp_path, *wanted, config=kept)
        assert exported.code == 0, exported.said
    files = [path for path in (run.data / "export").glob("BigEarthNet-S1/*/*/*") if path.suffix == ".tif"]
    assert f"{len(files) // 2} of Sentinel-1, from the patches collected for the archive" in exported.said
    assert files and all(
        path.read_bytes() == (sample_world.s1_dir / path.parent.name / path.name).read_bytes() for path in files
    )


def check_archives(run: Run) -> None:
    """The tar files that are kept are what is in the compressed ones, and the hashes are those of both."""
    packed = run.data / "dataset" / "BigEarthNet-S2.tar.zst"
    unpacked = subprocess.run(["zstd", "-dc", packed], capture_output=True, check=True).stdout
    assert unpacked == (run.data / "archives" / "BigEarthNet-S2.tar").read_bytes()
    for name in ("BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps"):
        hashes = json.loads((run.data / "archives" / f"{name}.json").read_text())
        paths = {"tar": run.data / "archives" / f"{name}.tar", "compressed": run.data / "dataset" / f"{name}.tar.zst"}
        for what, path in paths.items():
            expected = {"md5": file_hash(path, "md5"), "sha256": file_hash(path), "size_bytes": path.stat().st_size}
            assert hashes[what] == expected


def test_from_l1c_zips_no_account_is_needed(sample_run: Run, sample_world: World, tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        sample_world,
        dataset={"tiles": TILE},
        inputs={"l1c_dir": sample_world.products},
        sen2cor={"executable": sample_world.l2a_process},
    )
    run = pipeline(tmp_path, config=config)
    assert run.code == 0, run.said
    shard = f"patches/{TILE}.tar"
    assert (run.data / shard).read_bytes() == (sample_run.data / shard).read_bytes()
    content = json.loads((run.data / "dataset" / "comparison.json").read_text())
    assert content["tiles"] == [TILE]
    hashes = (run.data / "tiles" / "ben_s2_l1c_hashes.csv").read_text().splitlines()
    assert hashes[0] == "name,hash-sha256"
    assert len(hashes) == 2


def test_from_a_service_with_the_users_own_account(sample_world: World, tmp_path: Path) -> None:
    catalogue = json.loads(sample_world.catalogue.read_text())
    with CdseServer(catalogue, sample_world.folder) as server:
        config = one_tile_of(server, TILE, tmp_path, sample_world)
        account = {"CDSE_USER": "sample", "CDSE_PASSWORD": "sample"}
        run = pipeline(tmp_path, "DownloadL1C", "--tile", TILE, config=config, **account)
        assert run.code == 0, run.said
        assert pipeline(tmp_path, "ResolveTileIds", config=config).code == 0
    report = json.loads((run.data / "l1c" / f"{TILE}.json").read_text())
    assert (run.data / report["path"]).stat().st_size == report["length_bytes"]
    ids = (run.data / "tiles" / "bigearthnet_s2_tile_ids.csv").read_text().splitlines()
    assert ids[1].endswith(f",{report['id']}")


def _reprocessed(world: World, record: Record, path: Path) -> Record:
    """The product as a later baseline has it: the same files, under another name and id."""
    name = re.sub("_N02.._", "_N0500_", record["Name"])
    with zipfile.ZipFile(world.folder / record["File"]) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename.replace(record["Name"], name), source.read(info))
    checksum = [{"Algorithm": "MD5", "Value": file_hash(path, "md5")}]
    changed = {"Id": another_id(record), "Name": name, "File": str(path), "Checksum": checksum}
    return {**record, **changed, "ContentLength": path.stat().st_size}


def _one_offline_and_one_superseded(world: World, path: Path) -> tuple[list[Record], Record, Record]:
    """The catalogue, the product that was superseded, and the one that has its place; its zip is written to `path`."""
    catalogue = json.loads(world.catalogue.read_text())
    for record in catalogue:
        if "MSIL1C_20180508" in record["Name"]:
            record["Online"] = False
    (original,) = [record for record in catalogue if "_T35VNJ_" in record["Name"] and record.get("File")]
    other = _reprocessed(world, original, path)
    catalogue = [record for record in catalogue if "_T35VNJ_" not in record["Name"]]
    deleted = {**original, "DeletionDate": "2024-05-01", "DeletionCause": "Superseded"}
    return [*catalogue, other, deleted], original, other


def test_a_tile_that_cannot_be_had_stops_no_other_and_the_users_folder_comes_first(
    sample_world: World, tmp_path: Path
) -> None:
    """Of three products one lies in the user's folder, one is offline, and of one there is a reprocessed one only.

    That is taken since the user accepts it, and it is on record in the finished dataset.
    """
    own, offline, superseded = "31UGR_20171015", "31UGR_20180508", "35VNJ_20180204"
    folder = tmp_path / "l1c"
    folder.mkdir()
    (zipped,) = sample_world.products.glob("*20171015*T31UGR*.zip")
    (folder / zipped.name).symlink_to(zipped)
    catalogue, original, other = _one_offline_and_one_superseded(sample_world, tmp_path / "reprocessed.zip")
    with CdseServer(catalogue, sample_world.folder) as server:

        def run_with(*tiles: str) -> Run:
            config = configuration(
                tmp_path,
                sample_world,
                dataset={"tiles": " ".join(tiles)},
                inputs={
                    "tile_names_csv": sample_world.tile_names_csv,
                    "l1c_dir": folder,
                    "published_tile_ids_csv": tmp_path / "none.csv",
                },
                cdse={
                    "catalogue_url": server.catalogue_url,
                    "token_url": server.token_url,
                    "download_url": server.download_url,
                    "pause_s": 0.1,
                    "accept_superseded": "true",
                },
                sen2cor={"executable": sample_world.l2a_process},
            )
            return pipeline(tmp_path, config=config, CDSE_USER="sample", CDSE_PASSWORD="sample")

        run = run_with(own, offline, superseded)
        assert run.code == 20, run.said
        assert list(server.downloads) == [other["Name"]]
        assert any("offline" in line for line in run.said.splitlines() if f"DownloadL1C(tile={offline})" in line)
        for tile in (own, superseded):
            assert (run.data / "patches" / f"{tile}.tar").exists()
        assert not (run.data / "dataset").exists()
        states = (run.data / "tiles" / "states.csv").read_text()
        assert ",offline," in states and ",found," in states and ",superseded," in states

        run = run_with(own, superseded)
        assert run.code == 0, run.said
        assert server.downloads == {other["Name"]: 1}
    provenance = json.loads((run.data / "dataset" / "provenance.json").read_text())
    assert provenance["settings"]["accept_superseded"] is True
    found = provenance["tiles"][superseded]["l1c"]
    assert (found["id"], found["name"], found["state"]) == (other["Id"], other["Name"], "superseded")
    assert found["note"] == f"by {other['Name']}; {original['Id']} deleted 2024-05-01, Superseded"
    assert json.loads((run.data / "dataset" / "comparison.json").read_text())["accept_superseded"] is True


def test_luigi_itself_finds_the_tasks(tmp_path: Path) -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("luigi"), "--module", "ben_luigi", "ExportPatches", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "--tile TILE" in said.stdout


def test_plain_luigi_says_at_the_end_how_the_dataset_compares(sample_run: Run, tmp_path: Path) -> None:
    sample_run.copy_to(tmp_path)
    (tmp_path / "data" / "dataset" / "comparison.json").unlink()
    command: list[str | Path] = [
        Path(sys.executable).with_name("luigi"),
        "--module",
        "ben_luigi",
        "FinalizeDataset",
        "--local-scheduler",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False)
    assert run.returncode == 0, run.stderr
    assert "Beside the published run:\n  not comparable: the sample world is not the published one" in run.stdout
    assert (tmp_path / "data" / "dataset" / "comparison.json").is_file()
