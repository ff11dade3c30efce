"""What tells that code has changed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from ben_luigi.domain import files
from ben_luigi.domain.dataset import leakage, metadata
from ben_luigi.domain.placement import alignment, blocks, country, grid, v1_geometry
from ben_luigi.domain.products import product
from ben_luigi.domain.tiles import nomenclature
from ben_luigi.stages import atmosphere, placement, reference_maps
from ben_luigi.stages import leakage as leakage_stage
from ben_luigi.stages import metadata as metadata_stage
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state import code

MADE_BY: list[tuple[type[PipelineTask], Callable[..., object]]] = [
    (atmosphere.ReadProduct, product.read_product),
    (atmosphere.ReadProduct, alignment.season),
    (placement.GridPatches, grid.PatchGrid.table),
    (placement.AssignSplits, grid.PatchGrid.splits),
    (placement.AssignSplits, blocks.splits),
    (placement.AssignCountries, country.countries),
    (placement.AlignPatches, alignment.align),
    (placement.AlignPatches, v1_geometry.read),
    (reference_maps.LabelPatches, nomenclature.read_nomenclature),
    (metadata_stage.MapV1Names, alignment.findings),
    (metadata_stage.WriteMetadata, metadata.join),
    (leakage_stage.FindSplitLeakage, leakage.overlaps),
]
"""Tasks that take seconds, and the functions that compute what they write."""


def forget() -> None:
    """What a process remembers, since code does not change while it runs."""
    code._version.cache_clear()
    code._file_hash.cache_clear()


def test_a_hash_of_other_code_and_templates_but_of_nothing_that_is_compiled(tmp_path: Path) -> None:
    def version() -> str:
        forget()
        return code.code_version(tmp_path / "report", tmp_path / "colours.toml")

    page, compiled = tmp_path / "report" / "templates" / "page.html", tmp_path / "report" / "__pycache__" / "page.pyc"
    for path in (page, compiled, tmp_path / "colours.toml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    first = version()
    compiled.write_text("two")
    assert version() == first
    page.write_text("two")
    assert version() != first
    page.write_text("one")
    assert version() == first
    (tmp_path / "colours.toml").write_text("two")
    assert version() != first


def test_a_module_stands_for_all_of_the_domain_that_it_imports() -> None:
    imported = {path.name for path in code._imported(Path(country.__file__ or ""))}
    assert {"grid.py", "errors.py"} <= imported
    assert code.code_version(country) != code.code_version(grid)


def test_imports_are_those_that_python_sees() -> None:
    for path in code._PACKAGE.rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(code._DOMAIN):
                names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        files_of = (code._PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names)
        assert set(code._imported(path)) == {file for file in files_of if file.is_file()}, path


@pytest.mark.parametrize(("task", "function"), MADE_BY)
def test_a_task_of_seconds_is_made_again_when_the_code_that_computes_it_changes(
    task: type[PipelineTask], function: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, hashed = Path(inspect.getfile(inspect.unwrap(function))), files.file_hash
    forget()
    before = task.code and code.code_version(*task.code)
    monkeypatch.setattr(files, "file_hash", lambda path: "another" if path == changed else hashed(path))
    forget()
    after = task.code and code.code_version(*task.code)
    forget()
    assert before != after


def test_the_versions_name_the_code_and_the_libraries_that_write_bytes() -> None:
    assert {"ben_luigi", "code", "GDAL", "GEOS", "PROJ", "libzstd", "numpy"} <= set(code.versions())
