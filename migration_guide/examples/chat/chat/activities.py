"""What a session reads and writes."""

from __future__ import annotations

from chat.models import SessionLog
from pyramid_temporal_compat import ActivityContext, activity


@activity.defn
def log_start(context: ActivityContext, user_id: str, session_id: str) -> None:
    """Write that the session has begun. A second run changes nothing."""
    context.request.dbsession.merge(SessionLog(session_id=session_id, user_id=user_id, status="open"))
    activity.logger.info("Session %s of %s has begun", session_id, user_id)


@activity.defn
def reply_to(context: ActivityContext, text: str) -> str:
    """Stands for a person or a model that knows the answers."""
    if "price" in text.lower():
        return "A night costs 90 euros."
    return "A colleague will look at this."


@activity.defn
def log_end(context: ActivityContext, session_id: str, message_count: int) -> None:
    log = context.request.dbsession.get(SessionLog, session_id)
    log.status, log.message_count = "ended", message_count
