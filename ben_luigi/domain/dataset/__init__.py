"""The finished dataset: metadata, archives, forms that others read, whether it is whole, what it was made from."""
