"""The lines of docs/architecture.md: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ben_luigi.commands import usage
from ben_luigi.documentation import architecture, parts

ROOT, PACKAGE = architecture.ROOT, architecture.PACKAGE


def _files(layer: str) -> list[Path]:
    return sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize(
    "path", [*_files("domain"), *_files("sample")], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_domain_and_sample_know_nothing_of_luigi_the_database_or_the_configuration(path: Path) -> None:
    forbidden = ["luigi", "psycopg2", "sqlalchemy", "ben_luigi.config", "ben_luigi.state", "ben_luigi.stages"]
    if path.is_relative_to(PACKAGE / "domain"):
        forbidden.append("ben_luigi.sample")
    for name in architecture.imports(path):
        assert not any(name == word or name.startswith(f"{word}.") for word in forbidden), name


@pytest.mark.parametrize("path", _files("state"), ids=lambda path: path.name)
def test_state_knows_nothing_of_stages(path: Path) -> None:
    assert not any(name.startswith(("ben_luigi.stages", "ben_luigi.sample")) for name in architecture.imports(path))


def _at_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is loaded: not those in functions, nor those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not isinstance(child, ast.FunctionDef) and not is_for_types:
            yield from _at_import(child)


def test_cryptography_is_imported_only_where_it_is_used() -> None:
    """It takes a tenth of a second, which every task would wait for."""
    for path in PACKAGE.rglob("*.py"):
        loaded = [ast.unparse(one) for one in _at_import(ast.parse(path.read_text(encoding="utf-8")))]
        assert not [line for line in loaded if "cryptography" in line], path


def test_libraries_of_forms_are_imported_only_where_they_are_used() -> None:
    """They are optional."""
    for path in PACKAGE.rglob("*.py"):
        loaded = [ast.unparse(one).split()[1] for one in _at_import(ast.parse(path.read_text(encoding="utf-8")))]
        assert not {"lmdb", "safetensors", "zarr"} & {name.partition(".")[0] for name in loaded}, path


def test_only_the_program_imports_commands() -> None:
    """What they compute is in `domain`; one may build on another. Plain `luigi` knows no program of ours."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "commands"
        and any(name.startswith("ben_luigi.commands") for name in architecture.imports(path))
    }
    assert found == {"program.py", "pipeline.py", "documentation/__main__.py"}


def test_no_two_stages_import_each_other() -> None:
    """So they have an order: the one of their table."""
    order = architecture.stages()
    assert set(order) == {path.stem for path in _files("stages")} - {"__init__"}
    for number, stage in enumerate(order):
        for name in architecture.imports(PACKAGE / "stages" / f"{stage}.py"):
            if name.startswith("ben_luigi.stages."):
                assert name.split(".")[2] in order[:number], f"{stage} imports {name}"


def test_stages_that_import_each_other_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stages").mkdir()
    for one, other in (("early", "late"), ("late", "early")):
        (tmp_path / "stages" / f"{one}.py").write_text(f"from ben_luigi.stages import {other}\n")
    monkeypatch.setattr(architecture, "PACKAGE", tmp_path)
    with pytest.raises(CycleError, match="early"):
        architecture.stages()


def test_no_file_is_imported_by_what_it_imports() -> None:
    """Neither directly nor through others, when it is loaded or later."""
    names = {".".join(("ben_luigi", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in _files("")}
    graph = {
        own: {module for name in architecture.imports(path) for module in (name, name.rpartition(".")[0])} & set(names)
        for own, path in names.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_no_folder_is_imported_by_what_it_imports() -> None:
    assert not [own for own, other in architecture.reached() if own == other]


def test_the_page_has_the_picture_and_the_tables_that_the_code_makes() -> None:
    """`python -m ben_luigi.documentation` writes them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert parts.replaced(page, architecture.text()) == page


def test_the_page_names_every_file_and_every_task() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = [path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")]
    assert not [name for name in (*named, *usage.tasks()) if f"`{name}`" not in page]


def test_a_page_without_a_place_is_told() -> None:
    with pytest.raises(ValueError, match="no place for picture"):
        parts.replaced("# Architecture\n", {"picture": ""})


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_program_that_is_started_is_given_its_environment(path: Path) -> None:
    """Named where it is started, so that none is given ours by default."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
            assert "env" in [word.arg for word in node.keywords], f"{path}:{node.lineno}"


def test_the_glossary_has_each_word_once_and_names_files_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Glossary")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len({word for word, *_ in rows}) == len(rows) > 15
    for word, _, where in rows:
        file = PACKAGE / where.strip("`")
        assert file.is_file() and word.split()[-1].lower() in file.read_text(encoding="utf-8").lower(), (word, where)
