from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from pyramid_temporal_compat.task.parameters import Parameters


def none() -> None: ...
def two(a: Any, b: Any) -> None: ...
def one_or_two(a: Any, b: Any = 1) -> None: ...
def by_position(a: Any, /, b: Any = 1) -> None: ...
def any_number(a: Any, *rest: Any) -> None: ...
def with_keyword(a: Any, *, b: Any) -> None: ...
def with_default_keyword(a: Any, *, b: Any = 1, **more: Any) -> None: ...


def takes(check: Callable[..., Any], *given: Any) -> bool:
    try:
        check(*given)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(
    "function", [none, two, one_or_two, by_position, any_number, with_keyword, with_default_keyword]
)
@pytest.mark.parametrize("kwargs", [{}, {"b": 1}, {"c": 1}])
def test_the_check_takes_what_the_function_takes(function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    parameters = Parameters.of(inspect.signature(function))
    for count in range(5):
        args = (0,) * count
        assert takes(parameters.check, args, kwargs) is takes(lambda a, k: function(*a, **k), args, kwargs)
