"""Read Sentinel-2 products: L1C as it is downloaded, Sen2Cor, and L2A."""
