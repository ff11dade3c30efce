"""Send a finished dataset, or one of its forms, to a service where others find it."""
