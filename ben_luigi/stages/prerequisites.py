"""What has to be there first: the sample world, inputs that are fetched, and what only a person can provide.

A prerequisite that a person must provide is a task that is complete when it is there, and else fails with what to
fetch, from where, and where to put it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi

from ben_luigi import config
from ben_luigi.domain import files, inputs
from ben_luigi.domain.cdse.account import Credentials, find_credentials
from ben_luigi.domain.cdse.errors import CredentialsError
from ben_luigi.domain.dataset import version1
from ben_luigi.domain.errors import BadInput, BadName, Sen2CorError, some
from ben_luigi.domain.products import sen2cor
from ben_luigi.sample.layout import World
from ben_luigi.sample.scenes import SIDE_M
from ben_luigi.sample.world import make_world
from ben_luigi.stages.progress import Progress
from ben_luigi.state.targets import MadeFile

_log = logging.getLogger(__name__)
PINNED = config.TRACKED_ARTIFACTS / "inputs.toml"
SAMPLE_ACCOUNT = Credentials("sample", "sample")


def side_m() -> int:
    """Side of a tile in metres; the sample world's tiles are small."""
    return SIDE_M if config.is_sample() else config.tile().side_m


def sample_world() -> World:
    """Where the sample world is, or will be."""
    return World(config.data_dir() / "sample")


class MakeSampleWorld(luigi.Task):
    """The small world on which the pipeline runs by default."""

    def output(self) -> MadeFile:
        """The folder of the world."""
        return MadeFile("sample", {"layout": 1})

    def run(self) -> None:
        """Make it, in one rename."""
        folder = self.output().file
        files.remove(folder)
        make_world(folder, Progress(self, "the sample world"))
        self.output().record(files.file_hash(sample_world().catalogue))


class FetchInput(luigi.Task):
    """A pinned input, fetched and verified: `option` is its name in [inputs]."""

    option = luigi.Parameter(description="name of the option in [inputs]")

    def output(self) -> list[MadeFile]:
        """The files of the input."""
        folder = _folder(str(self.option))
        return [MadeFile(f"{folder}/{file.file}", {"url": file.url}) for file in self._pinned()]

    def run(self) -> None:
        """Fetch what is missing."""
        for target, file in zip(self.output(), self._pinned(), strict=True):
            inputs.fetch(file, target.file.parent, Progress(self, f"fetching {file.file}", "B").at)
            target.record(file.sha256 or file.git_blob)

    def _pinned(self) -> tuple[inputs.PinnedFile, ...]:
        pinned = inputs.read_pinned(PINNED)
        if self.option not in pinned:
            known = some(pinned, 50)
            raise BadName(
                f"input {self.option}", expected=f"one of {known}", found="another", remedy="correct --option"
            )
        return pinned[str(self.option)]


class GivenInput(luigi.Task):
    """An input whose path the user gives in [inputs]; it fails with what to do while there is nothing there."""

    option = luigi.Parameter(description="name of the option in [inputs]")

    def complete(self) -> bool:
        """Whether something is at the path given."""
        path = config.given_input(str(self.option))
        return path is not None and path.exists()

    def run(self) -> None:
        """Say what is missing."""
        pinned = inputs.read_pinned(PINNED).get(str(self.option), (None,))
        inputs.require(str(self.option), config.given_input(str(self.option)) or Path(), pinned[0])


class ExtractV1Metadata(luigi.Task):
    """Geometries and labels of BigEarthNet v1, from the patches in `[inputs] v1_s2_dir`."""

    def requires(self) -> Any:
        """The patches."""
        return GivenInput(option="v1_s2_dir")

    def output(self) -> MadeFile:
        """The folder of the files."""
        return MadeFile("inputs/v1_metadata", {"v1_s2_dir": str(config.given_input("v1_s2_dir"))})

    def run(self) -> None:
        """Read each patch's JSON."""
        target = self.output()
        files.remove(target.file)
        with files.published(target.file) as work:
            work.mkdir()
            patches = version1.extract(input_path("v1_s2_dir"), work, Progress(self, "metadata of BigEarthNet v1"))
        _log.info("geometries and labels of %d patches of BigEarthNet v1 are in %s", patches, target.file)
        target.record(files.file_hash(target.file / version1.LABELS))


def _from_v1(option: str) -> bool:
    """Whether the input is made from the user's BigEarthNet-S2 v1.0."""
    return option == "v1_spatial_dir" and config.given_input("v1_s2_dir") is not None


