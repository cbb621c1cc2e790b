"""Arguments of a command line are read by annotations."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pydantic
import pytest

from pyramid_temporal_compat.exceptions import InvalidArguments
from pyramid_temporal_compat.native.arguments import Callee, Given, in_order, of_unknown


@dataclass
class Order:
    number: int
    lines: list[str]


class Model(pydantic.BaseModel):
    number: int


class Colour(str, Enum):
    RED = "red"


async def run(self: Any, order: Order, model: Model | None = None, count: int = 3) -> None: ...


async def simple(
    self: Any, text: str, flag: bool, when: datetime.datetime, this: uuid.UUID, colour: Colour, more: list[int]
) -> None: ...


async def bare(self: Any, value, other=None) -> None: ...  # type: ignore[no-untyped-def]


def values(function: Any, *args: str, kwargs: tuple[str, ...] = (), inputs: tuple[str, ...] = ()) -> list[Any]:
    return in_order(Callee.method("It", function), Given(args, kwargs, inputs))


ORDER = '{"number": 1, "lines": ["a"]}'


def test_defaults_are_sent_too() -> None:
    assert values(run, ORDER) == [{"number": 1, "lines": ["a"]}, None, 3]
    assert values(run, ORDER, kwargs=("count=4",)) == [{"number": 1, "lines": ["a"]}, None, 4]
    assert values(run, inputs=(ORDER, '{"number": 2}')) == [{"number": 1, "lines": ["a"]}, {"number": 2}, 3]


def test_words_are_read_as_the_parameter_is_annotated() -> None:
    this = str(uuid.uuid4())
    assert values(simple, "42", "true", "2026-01-31T08:00:00", this, "red", "[1, 2]") == [
        "42",
        True,
        "2026-01-31T08:00:00",
        this,
        "red",
        [1, 2],
    ]
    assert values(bare, "42", "forty-two") == [42, "forty-two"]


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        (['{"number": "x", "lines": []}'], (), r"It\(order: Order, .*\): '.*' is no value for 'order': .*number"),
        ([ORDER, '{"number": "x"}'], (), r"is no value for 'model'"),
        ([ORDER], ("count=many",), r"'many' is no value for 'count': Expected value to be int"),
        ([ORDER], ("count=5.5",), r"'5\.5' is no value for 'count': a fraction would be cut off"),
        ([ORDER], ("count",), r"--kwargs count: it takes name=value"),
        ([ORDER], ("order=1",), r"'1' is no value for 'order'"),
        ([], (), r"missing a required argument: 'order'"),
        ([ORDER], ("cont=1",), r"got an unexpected keyword argument 'cont'"),
        ([ORDER, "null", "1", "2"], (), r"too many positional arguments"),
    ],
)
def test_values_that_do_not_fit_are_refused(args: list[str], kwargs: tuple[str, ...], told: str) -> None:
    with pytest.raises(InvalidArguments, match=told):
        values(run, *args, kwargs=kwargs)


def test_input_does_not_go_with_the_other_options() -> None:
    with pytest.raises(InvalidArguments, match="--input gives all arguments"):
        values(bare, "1", inputs=("2",))


def test_arguments_of_what_is_not_defined_here_are_json_or_text() -> None:
    assert of_unknown("It", Given(("1", "x"))) == [1, "x"]
    assert of_unknown("It", Given(inputs=('"1"',))) == ["1"]
    with pytest.raises(InvalidArguments, match="--input 'x' is no JSON"):
        of_unknown("It", Given(inputs=("x",)))
    with pytest.raises(InvalidArguments, match="--kwargs a=1: It is not defined in this application"):
        of_unknown("It", Given(kwargs=("a=1",)))
