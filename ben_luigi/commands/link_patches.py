"""`ben-luigi link-patches LIST FOLDER`: link the patches in a list into a folder, in the layout of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import link_patches as parser
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain.dataset import links
from ben_luigi.domain.errors import PipelineError


def main(arguments: Sequence[str]) -> int:
    """Link the patches, and print their number."""
    used = parser()
    options = used.parse_args(arguments)
    source = options.source or _exported()
    try:
        command.require_file(options.list, "a list of patch ids")
        remedy = "correct --from, or make it: ben-luigi export --tile"
        command.require_folder(source, "the folder of patches", remedy, is_given=bool(options.source))
        number = links.link(links.read_list(options.list), source, options.folder)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    print(f"{number} patches of {source} are linked in {options.folder}")
    return 0


def _exported() -> Path:
    configure(writes=False)
    return config.data_dir() / "export"
