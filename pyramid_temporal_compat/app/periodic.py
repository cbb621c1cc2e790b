"""The app and its periodic tasks: `app.add_periodic_task(...)`."""

from __future__ import annotations

from typing import Any

from ..exceptions import ImproperlyConfigured
from ..settings import Settings


class PeriodicTasks:
    """What of an app declares periodic tasks. `schedules/sources.py` reads the declarations."""

    conf: Settings
    _periodic: list[tuple[str, dict[str, Any]]]
    """Entries that were added before the configuration was read."""

    def add_periodic_task(
        self, schedule: Any, sig: Any, args: Any = (), kwargs: Any = (), name: str | None = None, **opts: Any
    ) -> str:
        """Add what runs on a schedule. Return its key in `beat_schedule`.

        :param sig: a signature, a task, a whole canvas, or the class of a hand-written workflow.
        """
        key = name or repr(sig)
        entry = _entry(key, schedule, sig, args, kwargs, opts)
        if self.conf.configured:
            self._keep_periodic(key, entry)
        else:
            self._periodic.append((key, entry))
        return key

    def _keep_periodic(self, key: str, entry: dict[str, Any]) -> None:
        entries = self.conf["beat_schedule"]
        known = entries.get(key)
        if known is not None and known != entry:
            raise ImproperlyConfigured(
                f"periodic task {key!r} is declared twice: {known['task']} {known['schedule']!r} and "
                f"{entry['task']} {entry['schedule']!r}; give each a name of its own: add_periodic_task(…, name=…)"
            )
        entries[key] = entry

    def _keep_early_periodic(self) -> None:
        for key, entry in self._periodic:
            self._keep_periodic(key, entry)
        self._periodic.clear()


def _entry(key: str, schedule: Any, sig: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of `beat_schedule`."""
    from ..schedules.entries import is_workflow, workflow_name  # an application without periodic tasks needs none of it

    if is_workflow(sig):
        name = workflow_name(sig)
        return {"schedule": schedule, "workflow": name, "task": name, "args": tuple(args), "options": options}
    if not hasattr(sig, "name"):
        raise ImproperlyConfigured(
            f"periodic task {key!r} is {sig!r}: add_periodic_task takes a task, a signature such as "
            'app.signature("shop.poll"), or the class of a workflow'
        )
    entry = {
        "schedule": schedule,
        "task": sig.name,
        "args": (*args, *(getattr(sig, "args", None) or ())),
        "kwargs": {**dict(getattr(sig, "kwargs", None) or {}), **dict(kwargs)},
        "options": {**dict(getattr(sig, "options", None) or {}), **options},
    }
    if getattr(sig, "subtask_type", None):
        entry["canvas"] = sig
    return entry
