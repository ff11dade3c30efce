"""Luigi tasks: each connects its inputs to a function of `domain` and leaves one product behind."""

from ben_luigi import pipeline as pipeline  # whichever stage is imported, Luigi knows all tasks and the configuration
