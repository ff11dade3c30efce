"""Connect to CDSE, with its addresses and account; on the sample world, to a server on loopback."""

from __future__ import annotations

import json
import logging
import os
from functools import lru_cache

from ben_luigi import config, terminal
from ben_luigi.domain.cdse.account import ask_code, has_terminal
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.sample.cdse_faults import sample_faults
from ben_luigi.sample.cdse_server import CdseServer
from ben_luigi.sample.cdse_shared import shared
from ben_luigi.stages.account import account
from ben_luigi.stages.prerequisites import sample_world

_log = logging.getLogger(__name__)


def client() -> Client:
    """Return a client of the service; close it by `with`."""
    return Client(_service(), patience())


def patience() -> Patience:
    """Return how often a request is tried, and the pauses between attempts; they are very short on the sample world."""
    pause_s = 0.2 if config.is_sample() else float(config.cdse().pause_s)
    return Patience(tries=int(config.cdse().tries), first_pause_s=pause_s)


def tokens(session: Client) -> Tokens:
    """Return the access tokens of the account, which all workers share."""
    return Tokens(session, account(), config.data_dir() / "session", ask_totp=_ask_code if has_terminal() else None)


def _ask_code() -> str:
    with terminal.asking():
        return ask_code()


def _service() -> Service:
    if not config.is_sample():
        return Service(config.catalogue_url(), config.token_url(), config.download_url(), config.trace_url())
    return _sample_service(os.getpid())


@lru_cache(maxsize=1)
def _sample_service(process: int) -> Service:
    """Return the server that all processes share; each process holds it by itself, so this runs once per process."""
    service = shared(config.data_dir() / "session", _sample_server)
    _log.debug("the sample world's CDSE server listens at %s", service.catalogue_url)
    return service


def _sample_server() -> CdseServer:
    world = sample_world()
    catalogue = json.loads(world.catalogue.read_text(encoding="utf-8"))
    return CdseServer(catalogue, world.folder, sample_faults(catalogue))
