"""Note what commands find damaged, so that the next run makes it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ben_luigi import config
from ben_luigi.domain.errors import DamagedFile, PipelineError
from ben_luigi.stages import finalize
from ben_luigi.state import cache
from ben_luigi.state.locks import data_folder

NOT_NOTED = (
    "remove what is named there, and run again: this user cannot note it in the data folder, or a run is under way"
)
_RUN, _EXPORT = "run again: it is made again", "export this form again: ben-luigi export --help"


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """Have a folder whole as `cache.whole` does; of what the store has damaged, raise DamagedFile once it is noted."""
    with ExitStack() as stack:
        try:
            stack.enter_context(cache.whole(folder))
        except DamagedFile as error:
            following = _EXPORT if finalize.is_of_form(error.file) else _RUN
            remedy = following if note([error]) else NOT_NOTED
            raise DamagedFile(error.file, expected=error.expected, found=error.found, remedy=remedy) from error
        yield


def note(damaged: Sequence[DamagedFile]) -> bool:
    """Have the next run make again what is damaged, and verify the rest; return whether that could be noted.

    A run that is under way may be replacing these very files, so nothing is noted then.
    """
    try:
        with data_folder.alone_in(config.data_dir()) as is_alone:
            if is_alone:
                finalize.withdraw(damaged)
            return is_alone
    except (PipelineError, OSError):  # the folder is read-only, or another user's
        return False
