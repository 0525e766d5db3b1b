"""What search and evaluation share: the workbench that builds a run's parts, its processes, guards of its steps."""
