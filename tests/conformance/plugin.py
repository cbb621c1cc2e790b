"""Loaded by the suite's pytest before anything of the suite: what the suite takes for Celery is this package."""

from __future__ import annotations

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

install_as_celery()

from tests.conformance import inside  # noqa: E402  # it puts names into what is Celery only now

inside.install()

LONGEST = 300
"""Seconds for one test, as the suite has it: some wait ten seconds, and twenty times, for what must not come."""
LONGEST_LISTED = 12
"""Seconds for one that is known to fail here, and for each subtest of it: the longest fails after nine."""
LONGEST_FILE = "test_canvas.py"
BUSY = ("_large_", "_fail_multiple")
"""In the names of tests with canvases of hundreds of tasks. They run one after the other."""
LONGEST_NAME = "_allow_error_cb_on_chord_header"
"""In the names of tests that wait ten seconds, many times, for what must not come."""
AFTERMATH = 2
"""Seconds in which the tasks that such a test has left behind are done, so that the next one does not see them."""

_reports = Path(os.environ["CONFORMANCE_REPORTS"])
_taken = Path(os.environ["CONFORMANCE_TAKEN"])


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
    free = free_of(session.items)
    item = next(free, None)
    while item is not None:
        following = next(free, None)  # already now: it decides which fixtures stay
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def free_of(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests one by one, each unit taken as it is asked for. All parts have collected the same ones."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit_of(item), []).append(item)
    for number, unit in enumerate(sorted(units.values(), key=turn_of)):
        try:
            (_taken / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from unit


def unit_of(item: pytest.Item) -> str:
    """What goes to one part: a file, for the order of its tests matters; of the longest file, each test."""
    if item.path.name != LONGEST_FILE:
        return item.path.name
    return "busy" if is_busy(item) else item.nodeid


def is_busy(item: pytest.Item) -> bool:
    return any(word in item.name for word in BUSY)


def turn_of(unit: Sequence[pytest.Item]) -> int:
    """First the busy ones, which are in a hurry, beside the longest, which do little else than wait."""
    return 0 if is_busy(unit[0]) else 1 if LONGEST_NAME in unit[0].name else 2


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
