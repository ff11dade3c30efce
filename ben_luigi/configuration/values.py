"""Find the value of an option that the files give together, with the variables of the environment in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ben_luigi.configuration.files import ConfigFile, Entry
from ben_luigi.domain.findings import NotAllowed, nearest

_FROM_ENVIRONMENT = re.compile(r"\$\{([^}]+)\}")


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """Return a value with the variables `${NAME}` in it replaced. Raise NotAllowed if one is not set."""
    for name in _FROM_ENVIRONMENT.findall(text):
        if name not in environment:
            raise NotAllowed(
                f"no variable {name} in the environment",
                nearest(name, environment),
                "variables that are set; export it, or write the value",
            )
    return _FROM_ENVIRONMENT.sub(lambda found: environment[found[1]], text)


def last_entries(files: Sequence[ConfigFile]) -> dict[tuple[str, str], Entry]:
    """Return the entry of each option that counts, by section and option: that of the last file."""
    return {(entry.section, entry.option): entry for file in files for entry in file.entries}
