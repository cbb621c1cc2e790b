"""A process that calls large canvases, and measures their workflows: `python -m bench.large_client ADDRESS`."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from pyramid_temporal_compat import Celery, chain, group
from pyramid_temporal_compat.exceptions import PayloadTooLarge
from pyramid_temporal_compat.results import AsyncResult

from .application import makes, noop, total
from .client import answer_lines

LONGEST = 600
SIZE = 20_000
AT_A_TIME = 8


def measured(ask: Callable[[], Any], wait: Callable[[Any], object]) -> dict[str, Any]:
    began = time.perf_counter()
    result = ask()
    returned = time.perf_counter() - began
    told = wait(result)
    done = time.perf_counter() - began
    return {"returned": returned, "done": done, "told": str(told), **histories(result), "client": peak()}


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def histories(result: Any) -> dict[str, Any]:
    """Return the number of the canvas's workflows, the size of the first input, and the largest history."""
    nodes = [result, *parents(result)]
    members = [member for node in nodes for member in getattr(node, "results", None) or [node]]
    found = {str(member.id).partition("/")[0] for member in members}
    found |= {str(member.id).rpartition("/")[0] for member in members} - {""}
    infos = result.app.temporal.call(lambda client: look(client, found), LONGEST)
    events, sizes, starts = zip(*infos, strict=True)
    return {"workflows": len(found), "events": max(events), "bytes": max(sizes), "start": max(starts)}


def parents(result: Any) -> list[Any]:
    found = []
    while (result := result.parent) is not None:
        found.append(result)
    return found


async def look(client: Any, ids: set[str]) -> list[tuple[int, int, int]]:
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(id: str) -> tuple[int, int, int]:
        async with turn:
            handle = client.get_workflow_handle(id)
            info = (await handle.describe()).raw_description.workflow_execution_info
            async for event in handle.fetch_history_events(page_size=1):
                start = event.workflow_execution_started_event_attributes.input.ByteSize()
                break
            return info.history_length, info.history_size_bytes, start

    return list(await asyncio.gather(*map(one, ids)))


def a_group(count: int) -> Any:
    return measured(
        lambda: group(noop.s(number) for number in range(count))(), lambda result: len(result.get(timeout=LONGEST))
    )


def a_chord(count: int) -> Any:
    canvas = group(noop.s(number) for number in range(count)) | total.s()
    return measured(canvas.delay, lambda result: result.get(LONGEST))


def large_results(count: int) -> Any:
    return measured(
        lambda: group(makes.s(SIZE) for _ in range(count))(),
        lambda result: sum(map(len, result.get(timeout=LONGEST))),
    )


def large_chord(count: int) -> Any:
    def wait(result: AsyncResult) -> object:
        try:
            return result.get(LONGEST)
        except PayloadTooLarge as error:
            return error

    return measured((group(makes.s(SIZE) for _ in range(count)) | total.s()).delay, wait)


def a_chain(count: int) -> Any:
    return measured(
        lambda: chain(noop.si(1), *(noop.s() for _ in range(count - 1)))(), lambda result: result.get(LONGEST)
    )


def refused_from(count: int) -> Any:
    """Return the error message for a group that is too large."""
    try:
        group(noop.s(number) for number in range(count))()
    except PayloadTooLarge as error:
        return str(error)
    return None


CANVASES = (a_group, a_chord, large_results, large_chord, a_chain, refused_from)


def main(address: str) -> None:
    Celery("bench", ptemporal_address=address, task_default_queue="bench", ptemporal_dispatch_timeout=60)
    answer_lines({canvas.__name__: canvas for canvas in CANVASES})


if __name__ == "__main__":
    main(sys.argv[1])
