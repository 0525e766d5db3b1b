"""Sweeps: the grammar of their command, their members in any process, their table and exit code."""
