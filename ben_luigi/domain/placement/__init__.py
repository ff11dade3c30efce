"""Locate patches, and derive from that: grid and split, country, matching patch of BigEarthNet v1."""
