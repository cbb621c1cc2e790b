"""In the worker: from a workflow on the server to the function, inside a transaction."""
