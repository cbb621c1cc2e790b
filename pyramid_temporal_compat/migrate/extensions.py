"""The packages that plug into Celery, and what takes their place here: for imports, and for requirements."""

from __future__ import annotations

import re

ROWS_THAT_WAIT = "Tasks in batches do not exist here: let a periodic task read the rows that wait."
ONE_ID = "Give the call a task_id of its own: the server starts an id once."
SCHEDULES = "The server keeps the schedules: declare them in beat_schedule, or name a callable in ptemporal.schedules."
SCHEDULES_IN_TABLES = "Name a callable in ptemporal.schedules that reads the entries from your tables."
EXTENSIONS: dict[str, str] = {
    "celery-batches": ROWS_THAT_WAIT,
    "celery-once": ONE_ID,
    "celery-prometheus": "Workers send no events: use the metrics of Temporal.",
    "celery-redbeat": SCHEDULES,
    "celery-singleton": ONE_ID,
    "django-celery-beat": SCHEDULES_IN_TABLES,
    "django-celery-results": "Temporal keeps the results: read them with AsyncResult.",
    "flower": "Workers send no events: the board shows every task (ptemporal-compat board), and so does the web UI.",
    "sqlalchemy-celery-beat": SCHEDULES_IN_TABLES,
}
"""The normal form of a distribution's name to what takes its place."""
OTHER_MODULES = {"redbeat": "celery-redbeat"}
"""Module to distribution, where the two have different names."""
AGENTS = re.compile(r"(sentry_sdk|opentelemetry|ddtrace|elasticapm|scout_apm|raven)(\.\w+)*\.celery\b")
"""The modules by which APM agents reach into Celery."""
AGENT_SETTINGS = frozenset({"h_pyramid_sentry.celery_support"})
"""Settings of Pyramid packages that import such a module."""


def normal_name(name: str) -> str:
    """Return the normal form of a distribution's name, as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def extension_sentence(module: str) -> str | None:
    """Return what takes the place of an extension of Celery, by the name of its module; None for other modules."""
    return EXTENSIONS.get(OTHER_MODULES.get(module, normal_name(module)))
