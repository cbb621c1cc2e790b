"""The directives `config.add_temporal_workflow` and `config.add_temporal_activity`, and what `config.scan()` finds.

`config.scan()` calls decorators that left a mark of venusian's. `@temporalio.workflow.defn` leaves none, and Pyramid
has no event for a scan. So `Configurator.scan` is wrapped, once a process: it also looks at the modules that it has
scanned. For an application that does not include this package, a scan is what it was.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.path import caller_package

from ..native.definitions import (
    DEFINITIONS_KEY,
    Definition,
    activity_definition,
    definitions_of,
    workflow_definition,
)
from ..native.discovery import definitions_in


def add_directives(config: Any) -> None:
    """Add the directives to a configurator, and have its scans find workflows and activities."""
    definitions_of(config.registry)
    config.add_directive("add_temporal_workflow", add_temporal_workflow)
    config.add_directive("add_temporal_activity", add_temporal_activity)
    if not hasattr(Configurator.scan, "__wrapped__"):
        Configurator.scan = scan_of_definitions(Configurator.scan)


def add_temporal_workflow(config: Any, workflow: Any, task_queue: str | None = None) -> None:
    """Have workers serve a workflow: the directive `config.add_temporal_workflow(Onboarding, task_queue="users")`.

    :param workflow: a class under `@workflow.defn`, or its dotted name.
    :param task_queue: the queue that serves it; None: every queue that a worker serves.
    """
    _add(config, workflow_definition(config.maybe_dotted(workflow), task_queue))


def add_temporal_activity(config: Any, activity: Any, task_queue: str | None = None) -> None:
    """Have workers serve an activity: the directive `config.add_temporal_activity(enrich_user)`.

    :param activity: a function or a method under `@activity.defn`, or the dotted name of a function.
    :param task_queue: the queue that serves it; None: every queue that a worker serves.
    """
    _add(config, activity_definition(config.maybe_dotted(activity), task_queue))


def _add(config: Any, definition: Definition) -> None:
    definitions = definitions_of(config.registry)
    found = config.introspectable(
        "temporal definitions", (definition.kind, definition.name), definition.name, f"temporal {definition.kind}"
    )
    found.update(kind=definition.kind, name=definition.name, task_queue=definition.queue, place=definition.place)
    config.action(
        ("temporal", definition.kind, definition.name),
        functools.partial(definitions.add, definition),
        introspectables=(found,),
    )


def scan_of_definitions(scan: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `Configurator.scan` that also finds workflows and activities."""

    @functools.wraps(scan)
    def scan_and_find(
        self: Any,
        package: Any = None,
        categories: Any = ("pyramid",),
        onerror: Any = None,
        ignore: Any = None,
        **kw: Any,
    ) -> None:
        package = self.maybe_dotted(package) or caller_package()
        if DEFINITIONS_KEY not in self.registry:
            scan(self, package, categories, onerror, ignore, **kw)
            return
        scanned = [package.__name__]

        def look(name: str) -> bool:
            # venusian asks this for each module that no other `ignore` leaves out, and for each object in it.
            scanned.append(name)
            return False

        ignores = [] if ignore is None else [ignore] if isinstance(ignore, str) or callable(ignore) else list(ignore)
        scan(self, package, categories, onerror, [*ignores, look], **kw)
        definitions = definitions_of(self.registry)
        for module in [sys.modules[name] for name in dict.fromkeys(scanned) if name in sys.modules]:
            for definition in definitions_in(module):
                if f"{module.__name__}.{definition.target.__name__}" in scanned:
                    definitions.add(definition)

    return scan_and_find
