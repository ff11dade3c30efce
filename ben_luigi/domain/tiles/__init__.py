"""Process a tile: cut patches from its bands, burn reference maps on it, count labels on these."""
