"""The lines of docs/architecture.md: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ben_luigi"
STAGES = (
    "task",
    "progress",
    "prerequisites",
    "service",
    "resolve",
    "download",
    "atmosphere",
    "placement",
    "patches",
    "reference_maps",
    "tiles",
    "render",
    "version1",
    "metadata",
    "archives",
    "provenance",
    "export",
    "hash_lists",
    "open_metadata",
    "leakage",
    "comparison",
    "report",
    "finalize",
    "retention",
    "outcomes",
    "survey",
    "planning",
)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(layer: str) -> list[Path]:
    return sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize(
    "path", [*_files("domain"), *_files("sample")], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_domain_and_sample_know_nothing_of_luigi_the_database_or_the_configuration(path: Path) -> None:
    forbidden = ["luigi", "psycopg2", "sqlalchemy", "ben_luigi.config", "ben_luigi.state", "ben_luigi.stages"]
    if path.is_relative_to(PACKAGE / "domain"):
        forbidden.append("ben_luigi.sample")
    for name in _imports(path):
        assert not any(name == word or name.startswith(f"{word}.") for word in forbidden), name


@pytest.mark.parametrize("path", _files("state"), ids=lambda path: path.name)
def test_state_knows_nothing_of_stages(path: Path) -> None:
    assert not any(name.startswith(("ben_luigi.stages", "ben_luigi.sample")) for name in _imports(path))


def test_a_stage_imports_only_earlier_stages() -> None:
    found = {path.stem for path in _files("stages")} - {"__init__"}
    assert found == set(STAGES)
    for number, stage in enumerate(STAGES):
        for name in _imports(PACKAGE / "stages" / f"{stage}.py"):
            if name.startswith("ben_luigi.stages."):
                assert name.split(".")[2] in STAGES[:number], f"{stage} imports {name}"


def test_the_architecture_page_names_every_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for layer in ("domain", "stages", "state", "sample"):
        for path in (PACKAGE / layer).rglob("*.py"):
            if path.stem != "__init__":
                assert f"`{path.stem}`" in page, path


def _part(name: str) -> str:
    """The box of the picture that a module is in: a folder of `domain`, its own files, or another layer."""
    words = name.split(".")
    if words[1:2] == ["domain"]:
        return words[2] if len(words) > 2 and (PACKAGE / "domain" / words[2]).is_dir() else "domain"
    return words[1] if len(words) > 1 and (PACKAGE / words[1]).is_dir() else "commands"


def _arrows() -> set[tuple[str, str]]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        own = _part(".".join(("ben_luigi", *path.relative_to(PACKAGE).with_suffix("").parts)))
        for name in _imports(path):
            if name.startswith("ben_luigi.") and not name.startswith("ben_luigi.config"):
                found.add((own, _part(name)))
    return {(own, other) for own, other in found if own != other and other not in ("domain", "commands")}


def _reached() -> set[tuple[str, str]]:
    """Who imports whom, be it through others."""
    reached = _arrows()
    while new := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= new
    return reached


def test_nobody_is_imported_by_what_it_imports() -> None:
    assert not [own for own, other in _reached() if own == other]


def test_the_picture_is_made_from_the_imports() -> None:
    """What follows from other arrows is left out, and so are the files of `domain` itself, which all import."""
    reached = _reached()
    through = {(a, d) for a, b in reached for c, d in reached if b == c}
    lines = ["flowchart BT", *(f"    {own} --> {other}" for own, other in sorted(reached - through))]
    picture = "\n".join(["```mermaid", *lines, "```"])
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert picture in page, picture


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_program_that_is_started_is_given_its_environment(path: Path) -> None:
    """Named where it is started, so that none is given ours by default."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
            assert "env" in [word.arg for word in node.keywords], f"{path}:{node.lineno}"
