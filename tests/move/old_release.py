"""Real Celery in the old release, with the glue of a Pyramid application: a request and a transaction for each task.

A task is published in an after-commit hook, as applications do it that have no outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery, Task, chain, group, shared_task
from pyramid.scripting import prepare

__all__ = ["HAS_OUTBOX", "app", "chain", "group", "includeme", "send", "shared_task"]

HAS_OUTBOX = False
"""Whether a task that is committed is also sent."""


class PyramidTask(Task):  # type: ignore[misc]
    abstract = True

    @property
    def pyramid_request(self) -> Any:
        return self.request.pyramid_request

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with prepare(registry=self.app.registry) as env:
            self.request.update(pyramid_request=env["request"])
            with env["request"].tm:
                return self.run(*args, **kwargs)


app = Celery("move", task_cls=PyramidTask)
app.set_default()


def includeme(config: Any) -> None:
    settings = config.get_settings()
    app.registry = config.registry
    app.conf.update(
        broker_url=settings["move.broker"],
        # Celery runs a lost worker's tasks again only with these two settings.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options=transport_options(settings),
        task_ignore_result=True,
        task_default_queue="items",
    )


def transport_options(settings: Any) -> dict[str, int]:
    """Return how long Redis waits for an acknowledgement. RabbitMQ sees at once that a worker is gone."""
    if not settings["move.broker"].startswith("redis"):
        return {}
    return {"visibility_timeout": int(settings["move.visibility_timeout"])}


def send(request: Any, signature: Any, on_sent: Callable[[Any], None]) -> Any:
    """Publish a task or a canvas when the transaction commits, and then call `on_sent` with its result."""
    result = signature.freeze()

    def publish(committed: bool) -> None:
        if committed:
            signature.apply_async()
            on_sent(result)

    request.tm.get().addAfterCommitHook(publish)
    return result
