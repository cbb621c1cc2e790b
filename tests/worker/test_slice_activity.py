"""The loop of a slice, at moments that a server can't be brought to: while a call is slow, or between two steps."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import selectors
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.slices import SMALL, Slice, SliceMember, SliceReport
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.converter import from_raw, to_raw
from pyramid_temporal_compat.worker import slice_activity
from pyramid_temporal_compat.worker.job import Job
from pyramid_temporal_compat.worker.slice_activity import SliceActivity

AIM = 0.02
SLOW = 5 * AIM


class JumpingClock(selectors.SelectSelector):
    """The clock of an event loop: instead of waiting for a timer, it goes on to the timer's moment."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        self.now += max(timeout, 0)
        return super().select(0)


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop in which code takes no time, so that a busy machine makes no slice late."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class SliceOnTrial:
    """Runs a slice without a server. Its attributes say what the server was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, members: str, seconds: float = AIM) -> None:
        """
        :param members: the ids of the members; a small letter follows the member before it.
        """
        self.heartbeats: list[Any] = []
        """The details of the heartbeats that the library was given."""
        self.recorded: list[str] = []
        """The members that heartbeats of the slice's own have told of."""
        self.reports: list[SliceReport] = []
        self.ran: list[str] = []
        self.attempts: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.on_record: Callable[[], Awaitable[Any]] = nothing
        self.env = ActivityEnvironment(client=self)  # type: ignore[arg-type]
        self.env.info = dataclasses.replace(self.env.info, heartbeat_timeout=timedelta(seconds=30))
        self.env.on_heartbeat = self.heartbeats.append
        calls = [Message("t", id.upper(), (), "q") for id in members]
        part = [SliceMember(call, (), follows=id.islower()) for id, call in zip(members, calls, strict=True)]
        monkeypatch.setattr(slice_activity, "read_slice", lambda payloads: Slice(seconds, tuple(part)))
        self._loop = TimelessLoop()
        monkeypatch.setattr(slice_activity, "time", SimpleNamespace(monotonic=self._loop.time))

    def run(self) -> SliceReport:
        """Return the report; an empty one if the activity ends as its last member did."""
        with contextlib.closing(self._loop) as loop:
            result = from_raw(loop.run_until_complete(self._run()))
        return SliceReport.decode(result) if wire.SLICE in result.metadata else SliceReport()

    async def _run(self) -> Any:
        parts: Any = SimpleNamespace(hostname="worker", stop_now=asyncio.Event(), is_lost_too_often=lambda lost: False)
        return await self.env.run(SliceActivity(parts, self._attempt, reserve).run, [])

    async def _attempt(self, job: Job) -> Any:
        self.ran.append(job.message.id)
        result = await self.attempts.get(job.message.id, nothing)()
        return to_raw(result or Payload({"encoding": b"json/plain"}, b"1"))

    def get_async_activity_handle(self, **which: Any) -> Any:
        return SimpleNamespace(heartbeat=self._record)

    async def _record(self, details: Any, **options: Any) -> None:
        await self.on_record()
        self.recorded.append(details[wire.MEMBER][0])

    def get_workflow_handle(self, *which: Any, **run: Any) -> Any:
        return SimpleNamespace(signal=self._signal)

    async def _signal(self, name: str, report: Any) -> None:
        self.reports.append(SliceReport.decode(from_raw(report)))


async def nothing() -> None:
    return None


def slow() -> Awaitable[None]:
    return asyncio.sleep(SLOW)


@contextlib.contextmanager
def reserve(job: Job) -> Iterator[Any]:
    yield SimpleNamespace()


def ended(report: SliceReport) -> list[str]:
    return [outcome.id for outcome in report.outcomes]


def test_no_step_begins_if_the_slice_is_over_before_its_heartbeat_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = SliceOnTrial(monkeypatch, "Ab")
    trial.on_record = slow
    report = trial.run()
    assert (trial.ran, ended(report), report.given_back) == (["A"], ["A"], ("B",))


def test_a_worker_that_ends_between_two_steps_reports_the_steps_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stop() -> None:
        trial.env.cancel()
        await asyncio.sleep(0)

    trial = SliceOnTrial(monkeypatch, "Abc")
    trial.on_record = stop
    report = trial.run()
    assert (trial.ran, ended(report), report.given_back) == (["A"], ["A"], ("B", "C"))


def test_the_server_learns_of_a_long_member_that_follows_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = SliceOnTrial(monkeypatch, "AbC")
    trial.attempts["C"] = slow
    trial.run()
    assert trial.recorded == ["B"]
    assert [details[wire.MEMBER][0] for details in trial.heartbeats] == ["C"]
    assert [(ended(report), report.rest) for report in trial.reports] == [(["A", "B"], ("C", "t"))]


def test_a_long_step_that_the_server_knows_of_costs_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = SliceOnTrial(monkeypatch, "Ab")
    trial.attempts["B"] = slow
    trial.run()
    assert (trial.recorded, trial.heartbeats, len(trial.reports)) == (["B"], [], 1)


def test_a_slice_with_steps_is_over_before_its_heartbeat_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = SliceOnTrial(monkeypatch, "Ab", seconds=2 * SLOW)
    trial.env.info = dataclasses.replace(trial.env.info, heartbeat_timeout=timedelta(seconds=AIM))
    trial.attempts["B"] = slow
    trial.run()
    assert len(trial.reports) == 1


def test_heartbeats_hold_few_results_because_all_slices_of_a_workflow_share_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def half() -> Payload:
        return Payload({"encoding": b"json/plain"}, b'"' + b"x" * (SMALL // 2) + b'"')

    trial = SliceOnTrial(monkeypatch, "Abcd")
    trial.attempts = dict.fromkeys("ABCD", half)
    report = trial.run()
    assert (ended(report), report.given_back) == (["A", "B"], ("C", "D"))
