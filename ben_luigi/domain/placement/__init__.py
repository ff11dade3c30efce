"""Where patches are, and what follows from that: grid and split, country, partner in BigEarthNet v1."""
