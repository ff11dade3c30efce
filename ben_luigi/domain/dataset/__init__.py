"""Make, describe, compare, subset and verify the finished dataset."""
