"""The tasks: one file per task, which carries out a configuration in a folder."""
