"""Make picture and tables of `docs/architecture.md` from imports and docstrings, without running the code."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent


@lru_cache(maxsize=1000)
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Yield the names that a file imports, with their modules. Raise ValueError for a relative import."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: a relative import")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _folder(name: str) -> str:
    """Return the box of a module in the picture: a folder of `domain`, `domain` itself, another folder, or none."""
    words = name.split(".")
    if words[1:2] == ["domain"]:
        return words[2] if len(words) > 2 and (PACKAGE / "domain" / words[2]).is_dir() else "domain"
    return words[1] if len(words) > 1 and (PACKAGE / words[1]).is_dir() else "beside"


def _arrows() -> set[tuple[str, str]]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        own = _folder(".".join(("ben_luigi", *path.relative_to(PACKAGE).with_suffix("").parts)))
        for name in imports(path):
            if name.startswith("ben_luigi.") and not name.startswith("ben_luigi.config"):
                found.add((own, _folder(name)))
    return {(own, other) for own, other in found if own != other and not {own, other} & {"domain", "beside"}}


def reached() -> set[tuple[str, str]]:
    """Return which folder imports which other one, directly or indirectly."""
    known = _arrows()
    while new := {(a, d) for a, b in known for c, d in known if b == c} - known:
        known |= new
    return known


def picture() -> str:
    """Return the imports between folders, without those implied by others, as a Mermaid flowchart."""
    known = reached()
    through = {(a, d) for a, b in known for c, d in known if b == c}
    lines = ["flowchart BT", *(f"    {own} --> {other}" for own, other in sorted(known - through))]
    return "\n".join(["```mermaid", *lines, "```", ""])


def stages() -> list[str]:
    """Return the files of `stages/`, each after all that it imports.

    Raise graphlib.CycleError if two import each other.
    """
    graph = {}
    for path in sorted((PACKAGE / "stages").glob("[!_]*.py")):
        graph[path.stem] = {name.split(".")[2] for name in imports(path) if name.startswith("ben_luigi.stages.")}
    sorter, order = TopologicalSorter(graph), []
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def tasks(path: Path) -> list[str]:
    """Return the tasks in a file of `stages/` that users can run: public, and not the base of another task."""
    bases = _bases()
    known = {name for names in bases.values() for name in names}
    classes = [node.name for node in _tree(path).body if isinstance(node, ast.ClassDef)]
    return [name for name in classes if name[0] != "_" and name not in known and _is_task(name, bases)]


@lru_cache(maxsize=1)
def _bases() -> dict[str, list[str]]:
    return {
        node.name: [ast.unparse(base) for base in node.bases]
        for path in (PACKAGE / "configuration" / "kinds.py", *(PACKAGE / "stages").glob("*.py"))
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef)
    }


def _is_task(name: str, bases: dict[str, list[str]]) -> bool:
    return name.startswith("luigi.") or any(_is_task(base, bases) for base in bases.get(name, []))


def _meaning(path: Path) -> str:
    """Return the first sentence of a file's docstring, without its full stop."""
    first = " ".join((ast.get_docstring(_tree(path)) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`])\. ", first)[0].removesuffix(".").replace("|", r"\|").replace("<", r"\<")


def _table(folder: Path) -> str:
    lines = [f"| `{folder.relative_to(PACKAGE)}/` | what |", "| --- | --- |"]
    for path in sorted(folder.glob("*.py")):
        if path.stem[:2] != "__":
            lines.append(f"| `{path.stem}` | {_meaning(path)} |")
    return "\n".join([*lines, ""])


def _stage_table() -> str:
    lines = ["| `stages/` | tasks | what |", "| --- | --- | --- |"]
    for stage in stages():
        path = PACKAGE / "stages" / f"{stage}.py"
        lines.append(f"| `{stage}` | {', '.join(f'`{name}`' for name in tasks(path))} | {_meaning(path)} |")
    return "\n".join([*lines, ""])


def _folders() -> list[Path]:
    """Return all folders but `stages`: first those of `domain`, each after all that it imports."""
    depth = Counter(own for own, _ in reached())
    parts = sorted((PACKAGE / "domain").glob("*/__init__.py"), key=lambda path: (depth[path.parent.name], path))
    others = sorted([*PACKAGE.glob("*/__init__.py"), *PACKAGE.glob("state/*/__init__.py")])
    folders = [PACKAGE / "domain", *(path.parent for path in (*parts, *others))]
    return [path for at, path in enumerate(folders) if path not in (*folders[:at], PACKAGE / "stages")]


def text() -> dict[str, str]:
    """Return the parts of the page, by name: the picture, and a table of every folder."""
    tables = [_table(folder) for folder in _folders()]
    commands = _table(PACKAGE).replace("| `./` |", "| `ben_luigi/` |")
    return {"picture": picture(), "files": "\n".join([*tables, _stage_table(), commands])}
