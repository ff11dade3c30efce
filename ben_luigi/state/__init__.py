"""Store results: the PostgreSQL server, its tables, and the Luigi targets on top of them."""
