"""Running the pipeline as a user does: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ben_luigi.domain.files import file_hash
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SIDE_M

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """A finished run: exit code, all that it printed, and its data folder."""

    code: int
    said: str
    data: Path

    def tasks(self) -> list[str]:
        """The tasks that made something, in that order; not the hashes of inputs, taken anew where they were copied."""
        lines = [line.split(" s  ", 1) for line in self.said.splitlines()]
        ran = [parts[1] for parts in lines if len(parts) == 2 and parts[1].endswith(")")]
        return [task for task in ran if not task.startswith("HashInput(")]

    def keep_database(self) -> None:
        """A copy of the database for `copy_to`, before another test starts its server."""
        _copy([self.data / "database"], self.data.parent)

    def copy_to(self, folder: Path) -> Path:
        """A copy of the data folder as `folder / "data"`, with the database as it was kept."""
        data = folder / "data"
        data.mkdir()
        _copy([path for path in self.data.iterdir() if path.name != "database"], data)
        _copy([self.data.parent / "database"], data)
        return data


def _copy(paths: list[Path], folder: Path) -> None:
    """With owners, which shutil does not copy, and PostgreSQL asks about."""
    subprocess.run(["cp", "-a", *paths, folder], check=True)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what it says of Luigi and CDSE, and with something more."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LUIGI_", "CDSE_"))}
    return {**own, **more}


def pipeline(folder: Path, *arguments: str, config: Path | None = None, **more: str) -> Run:
    """`ben-luigi run ARGUMENTS` in `folder`, with this Python."""
    code, said = command("run", folder, config, *arguments, **more)
    return Run(code, said, folder / "data")


def command(name: str, folder: Path, config: Path | None, *arguments: str, **more: str) -> tuple[int, str]:
    """Exit code and output of `ben-luigi NAME`, in `folder`, without a terminal to ask at."""
    own = {} if config is None else {"LUIGI_CONFIG_PATH": str(config)}
    done = subprocess.run(
        [sys.executable, "-m", "ben_luigi", name, *arguments],
        cwd=folder,
        env=environment(**own, PYTHONPATH=str(ROOT), **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def dataset_digests(data: Path) -> dict[str, str]:
    """sha256 of each file of the finished dataset, by its path there: report and open metadata too.

    How long tasks took is left out, which is another time in each run.
    """
    folder = data / "dataset"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "times.html"]
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}


def configuration(folder: Path, world: World, **sections: dict[str, object]) -> Path:
    """A user's own configuration file: the sample world's inputs given by path, and more options by section."""
    given: dict[str, dict[str, object]] = {
        "inputs": {
            option: getattr(world, option)
            for option in (
                "clc_gpkg",
                "countries_geojson",
                "v1_spatial_dir",
                "s1_dir",
                "s1s2_mapping_csv",
                "snow_csv",
                "cloud_csv",
            )
        },
        "sources": {"order": "folder, cdse"},
        "tile": {"side_m": SIDE_M},
        "sen2cor": {"memory_gb": 0.1},  # the stand-in is light
    }
    for section, options in sections.items():
        given[section] = {**given.get(section, {}), **options}
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        line
        for section, options in given.items()
        for line in (f"[{section}]", *(f"{name} = {value}" for name, value in options.items()))
    ]
    path = folder / "own.cfg"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def one_tile_of(server: CdseServer, tile: str, folder: Path, world: World, **sections: dict[str, object]) -> Path:
    """`configuration` for one tile that comes from a service with the user's own account."""
    return configuration(
        folder,
        world,
        dataset={"tiles": tile},
        inputs={"tile_names_csv": world.tile_names_csv, "published_tile_ids_csv": folder / "none.csv"},
        cdse={
            "catalogue_url": server.catalogue_url,
            "token_url": server.token_url,
            "download_url": server.download_url,
            "pause_s": 0.1,
        },
        **sections,
    )
