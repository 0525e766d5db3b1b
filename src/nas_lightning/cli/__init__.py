"""The command line: words to tasks, errors to exit codes, `--help`."""
