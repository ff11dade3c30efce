"""Sources of products, file by file: the user chooses their order, and each file is proven, whichever it came from."""
