"""The account at CDSE: given, typed in at a terminal, or that of the sample world's own server."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from ben_luigi import addresses, config, terminal
from ben_luigi.configuration.kinds import Declared
from ben_luigi.domain.cdse.account import Credentials, credentials_file, find_credentials
from ben_luigi.domain.cdse.errors import CredentialsError

SAMPLE_ACCOUNT = Credentials("sample", "sample")


class FindAccount(Declared):
    """User and password at CDSE."""

    def complete(self) -> bool:
        """Return whether user name and password are given; whether they are right shows when they are used."""
        try:
            account()
        except CredentialsError:
            return False
        return True

    def run(self) -> None:
        """Raise the error that says how to get and to give an account."""
        require_account()


def require_account() -> None:
    """Raise CredentialsError, with what to do, if there is no account."""
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
    """Return user and password at CDSE; on the sample world those of its own server. Raise CredentialsError."""
    if config.is_sample():
        return SAMPLE_ACCOUNT
    return _own_account(
        credentials_file(str(config.cdse().credentials)), urlsplit(addresses.token_url()).hostname or ""
    )


@lru_cache(maxsize=1)
def _own_account(file: Path, host: str) -> Credentials:
    """Return the account, asked for once: this process and the workers that it forks remember it."""
    with terminal.asking():
        return find_credentials(config.account_environment(), file, host)
