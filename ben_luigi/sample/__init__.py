"""Make the sample world: its products, its CDSE server on loopback, its stand-in for Sen2Cor."""
