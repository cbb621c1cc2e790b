"""The outbox: a table in the application's own database with messages between commit and dispatch. Receipts, too."""

from .tables import metadata, outbox, receipts

__all__ = ["metadata", "outbox", "receipts"]
