"""Make the text of a new recipe, from the commented template or from a packaged recipe."""

from __future__ import annotations

import re
from pathlib import Path

from ben_luigi.domain.errors import BadName
from ben_luigi.domain.recipe import reading
from ben_luigi.domain.recipe.declared import NAME
from ben_luigi.domain.recipe.rules import is_reserved

TEMPLATE = "recipe_template.toml"
_HEAD = r'(?m)^{key} = (?:"""(?:.|\n)*?"""|"[^"\n]*")'


def text(name: str, artifacts: Path, like: str = "") -> str:
    """Return a recipe of this name; `like` names the packaged recipe to start from.

    Raise BadName if a recipe cannot have this name.
    """
    if not re.fullmatch(NAME, name) or is_reserved(name):
        raise BadName(
            f"recipe {name}",
            expected="2 to 62 lower-case letters, digits, dots and hyphens, and no name of BigEarthNet v2",
            found="another name",
            remedy="choose another one, such as my-region",
        )
    known = reading.packaged(artifacts)
    if like and like not in known:
        raise BadName(f"recipe {like}", expected=f"one of {', '.join(known)}", found="another", remedy="correct --like")
    path = known.get(like, artifacts / TEMPLATE)
    content = path.read_text(encoding="utf-8")
    for key, value in {"name": name, "title": name, "citation": ""}.items():
        content = re.sub(_HEAD.format(key=key), f'{key} = "{value}"', content, count=1)
    return content
