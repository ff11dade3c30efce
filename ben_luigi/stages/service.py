"""Connect to CDSE, with its addresses and account; on the sample world, to a server on loopback."""

from __future__ import annotations

import logging
import os
from functools import lru_cache

from ben_luigi import addresses, config, terminal
from ben_luigi.domain.cdse.account import ask_code, has_terminal
from ben_luigi.domain.cdse.http import Client, Patience, Service
from ben_luigi.domain.cdse.token import Tokens
from ben_luigi.sample.cdse_shared import shared
from ben_luigi.stages.account import account
from ben_luigi.stages.sample_world import sample_world

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
        return Service(
            addresses.catalogue_url(), addresses.token_url(), addresses.download_url(), addresses.trace_url()
        )
    return Service(**{name: url for name, url in _sample_addresses(os.getpid()).items() if name != "bucket_url"})


def bucket_url() -> str:
    """Return the address of the public bucket; on the sample world, of the one on loopback."""
    return _sample_addresses(os.getpid())["bucket_url"] if config.is_sample() else addresses.google_url()


@lru_cache(maxsize=1)
def _sample_addresses(process: int) -> dict[str, str]:
    """Return the servers that all processes share; each process holds them by itself, so this runs once per process."""
    from ben_luigi.sample.sources import SampleSources  # only now: real runs do not need it

    addresses = shared(config.data_dir() / "session", lambda: SampleSources(sample_world()))
    _log.debug("the sample world's servers listen at %s", addresses)
    return addresses