def input_task(option: str) -> luigi.Task:
    """The task that provides the input `option` of [inputs]."""
    if _from_v1(option):
        return ExtractV1Metadata()
    if config.given_input(option) is not None:
        return GivenInput(option=option)
    if config.is_sample():
        return MakeSampleWorld()
    pinned = inputs.read_pinned(PINNED).get(option)
    return GivenInput(option=option) if not pinned or pinned[0].by_hand else FetchInput(option=option)


def input_path(option: str) -> Path:
    """Where the input `option` is, once its task is complete: a file, or a folder for the options named `_dir`."""
    if _from_v1(option):
        return ExtractV1Metadata().output().file
    given = config.given_input(option)
    if given is not None:
        return given
    if config.is_sample():
        path: Path = getattr(sample_world(), option)
        return path
    folder = config.data_dir() / _folder(option)
    return folder if option.endswith("_dir") else folder / inputs.read_pinned(PINNED)[option][0].file


def input_origin(option: str) -> str:
    """What a target that is made from the input records of it: the path given, or that it is the sample's or pinned."""
    given = config.given_input("v1_s2_dir" if _from_v1(option) else option)
    return str(given) if given is not None else "sample" if config.is_sample() else "pinned"


def optional_input(option: str) -> Path | None:
    """A pinned input that the work can do without: fetched now if need be, None if it cannot be had."""
    if config.is_sample() and config.given_input(option) is None:
        return None
    task = input_task(option)
    try:
        if not task.complete():
            task.run()
    except BadInput:
        return None
    return input_path(option)


def _folder(option: str) -> str:
    return f"inputs/{option}" if option.endswith("_dir") else "inputs"


class FindSen2Cor(luigi.Task):
    """The program `L2A_Process`, of the version that made the published data; on the sample world its stand-in."""

    def requires(self) -> Any:
        """The sample world brings its own."""
        return [MakeSampleWorld()] if config.is_sample() else []

    def complete(self) -> bool:
        """Whether it is found and says the right version."""
        try:
            self.run()
        except Sen2CorError:
            return False
        return True

    def run(self) -> None:
        """Say what to fetch and where to put it."""
        program = sen2cor.find_executable(executable_name())
        found = _version(program, program.stat().st_mtime_ns)
        if found in ("", sen2cor.VERSION) or config.sen2cor().any_version:
            return
        raise Sen2CorError(
            program,
            expected=f"Sen2Cor {sen2cor.VERSION}, which made the published data",
            found=f"version {found}",
            remedy="scripts/install-sen2cor installs it; [sen2cor] any_version = true takes this one all the same",
        )


@lru_cache(maxsize=4)
def _version(program: Path, changed_ns: int) -> str:
    """As `2.11`; empty, with a warning, if the program does not say."""
    try:
        said = sen2cor.version(str(program))
    except Sen2CorError as error:
        _log.warning("the version of Sen2Cor is not known: %s", error)
        return ""
    return ".".join(str(int(number)) for number in said.split(".")[:2])


def sen2cor_version() -> str:
    """The version of Sen2Cor that is used, as `2.11`; "stand-in" on the sample world, empty if it is not known."""
    program = sen2cor.find_executable(executable_name())
    return "stand-in" if config.is_sample() else _version(program, program.stat().st_mtime_ns)


def executable_name() -> str:
    """What to run for a conversion."""
    return str(sample_world().l2a_process) if config.is_sample() else str(config.sen2cor().executable)


class FindAccount(luigi.Task):
    """User and password at CDSE."""

    def complete(self) -> bool:
        """Whether both are given; whether they are right shows when they are used."""
        try:
            account()
        except CredentialsError:
            return False
        return True

    def run(self) -> None:
        """Say how to get and to give an account."""
        try:
            account()
        except CredentialsError as error:
            raise CredentialsError(
                error.subject,
                expected=error.expected,
                found=error.found,
                remedy=f"register at https://dataspace.copernicus.eu; {error.remedy}; or give the products in "
                "[inputs] l1c_dir or l2a_dir, for which no account is needed",
            ) from error


def account() -> Credentials:
    """User and password at CDSE; on the sample world those of its own server. CredentialsError if there are none."""
    if config.is_sample():
        return SAMPLE_ACCOUNT
    return _own_account(Path(str(config.cdse().credentials)).expanduser(), urlsplit(config.token_url()).hostname or "")


@lru_cache(maxsize=1)
def _own_account(file: Path, host: str) -> Credentials:
    """Asked for once: what was typed in is remembered by this process, and by the workers that it forks."""
    return find_credentials(config.account_environment(), file, host)
