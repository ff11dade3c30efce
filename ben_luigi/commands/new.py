"""`ben-luigi new NAME`: write a recipe to start from, NAME.toml, with comments on every choice.

`--like RECIPE` starts from a packaged recipe instead. Nothing that exists is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import new as parser
from ben_luigi.domain import files
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError
from ben_luigi.domain.recipe import template
from ben_luigi.exit_codes import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Write the recipe, and print what to do next."""
    used = parser()
    options = used.parse_args(arguments)
    path = options.folder / f"{options.name}.toml"
    try:
        text = template.text(options.name, config.TRACKED_ARTIFACTS, options.like)
        if os.path.lexists(path):
            raise BadArgument(
                path, expected="nothing there yet", found="a file", remedy="choose another NAME, or move it"
            )
        files.write_text(path, text)
    except BadName as error:
        return command.refuse(used, error)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    print(f"{path} is written: change what you like, then type: ben-luigi plan --recipe {path}")
    return ExitCode.DONE
