"""The embedded Temporal server, for development, tests and small installations."""

from .embedded import EmbeddedServer

__all__ = ["EmbeddedServer"]
