"""Benchmarks: each measures our work in turn with reference work, and prints ratios, since machines are noisy."""
