"""The task object: how it is called, what it knows while it runs, and the steps around its function."""
