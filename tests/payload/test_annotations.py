"""Plain JSON comes back as what a task's annotations say, and stays as it is where they don't fit."""

# Optional and Union are written as applications write them.
# ruff: noqa: UP007, UP045, F821

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import uuid
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pydantic
import pytest
import typing_extensions
from freezegun import freeze_time

from pyramid_temporal_compat.exceptions import InvalidArguments
from pyramid_temporal_compat.payload.annotations import plan_for, rebuild_arguments, rebuild_value
from pyramid_temporal_compat.payload.types import dumps, loads

if TYPE_CHECKING:
    from nowhere import Missing

ID = uuid.UUID("12345678123456781234567812345678")


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Shape:
    corners: list[Point]
    colour: Colour = Colour.RED
    id: uuid.UUID | None = None
    area: float = dataclasses.field(init=False, default=0.0)
    other: Shape | None = None


@dataclasses.dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError("number must be positive")


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@dataclasses.dataclass
class PartlyKnown:
    when: date
    other: Missing | None = None


class Model(pydantic.BaseModel):
    id: uuid.UUID
    tags: set[str] = set()


class Aliased(pydantic.BaseModel):
    item_id: int = pydantic.Field(alias="itemId")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    when: datetime


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Place(NamedTuple):
    name: str
    when: date


class Options(TypedDict):
    point: Point


Json = typing_extensions.TypeAliasType("Json", Union[list["Json"], str])
Moment = typing_extensions.TypeAliasType("Moment", datetime)
ItemId = NewType("ItemId", uuid.UUID)

FITS = [
    (Colour, "red", Colour.RED),
    (Colour, [1, 2], Colour.PAIR),
    (Level, 3, Level.HIGH),
    (Colour, Colour.RED, Colour.RED),
    (uuid.UUID, str(ID), ID),
    (ItemId, str(ID), ID),
    (Annotated[uuid.UUID, "note"], str(ID), ID),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (list[Moment], ["2026-01-02"], [datetime(2026, 1, 2)]),
    (time, "03:04", time(3, 4)),
    (Decimal, "1.50", Decimal("1.50")),
    (Point, {"x": 1}, Point(1)),
    (Point, Point(1), Point(1)),
    (Optional[Point], {"x": 1, "y": 2}, Point(1, 2)),
    (Optional[Point], None, None),
    (Point | None, {"x": 1}, Point(1)),
    (Union[Point, Positive], {"number": 2}, Positive(2)),
    (Union[dict, Point], {"x": 1}, Point(1)),
    (Union[dict, Point], {"z": 1}, {"z": 1}),
    (Union[str, uuid.UUID], str(ID), str(ID)),
    (Union[int, Level], 3, 3),
    (Union[int, date], "2026-01-02", date(2026, 1, 2)),
    (list[Point], [{"x": 1}], [Point(1)]),
    (collections.abc.Sequence[uuid.UUID], [str(ID), "no"], [ID, "no"]),
    (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
    (dict[int, str], {"1": "a", "x": "b", "01": "c"}, {1: "a", "x": "b", "01": "c"}),
    (dict[uuid.UUID, float], {str(ID): 1.0}, {ID: 1.0}),
    (dict[float, int], {"1.5": 1}, {1.5: 1}),
    (set, [1, 1], {1}),
    (set[Point], [{"x": 1}], {Point(1)}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (collections.abc.Set[Colour], ["red"], {Colour.RED}),
    (set[str], {"a"}, {"a"}),
    (tuple, [1, 2], (1, 2)),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[date, ...], ["2026-01-02"], (date(2026, 1, 2),)),
    (tuple[int, Colour], [1, "red"], (1, Colour.RED)),
    (tuple[()], [], ()),
    (Place, ["a", "2026-01-02"], Place("a", date(2026, 1, 2))),
    (Model, {"id": str(ID), "tags": ["a"]}, Model(id=ID, tags={"a"})),
    (list[Model | None], [None, {"id": str(ID)}], [None, Model(id=ID)]),
    (Numbers, [1, 2], Numbers([1, 2])),
    (Box[int], {"content": 1}, Box(1)),
    (PartlyKnown, {"when": "2026-01-02", "other": 3}, PartlyKnown(date(2026, 1, 2), 3)),
]

STAYS = [
    (Any, {"x": 1}),
    (object, 1),
    (int, "x"),
    (str, 1),
    (Colour, "blue"),
    (Colour, {"a": 1}),
    (uuid.UUID, "no"),
    (datetime, "soon"),
    (Decimal, "much"),
    (Decimal, 1.5),
    (list[Point], "text"),
    (set, "text"),
    (set[Any], [{"a": 1}]),
    (tuple[int, int], [1]),
    (tuple, "ab"),
    (dict[str, Point], [1]),
    (Place, ["a"]),
    (Point, None),
    (Model, None),
    (Point, ID),
    (Options, {"point": {"x": 1}}),
    (Literal["a"], "a"),
    (T, {"x": 1}),
    (type, "x"),
    (None, 1),
    (Json, ["a"]),
    ("Unresolved", 1),
    (list["Unresolved"], [1]),
    (collections.abc.Callable[[int], str], "f"),
    (Optional[uuid.UUID], "no"),
    (dict, {"1": 2}),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), FITS, ids=str)
