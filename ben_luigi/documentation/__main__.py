"""Rewrite what is made from the code, parts of `docs/` and the table of tasks: `python -m ben_luigi.documentation`."""

from __future__ import annotations

from ben_luigi.commands import tabling
from ben_luigi.configuration import table
from ben_luigi.documentation import architecture, parts

if __name__ == "__main__":
    for page, made in (("architecture.md", architecture.text()), ("configuration.md", {"options": table.text()})):
        path = architecture.ROOT / "docs" / page
        path.write_text(parts.replaced(path.read_text(encoding="utf-8"), made), encoding="utf-8")
    tabling.write()
