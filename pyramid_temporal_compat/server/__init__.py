"""The embedded Temporal server, for development, tests and small installs."""
