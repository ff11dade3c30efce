"""Fetch CORINE's GeoPackage with the user's service key of the Copernicus Land Monitoring Service."""

from __future__ import annotations

from pathlib import Path

from ben_luigi import addresses, config
from ben_luigi.domain.errors import BadOption
from ben_luigi.domain.fetching import land_package
from ben_luigi.domain.fetching.land_service import LandService
from ben_luigi.domain.fetching.service_key import OPTION, ServiceKey, read_service_key
from ben_luigi.domain.inputs import PinnedFile
from ben_luigi.domain.progress import OnBytes, ignore_bytes

INPUT = "clc_gpkg"
"""The option of [inputs] that is fetched with it."""


def is_fetched_by_key(option: str) -> bool:
    """Whether an input is fetched with the service key."""
    return option == INPUT and config.land_cover_key() is not None


def require_key() -> ServiceKey:
    """Return the service key. Raise BadOption with what to do if it is none."""
    path = config.land_cover_key()
    if path is None:
        raise BadOption(
            OPTION, expected="the path of a service key", found="none", remedy="set it, or [inputs] clc_gpkg"
        )
    return read_service_key(path)


def fetch_by_key(file: PinnedFile, folder: Path, progress: OnBytes = ignore_bytes) -> None:
    """Request the GeoPackage, wait for it, fetch and unpack it. Raise BadInput or ServiceError."""
    note = folder / f".requested-{file.file}.json"
    path = config.land_cover_key() or Path()
    with LandService(require_key(), path, note, addresses.land_cover_api_url()) as service:
        land_package.fetch(service, file, folder, progress)
