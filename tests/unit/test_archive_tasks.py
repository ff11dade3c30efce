"""In which order the tasks of an archive are taken."""

from __future__ import annotations

import pytest
from luigi.cmdline_parser import CmdlineParser

from ben_luigi import config
from ben_luigi.stages.archive_parts import S2
from ben_luigi.stages.archives import CompressPart, HashTar, JoinParts

PART = CompressPart(archive_name=S2, part="33UUP_20170613")


@pytest.mark.parametrize(("workers", "first"), [(1, False), (2, False), (3, False), (4, True), (64, True)])
def test_a_tar_is_hashed_first_where_it_would_be_waited_for(workers: int, first: bool) -> None:
    with CmdlineParser.global_instance(["HashTar", "--archive-name", S2, "--workers", str(workers)]):
        assert config.workers() == workers
        assert (HashTar(archive_name=S2).priority > PART.priority) is first
        assert HashTar(archive_name=S2).priority != PART.priority


def test_what_is_there_is_joined_before_more_is_compressed() -> None:
    assert JoinParts(archive_name=S2).priority > PART.priority


def test_no_other_archive_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="BigEarthNet-S3"):
        HashTar(archive_name="BigEarthNet-S3")
