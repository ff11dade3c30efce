"""The report on the finished dataset, and the pictures in it."""
