"""What tells that code has changed."""

from __future__ import annotations

from pathlib import Path

from ben_luigi.domain.placement import country, grid
from ben_luigi.state import code


def test_a_hash_of_other_code_and_templates_but_of_nothing_that_is_compiled(tmp_path: Path) -> None:
    def version() -> str:
        code._version.cache_clear()
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


def test_the_versions_name_the_code_and_the_libraries_that_write_bytes() -> None:
    assert {"ben_luigi", "code", "GDAL", "GEOS", "PROJ", "libzstd", "numpy"} <= set(code.versions())
