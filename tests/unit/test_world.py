"""`--world` and `--recipe` of a command line: what is taken, and what is refused."""

from __future__ import annotations

import pytest

from ben_luigi.commands import world
from ben_luigi.domain.errors import BadName


@pytest.mark.parametrize(
    ("words", "option"),
    [(["--recipe"], "--recipe"), (["--recipe="], "--recipe"), (["--json", "--dataset-recipe", ""], "--dataset-recipe")],
)
def test_an_option_that_names_no_recipe_is_refused(words: list[str], option: str) -> None:
    """It would silently stand for the default one, whatever the configuration says."""
    with pytest.raises(BadName, match=rf"{option}; expected: the name or path of a recipe; found: nothing; next: "):
        world.take(words)
