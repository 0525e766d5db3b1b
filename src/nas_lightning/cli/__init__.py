"""The command line: from words to a task, from errors to exit codes, and what a newcomer sees."""
