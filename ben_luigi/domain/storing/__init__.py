"""Keep files in an object store, whole or not at all, and have them back as they were."""
