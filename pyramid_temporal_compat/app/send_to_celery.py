"""`send_to_celery`: a call of a task that another application runs on Celery, with our commit and our outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..celery_side.publisher import check_broker
from ..current import current_app
from ..exceptions import InvalidCall
from ..message.for_celery import NO_EMBED, NotForCelery, celery_call
from ..message.message import is_queue
from ..task.call_options import make_message


def send_to_celery(
    url: str,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str = "celery",
    transaction_manager: Any = None,
    **options: Any,
) -> str:
    """Publish a call of the task `name` to the Celery broker at `url`, and return the task's id.

    The call joins the current transaction, as `.delay()` does, and is kept in the outbox if there is one. Celery's
    workers run the task; the Temporal server never hears of it.

    :param url: `redis://…` or `amqp://…`
    :param queue: the queue that the other application's workers serve. This process does not know the routes of the
        other application.
    :param options: options of `apply_async`; `OPTIONS` lists them. Priority 9 goes first, also on Redis. `serializer`
        is `json` or `pickle`.
    """
    check_broker(url, "send_to_celery()")
    app = current_app()
    arguments = list(args), dict(kwargs or {})
    if unknown := options.keys() - OPTIONS:
        raise InvalidCall(
            f"send_to_celery({name!r}) does not take {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(OPTIONS))}"
        )
    if not is_queue(queue):
        raise InvalidCall(f"send_to_celery({name!r}): queue={queue!r} can't be the name of a queue")
    # The other application has its own queues and its own defaults, so ours are not used.
    made = make_message(app, name, tuple(args), arguments[1], {**DEFAULTS, **options}, None)
    message = made.copy(queue=queue)
    try:
        call = celery_call(message, url, arguments, NO_EMBED, (message,))
    except NotForCelery as error:
        raise InvalidCall(f"send_to_celery({name!r}): {error}") from None
    app.enlist(call, transaction_manager)
    return message.id


DEFAULTS = {"serializer": "json", "time_limit": 0, "soft_time_limit": 0}
OPTIONS = frozenset(
    {
        *("countdown", "eta", "expires", "headers", "ignore_result", "priority", "serializer", "shadow"),
        *("soft_time_limit", "task_id", "time_limit"),
    }
)
