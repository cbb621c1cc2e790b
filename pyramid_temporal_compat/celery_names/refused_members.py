"""Members of Celery's classes that are refused: looking one up, or defining it in a subclass, raises its sentence."""

from __future__ import annotations

from typing import Any

from .refused import MEMBERS, Unsupported


class RefusedMember:
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
    """Whether it is the dotted name of a class of Celery's, as Celery's own classes have there."""
    return isinstance(value, str) and value.startswith("celery.")


class RefusedOfApps(RefusesMembers):
    """What Celery's app has and ours does not."""

    Beat = RefusedMember("celery.Celery.Beat")
    Pickler = RefusedMember("celery.Celery.Pickler")
    events = RefusedMember("celery.Celery.events")
    events_cls = RefusedMember("celery.Celery.events_cls")
    type_checker = RefusedMember("celery.Celery.type_checker")


class RefusedOfTasks(RefusesMembers):
    """What Celery's tasks have and ours do not."""

    Request = RefusedMember("celery.Task.Request")
    Strategy = RefusedMember("celery.Task.Strategy")
    send_event = RefusedMember("celery.Task.send_event")
    start_strategy = RefusedMember("celery.Task.start_strategy")


class RefusedOfChains:
    """What Celery's chains have and ours do not."""

    prepare_steps = RefusedMember("celery.canvas.chain.prepare_steps")
