"""The tasks of payments."""

from __future__ import annotations

import os

from pyramid_temporal_compat import shared_task


@shared_task(queue=os.environ.get("PAYMENTS_QUEUE", "payments"))
def refund(amount: int, reason: str = "none") -> str:
    if amount < 0:
        raise ValueError(f"{amount} can not be paid back")
    return f"{amount} back: {reason}"
