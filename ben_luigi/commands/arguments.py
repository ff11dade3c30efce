"""The arguments of the commands that run no task; those of the others are in `task_arguments.py`.

They are read without loading the pipeline: `ben-luigi COMMAND --help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.domain import machine
from ben_luigi.domain.errors import BadName
from ben_luigi.domain.vocabulary import MOST_VIEWED, WORLDS
from ben_luigi.domain.vocabulary import RECIPE_OPTIONS as RECIPE_OPTIONS

WORLD_OPTIONS = ("--world", "--dataset-world")
_LEVELS = (1, 3, 6, 9, 12)
_ADDRESS = "127.0.0.1"
_SHELLS = ("bash", "zsh")
_SERVICES = ("zenodo", "huggingface", "s3")
_WORDS = {
    "countries_geojson": "Natural Earth's borders, for the nearest country",
    "s1s2_mapping_csv": "pairs of v1 and S1 patch",
    "snow_csv": "list of v1 patches with seasonal snow",
    "cloud_csv": "list of v1 patches with cloud or shadow",
}


def add_world(used: argparse.ArgumentParser) -> None:
    """Add `--world` and `--recipe`; commands take them out of their arguments before they parse them (`world.take`)."""
    used.add_argument(
        "--world",
        choices=WORLDS,
        help="sample or real, which needs no account and no setting; by default what [dataset] world says",
    )
    help_text = "name of a packaged recipe, or path of another one; by default what [dataset] recipe says"
    used.add_argument("--recipe", metavar="RECIPE", help=help_text)


def taken_out(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the arguments without world and recipe; and these, as option and value, in their order."""
    left: list[str] = []
    taken: list[tuple[str, str]] = []
    rest = iter(arguments)
    for argument in rest:
        name, is_whole, value = argument.partition("=")
        if name in (*WORLD_OPTIONS, *RECIPE_OPTIONS):
            taken.append((name, value if is_whole else next(rest, "")))
        else:
            left.append(argument)
    return left, taken


def require_world(option: str, text: str) -> None:
    """Raise BadName for the value of an option that is no world."""
    if text not in WORLDS:
        found = repr(text) if text else "nothing"
        raise BadName(option, expected=f"one of {', '.join(WORLDS)}", found=found, remedy=f"type {option} real")


def require_recipe(option: str, text: str) -> None:
    """Raise BadName for an option that names no recipe, as `--recipe "$NAME"` does where NAME is not set."""
    if not text:
        expected, remedy = "the name or path of a recipe", f"type {option} NAME, or leave {option} out"
        raise BadName(option, expected=expected, found="nothing", remedy=remedy)


