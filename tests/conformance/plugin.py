"""A pytest plugin, loaded before the suite: it makes the suite use this package as Celery."""

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

from pyramid_temporal_compat.worker.workflows import slice_plan  # noqa: E402
from tests.conformance import inside  # noqa: E402  # it needs the `celery` that exists only now

slice_plan.SPREAD = int(os.environ["CONFORMANCE_SPREAD"])

inside.install(os.environ["CONFORMANCE_LANE"])

LONGEST = 300
"""Seconds for one test, as in the suite. Some tests wait ten seconds, twenty times, for an event that must not come."""
LONGEST_LISTED = 12
"""Seconds for a test that is known to fail here, and for each of its subtests. The longest fails after nine."""
LONGEST_FILE = "test_canvas.py"
AFTERMATH = 2
"""Seconds after such a test in which its remaining tasks end, so that the next test does not see them."""

_reports = Path(os.environ["CONFORMANCE_REPORTS"])
_taken = Path(os.environ["CONFORMANCE_TAKEN"])
_hurried_done = _taken / "hurried"


def pytest_configure(config: pytest.Config) -> None:
    # No reruns: a test that passes only at the second attempt has failed.
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
    # The alarm repeats, because a subtest catches its failure, and the test goes on with the next subtest.
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
        return None  # as pytest does it
    hurried = [item for item in sorted(session.items, key=kind_of) if kind_of(item) <= Kind.RACING]
    free = free_of(session.items)
    item = next(free, None)
    while item is not None:
        following = next(free, None)  # known in advance: pytest decides by it which fixtures stay
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
    """Yield the tests one by one, taking the next unit when it is needed. All parts have collected the same tests."""
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
    """Return the unit to run in one part: a file, because its tests' order matters, or a test of the longest file."""
    kind = kind_of(item)
    if kind <= Kind.BUSY:
        return "busy" if kind is Kind.BUSY else "hurried"
    return item.nodeid if item.path.name == LONGEST_FILE else item.path.name


class Kind(enum.IntEnum):
    """Kinds of tests, in the order in which they run."""

    HURRIED = 0
    """Tests that give the worker a second or less, as on an idle machine. No other part runs meanwhile."""
    RACING = 1
    """Tests that look ten times a second, and must never see the task run. They need a warm worker."""
    BUSY = 2
    """Tests that keep the cores busy with hundreds of tasks. They run one after the other."""
    WAITING = 3
    """Tests that wait ten seconds, many times, for an event that must not come. They start early, being longest."""
    OTHER = 4


WORDS = {
    "_multiple_on_body_failure": Kind.HURRIED,
    "_large_": Kind.BUSY,
    "_fail_multiple": Kind.BUSY,
    "_allow_error_cb_on_chord_header": Kind.WAITING,
}
"""Parts of test names, for each kind."""
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
        outcome = "failed"  # an expected failure, or a test whose requirements are missing here
    with _reports.open("a") as file:
        file.write(json.dumps({"id": item.nodeid, "outcome": outcome}) + "\n")
    return report


@pytest.fixture(scope="session")
def ptemporal_server() -> Any:
    """Use the server that `run.py` has started, also in the processes that the suite starts."""

    class Server:
        address = os.environ["TEMPORAL_ADDRESS"]

    return Server


@pytest.fixture(autouse=True)
def another_worker(request: pytest.FixtureRequest, ptemporal_server: Any) -> Iterator[None]:
    from tests.conformance.other_worker import other_worker  # it imports the function that is patched

    with other_worker(ptemporal_server):
        yield
    if request.node.nodeid in listed():
        time.sleep(AFTERMATH)
