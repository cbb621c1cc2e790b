"""What a worker serves beside tasks: the workflows and activities of an application, or of some of its domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..task.call_options import queue_of_call
from .connection_limit import safe_slots
from .definitions import Definitions, definitions_of
from .discovery import chosen_domains, definitions_of_domain

if TYPE_CHECKING:
    from ..interfaces import AppLike


class ServedWork:
    """The workflows and activities that a worker of `app` serves. `app.native` holds one."""

    def __init__(self, app: AppLike, domains: Iterable[str] | None = None) -> None:
        """
        :param domains: the domains to serve, by short or whole name; None: everything.
        """
        self._app = app
        self._asked = None if domains is None else list(domains)
        self.domains: list[str] | None = None
        """The packages of the domains to serve, after `load`; None: everything."""
        self.definitions = Definitions()

    def load(self) -> None:
        """Import the domains. Find what is to be served."""
        app = self._app
        packages = list(app.conf["ptemporal.domains"])
        known = Definitions() if app.registry is None else definitions_of(app.registry)
        if self._asked is not None:
            self.domains = packages = chosen_domains(self._asked, packages)
        for package in packages:
            for definition in definitions_of_domain(app, package):
                known.add(definition)
        self.definitions = known.where(lambda each: self.domains is None or each.domain in self.domains)

    def tasks(self) -> list[str]:
        """Return the names of the tasks to serve."""
        names: list[str] = self._app.tasks.own()
        return [name for name in names if self.domains is None or self.domain_of_task(name) in self.domains]

    def domain_of_task(self, name: str) -> str | None:
        """Return the domain whose module has the task; None outside of domains."""
        module = f"{self._app.tasks[name].__module__}."
        packages = self._app.conf["ptemporal.domains"]
        return next((package for package in packages if module.startswith(f"{package}.")), None)

    def queues(self, own: Sequence[str]) -> list[str]:
        """Return the queues to serve: the queues of tasks, and the queues that definitions name.

        If domains were chosen: the queues of the domains' workflows, activities and tasks.
        """
        named = {each.queue for each in self.definitions}
        if self.domains is None:
            return list(dict.fromkeys([*own, *sorted(queue for queue in named if queue)]))
        default = self._app.conf["task_default_queue"]
        of_tasks = {queue_of_task(self._app, name) for name in self.tasks()}
        return sorted({queue or default for queue in named} | of_tasks)

    def activity_names(self) -> list[str]:
        """Return the names of the activities to serve."""
        return [each.name for each in self.definitions if each.kind == "activity"]

    def lines(self) -> list[str]:
        """Return a line for each workflow and activity to serve, for the worker's banner."""
        return [f"{each.kind} {each.name}" + (f" ({each.queue})" if each.queue else "") for each in self.definitions]

    def options(
        self, queue: str, more_workflows: Sequence[type] = (), more_activities: Sequence[Callable[..., Any]] = ()
    ) -> dict[str, Any]:
        """Return options for the Temporal worker of a queue: `workflows`, `activities`, and what they need."""
        from .worker import worker_options  # imports the worker, which a web process does not need

        return worker_options(
            self._app.registry,
            [*more_activities, *self.definitions.targets("activity", queue)],
            [*more_workflows, *self.definitions.targets("workflow", queue)],
        )

    def slots(self) -> int:
        """Return how many activities may run at a time, beside tasks."""

        conf, name = self._app.conf, "ptemporal.max_concurrent_activities"
        return safe_slots(self.definitions.targets("activity"), conf[name], chosen=conf.value_set_for(name))


def queue_of_task(app: AppLike, name: str) -> str:
    """Return the queue to which a call of a task goes if the call names none."""
    task = app.tasks[name]
    return queue_of_call(app, name, (), {}, task.own_options(), task)
