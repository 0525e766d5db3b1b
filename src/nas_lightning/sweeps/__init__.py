"""Sweeps: the grammar of their command, their members in whatever process, their table and exit code."""
