"""Ask the server about many things, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def for_each(items: Iterable[T], call: Callable[[T], Awaitable[R]], at_a_time: int = 20) -> list[R]:
    """Call `call` with each item. Return the results in the order of the items.

    :param at_a_time: how many calls are under way at most.
    """
    places = asyncio.Semaphore(at_a_time)

    async def one(item: T) -> R:
        async with places:
            return await call(item)

    return list(await asyncio.gather(*map(one, items)))