def text_of(module: str) -> str | None:
    """Return the docstring of a command's module, without loading it."""
    return ast.get_docstring(ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")))


def verify() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi verify`."""
    used = command.parser("ben-luigi verify", text_of("verify"))
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    used.add_argument("folder", type=command.local, nargs="?", metavar="FOLDER", help=help_text)
    for option, text in _WORDS.items():
        used.add_argument(f"--{option.replace('_', '-')}", type=Path, metavar="FILE", help=text)
    used.add_argument(
        "--form",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder of an exported form of the dataset, whose pixels are compared with it; may be given several times",
    )
    used.add_argument("--json", action="store_true", help="print the verdict as JSON, as docs/json.md says")
    return used


def status() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi status`."""
    used = command.parser("ben-luigi status", text_of("status"))
    used.add_argument("--json", action="store_true", help="print the state as JSON")
    add_world(used)
    return used


def new() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi new`."""
    used = command.parser("ben-luigi new", text_of("new"))
    used.add_argument("name", metavar="NAME", help="name of the dataset: lower-case letters, digits, dots and hyphens")
    used.add_argument("folder", type=Path, metavar="FOLDER", nargs="?", default=Path(), help="where it is written")
    used.add_argument("--like", metavar="RECIPE", default="", help="packaged recipe to start from")
    return used


def link_patches() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi link-patches`."""
    used = command.parser("ben-luigi link-patches", text_of("link_patches"))
    used.add_argument(
        "list",
        type=Path,
        metavar="LIST",
        help="file of patch ids, one per line, or Parquet file with a column patch_id",
    )
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where the links go")
    used.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="folder with BigEarthNet-S2/; by default what ExportPatches made",
    )
    return used


def unpack() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi unpack`."""
    used = command.parser("ben-luigi unpack", text_of("unpack"))
    used.usage = f"{used.prog} [-h] FOLDER [--from DATASET] [--only ARCHIVE [ARCHIVE ...]]"
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where the folders of the archives go")
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    used.add_argument("--from", dest="source", type=command.local, metavar="DATASET", help=help_text)
    help_text = "names of archives without suffix, as in BigEarthNet-S2; by default all"
    used.add_argument("--only", nargs="+", default=[], metavar="ARCHIVE", help=help_text)
    return used


def view() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi view`."""
    used = command.parser("ben-luigi view", text_of("view"))
    help_text = "folder of WebDataset shards or of a dataset; by default the dataset that the pipeline makes"
    used.add_argument("folder", type=command.local, nargs="?", metavar="FOLDER", help=help_text)
    used.add_argument("--to", type=Path, metavar="DIR", help="where the viewer goes; by default FOLDER-viewer")
    help_text = f"most patches that it shows; by default {MOST_VIEWED}"
    used.add_argument("--patches", type=command.whole(1), default=MOST_VIEWED, metavar="N", help=help_text)
    help_text = "do not list the files of FOLDER with their hashes, for which all of them are read"
    used.add_argument("--without-hashes", action="store_true", help=help_text)
    return used


def hash_folder() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi hash-folder`."""
    used = command.parser("ben-luigi hash-folder", text_of("hash_folder"))
    used.add_argument("folder", type=Path, metavar="FOLDER", help="folder of TIFFs, at any depth")
    used.add_argument(
        "list", type=Path, nargs="?", metavar="LIST", help="CSV file to write; by default FOLDER.csv beside it"
    )
    cores = max(1, int(machine.cores()))
    used.add_argument(
        "--processes",
        type=command.whole(1),
        default=cores,
        metavar="N",
        help="number of processes; by default one per core",
    )
    return used


def compare_levels() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi compare-levels`."""
    used = command.parser("ben-luigi compare-levels", text_of("compare_levels"))
    used.usage = f"{used.prog} [-h] FILE [FILE ...] [--levels LEVEL [LEVEL ...]]"
    used.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="files, or folders of files")
    used.add_argument(
        "--levels",
        type=int,
        nargs="+",
        default=_LEVELS,
        choices=range(1, 23),
        metavar="LEVEL",
        help=f"1 to 22; by default {' '.join(map(str, _LEVELS))}",
    )
    return used


def compare_land_cover() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi compare-land-cover`."""
    used = command.parser("ben-luigi compare-land-cover", text_of("compare_land_cover"))
    options = "[--tile TILE [TILE ...]] [--json] [--world WORLD] [--recipe RECIPE]"
    used.usage = f"{used.prog} [-h] [GEOPACKAGE] {options}"
    used.add_argument(
        "geopackage", type=Path, nargs="?", metavar="GEOPACKAGE", help="CORINE 2018; by default [inputs] clc_gpkg"
    )
    used.add_argument("--tile", nargs="+", metavar="TILE", help="tile keys; by default all whose squares were fetched")
    used.add_argument("--json", action="store_true", help="print all of it as JSON")
    add_world(used)
    return used


def check_published() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi check-published`."""
    used = command.parser("ben-luigi check-published", text_of("check_published"))
    used.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of published metadata, and of what it is made from"
    )
    return used


def clear_tries() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi clear-tries`."""
    used = command.parser("ben-luigi clear-tries", text_of("clear_tries"))
    used.add_argument("tiles", nargs="+", metavar="TILE", help="tile key, as in 33UUP_20170613")
    add_world(used)
    return used


def fetch_l2a() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi fetch-l2a`."""
    used = command.parser("ben-luigi fetch-l2a", text_of("fetch_l2a"))
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where to put them, each in a folder of its own")
    used.add_argument("names", nargs="+", metavar="NAME", help="names of L2A products, S2x_MSIL2A_..._<time>.SAFE")
    return used


def install_sen2cor() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi install-sen2cor`."""
    used = command.parser("ben-luigi install-sen2cor", text_of("install_sen2cor"))
    used.add_argument("folder", type=Path, metavar="FOLDER", help="where to install it; absent or empty")
    used.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the installer, if you have it already")
    return used


def publish() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi publish`."""
    used = command.parser("ben-luigi publish", text_of("publish"))
    used.add_argument("service", choices=_SERVICES, metavar="SERVICE", help=", ".join(_SERVICES))
    help_text = "folder of the dataset; by default the one that the pipeline makes"
    used.add_argument("folder", type=command.local, nargs="?", metavar="FOLDER", help=help_text)
    used.add_argument("--form", type=Path, metavar="DIR", help="publish this exported form of it instead")
    help_text = "USER/NAME at huggingface, s3://BUCKET/FOLDER; at zenodo the id of a draft, or new"
    used.add_argument("--to", metavar="WHERE", help=help_text)
    used.add_argument("--endpoint", metavar="URL", help="address of the service, of one that is not the usual one")
    used.add_argument("--sandbox", action="store_true", help="Zenodo's place to try things, sandbox.zenodo.org")
    used.add_argument("--quota-gb", type=command.whole(1), metavar="N", help="what Zenodo has granted you")
    used.add_argument("--token-file", type=Path, metavar="FILE", help="file that only you can read, with the token")
    used.add_argument(
        "--replace",
        action="store_true",
        help="overwrite files there that have another content, and remove those that only the form there before had",
    )
    used.add_argument("--yes", action="store_true", help="send it without being asked")
    return used


def luigid() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi luigid`; luigid's own arguments are passed on to it."""
    used = command.parser("ben-luigi luigid", text_of("luigid"))
    used.add_argument(
        "--address", metavar="HOST", default=_ADDRESS, help=f"address to listen on; by default {_ADDRESS}"
    )
    help_text = "port to listen on; by default [core] scheduler_port, else 8082"
    used.add_argument("--port", metavar="N", type=command.whole(1, 65_535), help=help_text)
    return used


def completion() -> argparse.ArgumentParser:
    """Return the parser of `ben-luigi completion`."""
    used = command.parser("ben-luigi completion", text_of("completion"))
    used.add_argument("shell", choices=_SHELLS, help="the shell that is to complete")
    return used


PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "verify": verify,
    "status": status,
    "new": new,
    "link_patches": link_patches,
    "unpack": unpack,
    "view": view,
    "hash_folder": hash_folder,
    "compare_levels": compare_levels,
    "compare_land_cover": compare_land_cover,
    "check_published": check_published,
    "clear_tries": clear_tries,
    "fetch_l2a": fetch_l2a,
    "install_sen2cor": install_sen2cor,
    "publish": publish,
    "luigid": luigid,
    "completion": completion,
}
"""The parsers of the commands, by their modules."""
PASS_ON = ("luigid",)
"""Those that pass other arguments on to another program."""
