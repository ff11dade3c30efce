"""`ben-luigi hash-folder FOLDER [LIST]`: list the sha256 of all TIFFs below a folder, as in the published lists."""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi.commands import command
from ben_luigi.commands.arguments import hash_folder as parser
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.formats import hashes


def main(arguments: Sequence[str]) -> int:
    """Write the list, and print its length and its sha256."""
    used = parser()
    options = used.parse_args(arguments)
    folder = options.folder.absolute()
    try:
        command.require_folder(folder, "a folder of TIFFs", "correct the path", is_given=True)
        path = options.list or command.beside(folder, ".csv")
        rows = hashes.of_folder(folder, options.processes)
        sha256 = hashes.write_list(rows, path)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    print(f"{path}: {len(rows)} files; sha256 of the list {sha256}")
    return 0
