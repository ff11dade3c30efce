"""Sentinel-2 products: L1C as it comes, Sen2Cor, L2A and what it says of itself."""
