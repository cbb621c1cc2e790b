"""Tasks that end their worker at a chosen moment, for workers in processes of their own."""

from __future__ import annotations

import datetime
import os
import signal
import time
from pathlib import Path
from typing import Any

from pyramid_temporal_compat import shared_task
from tests.worker.shop import note, write


def once(path: str) -> bool:
    """Return whether this call is the first."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def called(directory: str) -> int:
    """Count the calls of a function over all processes. Return the count, with this call."""
    with (Path(directory) / "calls").open("ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()  # the file's size may have grown: another process writes, too


def dies(directory: str, whom: str = "process") -> None:
    """Kill this process, or the whole worker, but only once."""
    if once(f"{directory}/died"):
        if whom == "worker":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def dies_after_commit(task: Any, directory: str, whom: str = "process") -> None:
    task.pyramid_request.tm.get().addAfterCommitHook(lambda committed: committed and dies(directory, whom))


@shared_task(bind=True)
def writes_and_dies(self: Any, directory: str, whom: str = "process") -> int:
    calls = called(directory)
    write("effect")
    dies_after_commit(self, directory, whom)
    return calls


@shared_task(bind=True, acks_late=False)
def writes_and_dies_at_most_once(self: Any, directory: str) -> int:
    return int(writes_and_dies.run(directory))


@shared_task(bind=True)
def writes_and_dies_past_its_expiry(self: Any, directory: str) -> int:
    expires = datetime.datetime.fromisoformat(self.request.expires)

    def late(committed: bool) -> None:
        while datetime.datetime.now(datetime.timezone.utc) < expires:
            time.sleep(0.01)
        dies(directory)

    calls = called(directory)
    write("effect")
    self.pyramid_request.tm.get().addAfterCommitHook(late)
    return calls


@shared_task(bind=True)
def takes_and_dies(self: Any, before: int, directory: str) -> int:
    return int(writes_and_dies.run(directory)) + before


@shared_task(bind=True)
def calls_and_dies(self: Any, directory: str) -> str:
    called(directory)
    write("parent")
    # Registered first, so that it runs before the messages leave.
    dies_after_commit(self, directory)
    return str(note.delay("child").id)


@shared_task(bind=True)
def is_replaced_and_dies(self: Any, directory: str) -> Any:
    called(directory)
    write("effect")
    dies_after_commit(self, directory)
    return self.replace(note_and_return.s("instead"))


@shared_task
def note_and_return(text: str) -> str:
    write(text)
    return text


@shared_task
def waits_for_its_file(directory: str) -> int:
    """Write this process' id, wait until the test lets the task go on, and write a row."""
    with (Path(directory) / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    go = Path(directory) / f"go{os.getpid()}"
    while not go.exists():
        time.sleep(0.01)
    write("effect")
    return os.getpid()


@shared_task
def counts(directory: str) -> int:
    write("effect")
    return called(directory)
