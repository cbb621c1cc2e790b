"""The task: how a call becomes a message, what a task knows while it runs, and the steps around its function."""
