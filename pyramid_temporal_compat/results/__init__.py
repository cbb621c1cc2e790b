"""A task's state, value and error, read back from Temporal."""
