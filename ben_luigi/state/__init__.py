"""Where results are kept: the PostgreSQL server, its tables, and the Luigi targets over them."""
