"""Provide the prerequisites: inputs that are fetched, and inputs that only a person can provide.

A prerequisite that a person must provide is a task that is complete when it exists, and otherwise fails with a message
that says what to fetch, from where, and where to put it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import luigi

from ben_luigi import config
from ben_luigi.configuration.kinds import Declared, PathName
from ben_luigi.configuration.sections import options_of
from ben_luigi.domain import files, inputs
from ben_luigi.domain.dataset import version1
from ben_luigi.domain.errors import BadInput, BadName, DamagedFile, PipelineError, some
from ben_luigi.domain.fetching import pinned
from ben_luigi.domain.placement import alignment, country
from ben_luigi.domain.products import published_products
from ben_luigi.domain.progress import OnBytes, ignore_bytes
from ben_luigi.domain.recipe.model import FROM_V1
from ben_luigi.stages.land_key import fetch_by_key, is_fetched_by_key
from ben_luigi.stages.land_source import check_land_cover
from ben_luigi.stages.progress import Progress
from ben_luigi.stages.sample_world import NEEDED as NEEDED
from ben_luigi.stages.sample_world import MakeSampleWorld as MakeSampleWorld
from ben_luigi.stages.sample_world import in_sample_world, made_up
from ben_luigi.stages.task import Digests, PipelineTask
from ben_luigi.state import contents
from ben_luigi.state.targets import MadeFile, MadeFolder

_log = logging.getLogger(__name__)
_CHECKS: dict[str, Callable[[Path], object]] = {
    "clc_gpkg": check_land_cover,
    "countries_geojson": lambda path: country.read_borders(path, config.recipe().countries),
    "v1_spatial_dir": alignment.check_v1,
}
"""What looks through an input that is given, before the run; each remembers in this process what it has found."""

_TRY_AGAIN_S = 86_400.0
PINNED, PRODUCTS = (config.TRACKED_ARTIFACTS / name for name in ("inputs.toml", "products.csv"))
_LARGE_BYTES = 10**9
FIRST = 100
"""The priority of what is fetched before anything large is: higher than that of any step."""


def needed() -> list[str]:
    """The options of [inputs] that this run takes, by its recipe; no GeoPackage where a service has the polygons."""
    recipe = config.recipe()
    left_out = {
        "clc_gpkg": config.land_cover_from_service(),
        "countries_geojson": recipe.countries.file is None,
        **dict.fromkeys(("v1_spatial_dir", "snow_csv", "cloud_csv"), not recipe.is_aligned),
        **dict.fromkeys(("s1_dir", "s1s2_mapping_csv"), recipe.sentinel1.source != FROM_V1),
    }
    return [option for option in NEEDED if not left_out[option]]


def _check_option(option: str, known: Iterable[str]) -> None:
    """Raise BadName unless `option`, given as `--option`, is one of those known."""
    if option not in (listed := [*known]):
        raise BadName(
            f"input {option}", expected=f"one of {some(listed, 50)}", found="another", remedy="correct --option"
        )


def _paths() -> list[str]:
    """Return the options of [inputs] that are paths."""
    return [name for name, kind in options_of(config.inputs).items() if isinstance(kind, PathName)]


class FetchInput(PipelineTask):
    """A pinned input, fetched and verified: `option` is its name in [inputs]."""

    option: str = luigi.Parameter(description="name of the option in [inputs]")

    def check_arguments(self) -> None:
        """Raise BadName unless the input is a pinned one."""
        self._pinned()

    def requires(self) -> Any:
        """Of what is large, all else that is needed: it is not fetched for a run that cannot come to its end."""
        return before_large(self.option) if self.is_large() else []

    def made_of(self) -> list[PipelineTask]:
        """Nothing: the pins prove it."""
        return []

    def settings(self) -> dict[str, Any]:
        """Return the pins."""
        return {"pinned": [file.pin for file in self._pinned()]}

    @property
    def priority(self) -> int:  # type: ignore[override]  # Luigi takes both
        """What is small comes before all else, so that nothing large is fetched while it is not known to be there."""
        return 0 if self.is_large() else FIRST

    def is_large(self) -> bool:
        """Whether it takes hours to fetch."""
        return self.usual_bytes() > _LARGE_BYTES

    def usual_bytes(self) -> int:
        """About how many bytes it has, where that is much."""
        return sum(file.usual_bytes for file in self._pinned())

    def output(self) -> dict[str, MadeFile]:
        """Return the files of the input."""
        return {file.file: self.file(f"{_folder(self.option)}/{file.file}") for file in self._pinned()}

    def make(self) -> None:
        """Fetch what is missing."""
        fetch = fetch_by_key if is_fetched_by_key(self.option) else _fetch
        for file in self._pinned():
            fetch(file, self.output()[file.file].file.parent, Progress(self, f"fetching {file.file}", "B").at)

    def _pinned(self) -> tuple[inputs.PinnedFile, ...]:
        table = inputs.read_pinned(PINNED)
        _check_option(self.option, table)
        return table[self.option]


def _fetch(file: inputs.PinnedFile, folder: Path, progress: OnBytes = ignore_bytes) -> None:
    """Write it from the table of products, if it follows from that; else fetch it. The hash decides."""
    text = published_products.lists(published_products.read_products(PRODUCTS)).get(file.file)
    if text is not None:
        files.write_text(folder / file.file, text)
    pinned.fetch(file, folder, progress)


ALSO_BEFORE_LARGE: list[Callable[[], list[luigi.Task]]] = []
"""What else must be known to be there before anything large is fetched: modules below add theirs."""


def before_large(option: str = "") -> list[luigi.Task]:
    """What must be there before anything large is fetched: the other inputs, Sen2Cor, and so on."""
    others = [input_source(other) for other in needed() if other != option]
    small = [task for task in others if not (isinstance(task, FetchInput) and task.is_large())]
    return [*dict.fromkeys(small), *(task for tasks in ALSO_BEFORE_LARGE for task in tasks())]


class GivenInput(Declared):
    """An input whose path the user gives in [inputs]; it fails with what to do while nothing usable is there."""

    option: str = luigi.Parameter(description="name of the option in [inputs]")

    def check_arguments(self) -> None:
        """Raise BadName unless [inputs] has this option, and it is a path."""
        _check_option(self.option, _paths())

    def complete(self) -> bool:
        """Return whether the path exists, and is usable as far as can be checked in seconds."""
        try:
            require_given(self.option)
        except PipelineError:
            return False
        return True

    def run(self) -> None:
        """Raise the error about what is missing or wrong."""
        require_given(self.option)


def _pins(option: str) -> tuple[inputs.PinnedFile, ...]:
    """Return the pinned files of an input; none where the recipe names another file in its place."""
    return () if config.is_of_recipe(option) else inputs.read_pinned(PINNED).get(option, ())


def require_given(option: str) -> None:
    """Raise PipelineError, with what to do, if nothing usable is at the path that [inputs] gives."""
    pinned = _pins(option)
    path = inputs.require(
        config.named_option(option), config.given_input(option) or Path(), pinned[0] if pinned else None
    )
    if option in _CHECKS:
        _CHECKS[option](path)


class ExtractV1Metadata(PipelineTask):
    """Geometries and labels of BigEarthNet v1, from the patches in `[inputs] v1_s2_dir`."""

    def requires(self) -> Any:
        """Return the patches."""
        return HashInput(option="v1_s2_dir")

    def output(self) -> MadeFolder:
        """Return the folder of the files."""
        return self.folder("inputs/v1_metadata")

    def make(self) -> None:
        """Read each patch's JSON."""
        folder = self.output().file
        with files.atomic_write(folder) as work:
            work.mkdir()
            patches = version1.extract(input_path("v1_s2_dir"), work, Progress(self, "metadata of BigEarthNet v1"))
        _log.info("geometries and labels of %d patches of BigEarthNet v1 are in %s", patches, folder)


