"""A request to run a task, and a tree of such requests: the values that travel to the server."""
