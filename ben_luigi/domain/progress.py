"""How a long function tells its caller how far it is: by a function that the caller gives, called now and then."""

from collections.abc import Callable

OnBytes = Callable[[int, int | None], None]
"""Is called with the bytes that are done, and those in all: None as long as nobody knows."""
OnFraction = Callable[[float], None]
"""Is called with the fraction that is done, from 0 to 1."""


def ignore_bytes(done_bytes: int, total_bytes: int | None) -> None:
    """The `OnBytes` of work that nobody follows."""


def ignore_fraction(fraction: float) -> None:
    """The `OnFraction` of work that nobody follows."""
