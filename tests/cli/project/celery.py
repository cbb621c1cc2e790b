"""Its app: found by `-A tests.cli.project`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.exceptions import Reject
from pyramid_temporal_compat.log import get_task_logger

app = Celery("project", include=["tests.cli.project.more"])
app.conf.update(
    ptemporal_address=os.environ.get("PROJECT_ADDRESS", "localhost:7233"),
    task_default_queue=os.environ.get("PROJECT_QUEUE", "project"),
    ptemporal_heartbeat_timeout=2,
)
log = get_task_logger(__name__)


def told(line: str) -> None:
    """Tell the test, from whichever process."""
    if path := os.environ.get("PROJECT_TOLD"):
        with open(path, "a") as file:
            file.write(f"{line}\n")


@app.task
def add(x: int, y: int) -> int:
    log.info("adding %s and %s", x, y)
    return x + y


@app.task
def prints(text: str) -> None:
    print(text)


@app.task
def whereabouts() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "threads": threading.active_count(),
        "runtime": "temporalio.bridge.runtime" in sys.modules,
    }


@app.task
def memory() -> dict[str, int]:
    """Of this process, in KiB: what it has for itself, and its share of all."""
    found = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return {"own": int(found["Private_Dirty:"]), "share": int(found["Pss:"])}


@app.task(bind=True)
def calls_add(self: Any, x: int) -> str:
    return str(add.delay(x, x).id)


@app.task
def fails() -> None:
    raise ValueError("out of cheese")


@app.task
def takes(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@app.task
def waits_for(path: str) -> int:
    told(f"waits {os.getpid()}")
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


@app.task(acks_late=False)
def waits_at_most_once(path: str) -> int:
    return int(waits_for(path))


@app.task(acks_late=True, reject_on_worker_lost=False)
def waits_and_fails_if_lost(path: str) -> int:
    return int(waits_for(path))


@app.task
def dies() -> None:
    told(f"dies {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry_on_worker_lost=True, max_retries=1, default_retry_delay=0)
def dies_and_is_retried() -> None:
    dies()


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def dies_between_retries(self: Any) -> list[int]:
    """Retry, die twice, retry again, and return the retries that each run knew of."""
    told(f"knew {self.request.retries}")
    with open(os.environ["PROJECT_TOLD"]) as file:
        knew = [int(line.split()[1]) for line in file if line.startswith("knew ")]
    if len(knew) in (1, 4):
        raise self.retry()
    if len(knew) < 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return knew


@app.task(acks_late=True, acks_on_timeout=False, time_limit=0.2)
def is_late_once() -> str:
    told("late")
    with open(os.environ["PROJECT_TOLD"]) as file:
        if file.read().count("late") == 1:
            time.sleep(60)
    return "in time"


class TellsOfFailure(app.Task):  # type: ignore[misc, name-defined]
    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        told(f"on_failure {type(exc).__name__} {task_id} {args} {self.request.id == task_id}")

    def after_return(self, *args: Any) -> None:
        told("after_return")


@app.task(base=TellsOfFailure, time_limit=0.2, acks_late=False, autoretry_for=(Exception,), max_retries=3)
def is_late(how: str) -> None:
    if how == "late":
        time.sleep(60)
    while True:  # in Python, where a thread can be stopped
        how = how[::-1]


@app.task(base=TellsOfFailure, acks_late=False)
def is_killed(how: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True)
def gives_itself_back(self: Any, times: int) -> int:
    told("given back")
    with open(os.environ["PROJECT_TOLD"]) as file:
        begun = file.read().count("given back")
    if begun <= times:
        raise Reject("not yet", requeue=True)
    return begun


@app.task
def marks(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")
    time.sleep(0.05)


@app.task
def grows(mib: int) -> int:
    return len(bytearray(mib * 1024 * 1024)) and os.getpid()


SIGNALS = (
    "celeryd_init",
    "celeryd_after_setup",
    "worker_init",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_before_create_process",
    "import_modules",
    "after_setup_logger",
    "after_setup_task_logger",
    "heartbeat_sent",
    "task_received",
    "task_revoked",
    "task_unknown",
)


def listen(name: str) -> None:
    def receiver(signal: Any, sender: Any = None, **named: Any) -> None:
        shown = ",".join(sorted(named))
        details = ""
        if "request" in named:
            request = named["request"]
            details = f" {request.name} {request.args} {request.delivery_info['routing_key']}"
        if name == "worker_shutting_down":
            details = f" {named['sig']} {named['how']} {named['exitcode']}"
        told(f"{name}({shown}) {type(sender).__name__}{details}")
        if os.environ.get("PROJECT_RECEIVERS_RAISE") and name != "import_modules":  # that one is to raise
            raise RuntimeError(f"receiver of {name}")

    getattr(signals, name).connect(receiver, weak=False, sender=None)


if os.environ.get("PROJECT_TOLD"):
    for each in SIGNALS:
        listen(each)