class HashInput(PipelineTask):
    """The hash of an input's content, computed once and again when its files have changed; and how far it is proven.

    An input that does not exist any more contradicts nothing: what was made of it stays true.
    """

    option: str = luigi.Parameter(description="name of the option in [inputs]")

    def check_arguments(self) -> None:
        """Raise BadName unless [inputs] has this path, and where the sample world stands for all, also that world."""
        made = ("tile_names_csv", *NEEDED) if config.is_sample() else _paths()
        _check_option(self.option, (name for name in _paths() if name in made or config.given_input(name)))

    def requires(self) -> Any:
        """Return the task that provides the input."""
        return input_source(self.option)

    def made_of(self) -> list[PipelineTask]:
        """Return nothing: the task looks at existing files."""
        return []

    def settings(self) -> dict[str, Any]:
        """Return the signature of the files."""
        if not self._is_gone():
            return {"files": contents.signature(input_path(self.option))}
        return {"files": self._before().get("files", "")}

    def is_there(self) -> bool:
        """Return whether the input exists, and was hashed."""
        return not self._is_gone() and super().is_there()

    def output(self) -> MadeFile:
        """Return the hash, and how far it is proven."""
        return self.file(f"inputs/{self.option}.hash.json")

    def make(self) -> Digests:
        """Hash all files, and compare with the pinned hash."""
        path = input_path(self.option)
        sha256 = contents.sha256(path, Progress(self, f"reading {path.name}", "B").at)
        if isinstance(source := input_source(self.option), MakeSampleWorld):
            source.check(self.option, sha256)
        facts = {"name": path.name, "sha256": sha256, **_proof(self.option, path, sha256)}
        if contents.is_too_large(path):
            facts |= {"sha256": "", "proof": "too many files to hash; those that are taken are in the hash list"}
        files.write_json(self.output().file, facts)
        return {"": sha256}

    def _is_gone(self) -> bool:
        return not input_path(self.option).exists()

    def _before(self) -> dict[str, Any]:
        return dict(self.output().recorded().get("made_from", {}))


