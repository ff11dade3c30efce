"""Make those parts of `docs/` that follow from the code."""
