"""Out of the web process: from the current transaction to a workflow on the server."""
