"""In which order the tasks of an archive are taken."""

from __future__ import annotations

import pytest
from luigi.cmdline_parser import CmdlineParser

from ben_luigi import config
from ben_luigi.stages import statistics
from ben_luigi.stages.archive_parts import S1, S2
from ben_luigi.stages.archives import CompressPart, HashTar, JoinParts
from ben_luigi.stages.statistics import CountPixels

PART = CompressPart(archive_name=S2, part="33UUP_20170613")


@pytest.mark.parametrize(("workers", "first"), [(1, False), (2, False), (3, False), (4, True), (64, True)])
def test_a_tar_is_hashed_first_where_it_would_be_waited_for(workers: int, first: bool) -> None:
    with CmdlineParser.global_instance(["HashTar", "--archive-name", S2, "--workers", str(workers)]):
        assert config.workers() == workers
        assert (HashTar(archive_name=S2).priority > PART.priority) is first
        assert HashTar(archive_name=S2).priority != PART.priority


def test_what_is_there_is_joined_before_more_is_compressed() -> None:
    assert JoinParts(archive_name=S2).priority > PART.priority


def test_what_is_counted_from_the_compressed_part_needs_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of Sentinel-1 may be elsewhere by then."""
    part = CountPixels(archive_name=S1, part="S1A_IW_GRDH_1SDV_20171016T055031_31UGR")
    monkeypatch.setattr(statistics, "from_folder", lambda name: True)
    assert part.deps() == [] and [task.task_family for task in part.needs()] == ["CompressPart"]
    monkeypatch.setattr(statistics, "from_folder", lambda name: False)
    assert part.deps() and not part.needs()


def test_no_other_archive_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="BigEarthNet-S3"):
        HashTar(archive_name="BigEarthNet-S3")
