"""Identify what makes results: the version of the code involved, and of the software below it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import ben_luigi
from ben_luigi.domain import files
from ben_luigi.domain.dataset.provenance import software

_PACKAGE = Path(ben_luigi.__file__).parent
_NO_CODE = _PACKAGE / "tracked_artifacts"  # which lies there in an installed package, and elsewhere in a checkout
_DOMAIN = f"{_PACKAGE.name}.domain"
_IMPORT = re.compile(rf"^[ \t]*from ({re.escape(_DOMAIN)}[\w.]*) import (\([^)]*\)|[^(\n]*)", re.MULTILINE)
_COMMENT = re.compile(r"#.*")


def code_version(*sources: ModuleType | Path) -> str:
    """Return one hash of modules, everything in `domain/` that they import, and other files or folders (templates)."""
    return _version(
        tuple(Path(source.__file__ or "") if isinstance(source, ModuleType) else source for source in sources)
    )


@lru_cache(maxsize=64)
def _version(sources: tuple[Path, ...]) -> str:
    """Compute the hash once, since code does not change while it runs."""
    found = _files(sources)
    todo = [path for path in found if path.suffix == ".py"]
    while todo:
        new = set(_imported(todo.pop())) - found
        found |= new
        todo += new
    return _hash(found)


def _files(sources: Iterable[Path]) -> set[Path]:
    """Return these files, and all files of these folders."""
    return {
        path for source in sources for path in (source.rglob("*") if source.is_dir() else [source]) if path.is_file()
    }


def _hash(found: Iterable[Path]) -> str:
    return files.text_hash(
        "\n".join(sorted(f"{path.name} {_file_hash(path)}" for path in found if path.suffix != ".pyc"))
    )


@lru_cache(maxsize=4096)
def _file_hash(path: Path) -> str:
    return files.file_hash(path)


@lru_cache(maxsize=256)
def _imported(path: Path) -> tuple[Path, ...]:
    """Return the files of `domain/` that a Python file imports by name.

    They are found by their text: to parse it would take each process of a task half a second.
    """
    names: list[str] = []
    for module, listed in _IMPORT.findall(path.read_text(encoding="utf-8")):
        each = _COMMENT.sub("", listed).strip("()").split(",")
        names += [module, *(f"{module}.{name.split()[0]}" for name in each if name.strip())]
    candidates = (_PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names)
    return tuple(candidate for candidate in candidates if candidate.is_file())


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of everything that makes results in this process.

    These are the versions of all software, and a hash of this project's code.
    """
    found = {path for path in _files([_PACKAGE]) if not path.is_relative_to(_NO_CODE)}
    return {**software(ben_luigi.__version__), "code": _hash(found)[:16]}
