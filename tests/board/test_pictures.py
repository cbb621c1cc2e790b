"""The shapes of plots and canvases, and the samples that plots show."""

from __future__ import annotations

import time

import pytest

from pyramid_temporal_compat.board.pictures import picture_of, plot
from pyramid_temporal_compat.board.sources import QueueSamples
from pyramid_temporal_compat.observe.queues import QueueReport
from pyramid_temporal_compat.results.canvas_view import Line


def test_a_plot_rises_with_its_values() -> None:
    found = plot([0, 50, 100])
    assert found is not None
    assert found.points == "0.0,30.0 80.0,16.0 160.0,2.0"
    assert (found.largest, found.last, found.count) == (100, 100, 3)
    assert plot([0]) is None
    assert plot([0, 0]) is not None


def test_each_node_of_a_canvas_is_tied_to_the_node_above_it() -> None:
    lines = [
        Line(0, "", "chain", "", False),
        Line(1, "a", "first", "SUCCESS", True),
        Line(1, "", "group", "", False),
        Line(2, "b", "second", "STARTED", True),
    ]
    found = picture_of(lines, "b")
    assert found is not None
    root, first, group, second = found.boxes
    assert root.elbow == ""
    assert first.elbow.startswith(f"M{root.x + 11},")
    assert group.elbow.startswith(f"M{root.x + 11},")
    assert second.elbow.startswith(f"M{group.x + 11},")
    assert [box.is_chosen for box in found.boxes] == [False, False, False, True]
    assert picture_of([], "b") is None


def test_samples_are_taken_apart_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = QueueSamples()
    for backlog, now in ((1, 100.0), (2, 101.0), (3, 105.0)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        samples.add([QueueReport("mail", backlog, 0.0, 0.0, 0.0, 0, 0, ())])
    assert samples.of("mail") == [1, 3]
    assert samples.of("other") == []
