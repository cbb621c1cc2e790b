"""Which modules the workflow sandbox takes as they are.

The sandbox imports the module of a workflow anew for each run, with everything that it imports, so that runs share no
state. Modules that pass through are imported once. This package has to pass through, as have the libraries that it
imports: they are slow to import, and some of them can't be imported twice.

A workflow's module imports the activities that it calls. Activities are no workflow code, and their modules import
models, sessions and HTTP clients. So these modules pass through as well, unless a workflow is defined beside them. The
modules of tasks pass through too, because a second import would register the tasks again. The application names more
modules by `ptemporal.workflow_passthrough`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from ..current import APP_KEY

if TYPE_CHECKING:
    from ..interfaces import AppLike

LIBRARIES = ("pyramid_temporal_compat", "pyramid", "sqlalchemy", "transaction", "venusian", "webob", "zope")
"""Modules that always pass through, with all modules below them."""


def workflow_runner(
    registry: Any, activities: Sequence[Callable[..., Any]], workflows: Sequence[type]
) -> SandboxedWorkflowRunner:
    """Return the sandbox for these workflows, and for the activities and tasks that they call.

    :param registry: the registry of the application, whose tasks pass through. None means no application.
    """
    app = None if registry is None else registry.get(APP_KEY)
    modules = passing_through(
        [*(fn.__module__ for fn in activities), *modules_of_tasks(app)], [cls.__module__ for cls in workflows]
    )
    named = () if app is None else app.conf["ptemporal.workflow_passthrough"]
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*modules, *named))


def passing_through(modules: Iterable[str], of_workflows: Sequence[str]) -> set[str]:
    """Return the modules that pass through. With a module, the modules below it pass through as well."""
    return {
        *LIBRARIES,
        *(name for name in modules if not any(f"{found}.".startswith(f"{name}.") for found in of_workflows)),
    }


def modules_of_tasks(app: AppLike | None) -> set[str]:
    """Return the modules that define the application's tasks."""
    return set() if app is None else {app.tasks[name].__module__ for name in app.tasks.own()}
