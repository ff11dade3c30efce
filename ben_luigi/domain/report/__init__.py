"""Write the report on the finished dataset, and render its pictures."""
