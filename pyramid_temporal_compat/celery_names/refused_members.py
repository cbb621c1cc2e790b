"""Members of Celery's classes that are refused: looking one up, or defining it in a subclass, raises its sentence."""

from __future__ import annotations

from typing import Any

from .refused import MEMBERS, Unsupported


class Refused:
    """Stands for a member; `MEMBERS` has its sentence."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __get__(self, instance: object, owner: type) -> Any:
        raise Unsupported(f"{self.dotted} is refused here. {MEMBERS[self.dotted]}")


class RefusesMembers:
    """A base of classes with such members: a subclass that defines one means it to act."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            for name, member in vars(base).items():
                own = vars(cls).get(name)
                if isinstance(member, Refused) and not isinstance(own, (Refused, type(None))) and not is_celerys(own):
                    raise Unsupported(
                        f"{cls.__module__}.{cls.__qualname__} defines {name}; {member.dotted} is refused here. "
                        f"{MEMBERS[member.dotted]}"
                    )


def is_celerys(value: Any) -> bool:
    """Whether it is the dotted name of a class of Celery's, as Celery's own classes have there."""
    return isinstance(value, str) and value.startswith("celery.")


class RefusedOfApps(RefusesMembers):
    """What Celery's app has and ours does not."""

    Beat = Refused("celery.Celery.Beat")
    Pickler = Refused("celery.Celery.Pickler")
    events = Refused("celery.Celery.events")
    events_cls = Refused("celery.Celery.events_cls")
    type_checker = Refused("celery.Celery.type_checker")


class RefusedOfTasks(RefusesMembers):
    """What Celery's tasks have and ours do not."""

    Request = Refused("celery.Task.Request")
    Strategy = Refused("celery.Task.Strategy")
    send_event = Refused("celery.Task.send_event")
    start_strategy = Refused("celery.Task.start_strategy")


class RefusedOfChains:
    """What Celery's chains have and ours do not."""

    prepare_steps = Refused("celery.canvas.chain.prepare_steps")
