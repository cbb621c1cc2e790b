"""Refused members of Celery's classes. Using such a member, or defining it in a subclass, raises an error.

The error says why the member is refused, and what to use instead.
"""

from __future__ import annotations

from typing import Any

from .refused import MEMBERS, Unsupported


class RefusedMember:
    """Stands for a refused member. Reading it raises `Unsupported` with the sentence in `MEMBERS`."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __get__(self, instance: object, owner: type) -> Any:
        raise Unsupported(f"{self.dotted} is refused here. {MEMBERS[self.dotted]}")


class RefusesMembers:
    """A base class that refuses a subclass with a refused member, because the member would never be used."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            for name, member in vars(base).items():
                own = vars(cls).get(name)
                if (
                    isinstance(member, RefusedMember)
                    and not isinstance(own, (RefusedMember, type(None)))
                    and not is_celerys(own)
                ):
                    raise Unsupported(
                        f"{cls.__module__}.{cls.__qualname__} defines {name}; {member.dotted} is refused here. "
                        f"{MEMBERS[member.dotted]}"
                    )


def is_celerys(value: Any) -> bool:
    """Return whether a value is the dotted name of a Celery class, as Celery's own subclasses have it."""
    return isinstance(value, str) and value.startswith("celery.")


class RefusedOfApps(RefusesMembers):
    """The members of Celery's app that are refused here."""

    Beat = RefusedMember("celery.Celery.Beat")
    Pickler = RefusedMember("celery.Celery.Pickler")
    events = RefusedMember("celery.Celery.events")
    events_cls = RefusedMember("celery.Celery.events_cls")
    type_checker = RefusedMember("celery.Celery.type_checker")


class RefusedOfTasks(RefusesMembers):
    """The members of Celery's tasks that are refused here."""

    Request = RefusedMember("celery.Task.Request")
    Strategy = RefusedMember("celery.Task.Strategy")
    send_event = RefusedMember("celery.Task.send_event")
    start_strategy = RefusedMember("celery.Task.start_strategy")


class RefusedOfChains:
    """The members of Celery's chains that are refused here."""

    prepare_steps = RefusedMember("celery.canvas.chain.prepare_steps")
