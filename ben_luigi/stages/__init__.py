"""Luigi tasks: each connects its inputs to a function of `domain` and leaves one product behind."""
