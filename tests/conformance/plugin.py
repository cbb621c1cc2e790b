"""Loaded by the suite's pytest before anything of the suite: what the suite takes for Celery is this package."""

from __future__ import annotations

import enum
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import install_as_celery
from tests.conformance.listing import listed
from tests.parts import wait_until

install_as_celery()

from tests.conformance import inside  # noqa: E402  # it puts names into what is Celery only now

inside.install()

LONGEST = 300
"""Seconds for one test, as the suite has it: some wait ten seconds, and twenty times, for what must not come."""
LONGEST_LISTED = 12
"""Seconds for one that is known to fail here, and for each subtest of it: the longest fails after nine."""
LONGEST_FILE = "test_canvas.py"
AFTERMATH = 2
"""Seconds in which the tasks that such a test has left behind are done, so that the next one does not see them."""

_reports = Path(os.environ["CONFORMANCE_REPORTS"])
_taken = Path(os.environ["CONFORMANCE_TAKEN"])
_hurried_done = _taken / "hurried"


def pytest_configure(config: pytest.Config) -> None:
    # No reruns: a test that passes the second time does not pass.
    config.addinivalue_line("markers", "flaky(**options): the suite's, for pytest-rerunfailures; here without effect")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        limit = 0 if item.nodeid in listed() else LONGEST
        item.add_marker(pytest.mark.timeout(limit), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    if item.nodeid not in listed():
        return (yield)
    before = signal.signal(signal.SIGALRM, give_up)
    # Again and again: a subtest keeps its failure to itself, and the test goes on to the next one.
    signal.setitimer(signal.ITIMER_REAL, LONGEST_LISTED, LONGEST_LISTED)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def give_up(*signal_and_frame: Any) -> None:
    pytest.fail(f"longer than {LONGEST_LISTED} s")


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests that no other part of the run has taken."""
    if session.testsfailed or session.config.option.collectonly:
        return None  # as pytest has it
    hurried = [item for item in sorted(session.items, key=kind_of) if kind_of(item) <= Kind.RACING]
    free = free_of(session.items)
    item = next(free, None)
    while item is not None:
        following = next(free, None)  # already now: it decides which fixtures stay
        if hurried and item not in hurried:
            wait_until(_hurried_done.exists, timeout=600)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if hurried and item is hurried[-1]:
            _hurried_done.touch()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def free_of(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests one by one, each unit taken as it is asked for. All parts have collected the same ones."""
    units: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=kind_of):
        units.setdefault(unit_of(item), []).append(item)
    for number, unit in enumerate(units.values()):
        try:
            (_taken / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from unit


def unit_of(item: pytest.Item) -> str:
    """What goes to one part: a file, for the order of its tests matters; of the longest file, each test."""
    kind = kind_of(item)
    if kind <= Kind.BUSY:
        return "busy" if kind is Kind.BUSY else "hurried"
    return item.nodeid if item.path.name == LONGEST_FILE else item.path.name


class Kind(enum.IntEnum):
    """In the order in which they have their turns."""

    HURRIED = 0
    """Gives the worker a second or less, as a machine has it that does nothing else: no other part runs meanwhile."""
    RACING = 1
    """Looks ten times a second, and must never see the task run; in the same part, once the worker is warm."""
    BUSY = 2
    """Keeps the cores busy with hundreds of tasks: one after the other."""
    WAITING = 3
    """Waits ten seconds, many times, for what must not come: begun early, for these take longest."""
    OTHER = 4


WORDS = {
    "_multiple_on_body_failure": Kind.HURRIED,
    "_large_": Kind.BUSY,
    "_fail_multiple": Kind.BUSY,
    "_allow_error_cb_on_chord_header": Kind.WAITING,
}
"""What is in the names of a kind's tests."""
RACES = ("test_retry", "test_retry_with_unpickleable_exception")


def kind_of(item: pytest.Item) -> Kind:
    if item.name in RACES:
        return Kind.RACING
    return next((kind for word, kind in WORDS.items() if word in item.name), Kind.OTHER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    outcome = report.outcome
    if report.skipped and item.get_closest_marker("skip") is None:
        outcome = "failed"  # an expected failure, or something that the suite does not find here
    with _reports.open("a") as file:
        file.write(json.dumps({"id": item.nodeid, "outcome": outcome}) + "\n")
    return report


@pytest.fixture(scope="session")
def ptemporal_server() -> Any:
    """The server that `run.py` has started, also for the processes that the suite starts."""

    class Server:
        address = os.environ["TEMPORAL_ADDRESS"]

    return Server


@pytest.fixture(autouse=True)
def another_worker(request: pytest.FixtureRequest, ptemporal_server: Any) -> Iterator[None]:
    from tests.conformance.other_worker import other_worker  # it imports what is patched

    with other_worker(ptemporal_server):
        yield
    if request.node.nodeid in listed():
        time.sleep(AFTERMATH)
