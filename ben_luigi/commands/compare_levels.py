"""`ben-luigi compare-levels FILE...`: measure time, size and ratio of each zstd level on your own files.

They are compressed as the archives are, by one core, in frames of 8 MiB; nothing is written. The last column is the
number of files that a quick search packs as well as the level's own search. The pipeline's level is `[archive] level`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi.commands import command
from ben_luigi.commands.arguments import compare_levels as parser
from ben_luigi.domain.errors import BadInput
from ben_luigi.domain.formats import levels


def main(arguments: Sequence[str]) -> int:
    """Print a table, one row per level."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        found = [path for given in options.paths for path in (sorted(given.rglob("*")) if given.is_dir() else [given])]
        files = [path for path in found if not path.is_dir()]
        total = sum(path.stat().st_size for path in files)
        if not total:
            given = ", ".join(map(str, options.paths))
            return command.refuse(
                used, BadInput(given, expected="files with content", found="none", remedy="name others")
            )
        print(f"{len(files)} files, {total:,} bytes")
        print(f"{'level':>5} {'seconds':>9} {'MB/s':>9} {'bytes':>16} {'ratio':>7} {'quick':>6}")
        for level in options.levels:
            print(levels.compress(files, level).line(), flush=True)
    except OSError as error:
        return command.refuse(used, error)
    return 0