def _proof(option: str, path: Path, sha256: str) -> dict[str, str]:
    """Return how far the content of an input is proven."""
    source = input_source(option)
    if not isinstance(source, GivenInput):
        return {"proof": "made by the sample world" if isinstance(source, MakeSampleWorld) else inputs.EQUAL}
    if config.is_of_recipe(option):
        return {"proof": inputs.UNPROVEN, "unproven": "the recipe names this file"}
    pinned = _pins(option)
    if path.is_file() and len(pinned) == 1 and pinned[0].sha256:
        proof = inputs.Proof({pinned[0].file: (pinned[0].sha256, sha256)})
    else:
        proof = inputs.compare_with_pin(option, path, PINNED)
    if problem := proof.problem(option, path):
        _log.warning("%s; it is used all the same: provenance and report say so", problem)
        return {"proof": proof.state, "expected": problem.expected}
    return {"proof": proof.state, **({"unproven": proof.unproven} if proof.unproven else {})}


def input_facts(options: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what is known about the content of inputs: name, sha256, and how far it is proven."""
    tasks = {option: HashInput(option=option) for option in options}
    return {name: task.output().read_json() for name, task in tasks.items()}


class TryInput(PipelineTask):
    """A pinned input that is optional: it is fetched if possible, and tried again after a day if not."""

    option: str = luigi.Parameter(description="name of the option in [inputs]")

    def check_arguments(self) -> None:
        """Raise BadName unless the input is a pinned one."""
        _check_option(self.option, inputs.read_pinned(PINNED))

    def requires(self) -> Any:
        """Return the given input, if there is one."""
        return [HashInput(option=self.option)] if self._is_at_hand() else []

    def settings(self) -> dict[str, Any]:
        """Return whether there is one, and whether it would be that of the sample world."""
        return {"at_hand": self._is_at_hand(), **made_up()}

    def output(self) -> MadeFile:
        """Return whether it is available, and why not."""
        return self.file(f"inputs/{self.option}.tried.json")

    def is_there(self) -> bool:
        """Return whether it exists, or was not available today."""
        try:
            facts = self.output().read_json() if super().is_there() else None
        except DamagedFile:
            return False
        if facts is None:
            return False
        if facts["found"]:
            return self._has_path() and input_path(self.option).exists()
        return bool(abs(time.time() - facts["at"]) < _TRY_AGAIN_S)

    def make(self) -> Digests:
        """Fetch it, if it does not exist and can be fetched."""
        why = ""
        if not self._is_at_hand():
            why = self._fetched()
        found = input_path(self.option) if self._has_path() and not why else None
        sha256 = contents.sha256(found) if found is not None and found.exists() else ""
        files.write_json(self.output().file, {"found": bool(sha256), "why": why, "at": time.time()})
        return {"": files.text_hash(sha256)}

    def _fetched(self) -> str:
        """Fetch it; return an empty text, or why it failed."""
        source = input_source(self.option)
        if not isinstance(source, FetchInput):
            return "nothing is at the path given" if config.given_input(self.option) else "the sample world has none"
        try:
            for file in inputs.read_pinned(PINNED)[self.option]:
                _fetch(file, config.data_dir() / _folder(self.option))
        except BadInput as error:
            return str(error)
        return ""

    def _has_path(self) -> bool:
        return config.given_input(self.option) is not None or not config.is_sample()

    def _is_at_hand(self) -> bool:
        return self._has_path() and config.given_input(self.option) is not None and input_path(self.option).exists()


def optional_path(option: str) -> Path | None:
    """Return the path of the input of a complete `TryInput`; None if it is not available."""
    note = TryInput(option=option).output()
    return input_path(option) if note.file.exists() and note.read_json()["found"] else None


def _from_v1(option: str) -> bool:
    """Return whether the input is made from the user's BigEarthNet-S2 v1.0."""
    return option == "v1_spatial_dir" and config.given_input("v1_s2_dir") is not None


def input_source(option: str) -> luigi.Task:
    """Return the task that provides the input `option` of [inputs]."""
    if _from_v1(option):
        return ExtractV1Metadata()
    if config.given_input(option) is not None:
        return GivenInput(option=option)
    if config.is_sample():
        return MakeSampleWorld()
    pinned = _pins(option)
    by_hand = not pinned or (pinned[0].by_hand and not is_fetched_by_key(option))
    return GivenInput(option=option) if by_hand else FetchInput(option=option)


def input_task(option: str) -> HashInput:
    """Return the task that stands for the content of the input `option` of [inputs]."""
    return HashInput(option=option)


def input_path(option: str) -> Path:
    """Return the path of the input `option`, once its task is complete: a file or a folder."""
    if _from_v1(option):
        return ExtractV1Metadata().output().file
    given = config.given_input(option)
    if given is not None:
        return given
    if config.is_sample():
        return in_sample_world(option)
    folder = config.data_dir() / _folder(option)
    files_of = inputs.read_pinned(PINNED).get(option)
    return folder if _is_folder(option) or not files_of else folder / files_of[0].file


def _is_folder(option: str) -> bool:
    """Whether what is fetched for an option is a folder: not the one archive of an option that takes a folder too."""
    return option.endswith("_dir") and not any(
        file.md5_of_archive for file in inputs.read_pinned(PINNED).get(option, ())
    )


def _folder(option: str) -> str:
    return f"inputs/{option}" if _is_folder(option) else "inputs"


def is_fetched(option: str) -> bool:
    """Whether the input `option` is neither given nor made here, but fetched."""
    return isinstance(input_source(option), FetchInput)
