"""What CDSE refuses an account for; other refusals are those of any source (`domain/errors.py`)."""

from __future__ import annotations

from ben_luigi.domain.errors import NoRoomError, PermanentError, RateLimitError


class CredentialsError(PermanentError):
    """CDSE does not accept the user name, password or two-factor code, or does not admit the account."""


BLAMELESS = (RateLimitError, CredentialsError, NoRoomError)
"""Errors that do not depend on the product: any other one would have met them too."""
