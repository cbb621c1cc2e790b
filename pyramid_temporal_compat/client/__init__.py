"""Everything that this package asks the Temporal server: the connection, the states of tasks, workflow histories."""
