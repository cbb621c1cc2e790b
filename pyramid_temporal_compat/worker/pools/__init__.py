"""The pools, in which the functions of tasks run: `prefork` (child processes), `threads` and `solo` (one thread)."""
