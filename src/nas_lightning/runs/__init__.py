"""The run folder: its files, their readers and writers, logs, and what a machine can do to it."""
