"""Callbacks with which a long function tells its caller how far it is."""

from collections.abc import Callable

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes done so far and the total, which is None while it is unknown."""
OnFraction = Callable[[float], None]
"""Called with the fraction done, from 0 to 1."""


def ignore_bytes(done_bytes: int, total_bytes: int | None) -> None:
    """Ignore the progress: an `OnBytes` for work that nobody follows."""


def ignore_fraction(fraction: float) -> None:
    """Ignore the progress: an `OnFraction` for work that nobody follows."""
