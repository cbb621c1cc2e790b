"""The outbox: messages between commit and dispatch, in the application's own database; and the receipts beside it."""

from .tables import metadata, outbox, receipts

__all__ = ["metadata", "outbox", "receipts"]
