"""Replace the parts of a page that are made from the code; each is between two comments with its name."""

from __future__ import annotations

from collections.abc import Mapping


def replaced(page: str, made: Mapping[str, str]) -> str:
    """Return the page with the parts in `made` replaced. Raise ValueError if it has no place for one."""
    for name, text in made.items():
        first, last = f"<!-- {name}: made from the code -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = page.partition(first)
        _, found, after = rest.partition(last)
        if not found:
            raise ValueError(f"no place for {name} in the page")
        page = f"{before}{first}\n{text}\n{last}{after}"
    return page
