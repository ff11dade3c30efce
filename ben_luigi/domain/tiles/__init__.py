"""What is made of a tile: patches cut from its bands, reference maps burnt on it, labels counted on these."""
