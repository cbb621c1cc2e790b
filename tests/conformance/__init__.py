"""Celery's own integration suite, run against this package: `make conformance`."""
