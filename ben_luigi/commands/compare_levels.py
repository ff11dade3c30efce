"""`ben-luigi compare-levels FILE...`: measure time, size and ratio of each zstd level on your own files.

They are compressed as the archives are, by one core, in frames of 8 MiB; nothing is written. The last column is the
number of files that a quick search packs as well as the level's own search. The pipeline's level is `[archive] level`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ben_luigi.commands import command
from ben_luigi.commands.arguments import compare_levels as parser
from ben_luigi.domain import given
from ben_luigi.domain.errors import BadArgument, PipelineError
from ben_luigi.domain.formats import levels


def main(arguments: Sequence[str]) -> int:
    """Print a table, one row per level."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        files = [*_files(options.paths)]
        total = sum(path.stat().st_size for path in files)
        if not total:
            named = ", ".join(map(str, options.paths))
            raise BadArgument(named, expected="files with content", found="none", remedy="name others")
        print(f"{len(files)} files, {total:,} bytes")
        print(f"{'level':>5} {'seconds':>9} {'MB/s':>9} {'bytes':>16} {'ratio':>7} {'quick':>6}")
        for level in options.levels:
            print(levels.compress(files, level).line(), flush=True)
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    return 0


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named, and those below folders. Nobody may ever write into a FIFO: it is refused or left out."""
    for path in paths:
        if path.is_dir():
            yield from (one for one in sorted(path.rglob("*")) if given.kind(one) == given.FILE)
        else:
            command.require_file(path, "a file or folder")
            yield path