def test_value_becomes_what_the_annotation_says(annotation: Any, value: Any, expected: Any) -> None:
    made = rebuild_value(annotation, value)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(("annotation", "value"), STAYS, ids=str)
def test_value_that_does_not_fit_is_left_untouched(annotation: Any, value: Any) -> None:
    assert rebuild_value(annotation, value) is value


@pytest.mark.parametrize(
    "value",
    [
        Shape([Point(1), Point(2, 3)], Colour.PAIR, ID, other=Shape([])),
        Model(id=ID, tags={"a"}),
        Aliased(itemId=3),
        Strict(id=ID, when=datetime(2026, 1, 1, tzinfo=timezone.utc)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_object_makes_the_round_trip_through_json(value: Any) -> None:
    assert rebuild_value(type(value), loads(dumps(value))) == value


def test_field_that_init_does_not_take_keeps_its_value() -> None:
    shape = Shape([])
    shape.area = 7.5
    assert rebuild_value(Shape, loads(dumps(shape))).area == 7.5


WRONG = [
    (Point, {}, "can't be read as Point: it lacks x"),
    (Point, {"x": 1, "z": 2}, "it has z"),
    (Point, [1], r"can't be read as Point: \[1\] is a list"),
    (Positive, {"number": 0}, "ValueError: number must be positive"),
    (list[Point], [{"x": 1}, {}], r"\[1\] can't be read as Point"),
    (dict[str, Point], {"a": {}}, r"\['a'\] can't be read as Point"),
    (Shape, {"corners": [{}]}, r"\.corners \[0\] can't be read as Point"),
    (Optional[Point], {}, "it lacks x"),
    (Union[Point, Positive], {}, "lacks x; nor can't be read as Positive"),
    (Model, {"id": "no"}, "can't be read as Model: 1 validation error"),
    (Model, "text", "can't be read as Model"),
]


@pytest.mark.parametrize(("annotation", "value", "says"), WRONG, ids=str)
def test_model_that_cannot_be_made_is_an_error(annotation: Any, value: Any, says: str) -> None:
    with pytest.raises(InvalidArguments, match=says):
        rebuild_value(annotation, value)


# --- functions ---


def place(point: Point, *more: Colour, label: str = "", when: date | None = None, **ids: uuid.UUID) -> None: ...


def plain(a, b: int, *args: str, c: dict | None = None, **kwargs: Any) -> list[Point]: ...


def hidden(point: Point, other: Missing) -> None: ...


def test_arguments_are_rebuilt_by_position_and_by_name() -> None:
    args, kwargs = rebuild_arguments(
        place, ({"x": 1}, "red", "blue"), {"label": "red", "when": "2026-01-02", "item": str(ID)}
    )
    assert args == (Point(1), Colour.RED, "blue")
    assert kwargs == {"label": "red", "when": date(2026, 1, 2), "item": ID}


def test_argument_that_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidArguments, match=r"^argument 'point' of .*\.place can't be read as Point: it lacks x"):
        rebuild_arguments(place, (), {"point": {"y": 1}})


def test_function_that_asks_for_nothing_has_no_plan() -> None:
    assert plan_for(plain) is None
    assert plan_for(len) is None
    assert rebuild_arguments(plain, [1], {"c": {}}) == ((1,), {"c": {}})


def test_plan_is_made_once() -> None:
    assert plan_for(place) is plan_for(place)


def test_name_that_only_type_checkers_see_hides_no_other() -> None:
    assert rebuild_arguments(hidden, ({"x": 1}, {"a": 1}), {})[0] == (Point(1), {"a": 1})


def test_more_arguments_than_parameters_are_left_to_the_call_to_refuse() -> None:
    assert rebuild_arguments(hidden, (1.5j, 2, 3), {})[0] == (1.5j, 2, 3)


class Job:
    def run(self, point: Point) -> None: ...

    def __call__(self, point: Point) -> None: ...


def _decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (Job().run, ({"x": 1},)),
        (Job(), ({"x": 1},)),
        (_decorated(place), ({"x": 1},)),
        (functools.partial(place, label="a"), ({"x": 1},)),
        (inspect.signature(place, eval_str=True), ({"x": 1},)),
    ],
    ids=["method", "callable", "decorated", "partial", "signature"],
)
def test_every_kind_of_callable_is_understood(function: Any, args: tuple[Any, ...]) -> None:
    assert rebuild_arguments(function, args, {}) == ((Point(1),), {})


