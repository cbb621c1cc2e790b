"""Where a task's function runs: in threads, in child processes, or in the worker's own thread."""
