"""Fill the templates of the report's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).with_name("templates")


def environment() -> jinja2.Environment:
    """Return the templates, with the filters that they use."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(
        number=lambda value: f"{value:,}",
        figure=lambda text: f"{int(text):,}" if text.isdigit() and len(text) < 12 else text,
        day=lambda time: f"{time.day} {time:%B %Y}",
        css=lambda colour: "#{:02x}{:02x}{:02x}".format(*colour),
        shade=lambda fraction: f"background:rgb(var(--shade)/{fraction:.2f})" if fraction >= 0.005 else "",
        setting=_setting,
    )
    return templates


def write(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the report, in a folder that need not exist."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _setting(value: Any) -> str:
    """Return a setting in words: yes or no, a text, or several by name."""
    if isinstance(value, dict):
        return "; ".join(f"{name} = {_setting(said)}" for name, said in value.items()) or "none"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))