def test_unbound_function_counts_self() -> None:
    assert rebuild_arguments(Job.run, ("self", {"x": 1}), {})[0] == ("self", Point(1))
    assert rebuild_arguments(Job().run, ({"x": 1},), {})[0] == (Point(1),)


def test_module_is_importable_by_its_name() -> None:
    from pyramid_temporal_compat.payload import annotations as module

    assert module.plan_for is plan_for


def test_plan_made_while_time_is_frozen_holds_afterwards() -> None:
    def later(at: datetime, day: date) -> None: ...

    with freeze_time("2026-01-01"):
        rebuild_arguments(later, (), {})
    made = rebuild_arguments(later, ("2026-01-02T03:04:05", "2026-01-02"), {})[0]
    assert made == (datetime(2026, 1, 2, 3, 4, 5), date(2026, 1, 2))


@dataclasses.dataclass
class Left:
    child: Left | Right | None
    tag: str = "left"


@dataclasses.dataclass
class Right:
    child: Left | Right | None
    tag: str = "right"


def test_a_deep_value_that_fits_no_member_of_a_union_is_refused_without_trying_every_way() -> None:
    def takes(tree: Left) -> None: ...

    value: Any = {"wrong": 1}
    for _ in range(60):
        value = {"child": value}
    with pytest.raises(InvalidArguments, match=r"argument 'tree' of .* \.child can't be read as|\.child") as raised:
        rebuild_arguments(takes, [value], {})
    assert len(str(raised.value)) < 3000


def test_a_deep_value_that_fits_is_rebuilt() -> None:
    def takes(tree: Left) -> None: ...

    value: Any = None
    for depth in range(40):
        value = {"child": value, "tag": str(depth)}
    (tree,), _ = rebuild_arguments(takes, [value], {})
    for depth in reversed(range(40)):
        assert (type(tree), tree.tag) == (Left, str(depth))
        tree = tree.child
