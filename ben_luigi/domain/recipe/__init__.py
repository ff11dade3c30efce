"""Recipes: all that makes a dataset what it is, in one TOML file that is read and checked once."""
