"""The run folder: its files, their readers and writers, logs, lock and machine failures."""
