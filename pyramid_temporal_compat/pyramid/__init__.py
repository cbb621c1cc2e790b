"""Connect a Pyramid application with its app: `config.include("pyramid_temporal_compat")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyramid.events import ApplicationCreated, NewRequest
from pyramid.interfaces import INewRequest

from ..app import APP_KEY, latest_app
from ..native.served_work import ServedWork
from ..schedules.sources import declares_any
from ..settings import connection, from_pyramid
from .app_choice import existing_app, latest_or_new_app, set_celery_app
from .ini_file import sections_of_this_ini
from .native_directives import add_directives
from .periodic import add_periodic_task, periodic_task

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike

__all__ = ["includeme", "periodic_task"]

BEFORE_OTHER_ACTIONS = -1000
"""The order of our action. Others read the app's settings: an application may finalize its app in an action."""
WATCHES_SCHEDULES = "pyramid_temporal_compat.watches_schedules"
"""A key of the registry, set by the first request: each process looks at its schedules once."""
AFTER_OTHER_ACTIONS = 1000
"""The order in which domains are imported: when every directive has added its definition."""


def includeme(config: Any) -> None:
    """Bind an app to this application's registry and settings; `app_choice.py` says which app.

    Nothing connects here: the web process starts and serves even while no Temporal server can be reached.

    An application may include this package before it makes its app. So we look for the app three times: now, when
    Pyramid executes the actions, and when the application is complete.
    """
    # Every web process imports this now, before it forks. Else its first request would pay for it (0.4 s).
    from ..enlist import dispatcher, enlistment  # noqa: F401 - the dispatcher
    from ..native.request_temporal import request_temporal

    registry = config.registry
    settings = from_pyramid(registry.settings, sections_of_this_ini())

    def bind_existing() -> None:
        if (app := existing_app(registry, settings) or registry.get(APP_KEY) or latest_app()) is not None:
            bind(app, registry, settings)

    def bind_any() -> None:
        bind_existing()
        if APP_KEY not in registry:
            bind(latest_or_new_app(config.root_package.__name__), registry, settings)

    def load_domains() -> None:
        app = registry[APP_KEY]
        app.native = ServedWork(app)
        app.native.load()

    config.add_directive("set_celery_app", set_celery_app)
    config.add_directive("add_periodic_task", add_periodic_task)
    add_directives(config)
    config.add_request_method(request_temporal, "temporal", reify=True)
    bind_existing()
    config.action("pyramid_temporal_compat", bind_any, order=BEFORE_OTHER_ACTIONS)
    config.action("pyramid_temporal_compat.domains", load_domains, order=AFTER_OTHER_ACTIONS)
    config.add_subscriber(lambda event: bind_existing(), ApplicationCreated)
    config.add_subscriber(look_for_drift, NewRequest)
    config.add_subscriber(count_what_is_sent, ApplicationCreated)
    config.add_subscriber(lambda event: enlistment.watch_sessions(), ApplicationCreated)


def bind(app: Any, registry: Any, settings: dict[str, Any]) -> None:
    """Make `app` the app of the Pyramid application, with its settings."""
    if registry.get(APP_KEY) is app:
        return
    app.conf.add_ini(settings)
    # Fail now if a profile or a certificate can't be read, and not in the after-commit hook of the first transaction.
    connection(app.conf)
    app.registry = registry
    registry[APP_KEY] = app


def count_what_is_sent(event: Any) -> None:
    """Serve the metrics of the web process, if a setting asks for them, from its first request on."""
    registry = event.app.registry
    app = registry[APP_KEY]
    if (listener := app.conf["ptemporal.web_metrics_port"]) is None:
        return
    from ..monitoring.web_metrics import WebMetrics

    metrics = WebMetrics(listener)
    registry.registerHandler(lambda _: metrics.serve(), [INewRequest])


def look_for_drift(event: Any) -> None:
    """Have the web process compare its schedules with the server's, once it has connected for a reason of its own.

    The first request sets this up: commands and workers, which serve no requests, have their own comparison.
    """
    registry = event.request.registry
    if registry.get(WATCHES_SCHEDULES):
        return
    registry[WATCHES_SCHEDULES] = True
    app = registry[APP_KEY]
    if declares_any(app):
        app.temporal.on_connected = lambda client: compare_schedules(client, app)


async def compare_schedules(client: Client, app: AppLike) -> None:
    """Log how the server's schedules differ from the declared ones."""
    from ..schedules.drift import log_drift  # 4 ms, which an application without periodic tasks saves

    await log_drift(client, app)
