"""The activities of payments."""

from __future__ import annotations

from hotel.models import Payment
from pyramid_temporal_compat import ActivityContext, activity


@activity.defn(name="payments.charge")
def charge(context: ActivityContext, reference: str, amount: int, currency: str) -> str:
    """Charge a guest once per reference: an activity may run twice."""
    session = context.request.dbsession
    if session.get(Payment, reference) is None:
        session.add(Payment(reference=reference, amount=amount, currency=currency))
    return f"receipt-{reference}"
