"""The type variables of typed calls: `Task[P, R]` takes the parameters `P` and returns an `R`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, TypeVar

    # With the defaults, `Task` alone means a task with any parameters and any result.
    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)
else:  # `typing` accepts `default` from Python 3.13 on, and nothing needs it at run time
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["P", "R"]
