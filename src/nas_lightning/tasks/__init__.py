"""What each task does with its configuration and its folder, one file a task."""
