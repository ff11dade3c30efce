"""Fetch products file by file from sources in the user's order; each file is proven, whichever source it came from."""
