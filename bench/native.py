"""The same function, written by hand as workflow and activity, in the way of temporalio's own guide.

`python -m bench.native worker ADDRESS` and `python -m bench.native client ADDRESS`.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio import activity, workflow

QUEUE = "bench-native"
CONCURRENCY = 8


@activity.defn
def noop(number: int) -> int:
    return number


@workflow.defn
class Noop:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(noop, number, start_to_close_timeout=timedelta(minutes=1))


async def work(address: str) -> None:
    from temporalio.client import Client  # not in the workflow's sandbox, which imports this module again
    from temporalio.worker import Worker

    client = await Client.connect(address)
    with ThreadPoolExecutor(CONCURRENCY) as executor:
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Noop],
            activities=[noop],
            activity_executor=executor,
            max_concurrent_activities=CONCURRENCY,
        )
        running = asyncio.create_task(worker.run())
        print("bench worker is ready", flush=True)
        await running


async def ask(address: str) -> None:
    import time
    import uuid

    from temporalio.client import Client

    from bench.client import answer_lines

    client = await Client.connect(address)

    async def latency(count: int) -> list[float]:
        seconds = []
        for number in range(count):
            began = time.perf_counter()
            await client.execute_workflow(Noop.run, number, id=str(uuid.uuid4()), task_queue=QUEUE)
            seconds.append(time.perf_counter() - began)
        return seconds

    async def pipelined(count: int) -> float:
        began = time.perf_counter()
        handles = await asyncio.gather(
            *(
                client.start_workflow(Noop.run, number, id=str(uuid.uuid4()), task_queue=QUEUE)
                for number in range(count)
            )
        )
        for handle in handles:
            await handle.result()
        return time.perf_counter() - began

    loop = asyncio.get_running_loop()

    def on_the_loop(method, count):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(method(count), loop).result()

    await asyncio.to_thread(
        answer_lines,
        {
            "latency": lambda count: on_the_loop(latency, count),
            "pipelined": lambda count: on_the_loop(pipelined, count),
            "single_transactions": lambda count: on_the_loop(pipelined, count),
        },
    )


if __name__ == "__main__":
    asyncio.run({"worker": work, "client": ask}[sys.argv[1]](sys.argv[2]))
