"""A workflow's sandbox imports modules anew. The tasks that it makes then must not replace the application's."""

from __future__ import annotations

import pytest
from temporalio import workflow

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.app import shared


def test_a_task_that_the_sandbox_makes_again_is_the_one_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_shared", dict(shared._shared))

    @shared_task(name="sandbox.known")
    def known() -> None: ...

    monkeypatch.setattr(workflow.unsafe, "in_sandbox", lambda: True)

    @shared_task(name="sandbox.known")
    def again() -> None: ...

    @shared_task(name="sandbox.new")
    def new() -> None: ...

    assert again is known
    assert new.name == "sandbox.new"
    assert "sandbox.new" not in {each.task.name for each in shared.shared_tasks()}
