"""Rewrite those parts of `docs/` that are made from the code: `python -m ben_luigi.documentation`."""

from __future__ import annotations

from ben_luigi.configuration import table
from ben_luigi.documentation import architecture, parts

if __name__ == "__main__":
    for page, made in (("architecture.md", architecture.text()), ("configuration.md", {"options": table.text()})):
        path = architecture.ROOT / "docs" / page
        path.write_text(parts.replaced(path.read_text(encoding="utf-8"), made), encoding="utf-8")
