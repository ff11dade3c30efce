"""What each step computes; knows nothing of Luigi."""
