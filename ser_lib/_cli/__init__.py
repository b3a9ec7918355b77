"""The `ser` command, a module for each group of commands."""
