"""A program that forks after it has used its connection: `python forking.py CASE`, with TEMPORAL_ADDRESS set.

Each of its processes writes the ids of the tasks that it has started. The program exits normally, because the
interpreter's exit is part of the test.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable

import transaction

from pyramid_temporal_compat import Celery

warnings.filterwarnings(
    "ignore", message=".*fork", category=DeprecationWarning
)  # Python 3.12 and later warn; the fork is intended
logging.basicConfig(format="%(levelname)s %(message)s")

app = Celery("shop")
app.conf["task_default_queue"] = "forking"
app.conf["ptemporal.dispatch_timeout"] = os.environ.get("DISPATCH_TIMEOUT", "10")


@app.task(name="buy")
def buy(number: int) -> int:
    return number


def call() -> None:
    write(buy.delay(1).id)


def write(task_id: str) -> None:
    os.write(1, f"{task_id}\n".encode())  # one write for a line, because several processes write


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)
    return pid


def reap(*children: int) -> None:
    for pid in children:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            sys.exit(f"a child ended with {status}")


def used_by_both() -> None:
    call()
    reap(child(call), child(call))
    call()


def dropped_by_the_child() -> None:
    call()

    def drop() -> None:
        global app, buy
        app.close()
        del app, buy
        gc.collect()

    reap(child(drop), child(lambda: None))
    call()


def a_childs_child() -> None:
    call()

    def fork_again() -> None:
        call()
        reap(child(call))
        call()

    reap(child(fork_again))
    call()


def while_threads_call() -> None:
    stop = threading.Event()

    def keep_calling() -> None:
        while not stop.is_set():
            call()

    threads = [threading.Thread(target=keep_calling) for _ in range(4)]
    for thread in threads:
        thread.start()
    call()
    children = []
    for _ in range(6):
        children.append(child(call))
        call()
    stop.set()
    for thread in threads:
        thread.join()
    reap(*children)


def in_an_event_loop() -> None:
    async def main() -> int:
        call()
        pid = os.fork()
        if pid == 0:
            call()
            app.close()
            os._exit(0)  # the child must not end the parent's event loop
        call()
        return pid

    reap(asyncio.run(main()))


def by_multiprocessing(method: str) -> None:
    call()
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=call) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            sys.exit(f"a process ended with {process.exitcode}")
    call()


def call_in_the_background() -> None:
    app.conf["ptemporal.dispatch"] = "background"
    with transaction.manager:
        for number in range(20):
            write(buy.delay(number).id)


def background_then_end() -> None:
    call_in_the_background()


def background_in_multiprocessing() -> None:
    process = multiprocessing.get_context("fork").Process(target=call_in_the_background)
    process.start()
    process.join()
    sys.exit(process.exitcode)


CASES: dict[str, Callable[[], None]] = {
    "used by both": used_by_both,
    "dropped by the child": dropped_by_the_child,
    "a child's child": a_childs_child,
    "while threads call": while_threads_call,
    "in an event loop": in_an_event_loop,
    "multiprocessing fork": lambda: by_multiprocessing("fork"),
    "multiprocessing spawn": lambda: by_multiprocessing("spawn"),
    "multiprocessing forkserver": lambda: by_multiprocessing("forkserver"),
    "background, then the end": background_then_end,
    "background in multiprocessing": background_in_multiprocessing,
}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
