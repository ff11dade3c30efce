"""Sen2Cor: the user's own, or installed into the data folder, once its licence has been accepted."""

from __future__ import annotations

import logging
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from ben_luigi import config
from ben_luigi.configuration.kinds import Declared
from ben_luigi.domain import files
from ben_luigi.domain.cdse.account import has_terminal
from ben_luigi.domain.errors import Sen2CorError
from ben_luigi.domain.fetching import sen2cor_installer
from ben_luigi.domain.products import sen2cor
from ben_luigi.stages.prerequisites import ALSO_BEFORE_LARGE, FIRST
from ben_luigi.stages.product_list import is_from_l1c
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.sample_world import MakeSampleWorld, is_stand_in_ours, sample_world, write_stand_in
from ben_luigi.stages.task import PipelineTask
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
STAND_IN = "stand-in"
"""The version of Sen2Cor on the sample world."""
_FOLDER = "sen2cor"
_ACCEPTED, _DECLINED = "accepted", "declined"
LICENCE_QUESTION = (
    f"Sen2Cor {sen2cor.VERSION} is to be installed into the data folder. It is ESA's, given out under the terms on\n"
    f"{sen2cor_installer.LICENCE}\nDo you accept them?"
)
"""What a person is asked once."""


class InstallSen2Cor(PipelineTask):
    """Sen2Cor 2.11 from ESA's installer, in `sen2cor/` of the data folder; its licence is asked for once."""

    priority = FIRST

    def settings(self) -> dict[str, Any]:
        """The installer."""
        return {"installer": sen2cor_installer.INSTALLER.pin}

    def output(self) -> MadeFile:
        """A note that says where the program is, published last."""
        return self.file(f"{_FOLDER}/installed.json")

    def is_there(self) -> bool:
        """Whether the program is there, not only the note."""
        return super().is_there() and _installed().is_file()

    def make(self) -> None:
        """Fetch the installer, verify it, and run it; one that is there already is verified only."""
        require_licence()
        folder = _installed().parents[1]
        files.withdraw(folder)
        program = sen2cor_installer.install(
            folder,
            pinned=sen2cor_installer.INSTALLER,
            log=folder.parent / "install.log",
            progress=Progress(self, "fetching the installer of Sen2Cor", "B").at,
        )
        files.write_json(self.output().file, {"program": str(program), "version": sen2cor.VERSION})


class FindSen2Cor(Declared):
    """The program `L2A_Process`, of the version that made the published data; on the sample world its stand-in."""

    def requires(self) -> Any:
        """The sample world brings its own; where there is none, it is installed."""
        if config.is_sample():
            return [MakeSampleWorld()]
        return [InstallSen2Cor()] if is_installed_by_us() else []

    def complete(self) -> bool:
        """Return whether it exists and states the right version; the stand-in, whether it is that of this Python."""
        if _is_stand_in():
            return is_stand_in_ours()
        try:
            require_sen2cor()
        except Sen2CorError:
            return False
        return True

    def run(self) -> None:
        """Raise the error that says what to fetch and where to put it; write the stand-in anew."""
        if _is_stand_in():
            write_stand_in()
        require_sen2cor()


def _is_stand_in() -> bool:
    return executable_name() == str(sample_world().l2a_process)


def is_installed_by_us() -> bool:
    """Whether the user has no Sen2Cor, neither named in [sen2cor] nor on PATH: then it is installed."""
    return not (config.is_sample() or config.sen2cor().executable or shutil.which(sen2cor.PROGRAM))


def _installed() -> Path:
    """Where the program is, or will be, that is installed by us."""
    return config.data_dir() / _FOLDER / sen2cor.VERSION / "bin" / sen2cor.PROGRAM


def _licence(answer: str) -> Path:
    return config.data_dir() / _FOLDER / f"licence_{answer}.json"


def is_licence_required() -> bool:
    """Whether somebody has to accept the licence of Sen2Cor before it can be installed."""
    accepted = config.sen2cor().accept_licence or _licence(_ACCEPTED).exists()
    return is_installed_by_us() and not accepted and not InstallSen2Cor().complete()


def is_licence_question() -> bool:
    """Whether a run asks for the licence: it is required, nobody has declined it, and there is a terminal."""
    return is_licence_required() and not _licence(_DECLINED).exists() and has_terminal()


def answer_licence(is_accepted: bool) -> None:
    """Keep what a person has answered, so that nobody is asked again."""
    path = _licence(_ACCEPTED if is_accepted else _DECLINED)
    files.write_json(path, {"program": f"Sen2Cor {sen2cor.VERSION}", "licence": sen2cor_installer.LICENCE})


def require_licence() -> None:
    """Sen2CorError with what to do if the licence has to be accepted yet."""
    if not is_licence_required():
        return
    declined = _licence(_DECLINED)
    if declined.exists():
        found = "it was declined at a terminal"
        remedy = f"set [sen2cor] accept_licence = true, or its executable; remove {declined} to be asked again"
    else:
        found = "nobody has been asked yet"
        remedy = "run at a terminal, which asks once; or set [sen2cor] accept_licence = true, or its executable"
    raise Sen2CorError(
        f"Sen2Cor {sen2cor.VERSION}",
        expected=f"that you accept ESA's licence ({sen2cor_installer.LICENCE}), for it to be installed",
        found=found,
        remedy=remedy,
    )


def require_sen2cor() -> None:
    """Raise Sen2CorError, with what to do, if the program is missing or has another version."""
    program = sen2cor.find_executable(executable_name())
    found = _version(program, program.stat().st_mtime_ns)
    if found in ("", sen2cor.VERSION) or config.sen2cor().any_version:
        return
    raise Sen2CorError(
        program,
        expected=f"Sen2Cor {sen2cor.VERSION}, which made the published data",
        found=f"version {found}",
        remedy="ben-luigi install-sen2cor installs it; [sen2cor] any_version = true takes this one all the same",
    )


def require_sen2cor_or_licence() -> None:
    """What stands in the way of Sen2Cor before a run: the program is not there, or its licence is to be accepted."""
    if is_installed_by_us():
        require_licence()
    else:
        require_sen2cor()


@lru_cache(maxsize=4)
def _version(program: Path, changed_ns: int) -> str:
    """Return the version, such as `2.11`; empty, with a warning, if the program does not state it."""
    try:
        facts = sen2cor.version(str(program))
    except Sen2CorError as error:
        _log.warning("the version of Sen2Cor is not known: %s", error)
        return ""
    return ".".join(str(int(number)) for number in facts.split(".")[:2])


def sen2cor_version() -> str:
    """Return the version of Sen2Cor, such as `2.11`; "stand-in" on the sample world, empty if it is unknown."""
    program = sen2cor.find_executable(executable_name())
    return STAND_IN if config.is_sample() else _version(program, program.stat().st_mtime_ns)


def executable_name() -> str:
    """Return what to run for a conversion."""
    if config.is_sample():
        return str(sample_world().l2a_process)
    return str(_installed()) if is_installed_by_us() else str(config.sen2cor().executable)


ALSO_BEFORE_LARGE.append(lambda: [FindSen2Cor()] if is_from_l1c() else [])
