"""Luigi tasks: each wires its inputs to a function of `domain` and leaves one product behind."""
