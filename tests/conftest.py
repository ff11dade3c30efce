"""What many tests need: published data where it is at hand, the sample world made once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ben_luigi.sample.layout import World
from ben_luigi.sample.world import make_world

ROOT = Path(__file__).resolve().parent.parent

# A loaded machine breaks every deadline.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A background job ignores Ctrl-C and nohup a hangup, and pass that on to the programs that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def published() -> Path:
    """Published data of BigEarthNet v2, laid out as `ben-luigi check-published` takes it."""
    folder = Path(os.environ.get("BEN_PUBLISHED", ROOT.parent / "shared" / "published"))
    if not folder.is_dir():
        pytest.skip("no published data: set BEN_PUBLISHED to a folder as ben-luigi check-published takes it")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The sample world; not to be changed."""
    folder = tmp_path_factory.mktemp("world") / "sample"
    make_world(folder)
    return World(folder)
