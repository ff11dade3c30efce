"""What is openly there, and fetched without an account: inputs, CORINE's polygons, the installer of Sen2Cor."""
