"""`ben-luigi install-sen2cor FOLDER [FILE]`: fetch the installer of Sen2Cor 2.11, verify it by its hash, and run it.

Then it says what to write into the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi.commands import command
from ben_luigi.commands.arguments import install_sen2cor as parser
from ben_luigi.domain.errors import PipelineError
from ben_luigi.domain.fetching.sen2cor_installer import install
from ben_luigi.domain.products import sen2cor


def main(arguments: Sequence[str]) -> int:
    """Install, and say how to go on."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        program = install(options.folder, options.file)
        version = sen2cor.version(str(program))
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    print(f"Sen2Cor {version} is installed. Write into your configuration:\n")
    print(f"[sen2cor]\nexecutable = {program}")
    return 0
